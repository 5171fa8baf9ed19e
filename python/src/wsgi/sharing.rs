//! How many threads are of use to an application: whether it computes, or waits for something.
//!
//! Only one thread at a time can run Python. Where an application computes, others beside it gain nothing, and what it locks for a moment
//! (`threading.Lock`) they would hold just when it wants it: each time it does, the interpreter is passed on, and back. Where it waits, for a
//! database or another server, each thread that waits leaves the interpreter to the next. Which of both an application does is seen by how
//! much of the time in which it is called its threads run.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

/// While one thread serves it is judged after so much time with calls: some ticks, at which the system notes who has run.
const SOON: Duration = Duration::from_millis(25);

/// While all do: what it is not worth to try often.
const LATER: Duration = Duration::from_millis(500);

/// One thread that runs for more than so many hundredths of the time computes.
const COMPUTES: u32 = 75;

/// All that run for more than so many may do so too, and lose the rest when they pass the interpreter around: that is tried.
const MAY_COMPUTE: u32 = 40;

/// Which threads take requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    /// One, unless it is held up.
    One,
    /// All, as long as requests wait.
    All,
}

/// What its threads do.
#[derive(Debug)]
pub(super) struct Load {
    threads: Vec<RunTime>,
    sharing: Sharing,
    /// Since when calls are under way, monotonic, or since the last judgement.
    since: Option<Duration>,
    /// How long there were some before that.
    called: Duration,
    /// How long the threads had run at the last judgement.
    ran: Duration,
}

impl Load {
    pub(super) fn new() -> Self {
        Self {
            threads: Vec::new(),
            sharing: Sharing::One,
            since: None,
            called: Duration::ZERO,
            ran: Duration::ZERO,
        }
    }

    /// This thread, which calls it, is one of them.
    pub(super) fn join(&mut self) {
        self.threads.extend(RunTime::of_this_thread());
        self.ran = self.time_run();
    }

    pub(super) fn sharing(&self) -> Sharing {
        self.sharing
    }

    /// A call begins.
    pub(super) fn call(&mut self, now: Duration) {
        let since = *self.since.get_or_insert(now);
        let called = self.called + now.saturating_sub(since);
        let (enough, share) = match self.sharing {
            Sharing::One => (SOON, COMPUTES),
            Sharing::All => (LATER, MAY_COMPUTE),
        };
        if called < enough {
            return;
        }
        let ran = self.time_run();
        self.sharing = if ran.saturating_sub(self.ran) * 100 > called * share {
            Sharing::One
        } else {
            Sharing::All
        };
        self.since = Some(now);
        self.called = Duration::ZERO;
        self.ran = ran;
    }

    /// No call is under way.
    pub(super) fn rest(&mut self, now: Duration) {
        if let Some(since) = self.since.take() {
            self.called += now.saturating_sub(since);
        }
    }

    fn time_run(&self) -> Duration {
        self.threads.iter().filter_map(RunTime::now).sum()
    }
}

/// How long a thread has run, or would have if other threads of the machine had not kept it from a processor (`/proc/PID/schedstat`, `sched-stats` in
/// the documentation of Linux):
/// its processor time alone would say of a busy machine that the application waits.
#[derive(Debug)]
struct RunTime(File);

impl RunTime {
    /// Of the thread that calls it; none where the system does not say it.
    fn of_this_thread() -> Option<Self> {
        File::open("/proc/thread-self/schedstat").ok().map(Self)
    }

    fn now(&self) -> Option<Duration> {
        let mut text = [0; 96];
        let length = self.0.read_at(&mut text, 0).ok()?;
        let text = str::from_utf8(text.get(..length)?).ok()?;
        let mut numbers = text.split_ascii_whitespace().map(str::parse);
        let (ran, waited): (u64, u64) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some(Duration::from_nanos(ran.saturating_add(waited)))
    }
}
