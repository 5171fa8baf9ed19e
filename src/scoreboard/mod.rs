//! The shared page on which each worker writes what it does, and which the master reads without asking.
//!
//! One writer a seat, any number of readers; each figure is one atomic word, so reading costs no system call and a
//! worker that dies in mid-write leaves figures, not locks. Figures of one seat may be a moment apart.

mod blocked;
mod connection_limit;
mod layout;
mod reader;
mod request_id;
mod writer;

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, Release},
    fence,
};

pub use blocked::Blocked;
pub use connection_limit::ConnectionLimit;
use layout::Figure;
pub use layout::{BLOCKED_MAX, LATENCY_BUCKETS, PATH_MAX, REQUESTS_NAMED, SEATS, VERSION};
pub use reader::{Cause, Counters, Latency, RequestInFlight, SeatView, Tally};
pub use request_id::RequestId;
pub use writer::{Connection, Executing, InFlight, Queued, SeatWriter, ThreadFigures};

use crate::sys::memory::SharedWords;

/// The shared page.
#[derive(Debug)]
pub struct Scoreboard {
    memory: SharedWords,
}

impl Scoreboard {
    /// Makes it; before the first fork, so that every worker inherits it.
    ///
    /// # Errors
    /// `memfd_create(2)` and mmap(2): no memory.
    pub fn new() -> std::io::Result<Arc<Self>> {
        let scoreboard = Self {
            memory: SharedWords::new("destrier-scoreboard", layout::WORDS)?,
        };
        scoreboard.word(0).store(VERSION, Relaxed);
        Ok(Arc::new(scoreboard))
    }

    /// Goes on with a scoreboard that an earlier program has made with layout `version`; `None` where that is another one.
    ///
    /// # Errors
    /// mmap(2), or `file` is no scoreboard.
    pub fn of_file(file: OwnedFd, version: u64) -> std::io::Result<Option<Arc<Self>>> {
        if version != VERSION {
            return Ok(None);
        }
        let memory = SharedWords::of_file(file, layout::WORDS)?;
        let scoreboard = Self { memory };
        let is_ours = scoreboard.word(0).load(Relaxed) == VERSION;
        Ok(is_ours.then(|| Arc::new(scoreboard)))
    }

