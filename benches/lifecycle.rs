//! What clients notice of a reload, an upgrade, a change of the number of workers, a recycled worker and a killed one.
//!
//! `cargo bench --bench lifecycle` starts the real program, once for each way of balancing, and puts a steady load on it: clients
//! that keep their connections and clients that open one for each request. Phases of quiet and of each operation take turns, for
//! the machine has moods, and medians are told. It takes about a minute, and fails when a request was lost that nobody killed.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a bench fails by panicking and prints its figures"
)]

#[path = "../tests/e2e/support/mod.rs"]
#[expect(dead_code, reason = "the end-to-end tests use all of it")]
mod support;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use destrier::master::control::{self, Answer, Request};
use destrier::sys::clock;
use support::client::{Address, Connection, Failure};
use support::server::{Server, Setup};
use support::{eventually, os};

const WORKERS: u16 = 2;
/// Of each kind.
const CLIENTS: u64 = 8;
/// The longest pause of a client between two requests.
const PAUSE_MAX: Duration = Duration::from_millis(20);
/// A phase of quiet; an operation is given as much at least, so that both have the same chance of a bad moment.
const PHASE: Duration = Duration::from_millis(500);
const REPETITIONS: usize = 5;

/// Something that happens in the life of a server. One more is one more entry.
struct Operation {
    name: &'static str,
    /// Before the phase: what must be so.
    prepare: fn(&mut Server),
    /// What is measured; it returns when all is as it shall be.
    perform: fn(&Server),
    /// After the phase: as it was.
    restore: fn(&mut Server),
    /// It cuts off what is in flight, and nobody promised otherwise.
    kills: bool,
}

const OPERATIONS: &[Operation] = &[
    Operation {
        name: "reload",
        prepare: |_| {},
        perform: reload,
        restore: |_| {},
        kills: false,
    },
    Operation {
        name: "upgrade",
        prepare: |_| {},
        perform: |server| {
            order(server, &Request::Upgrade { program: None });
            server.until_workers(usize::from(WORKERS));
        },
        restore: |_| {},
        kills: false,
    },
    Operation {
        name: "scale 2 to 4",
        prepare: |_| {},
        perform: |server| scale(server, 2 * WORKERS),
        restore: |server| scale(server, WORKERS),
        kills: false,
    },
    Operation {
        name: "scale 4 to 2",
        prepare: |server| scale(server, 2 * WORKERS),
        perform: |server| scale(server, WORKERS),
        restore: |_| {},
        kills: false,
    },
    Operation {
        name: "recycle",
        prepare: |server| recycle_after(server, 150),
        perform: |server| {
            let mark = server.log.mark();
            eventually("a replacement of each worker", || {
                let replaced = server.count_log(mark, "worker shall be replaced");
                (replaced >= usize::from(WORKERS)).then_some(())
            });
        },
        restore: |server| recycle_after(server, 0),
        kills: false,
    },
    Operation {
        name: "kill -9",
        prepare: |_| {},
        perform: |server| {
            let before = server.pids();
            os::kill(before[0]);
            server.until("a replacement", |status| {
                let pids = support::server::accepting(status);
                (pids.len() == before.len() && !pids.contains(&before[0])).then_some(())
            });
        },
        restore: |_| {},
        kills: true,
    },
];

fn reload(server: &Server) {
    order(server, &Request::Reload {});
    server.until_workers(usize::from(WORKERS));
}

fn scale(server: &Server, workers: u16) {
    order(server, &Request::Scale { workers });
    server.until_workers(usize::from(workers));
}

fn recycle_after(server: &mut Server, requests: i64) {
    server.config.set("workers.max_requests", requests).write();
    order(server, &Request::Reload {});
}

fn order(server: &Server, request: &Request) {
    let answer = control::ask(&server.config.control_socket(), request).unwrap();
    assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
}

