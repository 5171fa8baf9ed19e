//! The worker's side: a few relaxed stores a request.

use std::sync::Arc;
use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::Duration;

use super::layout::{self, Figure, LATENCY_BUCKETS, Named, PATH, PATH_MAX, REQUESTS_NAMED};
use super::{ConnectionLimit, RequestId, Scoreboard};
use crate::refusal_class::RefusalClass;
use crate::sys::crash::Note;

/// Where all threads of the application are busy, and none has taken a request for so long, they are in calls that take long.
const LONG_CALL: Duration = Duration::from_millis(5);

/// Writes one seat; made once in the worker that sits on it.
#[derive(Debug, Clone)]
pub struct SeatWriter {
    scoreboard: Arc<Scoreboard>,
    seat: usize,
    /// A bit for each place that names a request: set while it is free.
    free: Arc<AtomicU32>,
}

/// A request in flight; it ends when this is dropped.
#[derive(Debug)]
pub struct InFlight {
    writer: SeatWriter,
    entry: Option<usize>,
    /// How long it waited until the application worked on it, in nanoseconds.
    waited: AtomicU64,
}

/// The event loop, or another thread, executes a request, until this is dropped.
#[derive(Debug)]
pub struct Executing<'a> {
    word: &'a AtomicU64,
    before: u64,
}

/// The threads of an application that is called on some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadFigures {
    /// All of them.
    pub threads: u64,
    /// Of those: how many execute a request.
    pub busy: u64,
}

/// How soon a worker has a thread of the application for one more request: the later ones are sooner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ThreadWait {
    /// All are in calls that take long.
    Long,
    /// All are busy, for a moment.
    Moment,
    /// There is one to spare.
    None,
}

/// A request that waits for a place; it does so until this is dropped.
#[derive(Debug)]
pub struct Queued(SeatWriter);

/// An open connection; it ends when this is dropped.
#[derive(Debug)]
pub struct Connection(SeatWriter);

impl SeatWriter {
    pub(super) fn new(scoreboard: Arc<Scoreboard>, seat: usize) -> Self {
        let free = Arc::new(AtomicU32::new(
            u32::MAX >> (u32::BITS as usize - REQUESTS_NAMED),
        ));
        Self {
            scoreboard,
            seat,
            free,
        }
    }

    /// The scoreboard and its own place on it, for a worker that becomes another program.
    pub fn place(&self) -> (&Scoreboard, usize) {
        (&self.scoreboard, self.seat)
    }

    /// A request has begun: `path` without its query, which may hold secrets; `now` is monotonic.
    pub fn begin(&self, id: &RequestId, method: &str, path: &str, now: Duration) -> InFlight {
        self.add(Figure::InFlight);
        let entry = self.take_entry();
        if let Some(entry) = entry {
            self.name(entry, id, method, path, now);
        }
        InFlight {
            writer: self.clone(),
            entry,
            waited: AtomicU64::new(0),
        }
    }

    /// A request was answered with this status.
    pub fn answered(&self, status: u16) {
        self.add(Figure::of_status(status));
    }

    /// A request was refused for its form, for its token, or for want of one.
    pub fn refused(&self, class: RefusalClass) {
        self.add(Figure::Refused);
        self.add(Figure::of_refusal(class));
    }

    /// So many bytes of the body of a request were read.
    pub fn received(&self, bytes: u64) {
        self.add_many(Figure::BytesReceived, bytes);
    }

    /// A collector has taken so many spans.
    pub fn spans_exported(&self, spans: u64) {
        self.add_many(Figure::SpansExported, spans);
    }

    /// So many spans were lost on their way to a collector.
    pub fn spans_lost(&self, spans: u64) {
        self.add_many(Figure::SpansLost, spans);
    }

