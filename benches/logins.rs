//! What a flood of logins costs everybody else: the time of `GET /me`, with and without 200 logins a second.
//!
//! `cargo bench --bench logins` starts the real program with two workers. A few clients on kept connections ask for a protected
//! route with a short pause between; logins come in an open loop, each on a connection of its own, whether those before are answered
//! or not, half of them with a wrong password. Phases of quiet and of flood take turns, for the machine has moods, and medians are
//! told. It takes about half a minute, and fails when a protected request was not answered with 200.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a bench fails by panicking, prints its figures, and paces its load"
)]

#[path = "../tests/e2e/support/mod.rs"]
#[expect(dead_code, reason = "the end-to-end tests use all of it")]
mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use comfy_table::{Table, presets};
use destrier::sys::clock;
use support::client::Address;
use support::command;
use support::server::{Server, Setup};

const WORKERS: i64 = 2;
const CLIENTS: usize = 4;
/// Between two requests of a client.
const PAUSE: Duration = Duration::from_millis(5);
/// Between two logins: 200 a second.
const LOGIN_EVERY: Duration = Duration::from_millis(5);
const PHASE: Duration = Duration::from_secs(2);
const REPETITIONS: usize = 7;
const PASSWORD: &str = "correct horse";
const AUTH: &str = r#"
[auth.tokens]
database = "sqlite:tokens.db"
throttle_account = "off"
[[auth.issuer]]
secret_file = "secret"
create_missing = true
[[auth.rule]]
path = "/**"
"#;

fn main() {
    let server = start();
    let Address::Tcp(address) = server.address() else {
        unreachable!("the server listens on TCP");
    };
    let token = token(address);
    let mut quiet = Figures::default();
    let mut flooded = Figures::default();
    let mut statuses = BTreeMap::new();
    for _ in 0..REPETITIONS {
        quiet.take(ask(address, &token));
        let (stop, flood) = flood(address);
        flooded.take(ask(address, &token));
        stop.store(true, Relaxed);
        for (status, count) in flood.join().unwrap() {
            *statuses.entry(status).or_insert(0) += count;
        }
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["GET /me", "p50", "p90", "p99", "p99 (least to most)"]);
    for (name, figures) in [("quiet", &quiet), ("200 logins/s", &flooded)] {
        let [p50, p90, p99] = [0, 1, 2].map(|place| shown(median(&figures.0[place])));
        let (least, most) = (figures.0[2].iter().min(), figures.0[2].iter().max());
        let range = format!("{} to {}", shown(*least.unwrap()), shown(*most.unwrap()));
        table.add_row([name.to_owned(), p50, p90, p99, range]);
    }
    println!("{table}");
    let [before, after] = [&quiet, &flooded].map(|figures| median(&figures.0[2]));
    println!(
        "p99 with logins to p99 without: {:.2}",
        after.as_secs_f64() / before.as_secs_f64()
    );
    let total: u64 = statuses.values().sum();
    let parts: Vec<String> = statuses
        .iter()
        .map(|(status, count)| format!("{status}: {count}"))
        .collect();
    println!("{total} logins, by status {}", parts.join(", "));
}

fn start() -> Server {
    let mut setup = Setup::new().set("workers.count", WORKERS);
    setup.config.set_auth(AUTH);
    let server = setup.start();
    let file = server.folder().join("password");
    std::fs::write(&file, PASSWORD).unwrap();
    let mut add = command::command(&command::destrier());
    add.args(["user", "add", "alice", "-c"])
        .arg(server.config.file())
        .stdin(Stdio::from(std::fs::File::open(file).unwrap()));
    assert_eq!(command::run(add).code, Some(0));
    server
}

fn token(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(login(PASSWORD).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let pair: serde_json::Value = serde_json::from_str(body).unwrap();
    pair["access"].as_str().unwrap().to_owned()
}

fn login(password: &str) -> String {
    let body = format!("{{\"username\":\"alice\",\"password\":\"{password}\"}}");
    format!(
        "POST /api/token/ HTTP/1.1\r\nHost: bench\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Of each phase, the median and two worse times.
#[derive(Default)]
struct Figures([Vec<Duration>; 3]);

impl Figures {
    fn take(&mut self, mut times: Vec<Duration>) {
        times.sort_unstable();
        for (place, percent) in [50, 90, 99].into_iter().enumerate() {
            self.0[place].push(times[(times.len() - 1) * percent / 100]);
        }
    }
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[times.len() / 2]
}

fn shown(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// Asks for the protected route for one phase; how long each answer took.
fn ask(address: SocketAddr, token: &str) -> Vec<Duration> {
    let until = clock::monotonic() + PHASE;
    let request =
        format!("GET /me HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\r\n");
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let request = request.clone();
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.set_nodelay(true).unwrap();
                let mut times = Vec::new();
                while clock::monotonic() < until {
                    let sent = clock::monotonic();
                    stream.write_all(request.as_bytes()).unwrap();
                    // The demo's answer is small and comes in one piece.
                    let mut answer = [0; 4096];
                    let length = stream.read(&mut answer).unwrap();
                    times.push(clock::monotonic().saturating_sub(sent));
                    assert!(answer[..length].starts_with(b"HTTP/1.1 200 "));
                    thread::sleep(PAUSE);
                }
                times
            })
        })
        .collect();
    clients
        .into_iter()
        .flat_map(|client| client.join().unwrap())
        .collect()
}

/// Logs in at a steady pace until it is stopped, and gives the number of answers by status then.
fn flood(address: SocketAddr) -> (Arc<AtomicBool>, thread::JoinHandle<BTreeMap<String, u64>>) {
    let stop = Arc::new(AtomicBool::new(false));
    let (sender, streams) = mpsc::channel::<TcpStream>();
    let is_over = Arc::clone(&stop);
    thread::spawn(move || {
        let requests = [login(PASSWORD), login("wrong")];
        let start = clock::monotonic();
        for number in 0_u32.. {
            let due = start + LOGIN_EVERY * number;
            thread::sleep(due.saturating_sub(clock::monotonic()));
            if is_over.load(Relaxed) {
                return;
            }
            let mut stream = TcpStream::connect(address).unwrap();
            stream
                .write_all(requests[number as usize % 2].as_bytes())
                .unwrap();
            sender.send(stream).unwrap();
        }
    });
    // One after the other: what is not read yet waits in its socket.
    let reading = thread::spawn(move || {
        let mut statuses = BTreeMap::new();
        for mut stream in streams {
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            let status = String::from_utf8_lossy(&answer[9..12]).into_owned();
            *statuses.entry(status).or_insert(0) += 1;
        }
        statuses
    });
    (stop, reading)
}
