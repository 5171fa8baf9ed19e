//! What one connection is doing, for its time-outs and for a drain that must not cut a request.

mod stall;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use stall::Stall;

use super::malformed::Malformed;
use super::websocket::Upgrade;
use crate::app::{Ahead, BodyEnd, EarlyHints};
use crate::sys::clock;
use crate::sys::socket::SocketNumber;

/// What a connection is doing. Written by its reads and by the requests on it, read by its timer.
#[derive(Debug)]
pub struct Activity {
    phase: AtomicU8,
    /// Monotonic nanoseconds at which the phase began.
    since: AtomicU64,
    /// What `since` was when frames began to arrive that are not complete.
    idle_since: AtomicU64,
    /// Whether bytes of an answer wait for the client to read.
    stall: Stall,
    /// Requests that are answered: on a connection of HTTP/1.1 it is one, or none.
    open: AtomicUsize,
    /// Frames of HTTP/2 arrive on it.
    is_http2: AtomicBool,
    /// The request that has begun last is of HTTP/1.0, whose answers may end with the connection.
    end_is_a_close: AtomicBool,
    /// Another worker goes on with it: answers do not end it, though this worker drains.
    goes_on: AtomicBool,
    /// How far it is on its way to a WebSocket.
    pub(crate) upgrade: Upgrade,
    /// What goes out before the answer that is next.
    pub(crate) ahead: Arc<Ahead>,
    /// How many requests have begun.
    requests: AtomicU64,
    /// How many requests were answered to their end.
    answered: AtomicU64,
    /// The last request whose body was read to its end.
    read_to_end: Arc<AtomicU64>,
    /// Bytes of a request wait for the answer to the one before.
    holds: AtomicBool,
    /// It waits without hyper.
    is_parked: AtomicBool,
    /// What was wrong on it; nothing is read after that.
    malformed: OnceLock<Malformed>,
    /// Its socket; none where there is none.
    socket: OnceLock<SocketNumber>,
}

/// A connection on which nothing is under way: whoever reads on begins with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BetweenRequests {
    /// Nothing has arrived on it yet.
    pub is_fresh: bool,
    /// Since when, in monotonic nanoseconds.
    pub since: u64,
}

/// Where a connection is between two requests or in one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Accepted; nothing has arrived.
    Fresh,
    /// The head of a request is arriving.
    Head,
    /// A request is answered.
    Busy,
    /// An answer is complete, no byte of another request has arrived.
    Idle,
}

/// How long the phases may last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `http.header_timeout`.
    pub header_timeout: Duration,
    /// `http.keep_alive`.
    pub keep_alive: Duration,
    /// `http.write_timeout`.
    pub write_timeout: Duration,
    /// `http.drain_linger`: how long an idle connection stays when the worker drains, for a request may be on its way.
    pub drain_linger: Duration,
}

/// How often a connection is looked at whose client reads its last answer while the worker drains.
const BLOCKED_STEP: Duration = Duration::from_millis(50);

/// A connection that is idle for so long is parked. Its client may be in the middle of a page, whose requests follow one another faster.
const PARKED_AFTER: Duration = Duration::from_secs(1);

/// What a connection's timer shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// Look again then (monotonic).
    Wait(Duration),
    /// Have it wait for its next request without hyper, whose buffers are most of what it costs.
    Park,
    /// End it; nothing is lost.
    Close,
    /// End it; its client reads no answers, or begins requests that it does not finish.
    Cut,
    /// End it with 408 (RFC 9110 section 15.5.9): its client began a request and did not finish its head.
    TimedOut,
}

impl Activity {
    /// Of a connection just accepted.
    pub fn new() -> Self {
        let activity = Self {
            phase: AtomicU8::new(0),
            since: AtomicU64::new(0),
            idle_since: AtomicU64::new(0),
            stall: Stall::default(),
            open: AtomicUsize::new(0),
            is_http2: AtomicBool::new(false),
            end_is_a_close: AtomicBool::new(false),
            goes_on: AtomicBool::new(false),
            upgrade: Upgrade::default(),
            ahead: Arc::default(),
            requests: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            read_to_end: Arc::default(),
            holds: AtomicBool::new(false),
            is_parked: AtomicBool::new(false),
            malformed: OnceLock::new(),
            socket: OnceLock::new(),
        };
        activity.enter(Phase::Fresh);
        activity
    }

