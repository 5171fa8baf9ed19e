//! Where each figure lies in the shared words. Changing anything here means a new [`VERSION`].

use super::ConnectionLimit;
use crate::refusal_class::RefusalClass;

/// The layout's number, in the first word: a reader of another version keeps away.
pub const VERSION: u64 = 11;

/// Workers that can exist at once: those of a generation and of the ones that still drain.
pub const SEATS: usize = 2048;

/// Requests in flight that a seat can name; those beyond it are only counted.
pub const REQUESTS_NAMED: usize = 32;

/// Bytes of a path that are kept.
pub const PATH_MAX: usize = 96;

/// Requests that can be blocked at once.
pub const BLOCKED_MAX: usize = 64;

/// Buckets of durations: one below `LATENCY_LOWEST`, two for each doubling from there on, and one without an upper bound.
pub const LATENCY_BUCKETS: usize = 2 + 2 * LATENCY_DOUBLINGS;

/// The upper bound of the first bucket, in microseconds: a power of two.
const LATENCY_LOWEST: u64 = 64;

/// From 64 microseconds to 67 seconds.
const LATENCY_DOUBLINGS: usize = 20;

/// Before the first seat: the version, the totals of the dead in the order of [`Figure`], the number of seats used, the
/// requests that are blocked, and the durations of the dead. Whole cache lines, as a seat is: no two workers write to the same one.
pub(super) const HEAD: usize = (LATENCY_TOTALS + LATENCY).next_multiple_of(8);

/// 1 from the order to stop on; only the master writes it.
pub(super) const STOPPING: usize = 1 + FIGURES;

/// Seats at and above this number have never been used, so nobody needs to look there.
pub(super) const SEATS_USED: usize = STOPPING + 1;

/// Odd while the counters of a worker that has died are on their way into the totals; only the master writes it.
pub(super) const FOLDS: usize = SEATS_USED + 1;

/// How many requests are blocked.
pub(super) const BLOCKED_COUNT: usize = FOLDS + 1;

/// Where the first of them is.
const BLOCKED: usize = BLOCKED_COUNT + 1;

/// The durations of requests that the dead have answered, as a seat has them.
const LATENCY_TOTALS: usize = BLOCKED + BLOCKED_MAX * BLOCKED_WORDS;

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
    /// Which limit has new connections wait, counted from 1 in the order of [`ConnectionLimit`]; 0: none does.
    ConnectionsWait,
    /// Since when the event loop has not been seen to turn, in monotonic nanoseconds; 0 while it waits for something to do.
    BusySince,
    /// The request that the event loop is executing just now: see [`executing`].
    Executing,
    /// What the worker could tell of its own death.
    Testimony,
    /// Requests that waited for a place and got one, and how long all of them waited.
    QueueWaits,
    QueueMicroseconds,
    /// Bytes of the bodies of answers.
    BytesSent,
    /// Tokens that were recognised, and tokens that had to be verified.
    TokenHits,
    TokenMisses,
    /// Of those that were refused: why, in the order of [`RefusalClass`].
    RefusedRequest,
    RefusedNoToken,
    RefusedUnreadable,
    RefusedUnknownKey,
    RefusedSignature,
    RefusedExpired,
    RefusedClaims,
    RefusedRevoked,
    RefusedBinding,
    RefusedPermission,
    RefusedUnavailable,
    /// Threads of the application, and how many of them execute a request.
    Threads,
    ThreadsBusy,
    /// Since when the oldest request waits for one, in monotonic nanoseconds; 0: none does.
    QueuedSince,
    /// When one of them took a request last, in monotonic nanoseconds.
    ThreadTook,
    /// Bytes of the bodies of requests.
    BytesReceived,
    /// Spans that a collector has taken, and spans that were lost on their way to it.
    SpansExported,
    SpansLost,
    /// How often connections met a limit, in the order of [`ConnectionLimit`].
    LimitedConnections,
    LimitedDescriptors,
    LimitedPerAddress,
    LimitedWriteTimeout,
}

impl Figure {
    /// Those that only grow, and are kept when their worker dies. An upgrade to another layout knows them by their names.
    pub(super) const COUNTERS: [Self; 33] = [
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
        Self::QueueWaits,
        Self::QueueMicroseconds,
        Self::BytesSent,
        Self::BytesReceived,
        Self::SpansExported,
        Self::SpansLost,
        Self::TokenHits,
        Self::TokenMisses,
        Self::RefusedRequest,
        Self::RefusedNoToken,
        Self::RefusedUnreadable,
        Self::RefusedUnknownKey,
        Self::RefusedSignature,
        Self::RefusedExpired,
        Self::RefusedClaims,
        Self::RefusedRevoked,
        Self::RefusedBinding,
        Self::RefusedPermission,
        Self::RefusedUnavailable,
        Self::LimitedConnections,
        Self::LimitedDescriptors,
        Self::LimitedPerAddress,
        Self::LimitedWriteTimeout,
    ];