    /// So many tokens this worker has recognised since it was born, and so many it had to verify.
    pub fn note_tokens(&self, hits: u64, misses: u64) {
        let figure = |figure| self.scoreboard.figure(self.seat, figure);
        figure(Figure::TokenHits).store(hits, Relaxed);
        figure(Figure::TokenMisses).store(misses, Relaxed);
    }

    /// A connection was closed or cut, or new ones began to wait, because of this.
    pub fn limited(&self, limit: ConnectionLimit) {
        self.add(Figure::of_limit(limit));
    }

    /// A rule that is an audit would have refused a request.
    pub fn audited(&self) {
        self.add(Figure::Audited);
    }

    /// A request was not served, for it had ended workers.
    pub fn blocked(&self) {
        self.add(Figure::Blocked);
    }

    /// A request was not served, for the application had no place for it.
    pub fn overloaded(&self) {
        self.add(Figure::Overloaded);
    }

    /// A request waits until the application has a place for it, unless `most` do so already.
    pub fn queue(&self, most: u32) -> Option<Queued> {
        let figure = self.scoreboard.figure(self.seat, Figure::Queued);
        let before = figure.fetch_add(1, Relaxed);
        let queued = Queued(self.clone());
        (before < u64::from(most)).then_some(queued)
    }

    /// The threads of the application. It is one writer that says so.
    pub fn show_threads(&self, ThreadFigures { threads, busy }: ThreadFigures) {
        let figure = |figure| self.scoreboard.figure(self.seat, figure);
        figure(Figure::Threads).store(threads, Relaxed);
        figure(Figure::ThreadsBusy).store(busy, Relaxed);
    }

    /// A thread of the application has taken a request, at `now`, monotonic.
    pub fn thread_took(&self, now: Duration) {
        let figure = self.scoreboard.figure(self.seat, Figure::ThreadTook);
        figure.store(nanoseconds(now), Relaxed);
    }

    /// How many requests wait for a thread of the application, and since when the oldest of them, monotonic. It is one writer
    /// that says so, and then [`Self::queue`] is used by nobody.
    pub fn show_queue(&self, waiting: u64, oldest: Option<Duration>) {
        let figure = |figure| self.scoreboard.figure(self.seat, figure);
        figure(Figure::Queued).store(waiting, Relaxed);
        figure(Figure::QueuedSince).store(oldest.map_or(0, nanoseconds), Relaxed);
    }

    /// Whether the application has threads, and none to spare here: all are busy, or requests wait for one that is, where others would
    /// not be of use to them.
    pub fn threads_are_busy(&self) -> bool {
        let read = |figure| self.scoreboard.figure(self.seat, figure).load(Relaxed);
        // An application without threads has no busy ones: one load.
        let busy = read(Figure::ThreadsBusy);
        busy > 0 && (busy >= read(Figure::Threads) || read(Figure::Queued) > 0)
    }

    /// Whether another worker of the generation that accepts has a thread of the application sooner than this one, at `now`,
    /// monotonic: one to spare where all are busy here, or one that is busy for a moment where all are in long calls here.
    pub fn others_have_threads(&self, now: Duration) -> bool {
        let own = self.thread_wait(self.seat, now);
        own < ThreadWait::None && self.others().any(|seat| self.thread_wait(seat, now) > own)
    }

    fn thread_wait(&self, seat: usize, now: Duration) -> ThreadWait {
        let read = |figure| self.scoreboard.figure(seat, figure).load(Relaxed);
        if read(Figure::ThreadsBusy) < read(Figure::Threads) && read(Figure::Queued) == 0 {
            return ThreadWait::None;
        }
        let took = Duration::from_nanos(read(Figure::ThreadTook));
        if now.saturating_sub(took) > LONG_CALL {
            ThreadWait::Long
        } else {
            ThreadWait::Moment
        }
    }

