//! Spans of requests reach a collector, on the side: whatever becomes of it, requests do not notice.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;
use std::{fs, io};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use nix::sys::signal::Signal;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode as SpanStatus};
use prost::Message as _;
use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::admin::{monitored, scrape};
use crate::support::client::{self, Blocking};
use crate::support::journal::{Journal, Mark};
use crate::support::server::{Server, Setup};
use crate::support::{PATIENCE, eventually, plain, python, tls};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

const LOST: &str = "the collector does not take spans, they are lost";

/// What came to it: the fields of a request, and its body.
type Delivery = (HeaderMap, Bytes);

/// A collector, as it takes spans by OTLP over HTTP.
#[derive(Debug)]
struct Collector {
    address: SocketAddr,
    taking: Taking,
}

#[derive(Debug, Clone)]
struct Taking {
    came: Arc<Journal<Delivery>>,
    answers: Arc<AtomicBool>,
    /// Of each request.
    rejects: Arc<AtomicI64>,
}

impl Collector {
    fn start() -> Self {
        Self::start_with(None)
    }

    fn start_with(tls: Option<ServerConfig>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let taking = Taking {
            came: Arc::default(),
            answers: Arc::new(AtomicBool::new(true)),
            rejects: Arc::default(),
        };
        let routes = axum::Router::new()
            .route("/v1/traces", post(take))
            .with_state(taking.clone());
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                match tls {
                    Some(tls) => {
                        let acceptor = TlsAcceptor::from(Arc::new(tls));
                        let encrypted = Encrypted { listener, acceptor };
                        axum::serve(encrypted, routes).await.unwrap();
                    }
                    None => axum::serve(listener, routes).await.unwrap(),
                }
            });
        });
        Self { address, taking }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All spans that came, as soon as there are so many.
    #[track_caller]
    fn until(&self, count: usize) -> Vec<Span> {
        eventually("spans", || {
            let spans: Vec<Span> = self.requests().into_iter().flat_map(spans).collect();
            (spans.len() >= count).then_some(spans)
        })
    }

    fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        let came = self.taking.came.since(Mark::START).into_iter();
        came.map(|(_, body)| ExportTraceServiceRequest::decode(body).unwrap())
            .collect()
    }
}