    pub(super) fn of_limit(limit: ConnectionLimit) -> Self {
        match limit {
            ConnectionLimit::Connections => Self::LimitedConnections,
            ConnectionLimit::Descriptors => Self::LimitedDescriptors,
            ConnectionLimit::ConnectionsPerAddress => Self::LimitedPerAddress,
            ConnectionLimit::WriteTimeout => Self::LimitedWriteTimeout,
        }
    }

    pub(super) fn of_refusal(class: RefusalClass) -> Self {
        match class {
            RefusalClass::Request => Self::RefusedRequest,
            RefusalClass::NoToken => Self::RefusedNoToken,
            RefusalClass::Unreadable => Self::RefusedUnreadable,
            RefusalClass::UnknownKey => Self::RefusedUnknownKey,
            RefusalClass::Signature => Self::RefusedSignature,
            RefusalClass::Expired => Self::RefusedExpired,
            RefusalClass::Claims => Self::RefusedClaims,
            RefusalClass::Revoked => Self::RefusedRevoked,
            RefusalClass::Binding => Self::RefusedBinding,
            RefusalClass::Permission => Self::RefusedPermission,
            RefusalClass::Unavailable => Self::RefusedUnavailable,
        }
    }

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

/// Words before the durations of a seat.
pub(super) const FIGURES: usize = 48;

/// Words of the durations: how many requests fell into each bucket, and the sum of all, in microseconds.
pub(super) const LATENCY: usize = (LATENCY_BUCKETS + 1).next_multiple_of(8);

/// Into which bucket a duration falls, in microseconds: two buckets for each doubling are found without a division.
pub(super) fn latency_bucket(microseconds: u64) -> usize {
    if microseconds < LATENCY_LOWEST {
        return 0;
    }
    let exponent = microseconds.ilog2();
    let half = (microseconds >> (exponent - 1)) & 1;
    let doublings = (exponent - LATENCY_LOWEST.ilog2()) as usize;
    (1 + 2 * doublings + half as usize).min(LATENCY_BUCKETS - 1)
}

/// Where a bucket begins, in microseconds: the bucket before it ends there.
pub(super) fn latency_from(bucket: usize) -> u64 {
    let Some(above) = bucket.checked_sub(1) else {
        return 0;
    };
    let doubled = LATENCY_LOWEST << (above / 2);
    doubled + (above as u64 % 2) * (doubled / 2)
}

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
    /// The trace that it belongs to; 0: to none.
    TraceHigh,
    TraceLow,
    /// Up to eight bytes of the method, the first one lowest.
    Method,
    PathLength,
    /// By which it is known again; 0: it was not taken.
    Fingerprint,
}

/// The first word of the path.
pub(super) const PATH: usize = 8;

/// Words of a named request.
pub(super) const NAMED: usize = PATH + PATH_MAX / 8;

/// Words of a seat.
pub(super) const SEAT: usize = FIGURES + LATENCY + REQUESTS_NAMED * NAMED;

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

/// Where the durations of a seat begin.
pub(super) const fn latency(seat: usize) -> usize {
    HEAD + seat * SEAT + FIGURES
}

/// Where those of the dead begin.
pub(super) const fn latency_totals() -> usize {
    LATENCY_TOTALS
}

/// Where a named request of a seat begins.
pub(super) const fn named(seat: usize, entry: usize) -> usize {
    HEAD + seat * SEAT + FIGURES + LATENCY + entry * NAMED
}

/// Where the blocked request number `index` is.
pub(super) const fn blocked(index: usize) -> usize {
    BLOCKED + index * BLOCKED_WORDS
}

const _: () = assert!((Figure::LimitedWriteTimeout as usize) < FIGURES);
const _: () = assert!(LATENCY_LOWEST.is_power_of_two() && FIGURES.is_multiple_of(8));
const _: () = assert!(HEAD.is_multiple_of(8) && SEAT.is_multiple_of(8));
const _: () = assert!(PATH_MAX.is_multiple_of(8) && REQUESTS_NAMED <= u32::BITS as usize);

#[cfg(test)]
mod tests {
    use super::{LATENCY_BUCKETS, latency_bucket, latency_from};

    #[test]
    fn a_duration_falls_into_the_bucket_whose_bounds_it_is_between() {
        for bucket in 0..LATENCY_BUCKETS {
            let from = latency_from(bucket);
            assert_eq!(latency_bucket(from), bucket, "{from}");
            if bucket + 1 < LATENCY_BUCKETS {
                let next = latency_from(bucket + 1);
                assert!(from < next);
                assert_eq!(latency_bucket(next - 1), bucket, "{next}");
            }
        }
        assert_eq!(latency_bucket(u64::MAX), LATENCY_BUCKETS - 1);
        assert_eq!(
            (latency_from(1), latency_from(2), latency_from(3)),
            (64, 96, 128)
        );
    }
}