    /// Of a connection that goes on.
    pub fn resumed(between: BetweenRequests) -> Self {
        let activity = Self::new();
        let phase = if between.is_fresh {
            Phase::Fresh
        } else {
            Phase::Idle
        };
        activity.since.store(between.since, Relaxed);
        activity.phase.store(phase as u8, Relaxed);
        activity
    }

    /// Set where it certainly is between two requests: the last one was read to its end, its answer is written. Asked where
    /// the connection is served, which has just done what it could.
    pub fn between_requests(&self) -> Option<BetweenRequests> {
        let is_fresh = match self.phase() {
            Phase::Fresh => true,
            Phase::Idle => false,
            Phase::Head | Phase::Busy => return None,
        };
        let is_whole = self.read_to_end.load(Relaxed) == self.requests.load(Relaxed);
        (is_whole && self.blocked_since().is_none()).then(|| BetweenRequests {
            is_fresh,
            since: self.since.load(Relaxed),
        })
    }

    /// Whether it waits for a request without hyper.
    pub fn set_parked(&self, is_parked: bool) {
        self.is_parked.store(is_parked, Relaxed);
    }

    /// When it is to be parked; none where it is already, or cannot be. HTTP/2 has a state that only its codec knows.
    fn parked_at(&self) -> Option<Duration> {
        if self.is_parked.load(Relaxed) || self.is_http2() {
            return None;
        }
        let between = self.between_requests().filter(|it| !it.is_fresh)?;
        Some(Duration::from_nanos(between.since) + PARKED_AFTER)
    }

    /// It is a connection on this socket, which is open as long as any request on it is answered.
    pub fn set_socket(&self, socket: SocketNumber) {
        let _there_is_one = self.socket.set(socket);
    }

    /// Whether its client has closed its side or is gone, though there may be something of it to read before that.
    pub fn peer_has_left(&self) -> bool {
        self.socket
            .get()
            .is_some_and(|socket| socket.peer_has_left())
    }

    /// Bytes of a request have arrived.
    pub fn read_some(&self) {
        match self.phase() {
            Phase::Fresh | Phase::Idle => self.enter(Phase::Head),
            Phase::Head | Phase::Busy => {}
        }
    }

    /// A request has begun, which may have a body.
    pub fn begin_request(&self, has_body: bool) {
        self.open.fetch_add(1, Relaxed);
        self.phase.store(Phase::Busy as u8, Relaxed);
        let request = self.requests.fetch_add(1, Relaxed) + 1;
        if !has_body {
            self.read_to_end.fetch_max(request, Relaxed);
        }
    }

    /// How many requests have begun.
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// For the request that has begun last.
    pub(crate) fn early_hints(&self) -> EarlyHints {
        EarlyHints::on_connection(&self.ahead, self.requests())
    }

    /// The answer to the request that has begun last begins.
    pub(crate) fn answer_begins(&self) {
        self.ahead.close(self.requests());
    }

    /// For the body of the request that has begun last.
    pub(crate) fn body_end(&self, has_body: bool) -> BodyEnd {
        let request = self.requests.load(Relaxed);
        BodyEnd::new(Arc::clone(&self.read_to_end), request, has_body)
    }

    /// Its answer is complete.
    pub fn end_request(&self) {
        self.answered.fetch_add(1, Relaxed);
        if self.open.fetch_sub(1, Relaxed) == 1 {
            self.enter(Phase::Idle);
        }
    }

    /// It began as HTTP/2 does. Frames are told with [`Self::set_midway`] from now on, and not with [`Self::read_some`].
    pub fn set_http2(&self) {
        self.is_http2.store(true, Relaxed);
        // What has arrived is no part of a request.
        self.phase.store(Phase::Fresh as u8, Relaxed);
    }

    /// Whether that is so.
    pub fn is_http2(&self) -> bool {
        self.is_http2.load(Relaxed)
    }

    /// Frames have arrived; whether the last one, or the fields of a request, are not complete. A connection is as idle after
    /// frames that begin no request as it was before.
    pub fn set_midway(&self, is_midway: bool) {
        match (self.phase(), is_midway) {
            (Phase::Fresh | Phase::Idle, true) => {
                self.idle_since.store(self.since.load(Relaxed), Relaxed);
                self.enter(Phase::Head);
            }
            (Phase::Head, false) => {
                self.since.store(self.idle_since.load(Relaxed), Relaxed);
                self.phase.store(Phase::Idle as u8, Relaxed);
            }
            (Phase::Fresh, false) => self.phase.store(Phase::Idle as u8, Relaxed),
            (Phase::Head, true) | (Phase::Idle, false) | (Phase::Busy, _) => {}
        }
    }

