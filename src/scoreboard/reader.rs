//! The side of the master and the agent: what each worker does now, and what all of them have done.

use std::sync::atomic::{
    Ordering::{Acquire, Relaxed},
    fence,
};
use std::time::Duration;

use super::layout::{self, Figure, LATENCY_BUCKETS, Named, PATH, PATH_MAX, REQUESTS_NAMED};
use super::{ConnectionLimit, RequestId, Scoreboard, ThreadFigures};
use crate::refusal_class::RefusalClass;
use crate::sys::crash::Testimony;

/// One seat as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeatView {
    /// The process that sits there; 0: nobody.
    pub pid: u32,
    /// Its slot.
    pub slot: u16,
    /// Its generation.
    pub generation: u64,
    /// Connections that are open.
    pub connections: u64,
    /// What has new ones wait.
    pub connections_wait: Option<ConnectionLimit>,
    /// Requests that have begun and not ended.
    pub in_flight: u64,
    /// Of those: wait until the application has a place for them.
    pub queued: u64,
    /// Since when the oldest of these does, monotonic, where the application has threads.
    pub queued_since: Option<Duration>,
    /// The threads of the application; none where it has none.
    pub threads: Option<ThreadFigures>,
    /// What it has done.
    pub counters: Counters,
    /// The oldest requests in flight, at most [`REQUESTS_NAMED`].
    pub requests: Vec<RequestInFlight>,
    /// Of a worker that has died: what is certain about the cause.
    pub cause: Option<Cause>,
}

/// What ended a worker, where it could still tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Its event loop died, or hung, while it executed this request; or a thread died that executed it.
    Request(RequestInFlight),
    /// The same with a request beyond those that can be named.
    UnnamedRequest,
    /// Its event loop died, or hung, outside of any request: a task of the application, or its boot.
    NoRequest,
    /// Another thread of it died.
    AnotherThread,
    /// A signal that this process sent; 0: one that it cannot see.
    SentBy(u32),
}

/// What was done since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections accepted.
    pub connections: u64,
    /// Answers with 1xx, 2xx, 3xx, 4xx and 5xx.
    pub by_status_class: [u64; 5],
    /// Requests refused for their form, their token or for want of one; they are among the 4xx and 5xx.
    pub refused: u64,
    /// Requests that passed only because the rule is an audit.
    pub audited: u64,
    /// Requests not served because they had ended workers; they are among the 5xx.
    pub blocked: u64,
    /// Requests not served because the application had no place for them; they are among the 5xx.
    pub overloaded: u64,
}

/// Everything that was done since the start, by the living and the dead, and what is going on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// What was done.
    pub counters: Counters,
    /// Requests that waited for a place in the application and got one.
    pub queue_waits: u64,
    /// How long all of these waited.
    pub queue_wait: Duration,
    /// Bytes of the bodies of answers.
    pub bytes_sent: u64,
    /// Bytes of the bodies of requests, as far as they were read.
    pub bytes_received: u64,
    /// Spans that a collector has taken.
    pub spans_exported: u64,
    /// Spans that were lost on their way to it.
    pub spans_lost: u64,
    /// Tokens that were recognised, for they had been verified before.
    pub token_hits: u64,
    /// Tokens that had to be verified, whatever came of it.
    pub token_misses: u64,
    /// How often connections met each limit.
    pub limited: [(ConnectionLimit, u64); ConnectionLimit::ALL.len()],
    /// Requests refused, for each reason.
    pub refused_for: [(RefusalClass, u64); RefusalClass::ALL.len()],
    /// How long requests took, from the end of their head to the end of their answer.
    pub latency: Latency,
    /// Connections that are open.
    pub connections: u64,
    /// Requests that have begun and not ended.
    pub in_flight: u64,
    /// Of those: wait until the application has a place for them.
    pub queued: u64,
    /// Since when the oldest of these does, monotonic, where the application has threads.
    pub queued_since: Option<Duration>,
    /// The threads of the application, of all workers.
    pub threads: ThreadFigures,
}

/// A histogram of durations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latency {
    /// How many requests fell into each bucket.
    pub buckets: [u64; LATENCY_BUCKETS],
    /// All durations together.
    pub sum: Duration,
}

impl Latency {
    /// The upper bound of a bucket; none of the last one.
    pub fn bound(bucket: usize) -> Option<Duration> {
        let next = bucket + 1;
        (next < LATENCY_BUCKETS).then(|| Duration::from_micros(layout::latency_from(next)))
    }
}

