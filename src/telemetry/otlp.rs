//! Spans as OpenTelemetry knows them, with its names for what is told of HTTP, and the request that takes them to a collector: OTLP as
//! protobuf over HTTP.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::uri::Authority;
use http::{Method, Request, Response, Version};
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use opentelemetry_semantic_conventions::attribute as key;
use prost::Message as _;
use reqwest::Certificate;
use reqwest::redirect::Policy;

use super::{CollectorAccess, Span};
use crate::config::{Telemetry, is_loopback};

/// Until a connection to the collector is there, TLS included.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Until it has answered, with the attempts that are made where it says that it is busy.
const EXPORT_MAX: Duration = Duration::from_secs(10);

/// Methods that are told as they are (RFC 9110, RFC 5789); all others are one, so that whoever asks cannot make up names.
const METHODS: [Method; 9] = [
    Method::CONNECT,
    Method::DELETE,
    Method::GET,
    Method::HEAD,
    Method::OPTIONS,
    Method::PATCH,
    Method::POST,
    Method::PUT,
    Method::TRACE,
];

/// What those are called.
const OTHER_METHOD: &str = "_OTHER";

/// So many bytes of a text that clients choose are told.
const TEXT_MAX: usize = 1024;

/// Makes what is told of requests.
#[derive(Debug)]
pub(super) struct Teller {
    /// The path of each rule.
    routes: Vec<String>,
    scope: InstrumentationScope,
}

impl Teller {
    pub(super) fn new(_: &Telemetry, routes: Vec<String>) -> Self {
        let scope = InstrumentationScope::builder("destrier");
        Self {
            routes,
            scope: scope.with_version(env!("CARGO_PKG_VERSION")).build(),
        }
    }

    /// The span of a server as the semantic conventions for HTTP have it (stable since 1.23).
    pub(super) fn tell(&self, span: Span) -> SpanData {
        let route = span.rule.and_then(|rule| self.routes.get(rule));
        let is_known = METHODS.contains(&span.method);
        let method = if is_known {
            span.method.as_str().to_owned()
        } else {
            OTHER_METHOD.to_owned()
        };
        let of_name = if is_known { method.as_str() } else { "HTTP" };
        let name = match route {
            Some(route) => format!("{of_name} {route}"),
            None => of_name.to_owned(),
        };
        let failed = span.status.filter(|status| *status >= 500);
        let error = span.error.map(Cow::Borrowed);
        let error = error.or_else(|| failed.map(|status| Cow::Owned(status.to_string())));
        let start_time = SystemTime::UNIX_EPOCH + span.began;
        let trace_id = TraceId::from(span.trace_id);
        let flags = TraceFlags::new(span.flags);
        let own = SpanId::from(span.span_id);
        SpanData {
            span_context: SpanContext::new(trace_id, own, flags, false, TraceState::NONE),
            parent_span_id: span.parent_id.map_or(SpanId::INVALID, SpanId::from),
            parent_span_is_remote: span.parent_id.is_some(),
            span_kind: SpanKind::Server,
            name: name.into(),
            start_time,
            end_time: start_time + span.took,
            attributes: attributes(span, (method, is_known), route, error.as_deref()),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            // What went wrong the attributes say (semantic conventions, span status).
            status: if error.is_some() {
                Status::error("")
            } else {
                Status::Unset
            },
            instrumentation_scope: self.scope.clone(),
        }
    }
}

fn attributes(
    span: Span,
    (method, is_known): (String, bool),
    route: Option<&String>,
    error: Option<&str>,
) -> Vec<KeyValue> {
    let scheme = if span.is_https { "https" } else { "http" };
    let mut attributes = vec![
        KeyValue::new(key::HTTP_REQUEST_METHOD, method),
        KeyValue::new(key::URL_SCHEME, scheme),
        KeyValue::new(key::URL_PATH, cut(span.path)),
    ];
    let mut add = |name: &'static str, value: Option<opentelemetry::Value>| {
        attributes.extend(value.map(|value| KeyValue::new(name, value)));
    };
    let original = (!is_known).then(|| cut(span.method.as_str().to_owned()).into());
    add(key::HTTP_REQUEST_METHOD_ORIGINAL, original);
    add(key::HTTP_ROUTE, route.cloned().map(Into::into));
    let status = span.status.map(|status| i64::from(status).into());
    add(key::HTTP_RESPONSE_STATUS_CODE, status);
    add(key::ERROR_TYPE, error.map(|error| error.to_owned().into()));
    let client = span.client.map(|client| client.to_string().into());
    add(key::CLIENT_ADDRESS, client);
    let version = version(span.version).map(Into::into);
    add(key::NETWORK_PROTOCOL_VERSION, version);
    let authority = span.host.and_then(|host| host.parse::<Authority>().ok());
    if let Some(authority) = authority {
        add(
            key::SERVER_ADDRESS,
            Some(cut(authority.host().to_owned()).into()),
        );
        let port = authority.port_u16().map(|port| i64::from(port).into());
        add(key::SERVER_PORT, port);
    }
    let agent = span.user_agent.map(|agent| cut(agent).into());
    add(key::USER_AGENT_ORIGINAL, agent);
    attributes
}