    /// How many requests were answered to their end.
    pub fn answered(&self) -> u64 {
        self.answered.load(Relaxed)
    }

    /// Bytes of the next request were read, and wait until this one is answered.
    pub fn hold(&self) {
        self.holds.store(true, Relaxed);
    }

    /// Whether there are such bytes, and it is their turn. Says so once.
    pub fn take_turn(&self) -> bool {
        self.holds.load(Relaxed) && self.is_free() && self.holds.swap(false, Relaxed)
    }

    /// Whether no answer is under way, as far as anybody knows.
    fn is_free(&self) -> bool {
        self.phase() != Phase::Busy && self.blocked_since().is_none()
    }

    /// Nothing may be read any more, for what came is malformed.
    pub fn set_malformed(&self, malformed: Malformed) {
        let _first_one_counts = self.malformed.set(malformed);
    }

    /// What was wrong.
    pub fn malformed(&self) -> Option<Malformed> {
        self.malformed.get().copied()
    }

    /// What was wrong, where all answers before it have gone out.
    pub fn malformed_in_turn(&self) -> Option<Malformed> {
        self.malformed().filter(|_| self.is_free())
    }

    /// Whether the client lets an answer wait.
    pub fn set_write_blocked(&self, blocked: bool) {
        self.stall.set(blocked, self.socket.get().copied());
    }

    /// Since when it lets one wait without taking anything of it, monotonic.
    pub fn blocked_since(&self) -> Option<Duration> {
        self.stall.since()
    }

    /// Whether the answer to the request that begins may end with the connection, so that one that breaks off would look whole.
    pub fn set_end_is_a_close(&self, end_is_a_close: bool) {
        self.end_is_a_close.store(end_is_a_close, Relaxed);
    }

    /// Whether that is so.
    pub fn end_is_a_close(&self) -> bool {
        self.end_is_a_close.load(Relaxed)
    }

    /// Where the client lets an answer wait at `now`: when it has taken nothing of it for `write_timeout`, and when it is to be looked again
    /// whether that is so.
    pub fn stall(&self, now: Duration, write_timeout: Duration) -> Option<(Duration, Duration)> {
        self.look_when_due(now, write_timeout);
        let since = self.stall.since()?;
        Some((since + write_timeout, self.stall.look_at(write_timeout)?))
    }

    fn look_when_due(&self, now: Duration, write_timeout: Duration) {
        let socket = self.socket.get().copied();
        self.stall.look_when_due(now, write_timeout, socket);
    }

    /// Another worker goes on with the connection when nothing is under way on it.
    pub fn set_goes_on(&self) {
        self.goes_on.store(true, Relaxed);
    }

    /// Whether that is so.
    pub fn goes_on(&self) -> bool {
        self.goes_on.load(Relaxed)
    }

    /// Where it is.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Fresh,
            1 => Phase::Head,
            2 => Phase::Busy,
            _ => Phase::Idle,
        }
    }

    /// Whether so many requests as `limit` have begun on it.
    pub fn has_carried(&self, limit: Option<u32>) -> bool {
        limit.is_some_and(|limit| self.requests.load(Relaxed) >= u64::from(limit))
    }

    /// When it must be looked at, as it is now; `None`: not before something happens. `linger_until` is there while
    /// the worker drains.
    pub fn due(&self, limits: &Limits, linger_until: Option<Duration>) -> Option<Duration> {
        let over = self.over_at(limits, linger_until)?;
        Some(self.before(over, limits))
    }

    /// When it must be looked at that is over then: that, or what comes before it.
    fn before(&self, over: Duration, limits: &Limits) -> Duration {
        let over = earlier(over, self.stall.look_at(limits.write_timeout));
        earlier(over, self.parked_at())
    }

    /// When it has lasted long enough, as it is now.
    fn over_at(&self, limits: &Limits, linger_until: Option<Duration>) -> Option<Duration> {
        let since = Duration::from_nanos(self.since.load(Relaxed));
        let stalled = self
            .blocked_since()
            .map(|since| since + limits.write_timeout);
        match self.phase() {
            Phase::Head => Some(earlier(since + limits.header_timeout, stalled)),
            Phase::Fresh => Some(earlier(since + limits.header_timeout, linger_until)),
            Phase::Idle if stalled.is_none() => {
                // The head of its last answer may have gone out before the drain began, and so without `Connection: close`.
                let linger_until = linger_until.map(|until| until.max(since + limits.drain_linger));
                Some(earlier(since + limits.keep_alive, linger_until))
            }
            Phase::Busy | Phase::Idle => stalled,
        }
    }

    /// What its timer shall do at `now`.
    pub fn judge(
        &self,
        now: Duration,
        limits: &Limits,
        linger_until: Option<Duration>,
    ) -> Judgement {
        self.look_when_due(now, limits.write_timeout);
        let over = self.over_at(limits, linger_until);
        match over {
            Some(over) if over > now && self.parked_at().is_some_and(|at| at <= now) => {
                Judgement::Park
            }
            // The client reads the last answer; nobody tells when it is done, and a drain waits for that.
            Some(due) if due > now && self.blocked_since().is_some() && linger_until.is_some() => {
                Judgement::Wait(earlier(due, Some(now + BLOCKED_STEP)))
            }
            Some(due) if due > now => Judgement::Wait(self.before(due, limits)),
            // In the middle of an answer there is no place for another one.
            Some(_) if self.blocked_since().is_some() => Judgement::Cut,
            Some(_) if self.phase() == Phase::Head => Judgement::TimedOut,
            Some(_) => Judgement::Close,
            None if linger_until.is_some() => Judgement::Wait(now + BLOCKED_STEP),
            None => Judgement::Wait(now + limits.keep_alive),
        }
    }

    fn enter(&self, phase: Phase) {
        self.since.store(nanoseconds(), Relaxed);
        self.phase.store(phase as u8, Relaxed);
    }
}