/// So often the figures are read anew, where a worker was buried meanwhile.
const READS_MAX: usize = 1000;

/// A request that was in flight when its seat was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestInFlight {
    /// Its id.
    pub id: RequestId,
    /// Up to eight characters of its method.
    pub method: String,
    /// The start of its path, without the query.
    pub path: String,
    /// When it began, monotonic.
    pub started: Duration,
    /// By what it is known again; `None` where that was not asked for.
    pub fingerprint: Option<u64>,
}

impl Counters {
    /// All answers.
    pub fn requests(&self) -> u64 {
        self.by_status_class.iter().sum()
    }
}

impl Scoreboard {
    /// Reads one seat.
    pub fn view(&self, seat: usize) -> SeatView {
        let read = |figure| self.figure(seat, figure).load(Relaxed);
        let mut requests: Vec<_> = (0..REQUESTS_NAMED)
            .filter_map(|entry| self.request(seat, entry))
            .collect();
        requests.sort_by_key(|request| request.started);
        SeatView {
            pid: u32::try_from(read(Figure::Pid)).unwrap_or(0),
            slot: u16::try_from(read(Figure::Slot)).unwrap_or(0),
            generation: read(Figure::Generation),
            connections: read(Figure::Connections),
            connections_wait: ConnectionLimit::of_number(read(Figure::ConnectionsWait)),
            in_flight: read(Figure::InFlight),
            queued: read(Figure::Queued),
            queued_since: stamped(read(Figure::QueuedSince)),
            threads: Some(ThreadFigures {
                threads: read(Figure::Threads),
                busy: read(Figure::ThreadsBusy),
            })
            .filter(|figures| figures.threads > 0),
            counters: counters(read),
            requests,
            cause: Testimony::read(read(Figure::Testimony))
                .map(|testimony| self.cause(seat, testimony)),
        }
    }

    /// Every seat on which a worker sits.
    pub fn views(&self) -> impl Iterator<Item = SeatView> {
        let used = self.word(layout::SEATS_USED).load(Relaxed);
        let seats = 0..usize::try_from(used).unwrap_or(0).min(layout::SEATS);
        let taken = seats.filter(|seat| self.figure(*seat, Figure::Pid).load(Relaxed) != 0);
        taken.map(|seat| self.view(seat))
    }

    fn cause(&self, seat: usize, testimony: Testimony) -> Cause {
        match testimony {
            Testimony::AnotherThread => Cause::AnotherThread,
            Testimony::Sent(by) => Cause::SentBy(by),
            Testimony::EventLoop(executing) if u64::from(executing) == layout::NOTHING => {
                Cause::NoRequest
            }
            // It does something else between two requests.
            Testimony::Executor(executing) if u64::from(executing) == layout::NOTHING => {
                Cause::AnotherThread
            }
            Testimony::EventLoop(executing) | Testimony::Executor(executing) => (0..REQUESTS_NAMED)
                .find(|entry| layout::executing(Some(*entry)) == u64::from(executing))
                .and_then(|entry| self.request(seat, entry))
                .map_or(Cause::UnnamedRequest, Cause::Request),
        }
    }

    /// Since when the event loop of the worker on `seat` has not been seen to turn, monotonic; `None` while it waits for
    /// something to do. One load: the master looks at every worker.
    pub fn busy_since(&self, seat: usize) -> Option<Duration> {
        stamped(self.figure(seat, Figure::BusySince).load(Relaxed))
    }

    /// How many connections the worker on `seat` has open. One load.
    pub fn connections(&self, seat: usize) -> u64 {
        self.figure(seat, Figure::Connections).load(Relaxed)
    }

    /// What all workers have done: those that sit on `seats`, and the dead.
    pub fn counters(&self, seats: &[usize]) -> Counters {
        counters(|figure| {
            let living = seats
                .iter()
                .map(|seat| self.figure(*seat, figure).load(Relaxed));
            living.sum::<u64>() + self.word(layout::total(figure)).load(Relaxed)
        })
    }