    /// The memory, for a program that goes on with it.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.memory.file()
    }

    /// What all workers have done, those on `seats` and the dead, by name: readable whatever the layout.
    pub fn totals(&self, seats: &[usize]) -> BTreeMap<String, u64> {
        let count = |figure: Figure| {
            let living = seats
                .iter()
                .map(|seat| self.figure(*seat, figure).load(Relaxed));
            living.sum::<u64>() + self.word(layout::total(figure)).load(Relaxed)
        };
        let totals = Figure::COUNTERS.map(|figure| (format!("{figure:?}"), count(figure)));
        let durations = (0..=LATENCY_BUCKETS).map(|index| {
            let living = seats.iter().map(|seat| layout::latency(*seat));
            let starts = living.chain([layout::latency_totals()]);
            let counted = starts.map(|start| self.word(start + index).load(Relaxed));
            (latency_name(index), counted.sum())
        });
        totals.into_iter().chain(durations).collect()
    }

    /// Adds what an earlier scoreboard of another layout has counted; names that this one does not know are dropped.
    pub fn add_totals(&self, totals: &BTreeMap<String, u64>) {
        for figure in Figure::COUNTERS {
            let counted = totals.get(&format!("{figure:?}")).copied().unwrap_or(0);
            self.word(layout::total(figure)).fetch_add(counted, Relaxed);
        }
        for index in 0..=LATENCY_BUCKETS {
            let counted = totals.get(&latency_name(index)).copied().unwrap_or(0);
            let total = self.word(layout::latency_totals() + index);
            total.fetch_add(counted, Relaxed);
        }
    }

    /// For the one worker that sits on `seat`.
    pub fn writer(self: &Arc<Self>, seat: usize) -> SeatWriter {
        SeatWriter::new(Arc::clone(self), seat)
    }

    /// Empties `seat` for a new worker.
    pub fn open_seat(&self, seat: usize, pid: u32, slot: u16, generation: u64) {
        for word in self.words(layout::figure(seat, Figure::Pid), layout::SEAT) {
            word.store(0, Relaxed);
        }
        let used = u64::try_from(seat + 1).unwrap_or(u64::MAX);
        self.word(layout::SEATS_USED).fetch_max(used, Relaxed);
        self.figure(seat, Figure::Pid).store(pid.into(), Relaxed);
        self.figure(seat, Figure::Slot).store(slot.into(), Relaxed);
        self.figure(seat, Figure::Generation)
            .store(generation, Relaxed);
    }

    /// Adds the counters of a worker that has died to the totals and empties its seat. Whoever reads meanwhile notices, and
    /// reads again: see [`Scoreboard::tally`].
    pub fn close_seat(&self, seat: usize) {
        let folds = self.word(layout::FOLDS);
        // The master alone folds. What it left odd in a program before this one counts as begun.
        let before = folds.load(Relaxed) & !1;
        folds.store(before + 1, Relaxed);
        fence(Release);
        for figure in Figure::COUNTERS {
            let counted = self.figure(seat, figure).swap(0, Relaxed);
            self.word(layout::total(figure)).fetch_add(counted, Relaxed);
        }
        for index in 0..=LATENCY_BUCKETS {
            let counted = self.word(layout::latency(seat) + index).swap(0, Relaxed);
            let total = self.word(layout::latency_totals() + index);
            total.fetch_add(counted, Relaxed);
        }
        self.open_seat(seat, 0, 0, 0);
        folds.store(before + 2, Release);
    }

    /// Tells every worker at once that the server is about to stop.
    pub fn announce_stop(&self) {
        self.word(layout::STOPPING).store(1, Relaxed);
    }

    fn figure(&self, seat: usize, figure: Figure) -> &AtomicU64 {
        self.word(layout::figure(seat, figure))
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the layout's own indices, for a seat that the master handed out"
    )]
    fn word(&self, index: usize) -> &AtomicU64 {
        &self.memory.words()[index]
    }

    fn words(&self, start: usize, count: usize) -> &[AtomicU64] {
        self.memory
            .words()
            .get(start..start + count)
            .unwrap_or_default()
    }
}

