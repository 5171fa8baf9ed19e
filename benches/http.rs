//! What a request costs the processor: destrier beside bare hyper, and beside a server written by hand with axum and jsonwebtoken.
//!
//! `cargo bench --bench http` needs `wrk`, and `h2load` for HTTP/2. Each server has two processes with one thread each, and then one; those of
//! bare hyper and of the other one this program starts itself. They take turns in each round, for the machine has moods; what is told is the
//! CPU time of the server a request, medians of rounds, and how they relate to bare hyper in the same round. Then it is told what each of
//! 10,000 kept connections costs in memory on which nothing is asked. It takes about eight minutes.
//!
//! `cargo bench --bench http -- PROGRAM` puts another build of destrier beside it, such as that of another commit.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a bench fails by panicking and prints its figures"
)]

#[path = "../tests/e2e/support/mod.rs"]
#[expect(dead_code, reason = "the end-to-end tests use all of it")]
mod support;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axum::routing::get;
use axum::{Json, Router};
use comfy_table::{CellAlignment, Table, presets};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use support::client::Address;
use support::command;
use support::eventually;
use support::server::{Server, Setup};

const PROCESSES: u8 = 2;
const ROUNDS: usize = 5;
const SECONDS: &str = "1";
const CONNECTIONS: &str = "32";
/// Of HTTP/2, on each connection.
const STREAMS: &str = "8";
/// What makes this program one of the servers, and where it listens.
const SERVE: &str = "BENCH_SERVE";
/// So many connections come at once, so often, with so long between two times.
const IDLE_BATCH: usize = 200;
const IDLE_BATCHES: usize = 50;
const IDLE_PAUSE: Duration = Duration::from_millis(1200);
const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn main() {
    if let Ok(served) = std::env::var(SERVE) {
        let (kind, address) = served.split_once('@').unwrap();
        return serve(kind, address.parse().unwrap());
    }
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let subjects = subjects(folder.path(), PROCESSES);
    let few = few(folder.path());
    compare("kept connections", &subjects, Load::Kept);
    compare("kept connections, one process", &few, Load::Kept);
    compare("a connection for each request", &subjects, Load::Closed);
    let http2 = [
        own("bare hyper, no token", "bare2", None, PROCESSES),
        subjects[2].clone(),
    ];
    compare("HTTP/2", &http2, Load::Http2);
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["idle connections", "memory of each"]);
    for subject in subjects.iter().filter(|it| it.keeps_idle) {
        table.add_row([
            subject.name.to_owned(),
            format!("{:.1} KiB", subject.idle()),
        ]);
    }
    println!("{table}");
}

/// How a server is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Load {
    Kept,
    Closed,
    Http2,
}