    /// What all workers have done, of one moment as far as the dead are concerned: no counter is ever less than it was.
    /// `None` where workers are being buried all the time, or the master was stopped in the midst of it.
    pub fn tally(&self) -> Option<Tally> {
        let folds = self.word(layout::FOLDS);
        for _ in 0..READS_MAX {
            let before = folds.load(Acquire);
            if before.is_multiple_of(2) {
                let tally = self.read_tally();
                fence(Acquire);
                if folds.load(Relaxed) == before {
                    return Some(tally);
                }
            }
            std::thread::yield_now();
        }
        None
    }

    fn read_tally(&self) -> Tally {
        let used = self.word(layout::SEATS_USED).load(Relaxed);
        let seats = 0..usize::try_from(used).unwrap_or(0).min(layout::SEATS);
        let living = |figure| {
            let seats = seats.clone();
            seats
                .map(|seat| self.figure(seat, figure).load(Relaxed))
                .sum::<u64>()
        };
        let all = |figure| living(figure) + self.word(layout::total(figure)).load(Relaxed);
        let durations = |index: usize| {
            let starts = seats.clone().map(layout::latency);
            let starts = starts.chain([layout::latency_totals()]);
            starts
                .map(|start| self.word(start + index).load(Relaxed))
                .sum::<u64>()
        };
        Tally {
            counters: counters(all),
            queue_waits: all(Figure::QueueWaits),
            queue_wait: Duration::from_micros(all(Figure::QueueMicroseconds)),
            bytes_sent: all(Figure::BytesSent),
            bytes_received: all(Figure::BytesReceived),
            spans_exported: all(Figure::SpansExported),
            spans_lost: all(Figure::SpansLost),
            token_hits: all(Figure::TokenHits),
            token_misses: all(Figure::TokenMisses),
            limited: ConnectionLimit::ALL.map(|limit| (limit, all(Figure::of_limit(limit)))),
            refused_for: RefusalClass::ALL.map(|class| (class, all(Figure::of_refusal(class)))),
            latency: Latency {
                buckets: std::array::from_fn(durations),
                sum: Duration::from_micros(durations(LATENCY_BUCKETS)),
            },
            connections: living(Figure::Connections),
            in_flight: living(Figure::InFlight),
            queued: living(Figure::Queued),
            queued_since: seats
                .clone()
                .filter_map(|seat| stamped(self.figure(seat, Figure::QueuedSince).load(Relaxed)))
                .min(),
            threads: ThreadFigures {
                threads: living(Figure::Threads),
                busy: living(Figure::ThreadsBusy),
            },
        }
    }

    fn request(&self, seat: usize, entry: usize) -> Option<RequestInFlight> {
        let words = self.words(layout::named(seat, entry), layout::NAMED);
        let read = |index: usize| words.get(index).map_or(0, |word| word.load(Relaxed));
        let started = read(Named::Started as usize);
        if started == 0 {
            return None;
        }
        let length = usize::try_from(read(Named::PathLength as usize))
            .unwrap_or(0)
            .min(PATH_MAX);
        let path: Vec<u8> = (0..PATH_MAX / 8)
            .flat_map(|index| read(PATH + index).to_le_bytes())
            .take(length)
            .collect();
        let method = read(Named::Method as usize).to_le_bytes();
        let method = method
            .iter()
            .copied()
            .take_while(|byte| *byte != 0)
            .collect::<Vec<u8>>();
        let trace = u128::from(read(Named::TraceHigh as usize)) << 64
            | u128::from(read(Named::TraceLow as usize));
        Some(RequestInFlight {
            id: RequestId::new(read(Named::IdHigh as usize), read(Named::IdLow as usize))
                .in_trace(trace),
            method: String::from_utf8_lossy(&method).into_owned(),
            path: String::from_utf8_lossy(&path).into_owned(),
            started: Duration::from_nanos(started),
            fingerprint: Some(read(Named::Fingerprint as usize)).filter(|taken| *taken != 0),
        })
    }
}

/// A moment; 0 is none.
fn stamped(stamp: u64) -> Option<Duration> {
    (stamp > 0).then(|| Duration::from_nanos(stamp))
}

fn counters(read: impl Fn(Figure) -> u64) -> Counters {
    Counters {
        connections: read(Figure::ConnectionsTotal),
        by_status_class: [
            read(Figure::Informational),
            read(Figure::Success),
            read(Figure::Redirection),
            read(Figure::ClientError),
            read(Figure::ServerError),
        ],
        refused: read(Figure::Refused),
        audited: read(Figure::Audited),
        blocked: read(Figure::Blocked),
        overloaded: read(Figure::Overloaded),
    }
}
