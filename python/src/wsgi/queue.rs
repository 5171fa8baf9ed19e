//! Requests that wait for a Python thread, which threads are woken for them, and which requests wait too long or are too many.
//!
//! A thread that holds the interpreter takes one request after the other; waking a second one for each would cost two context
//! switches and win nothing. So a sleeper is woken only when no thread is awake, or when those that are have not come back for a
//! while, or are in long calls: then they wait for something, and do not hold the interpreter, or do so for too long.
//!
//! Where the application computes ([`Sharing::One`]) it is the same thread that goes on. Who comes back from a longer call finds that
//! another one takes the requests, and sleeps.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use destrier::Overloaded;
use destrier::app::CallPace;
use destrier::scoreboard::{SeatWriter, ThreadFigures};
use destrier::sys::clock;
use tokio::sync::Notify;

use super::sharing::{Load, Sharing};

/// A thread that has not come back for so long does not hold the interpreter, or is worth a rival.
const PATIENCE: Duration = Duration::from_micros(200);

/// A call that lasts for longer would hold up shorter ones: then all threads take requests, also where the application computes.
const LONG_CALL: Duration = Duration::from_millis(1);

/// Where no request was taken for so long and nobody can be woken, nothing is to be seen before a thread comes back by itself.
const NO_USE: Duration = Duration::from_millis(20);

/// So many may come at once where the thread that would take them is busy with what brings them.
const BURST: usize = 64;

/// How many requests may wait while all threads call the application, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// `http.queue`.
    pub(crate) waiting: usize,
    /// `http.max_queue_wait`.
    pub(crate) wait: Duration,
}

/// The queue.
#[derive(Debug)]
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    available: Condvar,
    /// For a thread that turns the event loop meanwhile.
    came: Notify,
    limits: Limits,
}

#[derive(Debug)]
struct State<T> {
    /// All threads.
    threads: usize,
    jobs: VecDeque<Entry<T>>,
    is_closed: bool,
    /// Since when each thread that has joined is in its call, monotonic; none: it is in none.
    calls: Vec<Option<Duration>>,
    /// Threads that wait for a request.
    sleeping: usize,
    /// Of those, how many were woken and have not seen it.
    called: usize,
    /// How many were woken and have not come for a request: until then they want the interpreter.
    coming: usize,
    /// Threads that are awake.
    awake: usize,
    /// Of those, how many call the application.
    busy: usize,
    /// When a request was taken last, monotonic.
    last_pop: Duration,
    /// Who has taken it and has not come back.
    taker: Option<usize>,
    load: Load,
    pace: CallPace,
    /// Whether somebody looks again soon.
    is_watched: bool,
    /// Whether somebody sees to it that nobody waits too long.
    is_timed: bool,
    /// Where the figures are shown.
    seat: SeatWriter,
}

#[derive(Debug)]
struct Entry<T> {
    job: T,
    /// Since when it waits, monotonic.
    since: Duration,
    /// All threads were busy when it came.
    waits: bool,
}

/// A thread that takes requests, as the queue knows it.
#[derive(Debug)]
pub(super) struct Place {
    number: usize,
    /// It is among those that call the application.
    is_busy: bool,
    /// It was woken and has not come yet.
    is_coming: bool,
}

/// A request that was taken.
#[derive(Debug)]
pub(super) struct Popped<T> {
    pub(super) job: T,
    /// When it was taken, monotonic.
    pub(super) at: Duration,
    /// No other waits.
    pub(super) is_last: bool,
    /// Somebody looks again soon.
    pub(super) is_watched: bool,
    /// How long it waited; none: a thread was free.
    pub(super) waited: Option<Duration>,
}

/// What is to be done after a request was put in.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pushed {
    /// Whoever pushed looks again soon, with [`Queue::look`], until that says otherwise.
    pub(super) watch: bool,
    /// And sees to it, with [`Queue::expire`], that nobody waits too long.
    pub(super) time: bool,
}

/// The queue does not take a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It takes nothing any more.
    Closed,
    Overloaded(Overloaded),
}

impl<T> Queue<T> {
    /// Of so many threads, which will join.
    pub(super) fn new(threads: usize, limits: Limits, seat: SeatWriter) -> Self {
        let queue = Self {
            state: Mutex::new(State {
                threads,
                jobs: VecDeque::new(),
                is_closed: false,
                calls: Vec::new(),
                sleeping: 0,
                called: 0,
                coming: 0,
                awake: 0,
                busy: 0,
                last_pop: Duration::ZERO,
                taker: None,
                load: Load::new(),
                pace: CallPace::default(),
                is_watched: false,
                is_timed: false,
                seat,
            }),
            available: Condvar::new(),
            came: Notify::new(),
            limits,
        };
        queue.state().show();
        queue
    }

