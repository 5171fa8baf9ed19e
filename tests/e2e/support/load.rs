//! Many clients at once, with strict accounts: what was answered, by whom, and everything that was not.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use destrier::sys::clock;

use super::client::{Address, Answer, Connection, Failure};
use super::eventually;

/// How many clients there are and what they do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Clients that keep their connection until an answer closes it.
    pub(crate) keep_alive: u64,
    /// Clients that open a connection for each request.
    pub(crate) fresh: u64,
    /// The longest pause of a client between two requests; it varies, so that some connections are idle at any time.
    pub(crate) pause_max: Duration,
    /// The longest of the pauses that come now and then; shorter than the linger of a connection in a drain.
    pub(crate) long_pause_max: Duration,
}

impl Plan {
    /// What the promises speak of: 50 connections, half of each kind.
    pub(crate) const FIFTY: Self = Self {
        keep_alive: 25,
        fresh: 25,
        pause_max: Duration::from_millis(40),
        long_pause_max: Duration::from_millis(600),
    };

    /// Enough to notice.
    pub(crate) const LIGHT: Self = Self {
        keep_alive: 4,
        fresh: 4,
        pause_max: Duration::from_millis(20),
        long_pause_max: Duration::from_millis(20),
    };
}

/// Clients at work.
#[derive(Debug)]
pub(crate) struct Load {
    started: Duration,
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    answered: AtomicU64,
    report: Mutex<Report>,
}

/// The accounts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    /// Requests with a good answer.
    pub(crate) answered: u64,
    /// Those without.
    pub(crate) failed: BTreeMap<Failure, u64>,
    /// Connections that the server closed between two requests without having said so.
    pub(crate) closed_while_idle: u64,
    /// Answers by each worker.
    pub(crate) by_pid: BTreeMap<u32, u64>,
    /// The longest wait for an answer, connecting included.
    pub(crate) longest: Duration,
}

impl Report {
    /// That nobody had to knock twice: a client whose SYN is not answered tries again after a second.
    #[track_caller]
    pub(crate) fn assert_nobody_waited(&self) {
        assert!(self.longest < Duration::from_millis(950), "{self:?}");
    }

    pub(crate) fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// That no request was lost, and that there were any.
    #[track_caller]
    pub(crate) fn assert_nothing_lost(&self) {
        assert!(self.answered > 0, "the load did nothing: {self:?}");
        assert_eq!(self.failures(), 0, "requests were lost: {self:?}");
    }
}

impl Load {
    pub(crate) fn start(address: &Address, plan: Plan) -> Self {
        let shared = Arc::new(Shared::default());
        let (address, clients) = (address.clone(), Arc::clone(&shared));
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let mut tasks = tokio::task::JoinSet::new();
                for number in 0..plan.keep_alive + plan.fresh {
                    let client = Client {
                        shared: Arc::clone(&clients),
                        address: address.clone(),
                        plan,
                        random: fastrand::Rng::with_seed(number),
                    };
                    if number < plan.keep_alive {
                        tasks.spawn(client.keep_connection());
                    } else {
                        tasks.spawn(client.connect_each_time());
                    }
                }
                while let Some(ended) = tasks.join_next().await {
                    ended.unwrap();
                }
            });
        });
        let load = Self {
            started: clock::monotonic(),
            shared,
            thread,
        };
        load.wait_for_answers(plan.keep_alive + plan.fresh);
        load
    }

    /// Waits until so many more requests were answered.
    #[track_caller]
    pub(crate) fn wait_for_answers(&self, more: u64) {
        let wanted = self.shared.answered.load(Relaxed) + more;
        eventually("answers to the load", || {
            (self.shared.answered.load(Relaxed) >= wanted).then_some(())
        });
    }

    /// Waits until it has gone on for so long.
    #[track_caller]
    pub(crate) fn wait_until_age(&self, age: Duration) {
        eventually("the load's next second", || {
            (clock::monotonic() >= self.started + age).then_some(())
        });
    }

    /// Lets the requests under way end, and gives the accounts.
    pub(crate) fn finish(self) -> Report {
        self.shared.stop.store(true, Relaxed);
        self.thread.join().unwrap();
        let report = self.shared.report.lock().unwrap();
        report.clone()
    }
}

struct Client {
    shared: Arc<Shared>,
    address: Address,
    plan: Plan,
    random: fastrand::Rng,
}

impl Client {
    async fn connect_each_time(mut self) {
        while !self.shared.stop.load(Relaxed) {
            let started = clock::monotonic();
            let answer = match Connection::open(&self.address).await {
                Ok(mut connection) => connection.get("/pid").await,
                Err(failure) => Err(failure),
            };
            self.note(started, &answer);
            self.rest().await;
        }
    }

    async fn keep_connection(mut self) {
        while !self.shared.stop.load(Relaxed) {
            let started = clock::monotonic();
            match Connection::open(&self.address).await {
                Ok(connection) => self.use_up(connection).await,
                Err(failure) => self.note(started, &Err(failure)),
            }
            self.rest().await;
        }
    }

    /// Asks until an answer says that it was the last, or the connection is of no more use.
    async fn use_up(&mut self, mut connection: Connection) {
        while !self.shared.stop.load(Relaxed) {
            let started = clock::monotonic();
            let answer = connection.get("/pid").await;
            self.note(started, &answer);
            match answer {
                Ok(answer) if !answer.closes() => self.rest().await,
                Ok(_) | Err(_) => return,
            }
        }
    }

    fn note(&self, started: Duration, answer: &Result<Answer, Failure>) {
        let mut report = self.shared.report.lock().unwrap();
        match answer {
            Ok(answer) => {
                report.answered += 1;
                let waited = clock::monotonic().saturating_sub(started);
                report.longest = report.longest.max(waited);
                if let Some(pid) = answer.pid() {
                    *report.by_pid.entry(pid).or_default() += 1;
                }
                self.shared.answered.fetch_add(1, Relaxed);
            }
            Err(Failure::ClosedWhileIdle) => report.closed_while_idle += 1,
            Err(failure) => *report.failed.entry(failure.clone()).or_default() += 1,
        }
    }

    async fn rest(&mut self) {
        let longest = if self.random.u8(0..20) == 0 {
            self.plan.long_pause_max
        } else {
            self.plan.pause_max
        };
        tokio::time::sleep(longest.mul_f64(self.random.f64())).await;
    }
}
