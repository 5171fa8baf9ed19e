//! Where each figure lies in the shared words. Changing anything here means a new [`VERSION`].

/// The layout's number, in the first word: a reader of another version keeps away.
pub const VERSION: u64 = 3;

/// Workers that can exist at once: those of a generation and of the ones that still drain.
pub const SEATS: usize = 2048;

/// Requests in flight that a seat can name; those beyond it are only counted.
pub const REQUESTS_NAMED: usize = 32;

/// Bytes of a path that are kept.
pub const PATH_MAX: usize = 96;

/// Before the first seat: the version, the totals of the dead in the order of [`Figure`], the number of seats used.
pub(super) const HEAD: usize = 32;

/// 1 from the order to stop on; only the master writes it.
pub(super) const STOPPING: usize = HEAD - 2;

/// Seats at and above this number have never been used, so nobody needs to look there.
pub(super) const SEATS_USED: usize = HEAD - 1;

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
    /// 1 while the worker takes connections.
    Accepting,
    /// Since when the event loop has not been seen to turn, in monotonic nanoseconds; 0 while it waits for something to do.
    BusySince,
}

impl Figure {
    /// Those that only grow, and are kept when their worker dies. An upgrade to another layout knows them by their names.
    pub(super) const COUNTERS: [Self; 8] = [
        Self::ConnectionsTotal,
        Self::Informational,
        Self::Success,
        Self::Redirection,
        Self::ClientError,
        Self::ServerError,
        Self::Refused,
        Self::Audited,
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
pub(super) const FIGURES: usize = 16;

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
}

/// The first word of the path.
pub(super) const PATH: usize = 5;

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

const _: () =
    assert!((Figure::BusySince as usize) < FIGURES && total(Figure::BusySince) < STOPPING);
const _: () = assert!(PATH_MAX.is_multiple_of(8) && REQUESTS_NAMED <= u32::BITS as usize);
