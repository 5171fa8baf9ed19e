//! What monitoring costs those who are served: the throughput of a protected route with the agent on and a scrape each second, beside
//! one without an agent; and how often processes wake up for which there is nothing to do.
//!
//! `cargo bench --bench scrape` starts the real program twice, with two workers each, and asks both in turns, for the machine has moods: each
//! round is a pair, and medians over the pairs are told. Then it lets a server be idle for 30 seconds and counts voluntary context switches. It
//! takes a minute and a half, and fails where a request costs the server's processors, the scrapes among it, more than 1 % more, or where a process
//! wakes up more often than it may: workers not at all, the master less than once a second, the agent less than twice.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a bench fails by panicking, prints its figures, and lets time pass"
)]

#[path = "../tests/e2e/support/mod.rs"]
#[expect(dead_code, reason = "the end-to-end tests use all of it")]
mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use destrier::sys::clock;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;
use support::client::Address;
use support::os;
use support::server::{Server, Setup};

const CLIENTS: usize = 8;
const ROUND: Duration = Duration::from_secs(2);
const PAIRS: usize = 15;
const SCRAPE_EVERY: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(30);
const SECRET: &str = "a secret that is long enough to sign with";

/// A server, and what a round of it came to.
struct Side {
    server: Server,
    address: SocketAddr,
    admin: Option<SocketAddr>,
    /// Requests a second, and the time of the server's processors for each, in microseconds.
    rounds: Vec<(f64, f64)>,
}

fn main() {
    let mut sides = [false, true].map(Side::start);
    let token = token();
    for side in &mut sides {
        // Warm, and not counted.
        side.round(&token);
        side.rounds.clear();
    }
    for pair in 0..PAIRS {
        // Whoever goes first in a pair is second in the next one.
        for turn in 0..2 {
            sides[(pair + turn) % 2].round(&token);
        }
    }
    let [without, with] = &sides;
    let pairs = || without.rounds.iter().zip(&with.rounds);
    let throughput = median(pairs().map(|(without, with)| with.0 / without.0).collect());
    let cost = median(pairs().map(|(without, with)| with.1 / without.1).collect());
    for (name, side) in [("no agent", without), ("a scrape each second", with)] {
        let rates = median(side.rounds.iter().map(|round| round.0).collect());
        let costs = median(side.rounds.iter().map(|round| round.1).collect());
        println!("{name:<22} {rates:>7.0} requests/s   {costs:>6.2} us of processors each");
    }
    println!("medians of {PAIRS} pairs: throughput {throughput:.4}, processors {cost:.4}");
    drop(sides);
    let woken = idle();
    assert!(
        cost <= 1.01,
        "with monitoring a request costs {cost:.4} times as much"
    );
    for (name, a_second, most) in woken {
        assert!(
            a_second <= most,
            "{name} woke up {a_second:.2} times a second, not {most} at most"
        );
    }
}

impl Side {
    fn start(is_monitored: bool) -> Self {
        let mut setup = Setup::new();
        setup
            .config
            .set_auth("[[auth.issuer]]\nsecret_file = \"secret\"\n[[auth.rule]]\npath = \"/**\"\n");
        support::tls::put(&setup.folder().join("secret"), SECRET);
        if is_monitored {
            setup = setup.set("admin.bind", "127.0.0.1:0");
        }
        let server = setup.start();
        let admin = is_monitored.then(|| {
            server.until("where monitoring asks", |status| {
                status.admin.first()?.address.parse().ok()
            })
        });
        let Address::Tcp(address) = server.address() else {
            panic!("the server listens on TCP");
        };
        Self {
            server,
            address,
            admin,
            rounds: Vec::new(),
        }
    }

    /// Every process of the server.
    fn processes(&self) -> Vec<u32> {
        let status = self.server.status();
        let agent = status.agent.and_then(|agent| agent.pid);
        let workers = status.workers.into_iter().map(|worker| worker.pid);
        workers.chain([status.pid]).chain(agent).collect()
    }