fn main() {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "BALANCE",
        "OPERATION",
        "REQUESTS",
        "FAILURES",
        "CUT",
        "GAP QUIET",
        "GAP",
        "LONGEST GAP",
        "P99 QUIET",
        "P99",
        "ADDED P99",
    ]);
    let mut failures = 0;
    for balance in ["per-worker", "shared"] {
        let mut server = Setup::new()
            .set("server.balance", balance)
            .set("workers.count", i64::from(WORKERS))
            .set("http.drain_linger", "200ms")
            // Workers are killed one after the other, and each kill is the first of its kind.
            .set("workers.backoff_initial", "1ms")
            .set("workers.backoff_max", "1ms")
            .set("workers.backoff_reset", "1ms")
            .start();
        let load = Load::start(&server.address());
        for operation in OPERATIONS {
            let rounds: Vec<Round> = (0..REPETITIONS)
                .map(|_| Round::play(operation, &mut server, &load))
                .collect();
            failures += rounds
                .iter()
                .map(|round| round.failures.len())
                .sum::<usize>();
            table.add_row(row(balance, operation, &rounds));
        }
        load.finish();
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    println!(
        "{WORKERS} workers, {CLIENTS} clients that keep their connections and {CLIENTS} that open one for each request; medians of {REPETITIONS}\n"
    );
    println!("{}", table.trim_fmt());
    assert_eq!(failures, 0, "requests were lost");
}

/// A phase of quiet, and one in which the operation happens.
struct Round {
    quiet: Phase,
    during: Phase,
    /// Requests without an answer, from the preparation to the end of the restoration, but for those that were cut.
    failures: Vec<Failure>,
    cut: usize,
}

impl Round {
    fn play(operation: &Operation, server: &mut Server, load: &Load) -> Self {
        drop(load.take());
        (operation.prepare)(server);
        let quiet = phase(|| {});
        let during = phase(|| (operation.perform)(server));
        (operation.restore)(server);
        server.until_workers(usize::from(WORKERS));
        let samples = load.take();
        let failures = samples.iter().filter_map(|sample| sample.failure.clone());
        let (cut, failures) =
            failures.partition::<Vec<_>, _>(|failure| operation.kills && is_cut(failure));
        Self {
            quiet: Phase::new(quiet, &samples),
            during: Phase::new(during, &samples),
            failures,
            cut: cut.len(),
        }
    }
}

/// Performs `action` and waits until the phase has its length; when it began and ended.
fn phase(action: impl FnOnce()) -> (Duration, Duration) {
    let began = clock::monotonic();
    action();
    eventually("the end of the phase", || {
        (clock::monotonic() >= began + PHASE).then_some(())
    });
    (began, clock::monotonic())
}

/// What may become of a connection whose worker is killed.
fn is_cut(failure: &Failure) -> bool {
    match failure {
        Failure::Reset | Failure::CutOff | Failure::ClosedWhileIdle => true,
        Failure::Refused | Failure::NotSuccess(_) | Failure::TimedOut | Failure::Other(_) => false,
    }
}

fn row(balance: &str, operation: &Operation, rounds: &[Round]) -> Vec<String> {
    let requests: usize = rounds.iter().map(|round| round.during.samples.len()).sum();
    let failures: usize = rounds.iter().map(|round| round.failures.len()).sum();
    let cut: usize = rounds.iter().map(|round| round.cut).sum();
    let median = |figure: fn(&Round) -> f64| {
        let mut figures: Vec<f64> = rounds.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        format!("{:.1} ms", figures[figures.len() / 2])
    };
    let longest = rounds.iter().map(|round| round.during.longest_gap());
    vec![
        balance.to_owned(),
        operation.name.to_owned(),
        requests.to_string(),
        failures.to_string(),
        cut.to_string(),
        median(|round| round.quiet.longest_gap()),
        median(|round| round.during.longest_gap()),
        format!("{:.1} ms", longest.fold(0.0, f64::max)),
        median(|round| round.quiet.p99()),
        median(|round| round.during.p99()),
        median(|round| round.during.p99() - round.quiet.p99()),
    ]
}

