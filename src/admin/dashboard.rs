//! Those who watch: one sample a second for all of them together, while there are any, and none otherwise.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, RETRY_AFTER};
use axum::http::{HeaderName, StatusCode};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Sleep;

use super::sample::{Sampler, Seen};
use super::timeline::{self, Timeline};
use super::{Desk, page, probes, processes};
use crate::sys::clock;

/// Watchers at once. Each is a connection of a browser that stays open.
const WATCHERS_MAX: usize = 16;

/// So often a sample is taken.
const EVERY: Duration = Duration::from_secs(1);

/// What has happened is shown at once, but not more often than this.
const SOONEST: Duration = Duration::from_millis(200);

/// Then a watcher has to come again, before its connection is ended (`server`), and where a token is needed it is judged again.
const WATCH_MAX: Duration = Duration::from_mins(9);

/// See the module.
#[derive(Debug)]
pub(super) struct Dashboard {
    /// The last document.
    samples: watch::Sender<Arc<str>>,
    timeline: Timeline,
    places: Arc<Semaphore>,
    /// Whether samples are being taken. Watchers come, and the last one is found to have gone, under this lock.
    is_sampling: Mutex<bool>,
}

impl Dashboard {
    pub(super) fn new(timeline: Timeline) -> Self {
        Self {
            samples: watch::Sender::new("".into()),
            timeline,
            places: Arc::new(Semaphore::new(WATCHERS_MAX)),
            is_sampling: Mutex::new(false),
        }
    }
}

/// `/events`: a stream of what happens, as Server-Sent Events.
pub(super) async fn watch(State(desk): State<Arc<Desk>>) -> Response {
    let Ok(place) = Arc::clone(&desk.dashboard.places).try_acquire_owned() else {
        let detail = format!("{WATCHERS_MAX} watch already");
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            [(RETRY_AFTER, "10")],
            detail,
        )
            .into_response();
    };
    let mut timeline = desk.dashboard.timeline.watch();
    timeline.mark_changed();
    let watcher = Watcher {
        timeline,
        samples: subscribe(&desk),
        end: Box::pin(tokio::time::sleep(WATCH_MAX)),
        _place: place,
    };
    let events = stream::unfold(watcher, |mut watcher| async {
        let event = watcher.next().await?;
        Some((Ok::<_, Infallible>(event), watcher))
    });
    let own = [
        (CACHE_CONTROL, "no-store"),
        // nginx would gather it.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (page::protection(), own, Sse::new(events)).into_response()
}

fn subscribe(desk: &Arc<Desk>) -> watch::Receiver<Arc<str>> {
    let dashboard = &desk.dashboard;
    let mut is_sampling = lock(&dashboard.is_sampling);
    let mut samples = dashboard.samples.subscribe();
    if *is_sampling {
        // It is a second old at most.
        samples.mark_changed();
    } else {
        *is_sampling = true;
        tokio::spawn(take_samples(Arc::clone(desk)));
    }
    samples
}

/// Until nobody watches.
async fn take_samples(desk: Arc<Desk>) {
    let dashboard = &desk.dashboard;
    let mut sampler = Sampler::default();
    let mut timeline = dashboard.timeline.watch();
    loop {
        let document = take_sample(&desk, &mut sampler).await;
        dashboard.samples.send_replace(document.into());
        tokio::time::sleep(SOONEST).await;
        let rest = EVERY.saturating_sub(SOONEST);
        // What has happened has changed the rest of the picture too.
        let _whichever = tokio::time::timeout(rest, timeline.changed()).await;
        let mut is_sampling = lock(&dashboard.is_sampling);
        if dashboard.samples.receiver_count() == 0 {
            *is_sampling = false;
            return;
        }
    }
}

async fn take_sample(desk: &Desk, sampler: &mut Sampler) -> String {
    let (status, tally) = (desk.ask().await, desk.scoreboard.tally());
    let unix = clock::unix();
    let Some((status, tally)) = status.zip(tally) else {
        return serde_json::json!({ "now": unix.as_secs_f64(), "silent": true }).to_string();
    };
    let seen = Seen {
        readiness: probes::ready(Some(&status), desk.ready_min),
        usages: processes::of_now(&status.workers),
        status,
        tally,
        seats: desk.scoreboard.views().collect(),
        unix,
        monotonic: clock::monotonic(),
    };
    serde_json::to_string(&sampler.sample(seen)).unwrap_or_default()
}

fn lock(is_sampling: &Mutex<bool>) -> std::sync::MutexGuard<'_, bool> {
    is_sampling.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One who watches.
struct Watcher {
    timeline: watch::Receiver<std::collections::VecDeque<Arc<str>>>,
    samples: watch::Receiver<Arc<str>>,
    end: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Watcher {
    /// The next thing to tell; one who reads slowly misses samples and has the last one.
    async fn next(&mut self) -> Option<Event> {
        tokio::select! {
            () = &mut self.end => None,
            changed = self.timeline.changed() => {
                changed.ok()?;
                let events = timeline::written(&self.timeline.borrow_and_update());
                Some(Event::default().event("timeline").data(events))
            }
            changed = self.samples.changed() => {
                changed.ok()?;
                let sample = Arc::clone(&self.samples.borrow_and_update());
                Some(Event::default().event("sample").data(&*sample))
            }
        }
    }
}