/// Connections on which TLS is spoken.
struct Encrypted {
    listener: tokio::net::TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Encrypted {
    type Io = TlsStream<tokio::net::TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            // Whoever does not believe its certificate goes.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

async fn take(State(taking): State<Taking>, fields: HeaderMap, body: Bytes) -> Vec<u8> {
    if !taking.answers.load(Relaxed) {
        std::future::pending::<()>().await;
    }
    taking.came.push((fields, body));
    let rejected_spans = taking.rejects.load(Relaxed);
    let partial_success = (rejected_spans > 0).then(|| ExportTracePartialSuccess {
        rejected_spans,
        error_message: "too old".to_owned(),
    });
    ExportTraceServiceResponse { partial_success }.encode_to_vec()
}

fn spans(request: ExportTraceServiceRequest) -> Vec<Span> {
    let resources = request.resource_spans.into_iter();
    let scopes = resources.flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

/// Texts and numbers, as text.
fn attributes(attributes: &[KeyValue]) -> BTreeMap<&str, String> {
    let shown = |value: &Option<AnyValue>| match value.as_ref().and_then(|it| it.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    let attributes = attributes.iter();
    attributes
        .map(|attribute| (attribute.key.as_str(), shown(&attribute.value)))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

fn setup(endpoint: &str) -> Setup {
    monitored(Setup::new())
        .set("http.trace_context", "all")
        .set("telemetry.otlp_endpoint", endpoint)
}

fn lost(server: &Server) -> u64 {
    scrape(server)["destrier_spans_total{result=\"lost\"}"]
}

#[test]
fn a_collector_gets_a_span_of_each_request_with_the_ids_of_the_log_and_nothing_secret() {
    let collector = Collector::start();
    let mut setup = setup(&collector.url())
        .set("access_log.enabled", true)
        .set("telemetry.otlp_headers_file", "fields")
        .set("telemetry.service_name", "shop");
    setup.config.set_auth(
        "[[auth.rule]]\npath = \"/status/{code}\"\naccess = \"public\"\n[[auth.rule]]\npath = \"/headers\"\naccess = \"public\"\n[[auth.rule]]\npath = \"/hello\"\n[[auth.issuer]]\nsecret_file = \"secret\"\n",
    );
    tls::put(
        &setup.folder().join("secret"),
        "a secret that is long enough to sign",
    );
    tls::put(
        &setup.folder().join("fields"),
        "Authorization: Bearer of-the-collector\n",
    );
    let server = setup.start();
    let own = format!("traceparent: {PARENT}");
    let told = plain::ask(&server, "GET /headers?q=of-the-query", &[&own]);
    let refused = plain::ask(
        &server,
        "GET /hello",
        &["Authorization: Bearer of-a-client"],
    );
    assert_eq!((told.status, refused.status), (200, 401));
    assert_eq!(plain::ask(&server, "BREW /status/503", &[]).status, 503);
    let not_sampled = PARENT.replace("-01", "-00");
    let not_sampled = format!("traceparent: {not_sampled}");
    assert_eq!(
        plain::ask(&server, "GET /headers", &[&not_sampled]).status,
        200
    );
    let spans = collector.until(3);
    assert_eq!(spans.len(), 3);
    let named = |name: &str| {
        let mut spans = spans.iter();
        let found = spans.find(|span| span.name == name);
        found.unwrap_or_else(|| panic!("{name}: {spans:?}"))
    };

    let good = named("GET /headers");
    assert_eq!(hex(&good.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(hex(&good.parent_span_id), "00f067aa0ba902b7");
    assert_eq!(good.kind, i32::from(SpanKind::Server));
    let of_app = format!("00-{}-{}-01", hex(&good.trace_id), hex(&good.span_id));
    assert!(told.text().contains(&of_app), "{}", told.text());
    assert!(good.end_time_unix_nano > good.start_time_unix_nano);
    let found = attributes(&good.attributes);
    let port = server.port().port().to_string();
    for (name, value) in [
        ("http.request.method", "GET"),
        ("url.path", "/headers"),
        ("url.scheme", "http"),
        ("http.route", "/headers"),
        ("http.response.status_code", "200"),
        ("client.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("server.address", "test"),
    ] {
        assert_eq!(found[name], value, "{name} (port {port})");
    }
    assert!(!found.contains_key("error.type") && good.status.is_none_or_unset());

    let refused_span = attributes(&named("GET /hello").attributes);
    assert_eq!(refused_span["http.response.status_code"], "401");
    assert!(!refused_span.contains_key("error.type"));
    let failed = named("HTTP /status/{code}");
    let found = attributes(&failed.attributes);
    assert_eq!(found["http.request.method"], "_OTHER");
    assert_eq!(found["http.request.method_original"], "BREW");
    assert_eq!(found["error.type"], "503");
    assert_eq!(
        failed.status.as_ref().unwrap().code,
        i32::from(SpanStatus::Error)
    );

    let of_log: BTreeSet<(String, String)> = eventually("lines of the access log", || {
        let lines = server.log.since(Mark::START).into_iter();
        let lines = lines.filter(|line| line["target"] == "access");
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let ids = lines.map(|line| (text(&line["trace_id"]), text(&line["span_id"])));
        let ids: BTreeSet<_> = ids.collect();
        (ids.len() == 4).then_some(ids)
    });
    for span in &spans {
        let ids = (hex(&span.trace_id), hex(&span.span_id));
        assert!(of_log.contains(&ids), "{ids:?} {of_log:?}");
    }
    for (fields, body) in collector.taking.came.since(Mark::START) {
        assert_eq!(fields["authorization"], "Bearer of-the-collector");
        assert_eq!(fields["content-type"], "application/x-protobuf");
        for secret in ["of-the-query", "of-a-client", "of-the-collector"] {
            let mut windows = body.windows(secret.len());
            assert!(
                !windows.any(|window| window == secret.as_bytes()),
                "{secret}"
            );
        }
    }
    let request = collector.requests().remove(0);
    let resource = request.resource_spans[0].resource.as_ref().unwrap();
    assert_eq!(attributes(&resource.attributes)["service.name"], "shop");
    let metrics = eventually("the count", || {
        let metrics = scrape(&server);
        (metrics["destrier_spans_total{result=\"exported\"}"] == 3).then_some(metrics)
    });
    assert_eq!(metrics["destrier_spans_total{result=\"lost\"}"], 0);
}

trait Unset {
    fn is_none_or_unset(&self) -> bool;
}

impl Unset for Option<opentelemetry_proto::tonic::trace::v1::Status> {
    fn is_none_or_unset(&self) -> bool {
        self.as_ref()
            .is_none_or(|status| status.code == i32::from(SpanStatus::Unset))
    }
}

#[test]
fn where_few_traces_are_recorded_those_that_go_on_are_as_their_parent_says() {
    let collector = Collector::start();
    let setup = setup(&collector.url()).set("telemetry.sampling_ratio", 0.0);
    let server = setup.start();
    let begun = plain::ask(&server, "GET /headers", &[]).text();
    assert!(
        begun.contains("traceparent") && !begun.contains("-01\""),
        "{begun}"
    );
    let own = format!("traceparent: {PARENT}");
    assert_eq!(plain::ask(&server, "GET /headers", &[&own]).status, 200);
    let spans = collector.until(1);
    assert_eq!(spans.len(), 1);
    assert_eq!(hex(&spans[0].parent_span_id), "00f067aa0ba902b7");
}

#[test]
fn what_waits_is_sent_before_a_worker_goes() {
    let collector = Collector::start();
    let server = setup(&collector.url()).start();
    let address = server.address();
    for _ in 0..7 {
        client::get(&address, "/hello").unwrap();
    }
    server.reload();
    for _ in 0..7 {
        client::get(&address, "/hello").unwrap();
    }
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_for_exit(PATIENCE), Some(0));
    assert_eq!(collector.until(14).len(), 14);
}

#[test]
fn a_collector_that_is_down_costs_requests_nothing_and_what_is_lost_is_counted() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let server = setup(&endpoint).set("workers.count", 1).start();
    for _ in 0..10 {
        client::get(&server.address(), "/hello").unwrap();
    }
    let line = server.wait_for_log(Mark::START, LOST);
    let reason = line["reason"].as_str().unwrap();
    assert!(reason.contains("refused"), "{line}");
    eventually("all of them to be lost", || {
        (lost(&server) == 10).then_some(())
    });
}

#[test]
fn a_collector_that_does_not_answer_holds_up_neither_requests_nor_the_end() {
    const REQUESTS: u64 = 4000;
    let collector = Collector::start();
    collector.taking.answers.store(false, Relaxed);
    let server = setup(&collector.url()).set("workers.count", 1).start();
    let mut client = Blocking::open(&server.address()).unwrap();
    for _ in 0..REQUESTS {
        client.get("/hello").unwrap();
    }
    // 2048 wait, 512 are on their way.
    let lost = eventually("losses", || Some(lost(&server)).filter(|lost| *lost > 0));
    assert!(lost >= REQUESTS - 2048 - 2 * 512, "{lost}");
    drop(client);
    let ((), took) = crate::support::timed(|| {
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait_for_exit(PATIENCE), Some(0));
    });
    assert!(took < Duration::from_secs(8), "{took:?}");
}

#[test]
fn requests_of_a_python_application_have_spans_too() {
    let collector = Collector::start();
    let setup = python::setup()
        .set("http.trace_context", "all")
        .set("telemetry.otlp_endpoint", collector.url());
    let server = setup.start();
    let own = format!("traceparent: {PARENT}");
    let answer = plain::ask(&server, "GET /", &[&own]);
    let span = collector.until(1).remove(0);
    assert_eq!(hex(&span.parent_span_id), "00f067aa0ba902b7");
    let found = attributes(&span.attributes);
    assert_eq!(
        found["http.response.status_code"],
        answer.status.to_string()
    );
}

#[test]
fn a_collector_is_believed_by_its_certificate_alone() {
    let authority = tls::Authority::new();
    let config = authority.certify(&["localhost"]).server_config();
    let collector = Collector::start_with(Some(config));
    let endpoint = format!("https://localhost:{}", collector.address.port());
    let stranger = setup(&endpoint).set("workers.count", 1).start();
    client::get(&stranger.address(), "/hello").unwrap();
    let line = stranger.wait_for_log(Mark::START, LOST);
    let reason = line["reason"].as_str().unwrap();
    assert!(reason.contains("certificate"), "{line}");
    assert_eq!(collector.requests(), []);

    let setup = setup(&endpoint).set("telemetry.otlp_ca_file", "ca.pem");
    tls::put(&setup.folder().join("ca.pem"), authority.pem());
    let server = setup.start();
    client::get(&server.address(), "/hello").unwrap();
    assert_eq!(collector.until(1).len(), 1);
}

#[test]
fn a_file_of_authorities_without_any_is_refused_by_its_name() {
    let setup = setup("https://localhost:1").set("telemetry.otlp_ca_file", "ca.pem");
    let file = setup.folder().join("ca.pem");
    tls::put(&file, "");
    let server = setup.launch();
    let said = format!("telemetry.otlp_ca_file: `{}`", file.display());
    assert_eq!(server.wait_for_exit(PATIENCE), Some(2));
    server.assert_said(&said);
    for (content, told) in [
        ("nothing", "it is not PEM"),
        (
            "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
            "no authority is in it",
        ),
    ] {
        tls::put(&file, content);
        let checked = server.cli(["check"]);
        assert_eq!(checked.code, Some(2), "{checked:?}");
        let error = checked.stderr;
        assert!(error.contains(&said) && error.contains(told), "{error}");
    }
    fs::remove_file(&file).unwrap();
    let checked = server.cli(["check"]);
    let error = checked.stderr;
    assert!(
        error.contains(&said) && error.contains("correct the path"),
        "{error}"
    );
}

#[test]
fn spans_that_a_collector_says_it_has_not_taken_are_lost() {
    let collector = Collector::start();
    // One of each request.
    collector.taking.rejects.store(1, Relaxed);
    let server = setup(&collector.url()).set("workers.count", 1).start();
    let mut client = Blocking::open(&server.address()).unwrap();
    for _ in 0..7 {
        client.get("/hello").unwrap();
    }
    let line = server.wait_for_log(Mark::START, LOST);
    assert_eq!(line["reason"], "too old");
    collector.until(7);
    let rejected = collector.requests().len() as u64;
    let told = eventually("all of them to be counted", || {
        let metrics = scrape(&server);
        let counted =
            |result| metrics[format!("destrier_spans_total{{result=\"{result}\"}}").as_str()];
        let told = (counted("exported"), counted("lost"));
        (told.0 + told.1 == 7).then_some(told)
    });
    assert_eq!(told, (7 - rejected, rejected));
}