    /// The seats of the other workers of this generation that accept.
    fn others(&self) -> impl Iterator<Item = usize> {
        let read = |seat, figure| self.scoreboard.figure(seat, figure).load(Relaxed);
        let generation = read(self.seat, Figure::Generation);
        let used = self.scoreboard.word(layout::SEATS_USED).load(Relaxed);
        (0..usize::try_from(used).unwrap_or(0))
            .filter(move |seat| *seat != self.seat && read(*seat, Figure::Accepting) == 1)
            .filter(move |seat| read(*seat, Figure::Generation) == generation)
    }

    /// Until when this request is blocked, monotonic.
    pub fn blocked_until(&self, fingerprint: u64) -> Option<Duration> {
        self.scoreboard.blocked_until(fingerprint)
    }

    /// Where the worker may leave word of its own death. The scoreboard then stays mapped as long as the process lives.
    pub fn crash_note(&self) -> Note {
        let scoreboard: &'static Scoreboard = Box::leak(Box::new(Arc::clone(&self.scoreboard)));
        Note {
            executing: scoreboard.figure(self.seat, Figure::Executing),
            testimony: scoreboard.figure(self.seat, Figure::Testimony),
        }
    }

    /// A connection was accepted.
    pub fn connection_opened(&self) -> Connection {
        self.add(Figure::ConnectionsTotal);
        self.add(Figure::Connections);
        Connection(self.clone())
    }

    /// A connection is gone on with that another worker had accepted.
    pub fn connection_adopted(&self) -> Connection {
        self.add(Figure::Connections);
        Connection(self.clone())
    }

    /// Says whether this worker takes connections.
    pub fn set_accepting(&self, accepting: bool) {
        let figure = self.scoreboard.figure(self.seat, Figure::Accepting);
        figure.store(accepting.into(), Relaxed);
    }

    /// Says what has new connections wait, if anything.
    pub fn have_connections_wait(&self, limit: Option<ConnectionLimit>) {
        let figure = self.scoreboard.figure(self.seat, Figure::ConnectionsWait);
        figure.store(ConnectionLimit::to_number(limit), Relaxed);
    }

    /// The event loop turns: it has something to do, or was seen to turn while it has, at `now`, monotonic.
    pub fn turns(&self, now: Duration) {
        self.stamp(nanoseconds(now).max(1));
    }

    /// The event loop waits for something to do.
    pub fn waits(&self) {
        self.stamp(0);
    }

    fn stamp(&self, stamp: u64) {
        let figure = self.scoreboard.figure(self.seat, Figure::BusySince);
        figure.store(stamp, Relaxed);
    }

    /// How many connections this worker has more than the least loaded of the others that accept in its generation.
    pub fn surplus(&self) -> u64 {
        let read = |seat, figure| self.scoreboard.figure(seat, figure).load(Relaxed);
        let least = self
            .others()
            .map(|seat| read(seat, Figure::Connections))
            .min();
        let own = read(self.seat, Figure::Connections);
        least.map_or(0, |least| own.saturating_sub(least))
    }

    /// Whether the master has announced that the server is about to stop.
    pub fn stop_is_announced(&self) -> bool {
        self.scoreboard.word(layout::STOPPING).load(Relaxed) == 1
    }

    fn take_entry(&self) -> Option<usize> {
        // A request may end in another thread: its place is free when that has been said there.
        let free = self.free.load(Acquire);
        let lowest = free.trailing_zeros();
        (lowest < u32::BITS).then(|| {
            self.free.fetch_and(!(1 << lowest), Relaxed);
            lowest as usize
        })
    }