/// Has them take turns, and tells what a request costs each of them; the first one is what the others are held against.
fn compare(title: &str, subjects: &[Subject], load: Load) {
    let mut rounds: Vec<Vec<f64>> = Vec::new();
    // The first round warms up.
    for round in 0..=ROUNDS {
        let costs = subjects.iter().map(|subject| subject.cost(load)).collect();
        if round > 0 {
            rounds.push(costs);
        }
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([title, "CPU a request", "to bare hyper", "to HS256"]);
    let hs256 = subjects
        .iter()
        .position(|it| it.name == "destrier, HS256")
        .unwrap();
    for (place, subject) in subjects.iter().enumerate() {
        let of = |base: usize| median(rounds.iter().map(|round| round[place] / round[base]));
        table.add_row([
            subject.name.to_owned(),
            format!("{:.2} µs", median(rounds.iter().map(|round| round[place]))),
            format!("{:.2}", of(0)),
            format!("{:.3}", of(hs256)),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}\n");
}

/// A server, and how it is asked.
#[derive(Clone)]
struct Subject {
    name: &'static str,
    running: Arc<Running>,
    scheme: &'static str,
    address: SocketAddr,
    token: Option<String>,
    /// Whether it is asked what an idle connection costs.
    keeps_idle: bool,
}

enum Running {
    Own(Vec<Child>),
    Destrier(Server),
}

impl Running {
    fn pids(&self) -> Vec<u32> {
        match self {
            Self::Own(children) => children.iter().map(Child::id).collect(),
            Self::Destrier(server) => server.pids(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Self::Own(children) = self {
            for child in children {
                child.kill().unwrap();
                child.wait().unwrap();
            }
        }
    }
}

impl Subject {
    /// Microseconds of the server's processors for one request.
    fn cost(&self, load: Load) -> f64 {
        let mut client = match load {
            Load::Kept | Load::Closed => {
                let mut wrk = Command::new("wrk");
                wrk.args(["-t1", "-c", CONNECTIONS, "-d", SECONDS]);
                wrk
            }
            Load::Http2 => {
                let mut h2load = Command::new("h2load");
                h2load.args(["-c", CONNECTIONS, "-m", STREAMS, "-D", SECONDS]);
                h2load
            }
        };
        if let Some(token) = &self.token {
            client.args(["-H", &format!("Authorization: Bearer {token}")]);
        }
        if load == Load::Closed {
            client.args(["-H", "Connection: close"]);
        }
        client.arg(format!("{}://{}/hello", self.scheme, self.address));
        let before = self.used();
        let output = client.output().expect("`wrk` and `h2load` are installed");
        let used = self.used() - before;
        let told = String::from_utf8(output.stdout).unwrap();
        let line = |mark: &str| told.lines().find_map(|line| line.trim().split_once(mark));
        let requests = match load {
            Load::Kept | Load::Closed => {
                assert!(!told.contains("Non-2xx"), "{}: {told}", self.name);
                line(" requests in ").unwrap().0
            }
            Load::Http2 => {
                let codes = line("status codes: ").unwrap().1;
                assert!(codes.contains(" 0 4xx, 0 5xx"), "{}: {told}", self.name);
                codes.split_once(" 2xx").unwrap().0
            }
        };
        used as f64 / 1e3 / requests.parse::<f64>().unwrap()
    }

    /// What a connection costs its processes in memory on which one request was answered, in KiB. They come a few at a time, as clients do.
    #[expect(
        clippy::disallowed_methods,
        reason = "the figure is of clients that come over some time"
    )]
    fn idle(&self) -> f64 {
        let before = self.memory();
        let mut kept = Vec::new();
        for _ in 0..IDLE_BATCHES {
            kept.extend((0..IDLE_BATCH).map(|_| self.ask()));
            std::thread::sleep(IDLE_PAUSE);
        }
        (self.memory() - before) / kept.len() as f64
    }

    /// A connection on which a request was answered.
    fn ask(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let token = self.token.as_deref().unwrap_or_default();
        write!(
            stream,
            "GET /hello HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n\r\n"
        )
        .unwrap();
        let (mut answer, mut piece) = (Vec::new(), [0; 1024]);
        while !answer.ends_with(b"}") {
            let count = stream.read(&mut piece).unwrap();
            assert!(count > 0, "{}: no answer", self.name);
            answer.extend_from_slice(&piece[..count]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", self.name);
        stream
    }

    /// KiB that its processes have for themselves.
    fn memory(&self) -> f64 {
        let of = |pid: u32| {
            let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
            let dirty = rollup
                .lines()
                .find_map(|line| line.strip_prefix("Private_Dirty:"));
            let kibibytes = dirty.unwrap().trim().trim_end_matches(" kB");
            kibibytes.parse::<f64>().unwrap()
        };
        self.running.pids().into_iter().map(of).sum()
    }

    /// Nanoseconds on a processor; each process has one thread.
    fn used(&self) -> u64 {
        let of = |pid: u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
            stat.split_whitespace()
                .next()
                .unwrap()
                .parse::<u64>()
                .unwrap()
        };
        self.running.pids().into_iter().map(of).sum()
    }
}

/// Those that matter, with a process each.
fn few(folder: &Path) -> Vec<Subject> {
    let folder = folder.join("few");
    std::fs::create_dir(&folder).unwrap();
    let mut few = subjects(&folder, 1);
    few.truncate(3);
    few
}

fn subjects(folder: &Path, processes: u8) -> Vec<Subject> {
    write_secret(&folder.join("hs256"));
    let issuer = |name: &str, keys: &str| {
        format!("[[auth.issuer]]\nname = \"{name}\"\nissuer = \"{name}\"\n{keys}\n")
    };
    let mut issuers = issuer("hs256", "secret_file = \"hs256\"");
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let (key, public) = (
            folder.join(algorithm),
            folder.join(format!("{algorithm}.pub")),
        );
        destrier(&["key", "generate", algorithm, "--out"], &key);
        let keys = format!(
            "public_key_file = \"{}\"\nalgorithms = [\"{algorithm}\"]",
            public.display()
        );
        issuers.push_str(&issuer(algorithm, &keys));
    }
    let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
    let mut make = command::command(&command::destrier());
    make.args(["tls", "self-signed", "--name", "localhost", "--out-cert"]);
    make.arg(&certificate).arg("--out-key").arg(&key);
    assert_eq!(command::run(make).code, Some(0));
    let auth = format!("{issuers}[[auth.rule]]\npath = \"/**\"\n");
    let tls = (&*certificate, &*key);
    let (running, plain, secure) = start(command::destrier(), processes, &auth, tls);
    let token = |name: &str| {
        let file = if name == "hs256" { "hs256" } else { name };
        let key = folder.join(file);
        Some(issue(name, &key))
    };
    let ours = |name, scheme, address, token| Subject {
        name,
        running: Arc::clone(&running),
        scheme,
        address,
        token,
        keeps_idle: name == "destrier, HS256",
    };
    let hs256 = token("hs256");
    let mut subjects = vec![
        own("bare hyper, no token", "bare", None, processes),
        own(
            "axum and jsonwebtoken, HS256",
            "axum",
            hs256.clone(),
            processes,
        ),
        ours("destrier, HS256", "http", plain, hs256.clone()),
        ours("destrier, RS256", "http", plain, token("RS256")),
        ours("destrier, ES256", "http", plain, token("ES256")),
        ours("destrier, EdDSA", "http", plain, token("EdDSA")),
        ours("destrier over TLS, HS256", "https", secure, hs256.clone()),
    ];
    // Cargo adds `--bench`.
    for program in std::env::args().skip(1).filter(|it| !it.starts_with("--")) {
        let (running, plain, secure) = start(program.into(), processes, &auth, tls);
        subjects.extend(
            [
                ("the other program, HS256", "http", plain),
                ("the other program over TLS, HS256", "https", secure),
            ]
            .map(|(name, scheme, address)| Subject {
                name,
                running: Arc::clone(&running),
                scheme,
                address,
                token: hs256.clone(),
                keeps_idle: scheme == "http",
            }),
        );
    }
    subjects
}

/// destrier, and where it listens without and with TLS.
fn start(
    program: PathBuf,
    processes: u8,
    auth: &str,
    (certificate, key): (&Path, &Path),
) -> (Arc<Running>, SocketAddr, SocketAddr) {
    let mut setup = Setup::new()
        .program(program)
        .set("workers.count", i64::from(processes))
        .set("access_log.enabled", false)
        .set("tls.bind", "127.0.0.2:0")
        .set("tls.certificate_file", certificate.to_str().unwrap())
        .set("tls.key_file", key.to_str().unwrap());
    write_secret(&setup.folder().join("hs256"));
    setup.config.set_auth(auth);
    let server = setup.start();
    let addresses = server.addresses();
    let [Address::Tcp(plain), Address::Tcp(secure)] = addresses[..] else {
        panic!("two addresses: {addresses:?}");
    };
    (Arc::new(Running::Destrier(server)), plain, secure)
}

fn write_secret(file: &Path) {
    std::fs::write(file, SECRET).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn destrier(words: &[&str], out: &Path) {
    let mut command = command::command(&command::destrier());
    command.args(words).arg(out);
    assert_eq!(command::run(command).code, Some(0));
}

fn issue(issuer: &str, key: &Path) -> String {
    let mut command = command::command(&command::destrier());
    command.args(["token", "issue", "--sub", "alice", "--ttl", "1h"]);
    command
        .args(["--claim", &format!("iss=\"{issuer}\""), "--key"])
        .arg(key);
    let outcome = command::run(command);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    outcome.stdout.trim().to_owned()
}

/// A server that this program is.
fn own(name: &'static str, kind: &str, token: Option<String>, processes: u8) -> Subject {
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let start = |_| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .env(SERVE, format!("{kind}@{address}"))
            .stdout(Stdio::null());
        command.spawn().unwrap()
    };
    let children = (0..processes).map(start).collect();
    let of = Address::Tcp(address);
    eventually("all listen", || {
        (support::os::listening_sockets(&of) == usize::from(processes)).then_some(())
    });
    Subject {
        name,
        running: Arc::new(Running::Own(children)),
        scheme: "http",
        address,
        token,
        keeps_idle: true,
    }
}

fn serve(kind: &str, address: SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.set_tcp_nodelay(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(1024).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::from_std(socket.into()).unwrap();
        match kind {
            "bare" => serve_bare(listener).await,
            "bare2" => serve_bare_http2(listener).await,
            _ => serve_axum(listener).await,
        }
    });
}

fn hello() -> Ready<Result<Response<Full<Bytes>>, Infallible>> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"{\"message\":\"hello\"}")));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    ready(Ok(response))
}

async fn serve_bare(listener: tokio::net::TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let mut builder = http1::Builder::new();
        let connection = builder
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service_fn(|_| hello()));
        tokio::spawn(connection);
    }
}

async fn serve_bare_http2(listener: tokio::net::TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let connection = http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service_fn(|_| hello()));
        tokio::spawn(connection);
    }
}

async fn serve_axum(listener: tokio::net::TcpListener) {
    let key = DecodingKey::from_secret(SECRET.as_bytes()).unwrap();
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_issuer(&["hs256"]);
    let checks = Arc::new((key, validation));
    let hello = get(move |fields: HeaderMap| {
        let checks = Arc::clone(&checks);
        async move {
            let token = fields
                .get(AUTHORIZATION)
                .and_then(|value| value.to_str().ok());
            let token = token.and_then(|value| value.strip_prefix("Bearer "));
            let (key, validation) = &*checks;
            let claims = token.and_then(|token| decode::<Value>(token, key, validation).ok());
            claims.ok_or(StatusCode::UNAUTHORIZED)?;
            Ok::<_, StatusCode>(Json(json!({ "message": "hello" })))
        }
    });
    axum::serve(listener, Router::new().route("/hello", hello))
        .await
        .unwrap();
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