fn earlier(due: Duration, other: Option<Duration>) -> Duration {
    other.map_or(due, |other| due.min(other))
}

/// Now, monotonic. What lasts is judged by seconds: the clock that costs less is good enough.
fn nanoseconds() -> u64 {
    u64::try_from(clock::monotonic_coarse().as_nanos()).unwrap_or(u64::MAX)
}

impl Default for Activity {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;
    use std::time::Duration;

    use super::{Activity, Judgement, Limits, Phase};
    use crate::sys::clock;

    const LIMITS: Limits = Limits {
        header_timeout: Duration::from_secs(10),
        keep_alive: Duration::from_secs(75),
        write_timeout: Duration::from_mins(1),
        drain_linger: Duration::from_secs(1),
    };

    fn after(seconds: u64) -> Duration {
        clock::monotonic() + Duration::from_secs(seconds)
    }

    #[test]
    fn a_head_that_does_not_end_is_timed_out() {
        let activity = Activity::new();
        activity.read_some();
        assert!(matches!(
            activity.judge(after(9), &LIMITS, None),
            Judgement::Wait(_)
        ));
        assert_eq!(
            activity.judge(after(11), &LIMITS, None),
            Judgement::TimedOut
        );
    }

    #[test]
    fn a_connection_that_never_says_anything_is_closed_without_an_answer() {
        assert_eq!(
            Activity::new().judge(after(11), &LIMITS, None),
            Judgement::Close
        );
    }

    #[test]
    fn an_idle_connection_is_closed_after_keep_alive_and_in_a_drain_after_the_linger() {
        let activity = Activity::new();
        activity.begin_request(false);
        activity.end_request();
        activity.set_parked(true);
        assert!(matches!(
            activity.judge(after(74), &LIMITS, None),
            Judgement::Wait(_)
        ));
        assert_eq!(activity.judge(after(76), &LIMITS, None), Judgement::Close);
        assert_eq!(
            activity.judge(after(2), &LIMITS, Some(after(1))),
            Judgement::Close
        );
    }

    #[test]
    fn a_connection_that_becomes_idle_in_a_drain_has_its_linger_from_then_on() {
        let activity = Activity::new();
        activity.begin_request(false);
        let begun_long_ago = Some(Duration::ZERO);
        activity.end_request();
        activity.set_parked(true);
        let judge = |milliseconds| {
            let at = clock::monotonic() + Duration::from_millis(milliseconds);
            activity.judge(at, &LIMITS, begun_long_ago)
        };
        assert!(matches!(judge(500), Judgement::Wait(_)));
        assert_eq!(judge(1100), Judgement::Close);
    }

    #[test]
    fn a_request_is_never_cut_by_these_timers() {
        let activity = Activity::new();
        activity.begin_request(false);
        assert!(matches!(
            activity.judge(after(1000), &LIMITS, Some(after(0))),
            Judgement::Wait(_)
        ));
    }