    fn name(&self, entry: usize, id: &RequestId, method: &str, path: &str, now: Duration) {
        let start = layout::named(self.seat, entry);
        let words = self.scoreboard.words(start, layout::NAMED);
        let set = |index: usize, value: u64| {
            if let Some(word) = words.get(index) {
                word.store(value, Relaxed);
            }
        };
        let path = path.as_bytes().get(..PATH_MAX).unwrap_or(path.as_bytes());
        set(Named::IdHigh as usize, id.high);
        set(Named::IdLow as usize, id.low);
        let (trace_high, trace_low) = id.trace_halves();
        set(Named::TraceHigh as usize, trace_high);
        set(Named::TraceLow as usize, trace_low);
        set(Named::Method as usize, packed(method.as_bytes()));
        set(Named::PathLength as usize, path.len() as u64);
        set(Named::Fingerprint as usize, 0);
        for (index, bytes) in path.chunks(8).enumerate() {
            set(PATH + index, packed(bytes));
        }
        set(Named::Started as usize, nanoseconds(now).max(1));
    }

    fn add(&self, figure: Figure) {
        self.add_many(figure, 1);
    }

    fn add_many(&self, figure: Figure, count: u64) {
        self.scoreboard
            .figure(self.seat, figure)
            .fetch_add(count, Relaxed);
    }

    fn subtract(&self, figure: Figure) {
        self.scoreboard
            .figure(self.seat, figure)
            .fetch_sub(1, Relaxed);
    }
}

impl InFlight {
    /// Code of the application runs for this request, on the thread of the event loop.
    pub fn executing(&self) -> Executing<'_> {
        let word = self
            .writer
            .scoreboard
            .figure(self.writer.seat, Figure::Executing);
        self.executing_in(word)
    }

    /// The same of another thread, which notes it in a word of its own.
    pub fn executing_in<'a>(&self, word: &'a AtomicU64) -> Executing<'a> {
        let before = word.load(Relaxed);
        word.store(layout::executing(self.entry), Relaxed);
        Executing { word, before }
    }

    /// It waited for so long until the application had a place for it.
    pub fn waited(&self, time: Duration) {
        self.waited.fetch_add(nanoseconds(time), Relaxed);
        self.writer.add(Figure::QueueWaits);
        self.writer
            .add_many(Figure::QueueMicroseconds, microseconds(time));
    }

    /// How long it waited in all.
    pub fn waited_in_all(&self) -> Duration {
        Duration::from_nanos(self.waited.load(Relaxed))
    }

    /// Its answer is over, after so long, with so many bytes of its body.
    pub fn answered_within(&self, time: Duration, bytes: u64) {
        let writer = &self.writer;
        writer.add_many(Figure::BytesSent, bytes);
        let microseconds = microseconds(time);
        let start = layout::latency(writer.seat);
        let bucket = start + layout::latency_bucket(microseconds);
        let sum = start + LATENCY_BUCKETS;
        writer.scoreboard.word(bucket).fetch_add(1, Relaxed);
        writer.scoreboard.word(sum).fetch_add(microseconds, Relaxed);
    }

    /// By what the request is known when it comes again; not 0.
    pub fn set_fingerprint(&self, fingerprint: u64) {
        if let Some(entry) = self.entry {
            let index = layout::named(self.writer.seat, entry) + Named::Fingerprint as usize;
            self.writer
                .scoreboard
                .word(index)
                .store(fingerprint, Relaxed);
        }
    }
}

impl Drop for Executing<'_> {
    fn drop(&mut self) {
        self.word.store(self.before, Relaxed);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.writer.subtract(Figure::InFlight);
        if let Some(entry) = self.entry {
            let started = layout::named(self.writer.seat, entry) + Named::Started as usize;
            self.writer.scoreboard.word(started).store(0, Relaxed);
            self.writer.free.fetch_or(1 << entry, Release);
        }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.0.subtract(Figure::Queued);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.subtract(Figure::Connections);
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Without a division of 128 bits, as `as_micros` has it.
fn microseconds(time: Duration) -> u64 {
    time.as_secs() * 1_000_000 + u64::from(time.subsec_micros())
}

/// Up to eight bytes in a word, the first one lowest.
fn packed(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    for (place, byte) in word.iter_mut().zip(bytes) {
        *place = *byte;
    }
    u64::from_le_bytes(word)
}