/// What a bucket is called for a program that has others: by where it begins.
fn latency_name(index: usize) -> String {
    if index == LATENCY_BUCKETS {
        "LatencySum".to_owned()
    } else {
        format!("LatencyFrom{}", layout::latency_from(index))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    use std::time::Duration;

    use super::{
        Cause, PATH_MAX, REQUESTS_NAMED, RequestId, Scoreboard, SeatWriter, ThreadFigures, VERSION,
    };
    use crate::refusal_class::RefusalClass;
    use crate::sys::crash::Testimony;

    const ID: RequestId = RequestId::new(7, 9);

    #[test]
    fn a_request_in_flight_is_named_until_it_ends() {
        let scoreboard = Scoreboard::new().expect("memory");
        scoreboard.open_seat(3, 42, 1, 5);
        let writer = scoreboard.writer(3);
        let request = writer.begin(&ID, "DELETE", "/users/1", Duration::from_secs(2));
        let seat = scoreboard.view(3);
        assert_eq!(
            (seat.pid, seat.slot, seat.generation, seat.in_flight),
            (42, 1, 5, 1)
        );
        assert_eq!(seat.requests.len(), 1);
        assert_eq!(
            (
                seat.requests[0].method.as_str(),
                seat.requests[0].path.as_str()
            ),
            ("DELETE", "/users/1")
        );
        assert_eq!(
            (seat.requests[0].id, seat.requests[0].started),
            (ID, Duration::from_secs(2))
        );
        drop(request);
        let seat = scoreboard.view(3);
        assert_eq!((seat.in_flight, seat.requests.len()), (0, 0));
    }

    #[test]
    fn a_scoreboard_is_gone_on_with_and_one_of_another_layout_is_counted_on() {
        let before = Scoreboard::new().expect("memory");
        before.open_seat(3, 42, 1, 5);
        before.writer(3).answered(200);
        before.close_seat(3);
        before.open_seat(4, 43, 1, 5);
        before.writer(4).answered(404);
        let copy = || before.file().try_clone_to_owned().expect("a descriptor");
        let same = Scoreboard::of_file(copy(), VERSION).expect("mapped");
        let same = same.expect("the same layout");
        assert_eq!(same.counters(&[4]), before.counters(&[4]));
        before.writer(4).answered(404);
        assert_eq!(same.view(4).counters.by_status_class, [0, 0, 0, 2, 0]);
        assert!(
            Scoreboard::of_file(copy(), VERSION + 1)
                .expect("asked")
                .is_none()
        );
        let fresh = Scoreboard::new().expect("memory");
        fresh.add_totals(&before.totals(&[4]));
        assert_eq!(fresh.counters(&[]), before.counters(&[4]));
    }

    #[test]
    fn a_long_path_is_cut_and_a_long_method_too() {
        let scoreboard = Scoreboard::new().expect("memory");
        let writer = scoreboard.writer(0);
        let _request = writer.begin(
            &ID,
            "PROPPATCHES",
            &"/é".repeat(200),
            Duration::from_secs(1),
        );
        let seat = scoreboard.view(0);
        assert_eq!(seat.requests[0].method, "PROPPATC");
        assert_eq!(seat.requests[0].path, "/é".repeat(PATH_MAX / 3));
    }

    #[test]
    fn more_requests_than_can_be_named_are_still_counted() {
        let scoreboard = Scoreboard::new().expect("memory");
        let writer = scoreboard.writer(0);
        let begin = || writer.begin(&ID, "GET", "/", Duration::from_secs(1));
        let mut requests: Vec<_> = (0..REQUESTS_NAMED + 5).map(|_| begin()).collect();
        let seat = scoreboard.view(0);
        assert_eq!(
            (seat.in_flight, seat.requests.len()),
            (REQUESTS_NAMED as u64 + 5, REQUESTS_NAMED)
        );
        requests.drain(..10);
        requests.push(begin());
        assert_eq!(scoreboard.view(0).requests.len(), REQUESTS_NAMED - 9);
    }

    #[test]
    fn the_cause_of_a_death_is_what_the_event_loop_was_executing() {
        let scoreboard = Scoreboard::new().expect("memory");
        scoreboard.open_seat(0, 42, 0, 1);
        let writer = scoreboard.writer(0);
        let note = writer.crash_note();
        let died = || {
            let executing = u32::try_from(note.executing.load(Relaxed)).expect("small");
            let word = Testimony::EventLoop(executing).word();
            note.testimony.store(word, Relaxed);
            scoreboard.view(0).cause
        };
        assert_eq!(scoreboard.view(0).cause, None, "it has not died");
        assert_eq!(died(), Some(Cause::NoRequest));
        let begin = |path| writer.begin(&ID, "GET", path, Duration::from_secs(1));
        let (first, second) = (begin("/a"), begin("/b"));
        second.set_fingerprint(77);
        let path = |cause| match cause {
            Some(Cause::Request(request)) => (request.path, request.fingerprint),
            other => panic!("{other:?}"),
        };
        let executing = second.executing();
        assert_eq!(path(died()), ("/b".to_owned(), Some(77)));
        // A request that is let go of in the midst of another one.
        drop(first.executing());
        assert_eq!(path(died()), ("/b".to_owned(), Some(77)));
        drop(executing);
        assert_eq!(died(), Some(Cause::NoRequest));
        let of_thread = AtomicU64::new(0);
        let thread_died = || {
            let executing = u32::try_from(of_thread.load(Relaxed)).expect("small");
            let word = Testimony::Executor(executing).word();
            note.testimony.store(word, Relaxed);
            scoreboard.view(0).cause
        };
        let executing = second.executing_in(&of_thread);
        assert_eq!(path(thread_died()), ("/b".to_owned(), Some(77)));
        assert_eq!(died(), Some(Cause::NoRequest), "the event loop does not");
        drop(executing);
        assert_eq!(thread_died(), Some(Cause::AnotherThread));
        let _others: Vec<_> = (2..REQUESTS_NAMED).map(|_| begin("/c")).collect();
        let unnamed = begin("/d");
        unnamed.set_fingerprint(78);
        let _executing = unnamed.executing();
        assert_eq!(died(), Some(Cause::UnnamedRequest));
        scoreboard.open_seat(0, 43, 0, 1);
        assert_eq!(scoreboard.view(0).cause, None, "it is another worker");
    }

    #[test]
    fn an_entry_that_is_taken_again_has_no_fingerprint_of_the_request_before() {
        let scoreboard = Scoreboard::new().expect("memory");
        let writer = scoreboard.writer(0);
        let begin = || writer.begin(&ID, "GET", "/", Duration::from_secs(1));
        begin().set_fingerprint(77);
        let _request = begin();
        assert_eq!(scoreboard.view(0).requests[0].fingerprint, None);
    }

    #[test]
    fn a_surplus_is_what_a_worker_has_more_than_the_least_of_those_that_accept_beside_it() {
        let scoreboard = Scoreboard::new().expect("memory");
        for (seat, generation) in [(0, 1), (1, 1), (2, 1), (3, 2)] {
            scoreboard.open_seat(seat, 42, 0, generation);
        }
        let busy = scoreboard.writer(0);
        let _connections = [busy.connection_opened(), busy.connection_opened()];
        assert_eq!(busy.surplus(), 0, "nobody else accepts");
        scoreboard.writer(3).set_accepting(true);
        assert_eq!(busy.surplus(), 0, "another generation does");
        let beside = scoreboard.writer(1);
        let _connection = beside.connection_opened();
        beside.set_accepting(true);
        assert_eq!((busy.surplus(), beside.surplus()), (1, 0));
        let idle = scoreboard.writer(2);
        idle.set_accepting(true);
        assert_eq!((busy.surplus(), beside.surplus()), (2, 1));
        idle.set_accepting(false);
        assert_eq!(busy.surplus(), 1);
    }

    #[test]
    fn whoever_has_no_thread_to_spare_leaves_connections_to_those_who_have() {
        let scoreboard = Scoreboard::new().expect("memory");
        let [first, second, other] = [(0, 1), (1, 1), (2, 2)].map(|(seat, generation)| {
            scoreboard.open_seat(seat, 42, 0, generation);
            let writer = scoreboard.writer(seat);
            writer.set_accepting(true);
            writer
        });
        let show = |writer: &SeatWriter, busy| {
            writer.show_threads(ThreadFigures { threads: 2, busy });
        };
        let now = Duration::from_secs(9);
        let leaves = |writer: &SeatWriter| writer.others_have_threads(now);
        assert!(!leaves(&first), "an application without threads");
        assert!(!first.threads_are_busy());
        show(&other, 0);
        show(&first, 1);
        show(&second, 0);
        assert!(!leaves(&first), "it has one itself");
        assert!(!first.threads_are_busy());
        show(&first, 2);
        assert!(first.threads_are_busy());
        assert!(leaves(&first) && !leaves(&second));
        show(&second, 2);
        assert!(!leaves(&first), "nobody has, in its generation");
        show(&first, 1);
        first.show_queue(3, Some(now));
        assert!(!leaves(&first), "nor is a thread to spare in the other");
        show(&second, 1);
        assert!(first.threads_are_busy() && !second.threads_are_busy());
        assert!(leaves(&first), "what waits is not for its others");
        second.set_accepting(false);
        assert!(!leaves(&first), "it would not take one");
    }

    #[test]
    fn whoever_is_in_long_calls_leaves_connections_to_those_who_are_in_short_ones() {
        let scoreboard = Scoreboard::new().expect("memory");
        let took = |seat, milliseconds| {
            let writer = scoreboard.writer(seat);
            writer.show_threads(ThreadFigures {
                threads: 1,
                busy: 1,
            });
            writer.thread_took(Duration::from_millis(milliseconds));
            writer
        };
        for seat in 0..3 {
            scoreboard.open_seat(seat, 42, 0, 1);
            took(seat, 1000).set_accepting(true);
        }
        let leaves = |seat, milliseconds| {
            let now = Duration::from_millis(milliseconds);
            scoreboard.writer(seat).others_have_threads(now)
        };
        assert!(!leaves(0, 1001), "nobody is in a long call");
        assert!(!leaves(0, 2000), "everybody is");
        took(1, 1999);
        assert!(leaves(0, 2000) && leaves(2, 2000) && !leaves(1, 2000));
        assert!(!leaves(0, 2100), "it is in a long one too");
    }

    #[test]
    fn an_event_loop_is_busy_until_it_waits() {
        let scoreboard = Scoreboard::new().expect("memory");
        scoreboard.open_seat(1, 42, 0, 1);
        let writer = scoreboard.writer(1);
        assert_eq!(scoreboard.busy_since(1), None);
        writer.turns(Duration::from_secs(7));
        assert_eq!(scoreboard.busy_since(1), Some(Duration::from_secs(7)));
        writer.waits();
        assert_eq!(scoreboard.busy_since(1), None);
        writer.turns(Duration::from_secs(8));
        scoreboard.close_seat(1);
        assert_eq!(scoreboard.busy_since(1), None);
    }

    #[test]
    fn the_counters_of_the_dead_stay_in_the_totals() {
        let scoreboard = Scoreboard::new().expect("memory");
        scoreboard.open_seat(1, 42, 0, 1);
        let writer = scoreboard.writer(1);
        writer.answered(200);
        writer.answered(404);
        writer.refused(RefusalClass::NoToken);
        writer.blocked();
        drop(writer.connection_opened());
        let before = scoreboard.counters(&[1]);
        assert_eq!(
            (before.by_status_class, before.connections),
            ([0, 1, 0, 1, 0], 1)
        );
        assert_eq!((before.refused, before.blocked), (1, 1));
        scoreboard.close_seat(1);
        assert_eq!(scoreboard.counters(&[1]), before);
        scoreboard.open_seat(1, 43, 0, 1);
        scoreboard.writer(1).answered(503);
        assert_eq!(scoreboard.counters(&[1]).by_status_class, [0, 1, 0, 1, 1]);
    }

    #[test]
    fn a_tally_is_the_sum_of_all_seats_and_stays_when_a_worker_dies_and_when_a_layout_changes() {
        let scoreboard = Scoreboard::new().expect("memory");
        for seat in [1, 4] {
            scoreboard.open_seat(seat, 42, 0, 1);
            let writer = scoreboard.writer(seat);
            let request = writer.begin(&ID, "GET", "/", Duration::from_secs(1));
            request.answered_within(Duration::from_micros(100), 7);
            writer.answered(200);
            writer.refused(RefusalClass::Expired);
            writer.note_tokens(3, 1);
        }
        let before = scoreboard.tally().expect("nobody folds");
        assert_eq!(before.latency.buckets.iter().sum::<u64>(), 2);
        assert_eq!(before.latency.buckets[2], 2, "96 to 128 microseconds");
        assert_eq!(before.latency.sum, Duration::from_micros(200));
        assert_eq!(
            (before.bytes_sent, before.token_hits, before.token_misses),
            (14, 6, 2)
        );
        let expired = before
            .refused_for
            .iter()
            .find(|(reason, _)| *reason == RefusalClass::Expired);
        assert_eq!(expired, Some(&(RefusalClass::Expired, 2)));
        assert_eq!(
            (before.counters.requests(), before.counters.refused),
            (2, 2)
        );
        scoreboard.close_seat(4);
        assert_eq!(scoreboard.tally().as_ref(), Some(&before));
        let fresh = Scoreboard::new().expect("memory");
        fresh.add_totals(&scoreboard.totals(&[1]));
        assert_eq!(fresh.tally(), Some(before));
    }

    #[test]
    fn whoever_reads_while_a_worker_is_buried_never_sees_less_than_before() {
        const ANSWERS: u64 = 1000;
        let scoreboard = Scoreboard::new().expect("memory");
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..ANSWERS {
                    let seat = usize::try_from(round % 3).expect("small");
                    scoreboard.open_seat(seat, 42, 0, 1);
                    scoreboard.writer(seat).answered(200);
                    scoreboard.close_seat(seat);
                }
                is_over.store(true, Relaxed);
            });
            let mut last = 0;
            while !is_over.load(Relaxed) {
                let Some(tally) = scoreboard.tally() else {
                    continue;
                };
                let now = tally.counters.requests();
                assert!(now >= last && now <= ANSWERS, "{last}, then {now}");
                last = now;
            }
        });
        let tally = scoreboard.tally().expect("nobody folds");
        assert_eq!(tally.counters.requests(), ANSWERS);
    }
}