    #[test]
    fn a_client_that_takes_nothing_of_an_answer_is_cut_off_and_one_that_takes_some_is_not() {
        let activity = Activity::new();
        activity.begin_request(false);
        activity.set_write_blocked(true);
        let judge = |seconds, linger| activity.judge(after(seconds), &LIMITS, linger);
        assert!(matches!(judge(59, None), Judgement::Wait(_)));
        assert!(matches!(judge(59, Some(after(0))), Judgement::Wait(_)));
        assert_eq!(judge(61, None), Judgement::Cut);
        activity.end_request();
        assert!(matches!(judge(59, Some(after(0))), Judgement::Wait(_)));
        assert_eq!(judge(61, None), Judgement::Cut);
        activity.set_write_blocked(false);
        assert_eq!(judge(61, None), Judgement::Park);
    }

    #[test]
    fn many_requests_at_once_are_busy_until_the_last_is_answered() {
        let activity = Activity::new();
        activity.set_http2();
        activity.set_midway(false);
        assert_eq!(activity.phase(), Phase::Idle);
        activity.begin_request(false);
        activity.begin_request(true);
        activity.end_request();
        assert_eq!(activity.phase(), Phase::Busy);
        activity.end_request();
        assert_eq!(activity.phase(), Phase::Idle);
    }

    #[test]
    fn an_idle_connection_is_parked_once_and_none_that_is_not_idle() {
        let activity = Activity::new();
        let judged = |seconds| activity.judge(after(seconds), &LIMITS, None);
        activity.begin_request(true);
        let body = activity.body_end(true);
        assert_ne!(judged(2), Judgement::Park);
        activity.end_request();
        assert_ne!(judged(2), Judgement::Park, "its body still arrives");
        let over = activity.due(&LIMITS, None);
        body.read_to_end.fetch_max(body.request, Relaxed);
        assert!(activity.due(&LIMITS, None) < over);
        assert_ne!(judged(0), Judgement::Park);
        assert_eq!(judged(2), Judgement::Park);
        activity.set_parked(true);
        assert_eq!(activity.due(&LIMITS, None), over);
        assert!(matches!(judged(2), Judgement::Wait(_)));
        assert_eq!(judged(76), Judgement::Close);
    }

    #[test]
    fn a_connection_of_http2_is_not_parked() {
        let activity = Activity::new();
        activity.set_http2();
        activity.begin_request(false);
        activity.end_request();
        assert!(matches!(
            activity.judge(after(2), &LIMITS, None),
            Judgement::Wait(_)
        ));
    }

    #[test]
    fn frames_that_begin_no_request_leave_a_connection_as_idle_as_it_was() {
        let activity = Activity::new();
        activity.set_http2();
        activity.set_midway(true);
        assert_eq!(
            activity.judge(after(11), &LIMITS, None),
            Judgement::TimedOut
        );
        activity.set_midway(false);
        let idle = activity.due(&LIMITS, None);
        assert!(idle > Some(after(70)) && idle < Some(after(76)), "{idle:?}");
        activity.set_midway(true);
        assert!(activity.due(&LIMITS, None) < idle);
        activity.set_midway(false);
        assert_eq!(activity.due(&LIMITS, None), idle);
    }

    #[test]
    fn a_head_that_begins_on_an_idle_connection_is_due_sooner_than_the_connection_was() {
        let activity = Activity::new();
        activity.begin_request(false);
        activity.end_request();
        activity.set_parked(true);
        let idle = activity.due(&LIMITS, None);
        activity.read_some();
        assert!(activity.due(&LIMITS, None) < idle);
    }

    #[test]
    fn a_head_that_has_begun_is_waited_for_in_a_drain() {
        let activity = Activity::new();
        activity.read_some();
        assert!(matches!(
            activity.judge(after(2), &LIMITS, Some(after(1))),
            Judgement::Wait(_)
        ));
    }

    #[test]
    fn a_connection_is_between_two_requests_when_one_was_read_and_answered_to_its_end() {
        let activity = Activity::new();
        assert!(activity.between_requests().is_some_and(|it| it.is_fresh));
        activity.read_some();
        assert_eq!(activity.between_requests(), None);
        activity.begin_request(true);
        let body = activity.body_end(true);
        assert_eq!(activity.between_requests(), None);
        activity.end_request();
        assert_eq!(activity.between_requests(), None, "its body still arrives");
        body.read_to_end.fetch_max(body.request, Relaxed);
        let idle = activity.between_requests().expect("nothing is under way");
        assert!(!idle.is_fresh);
        activity.set_write_blocked(true);
        assert_eq!(activity.between_requests(), None);
        assert_eq!(Activity::resumed(idle).between_requests(), Some(idle));
    }
}