fn version(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        _ => None,
    }
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_MAX));
    text
}

/// Takes spans to the collector.
#[derive(Debug)]
pub(super) struct Exporter {
    exporter: opentelemetry_otlp::SpanExporter,
    client: Arc<Client>,
}

impl Exporter {
    pub(super) fn new(setting: &Telemetry, access: &CollectorAccess) -> Result<Self, String> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("destrier/", env!("CARGO_PKG_VERSION")))
            .default_headers(access.fields.fields().clone())
            .connect_timeout(CONNECT_MAX)
            .timeout(EXPORT_MAX)
            .redirect(Policy::none())
            .referer(false);
        if is_loopback(&setting.traces) {
            // A proxy has another idea of what this machine is.
            builder = builder.no_proxy();
        }
        let failed = |error: &dyn std::fmt::Display| format!("cannot export spans: {error}");
        if !access.authorities.is_empty() {
            let authorities = access.authorities.iter();
            let authorities = authorities.map(|authority| Certificate::from_der(authority));
            let authorities = authorities.collect::<Result<Vec<_>, _>>();
            builder = builder.tls_certs_only(authorities.map_err(|error| failed(&error))?);
        }
        let client = builder.build().map_err(|error| failed(&error))?;
        let client = Arc::new(Client {
            client,
            outcome: Mutex::new(Ok(None)),
        });
        let mut exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_shared_http_client(Arc::clone(&client) as Arc<dyn HttpClient>)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(setting.traces.as_str())
            .with_timeout(EXPORT_MAX)
            .build()
            .map_err(|error| failed(&error))?;
        exporter.set_resource(&resource(setting));
        Ok(Self { exporter, client })
    }

    /// Returns when the collector has taken them, all or but for some, or says why it has not.
    pub(super) async fn export(&self, spans: Vec<SpanData>) -> Result<Option<Rejected>, String> {
        let exported = tokio::time::timeout(EXPORT_MAX, self.exporter.export(spans)).await;
        match exported {
            Ok(Ok(())) => Ok(self.client.take().ok().flatten()),
            Ok(Err(error)) => Err(self
                .client
                .take()
                .err()
                .unwrap_or_else(|| error.to_string())),
            Err(_) => {
                let limit = humantime::format_duration(EXPORT_MAX);
                Err(format!("no answer within {limit}"))
            }
        }
    }
}

/// Whose spans they are.
fn resource(setting: &Telemetry) -> Resource {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_service_name(setting.service_name.clone())
        .with_attributes([
            KeyValue::new("host.name", host.trim().to_owned()),
            KeyValue::new("process.pid", i64::from(std::process::id())),
        ])
        .build()
}

/// Spans that a collector has answered for and not taken (OTLP specification, partial success).
#[derive(Debug)]
pub(super) struct Rejected {
    pub(super) spans: u64,
    /// In the words of the collector.
    pub(super) reason: String,
}

/// What became of a request.
type Outcome = Result<Option<Rejected>, String>;

/// The client of the agent's kind, which remembers what became of a request: the exporter does not tell it.
#[derive(Debug)]
struct Client {
    client: reqwest::Client,
    outcome: Mutex<Outcome>,
}

impl Client {
    /// Of the last request.
    fn take(&self) -> Outcome {
        std::mem::replace(&mut *self.outcome(), Ok(None))
    }

    fn outcome(&self) -> MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What such an answer leaves out. One that cannot be read leaves out nothing: its status has said that all is well.
fn rejected(answer: &[u8]) -> Option<Rejected> {
    let answer = ExportTraceServiceResponse::decode(answer).ok()?;
    let partial = answer.partial_success?;
    let spans = u64::try_from(partial.rejected_spans).ok()?;
    let reason = cut(partial.error_message);
    (spans > 0).then_some(Rejected { spans, reason })
}

impl HttpClient for Client {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let answer = self.client.send_bytes(request).await;
            *self.outcome() = match &answer {
                Ok(answer) if answer.status().is_success() => Ok(rejected(answer.body())),
                Ok(answer) => Err(format!("it answers {}", answer.status())),
                Err(error) => Err(with_causes(error.as_ref())),
            };
            answer
        })
    }
}

fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    causes.join(": ")
}