    /// This thread takes requests from now on.
    pub(super) fn join(&self) -> Place {
        let mut state = self.state();
        state.awake += 1;
        state.calls.push(None);
        state.load.join();
        Place {
            number: state.calls.len() - 1,
            is_busy: false,
            is_coming: false,
        }
    }

    /// It does not any more.
    pub(super) fn leave(&self) {
        let mut state = self.state();
        state.awake = state.awake.saturating_sub(1);
    }

    /// `is_led`: the thread that takes requests turns the event loop too, so it comes for this one by itself.
    ///
    /// # Errors
    /// The queue takes no more, and `job` is lost.
    pub(super) fn push(&self, job: T, is_led: bool) -> Result<Pushed, Refused> {
        let mut state = self.state();
        if state.is_closed {
            return Err(Refused::Closed);
        }
        let free = state.threads.saturating_sub(state.busy);
        if state.jobs.len() >= self.limits.waiting.saturating_add(free) {
            return Err(Refused::Overloaded(Overloaded::QueueFull));
        }
        let since = clock::monotonic();
        // Others may sleep, but it is not for them.
        let waits = free == 0 || (state.busy > 0 && state.sharing(since) == Sharing::One);
        // As do those behind others, whoever takes them.
        let waits = waits || (is_led && state.jobs.len() >= free);
        state.jobs.push_back(Entry { job, since, waits });
        state.show_queue();
        let time = waits && !state.is_timed;
        state.is_timed |= time;
        if is_led {
            let is_first = state.jobs.len() == 1;
            drop(state);
            if is_first {
                self.came.notify_one();
            }
            return Ok(Pushed { watch: false, time });
        }
        if state.wakes_one(since) {
            drop(state);
            self.available.notify_one();
            return Ok(Pushed { watch: false, time });
        }
        // Where all threads have been busy for long each of them comes back by itself.
        let is_of_use = state.sleeping > state.called || !state.is_late(since);
        let watch = is_of_use && !state.is_watched;
        state.is_watched |= watch;
        Ok(Pushed { watch, time })
    }

    /// Whether this thread, for which no request waits, may turn the event loop: it is the only one that is awake or of use, and calls
    /// are short.
    pub(super) fn may_be_led(&self) -> bool {
        let state = self.state();
        let is_alone = state.awake == 1 && state.called == 0;
        let is_enough = state.threads == 1 || state.load.sharing() == Sharing::One;
        let comes_soon = state.pace.is_short() && self.limits.waiting >= BURST;
        is_alone && is_enough && comes_soon && !state.is_closed
    }

    /// The last call was in the way of the event loop.
    pub(super) fn note_hindrance(&self) {
        self.state().pace.note_hindrance();
    }

    /// Returns when a request waits, or none can come, on the thread that takes them.
    pub(super) async fn comes(&self) {
        loop {
            {
                let state = self.state();
                if !state.jobs.is_empty() || state.is_closed {
                    return;
                }
            }
            self.came.notified().await;
        }
    }

    /// The thread that takes requests no longer turns the event loop: what is to be done for those that wait.
    pub(super) fn hand_over(&self) -> Pushed {
        let mut state = self.state();
        if state.jobs.is_empty() {
            return Pushed::default();
        }
        Pushed {
            watch: !std::mem::replace(&mut state.is_watched, true),
            time: !std::mem::replace(&mut state.is_timed, true),
        }
    }

    /// Looks whether another thread is to be woken. Returns whether to look again soon.
    pub(super) fn look(&self) -> bool {
        let mut state = self.state();
        let now = clock::monotonic();
        let is_anybody_left = state.sleeping > 0 && state.coming == 0;
        let is_of_use = is_anybody_left || now.saturating_sub(state.last_pop) <= NO_USE;
        if state.jobs.is_empty() || !is_of_use {
            state.is_watched = false;
            return false;
        }
        if state.wakes_one(now) {
            drop(state);
            self.available.notify_one();
        }
        true
    }

    /// The requests that have waited too long, and when to ask again, monotonic; none: nobody waits.
    pub(super) fn expire(&self) -> (Vec<T>, Option<Duration>) {
        let now = clock::monotonic();
        let mut expired = Vec::new();
        let mut state = self.state();
        let next = loop {
            let Some(first) = state.jobs.front() else {
                break None;
            };
            let end = first.since + self.limits.wait;
            if end > now {
                break Some(end);
            }
            expired.extend(state.jobs.pop_front().map(|entry| entry.job));
        };
        state.is_timed = next.is_some();
        state.show_queue();
        (expired, next)
    }