/// A request that is over.
#[derive(Debug, Clone)]
struct Sample {
    ended: Duration,
    took: Duration,
    failure: Option<Failure>,
}

/// What was over between two moments.
#[derive(Debug)]
struct Phase {
    began: Duration,
    ended: Duration,
    samples: Vec<Sample>,
}

impl Phase {
    fn new((began, ended): (Duration, Duration), samples: &[Sample]) -> Self {
        let within = |sample: &&Sample| (began..ended).contains(&sample.ended);
        Self {
            began,
            ended,
            samples: samples.iter().filter(within).cloned().collect(),
        }
    }

    /// The longest time in which nobody got an answer, in milliseconds.
    fn longest_gap(&self) -> f64 {
        let answered = self
            .samples
            .iter()
            .filter(|sample| sample.failure.is_none());
        let mut moments: Vec<Duration> = answered.map(|sample| sample.ended).collect();
        moments.extend([self.began, self.ended]);
        moments.sort_unstable();
        let gaps = moments
            .windows(2)
            .map(|pair| pair[1].saturating_sub(pair[0]));
        milliseconds(gaps.max().unwrap_or_default())
    }

    /// Of the time that an answer took, connecting included, in milliseconds.
    fn p99(&self) -> f64 {
        let answered = self
            .samples
            .iter()
            .filter(|sample| sample.failure.is_none());
        let mut times: Vec<Duration> = answered.map(|sample| sample.took).collect();
        times.sort_unstable();
        milliseconds(times[(times.len() - 1) * 99 / 100])
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Clients at work, in a thread of their own.
struct Load {
    stop: Arc<AtomicBool>,
    samples: Arc<Mutex<Vec<Sample>>>,
    thread: JoinHandle<()>,
}

impl Load {
    fn start(address: &Address) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let samples = Arc::new(Mutex::new(Vec::new()));
        let clients = (0..2 * CLIENTS).map(|number| Client {
            stop: Arc::clone(&stop),
            samples: Arc::clone(&samples),
            address: address.clone(),
            keeps: number < CLIENTS,
            random: fastrand::Rng::with_seed(number),
        });
        let clients: Vec<Client> = clients.collect();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let mut tasks = tokio::task::JoinSet::new();
                for client in clients {
                    tasks.spawn(client.work());
                }
                tasks.join_all().await;
            });
        });
        let load = Self {
            stop,
            samples,
            thread,
        };
        // The first requests are those of a cold server.
        phase(|| {});
        load
    }

    /// What was over since the last time.
    fn take(&self) -> Vec<Sample> {
        std::mem::take(&mut *self.samples.lock().unwrap())
    }

    fn finish(self) {
        self.stop.store(true, Relaxed);
        self.thread.join().unwrap();
    }
}

struct Client {
    stop: Arc<AtomicBool>,
    samples: Arc<Mutex<Vec<Sample>>>,
    address: Address,
    keeps: bool,
    random: fastrand::Rng,
}

impl Client {
    async fn work(mut self) {
        let mut kept = None;
        while !self.stop.load(Relaxed) {
            let started = clock::monotonic();
            let result = self.ask(&mut kept).await;
            let ended = clock::monotonic();
            self.samples.lock().unwrap().push(Sample {
                ended,
                took: ended.saturating_sub(started),
                failure: result.err(),
            });
            tokio::time::sleep(PAUSE_MAX.mul_f64(self.random.f64())).await;
        }
    }

    /// One request, on the connection that was kept when there is one.
    async fn ask(&self, kept: &mut Option<Connection>) -> Result<(), Failure> {
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => Connection::open(&self.address).await?,
        };
        let answer = connection.get("/pid").await?;
        if self.keeps && !answer.closes() {
            *kept = Some(connection);
        }
        Ok(())
    }
}