    fn round(&mut self, token: &str) {
        let processes = self.processes();
        let is_over = Arc::new(AtomicBool::new(false));
        let scraper = self.admin.map(|admin| {
            let is_over = Arc::clone(&is_over);
            thread::spawn(move || {
                while !is_over.load(Relaxed) {
                    let begun = clock::monotonic();
                    scrape(admin);
                    let took = clock::monotonic().saturating_sub(begun);
                    thread::sleep(SCRAPE_EVERY.saturating_sub(took));
                }
            })
        });
        let before = spent(&processes);
        let begun = clock::monotonic();
        let answered = ask(self.address, token, begun + ROUND);
        let took = clock::monotonic().saturating_sub(begun);
        let spent = spent(&processes).saturating_sub(before);
        is_over.store(true, Relaxed);
        if let Some(scraper) = scraper {
            scraper.join().unwrap();
        }
        let cost = spent.as_secs_f64() * 1e6 / answered;
        self.rounds.push((answered / took.as_secs_f64(), cost));
    }
}

/// The time of processors that these have had.
fn spent(processes: &[u32]) -> Duration {
    processes.iter().map(|pid| os::processor_time(*pid)).sum()
}

/// Asks for the protected route on kept connections; how many were answered.
fn ask(address: SocketAddr, token: &str, until: Duration) -> f64 {
    let request =
        format!("GET /me HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\r\n");
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let request = request.clone();
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.set_nodelay(true).unwrap();
                let mut answered = 0_u32;
                while clock::monotonic() < until {
                    stream.write_all(request.as_bytes()).unwrap();
                    // The demo's answer is small and comes in one piece.
                    let mut answer = [0; 4096];
                    let length = stream.read(&mut answer).unwrap();
                    assert!(answer[..length].starts_with(b"HTTP/1.1 200 "));
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    let answered = clients.into_iter().map(|client| client.join().unwrap());
    answered.map(f64::from).sum()
}

fn scrape(admin: SocketAddr) {
    let mut stream = TcpStream::connect(admin).unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("# EOF\n"), "{answer}");
}

fn token() -> String {
    let expires = clock::unix().as_secs() + 3600;
    let claims = json!({ "sub": "bench", "exp": expires });
    let key = EncodingKey::from_secret(SECRET.as_bytes()).unwrap();
    encode(&Header::default(), &claims, &key).unwrap()
}

/// How often each process woke up in a second, and how often it may.
fn idle() -> Vec<(String, f64, f64)> {
    let side = Side::start(true);
    let status = side.server.status();
    let agent = status.agent.and_then(|agent| agent.pid).unwrap();
    let workers = status.workers.iter().map(|worker| (worker.pid, 0.0));
    let named = workers.enumerate().map(|(number, (pid, most))| {
        let name = format!("worker {number}");
        (name, pid, most)
    });
    let mut processes: Vec<(String, u32, f64)> = named.collect();
    processes.push(("master".to_owned(), status.pid, 1.0));
    processes.push(("agent".to_owned(), agent, 2.0));
    let switches = |pid: u32| -> u32 {
        let line = os::status_line(pid, "voluntary_ctxt_switches");
        line.parse().unwrap()
    };
    // What belongs to the start is over.
    thread::sleep(Duration::from_secs(3));
    let before: Vec<u32> = processes.iter().map(|(_, pid, _)| switches(*pid)).collect();
    thread::sleep(IDLE);
    let woken = processes
        .into_iter()
        .zip(before)
        .map(|((name, pid, most), before)| {
            let woken = switches(pid) - before;
            let a_second = f64::from(woken) / IDLE.as_secs_f64();
            println!("{name:<9} woke up {woken} times in {IDLE:?}: {a_second:.2} a second");
            (name, a_second, most)
        });
    woken.collect()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}