    /// The next request, if one waits for this thread.
    pub(super) fn pop(&self, place: &mut Place) -> Option<Popped<T>> {
        let mut state = self.state();
        let now = clock::monotonic();
        if std::mem::take(&mut place.is_coming) {
            state.coming = state.coming.saturating_sub(1);
        }
        if let Some(call) = state.note_call(place, None) {
            state.pace.note(now.saturating_sub(call));
        }
        let next = if state.is_for_another(place, now) {
            None
        } else {
            state.jobs.pop_front()
        };
        let Some(Entry { job, since, waits }) = next else {
            if std::mem::take(&mut place.is_busy) {
                state.come_back(place, now);
            }
            return None;
        };
        state.last_pop = now;
        state.note_call(place, Some(now));
        state.taker = Some(place.number);
        state.load.call(now);
        state.seat.thread_took(now);
        if !std::mem::replace(&mut place.is_busy, true) {
            state.busy += 1;
            state.show();
        } else {
            state.show_queue();
        }
        Some(Popped {
            job,
            at: now,
            is_last: state.jobs.is_empty(),
            is_watched: state.is_watched,
            waited: waits.then(|| now.saturating_sub(since)),
        })
    }

    /// Waits until there may be a request; false: the queue is closed and empty.
    pub(super) fn wait(&self, place: &mut Place) -> bool {
        let mut state = self.state();
        state.awake = state.awake.saturating_sub(1);
        state.sleeping += 1;
        loop {
            if state.called > 0 {
                state.called -= 1;
                place.is_coming = true;
                break;
            }
            let is_wanted =
                !state.jobs.is_empty() && !state.is_for_another(place, clock::monotonic());
            if is_wanted || state.is_closed {
                break;
            }
            state = self
                .available
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.sleeping = state.sleeping.saturating_sub(1);
        state.awake += 1;
        !state.is_closed || !state.jobs.is_empty()
    }

    pub(super) fn close(&self) {
        self.state().is_closed = true;
        self.available.notify_all();
        self.came.notify_one();
    }

    pub(super) fn depth(&self) -> usize {
        self.state().jobs.len()
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    /// Decides whether to wake one, and notes it.
    fn wakes_one(&mut self, now: Duration) -> bool {
        if self.sleeping <= self.called {
            return false;
        }
        let is_due = match self.load.sharing() {
            // Who is in a call waits for something.
            Sharing::All => {
                let in_calls = self.calls.iter().flatten().count();
                let available = self.awake.saturating_sub(in_calls) + self.called;
                self.jobs.len() > available
            }
            // One that has been woken wants the interpreter: another would have to wait for it too. Who is in a long call does not come soon.
            Sharing::One => {
                self.coming == 0 && (self.awake == self.long_calls(now) || self.is_late(now))
            }
        };
        if is_due {
            self.called += 1;
            self.coming += 1;
        }
        is_due
    }

    /// Which threads take requests now.
    fn sharing(&self, now: Duration) -> Sharing {
        if self.long_calls(now) > 0 {
            return Sharing::All;
        }
        self.load.sharing()
    }

    /// How many threads are in a call that holds up shorter ones.
    fn long_calls(&self, now: Duration) -> usize {
        let calls = self.calls.iter().flatten();
        calls
            .filter(|since| now.saturating_sub(**since) > LONG_CALL)
            .count()
    }

    /// This thread is in a call since then, or in none. Returns since when it was in one.
    fn note_call(&mut self, place: &Place, since: Option<Duration>) -> Option<Duration> {
        let call = self.calls.get_mut(place.number)?;
        std::mem::replace(call, since)
    }

    /// Whether nobody has come for a request for so long that another thread is of use.
    fn is_late(&self, now: Duration) -> bool {
        self.sharing(now) == Sharing::All && now.saturating_sub(self.last_pop) > PATIENCE
    }

    /// Whether what waits is for another thread than this one. Only while somebody sees to it that this is mended.
    fn is_for_another(&self, place: &Place, now: Duration) -> bool {
        let is_taken = self.taker.is_some_and(|taker| taker != place.number);
        is_taken && self.is_watched && !self.is_closed && self.sharing(now) == Sharing::One
    }

    /// A thread is out of the application, and takes nothing for now.
    fn come_back(&mut self, place: &Place, now: Duration) {
        self.busy = self.busy.saturating_sub(1);
        self.taker.take_if(|taker| *taker == place.number);
        if self.busy == 0 {
            self.load.rest(now);
        }
        self.show();
    }

    fn show(&self) {
        self.seat.show_threads(ThreadFigures {
            threads: self.threads as u64,
            busy: self.busy as u64,
        });
        self.show_queue();
    }

    fn show_queue(&self) {
        let oldest = self.jobs.front().map(|entry| entry.since);
        self.seat.show_queue(self.jobs.len() as u64, oldest);
    }
}
