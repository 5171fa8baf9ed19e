//! Overload: so many requests the application works on, so many more wait in the queue, and whoever comes then is told so at once.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::access::Refused;
use super::activity::Activity;
use super::track::Track;
use super::{Pipeline, reply};
use crate::app::{AppService, Overloaded};
use crate::scoreboard::{RequestId, SeatWriter};
use crate::sys::clock;

/// How many requests there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlacesSettings {
    /// `http.max_in_flight`.
    pub max_in_flight: Option<u32>,
    /// `http.queue`.
    pub queue: u32,
    /// `http.max_queue_wait`.
    pub max_queue_wait: Duration,
}

/// The places of one worker.
#[derive(Debug)]
pub(super) struct Places {
    /// First come, first served; absent where any number may be worked on. It lives as long as the process, so that who holds a
    /// place need not count who else does.
    free: Option<&'static Semaphore>,
    settings: PlacesSettings,
    seat: SeatWriter,
}

/// Held while the application works on a request.
#[derive(Debug)]
pub(super) struct Place {
    _permit: Option<SemaphorePermit<'static>>,
}

impl Places {
    pub(super) fn new(settings: PlacesSettings, seat: SeatWriter) -> Self {
        let free = settings.max_in_flight.map(|places| {
            let places = usize::try_from(places).unwrap_or(Semaphore::MAX_PERMITS);
            &*Box::leak(Box::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))))
        });
        Self {
            free,
            settings,
            seat,
        }
    }

    /// A place, and how long it was waited for.
    async fn take(&self, client: &Activity) -> Result<(Place, Duration), Overloaded> {
        // None is free while somebody waits: those who wait get it first.
        if let Some(place) = self.free() {
            return Ok((place, Duration::ZERO));
        }
        // Boxed: the memory of every connection would else have room for it.
        Box::pin(self.wait(client)).await
    }

    /// A place, where one is free.
    pub(super) fn free(&self) -> Option<Place> {
        let permit = match self.free {
            Some(free) => Some(free.try_acquire().ok()?),
            None => None,
        };
        Some(Place { _permit: permit })
    }

    async fn wait(&self, client: &Activity) -> Result<(Place, Duration), Overloaded> {
        // Until it is dropped, as it also is where its client goes away.
        let queued = self.seat.queue(self.settings.queue);
        let Some(_queued) = queued else {
            return Err(Overloaded::QueueFull);
        };
        let since = clock::monotonic();
        let free = async { self.free?.acquire().await.ok() };
        let waiting = tokio::time::timeout(self.settings.max_queue_wait, free);
        let Ok(permit) = waiting.await else {
            return Err(Overloaded::WaitedTooLong);
        };
        // hyper sees an end of the connection only where it has nothing else to read, such as a body that waits too.
        if client.peer_has_left() {
            return Err(Overloaded::ClientHasLeft);
        }
        let place = Place { _permit: permit };
        Ok((place, clock::monotonic().saturating_sub(since)))
    }
}

impl<S: AppService> Pipeline<S> {
    /// Waits until the application may work on a request; or what its client is told instead.
    pub(super) async fn enter(
        &self,
        id: &RequestId,
        client: &Activity,
        track: &mut Track,
    ) -> Result<(), Response<Bytes>> {
        match self.places.take(client).await {
            Ok((place, queued)) => {
                track.enter(place, queued);
                Ok(())
            }
            Err(overload) => {
                let reason = match overload {
                    Overloaded::QueueFull => {
                        "the queue is full: `http.queue`, `http.max_in_flight`"
                    }
                    Overloaded::WaitedTooLong => {
                        "no place was free in time: `http.max_queue_wait`, `http.max_in_flight`"
                    }
                    Overloaded::ClientHasLeft => overload.reason(),
                };
                Err(self.overloaded(overload, reason, id))
            }
        }
    }

    /// What a client is told for whom there is no place, for this reason. Of one that has left nothing is noted: nobody sees the answer.
    pub(super) fn overloaded(
        &self,
        overload: Overloaded,
        reason: &'static str,
        id: &RequestId,
    ) -> Response<Bytes> {
        if overload == Overloaded::ClientHasLeft {
            return reply::overloaded();
        }
        self.seat.overloaded();
        self.unserved.overloaded(reason, id);
        self.with_reason(reply::overloaded(), || {
            Refused::for_reason("overloaded", reason)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scoreboard::Scoreboard;

    fn places(max_in_flight: u32, queue: u32) -> Places {
        let settings = PlacesSettings {
            max_in_flight: Some(max_in_flight).filter(|places| *places > 0),
            queue,
            max_queue_wait: Duration::from_secs(1),
        };
        Places::new(settings, Scoreboard::new().unwrap().writer(0))
    }

    #[tokio::test(start_paused = true)]
    async fn those_in_the_queue_are_served_in_order_and_those_beyond_it_not_at_all() {
        let client = Activity::new();
        let places = places(1, 2);
        let (first, queued) = places.take(&client).await.unwrap();
        assert_eq!(queued, Duration::ZERO);
        let order = std::sync::Mutex::new(Vec::new());
        let wait = async |number| {
            let place = places.take(&client).await.map(|(place, _)| place);
            order.lock().unwrap().push((number, place.is_ok()));
            drop(place);
        };
        tokio::join!(wait(1), wait(2), wait(3), async {
            tokio::task::yield_now().await;
            drop(first);
        });
        assert_eq!(*order.lock().unwrap(), [(3, false), (1, true), (2, true)]);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_longer_than_is_said_and_whoever_gives_up_makes_room() {
        let client = Activity::new();
        let places = places(1, 1);
        let (first, _) = places.take(&client).await.unwrap();
        let given_up = tokio::time::timeout(Duration::from_millis(1), places.take(&client));
        assert!(given_up.await.is_err());
        let waited = places.take(&client).await;
        assert_eq!(waited.unwrap_err(), Overloaded::WaitedTooLong);
        drop(first);
        assert!(places.take(&client).await.is_ok());
    }

    #[tokio::test]
    async fn without_a_limit_nobody_waits() {
        let client = Activity::new();
        let places = places(0, 0);
        let _first = places.take(&client).await.unwrap();
        assert!(places.take(&client).await.is_ok());
    }
}
