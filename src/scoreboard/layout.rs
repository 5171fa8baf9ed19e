//! Where each figure lies in the shared words. Changing anything here means a new [`VERSION`].

/// The layout's number, in the first word: a reader of another version keeps away.
pub const VERSION: u64 = 5;

/// Workers that can exist at once: those of a generation and of the ones that still drain.
pub const SEATS: usize = 2048;

/// Requests in flight that a seat can name; those beyond it are only counted.
pub const REQUESTS_NAMED: usize = 32;

/// Bytes of a path that are kept.
pub const PATH_MAX: usize = 96;

/// Requests that can be blocked at once.
pub const BLOCKED_MAX: usize = 64;

/// Before the first seat: the version, the totals of the dead in the order of [`Figure`], the number of seats used, and the
/// requests that are blocked. Whole cache lines, as a seat is: no two workers write to the same one.
pub(super) const HEAD: usize = (BLOCKED + BLOCKED_MAX * BLOCKED_WORDS).next_multiple_of(8);

/// 1 from the order to stop on; only the master writes it.
pub(super) const STOPPING: usize = 30;

/// Seats at and above this number have never been used, so nobody needs to look there.
pub(super) const SEATS_USED: usize = 31;

/// How many requests are blocked.
pub(super) const BLOCKED_COUNT: usize = 32;

/// Where the first of them is.
const BLOCKED: usize = 33;

/// Words of a blocked request: its fingerprint, and until when, in monotonic nanoseconds.
pub(super) const BLOCKED_WORDS: usize = 2;

/// One figure of a seat, each a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Figure {
    Pid,
    Slot,
    Generation,
    Connections,
    InFlight,
    ConnectionsTotal,
    Informational,
    Success,
    Redirection,
    ClientError,
    ServerError,
    Refused,
    Audited,
    Blocked,
    Overloaded,
    /// Requests that wait for a place.
    Queued,
    /// 1 while the worker takes connections.
    Accepting,
    /// Since when the event loop has not been seen to turn, in monotonic nanoseconds; 0 while it waits for something to do.
    BusySince,
    /// The request that the event loop is executing just now: see [`executing`].
    Executing,
    /// What the worker could tell of its own death.
    Testimony,
}

impl Figure {
    /// Those that only grow, and are kept when their worker dies. An upgrade to another layout knows them by their names.
    pub(super) const COUNTERS: [Self; 10] = [
        Self::ConnectionsTotal,
        Self::Informational,
        Self::Success,
        Self::Redirection,
        Self::ClientError,
        Self::ServerError,
        Self::Refused,
        Self::Audited,
        Self::Blocked,
        Self::Overloaded,
    ];

    pub(super) fn of_status(status: u16) -> Self {
        match status {
            100..200 => Self::Informational,
            200..300 => Self::Success,
            300..400 => Self::Redirection,
            400..500 => Self::ClientError,
            _ => Self::ServerError,
        }
    }
}

/// Words before the named requests of a seat.
pub(super) const FIGURES: usize = 24;

/// [`Figure::Executing`] while no request is executed.
pub(super) const NOTHING: u64 = 0;

/// [`Figure::Executing`] while the request of this entry is executed; of no entry: one that is not named.
pub(super) const fn executing(entry: Option<usize>) -> u64 {
    match entry {
        Some(entry) => entry as u64 + 1,
        None => REQUESTS_NAMED as u64 + 1,
    }
}

/// One word of a named request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Named {
    /// Monotonic nanoseconds; 0: free. Written last, cleared first.
    Started,
    IdHigh,
    IdLow,
    /// Up to eight bytes of the method, the first one lowest.
    Method,
    PathLength,
    /// By which it is known again; 0: it was not taken.
    Fingerprint,
}

/// The first word of the path.
pub(super) const PATH: usize = 6;

/// Words of a named request.
pub(super) const NAMED: usize = PATH + PATH_MAX / 8;

/// Words of a seat.
pub(super) const SEAT: usize = FIGURES + REQUESTS_NAMED * NAMED;

/// Words of the whole region.
pub(super) const WORDS: usize = HEAD + SEATS * SEAT;

/// Where a figure of a seat is.
pub(super) const fn figure(seat: usize, figure: Figure) -> usize {
    HEAD + seat * SEAT + figure as usize
}

/// Where the total of the dead is.
pub(super) const fn total(figure: Figure) -> usize {
    1 + figure as usize
}

/// Where a named request of a seat begins.
pub(super) const fn named(seat: usize, entry: usize) -> usize {
    HEAD + seat * SEAT + FIGURES + entry * NAMED
}

/// Where the blocked request number `index` is.
pub(super) const fn blocked(index: usize) -> usize {
    BLOCKED + index * BLOCKED_WORDS
}

const _: () =
    assert!((Figure::Testimony as usize) < FIGURES && total(Figure::Testimony) < STOPPING);
const _: () = assert!(HEAD.is_multiple_of(8) && SEAT.is_multiple_of(8));
const _: () = assert!(PATH_MAX.is_multiple_of(8) && REQUESTS_NAMED <= u32::BITS as usize);
