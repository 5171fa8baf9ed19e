//! What a worker serves with, made of its task.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::mpsc;

use super::addresses::Addresses;
use super::connection::Serving;
use super::descriptors::Descriptors;
use super::limited::Limited;
use super::proxy_protocol::ProxyListeners;
use super::tls::SecureListeners;
use super::{Task, drain, http2};
use crate::access_log::AccessLog;
use crate::app::{AppService, BodyPace, Loan, Witness};
use crate::channel::ToMaster;
use crate::http::activity::Limits;
use crate::http::fresh_keys::FreshKeys;
use crate::http::wire::Bounds;
use crate::http::{
    ClientCertificates, Folders, Forwarding, Pipeline, PlacesSettings, Policy, Settings, Shared,
};
use crate::rate_limit::RateLimits;
use crate::telemetry::Recorder;
use crate::tokens;

/// An event stream is ended at least so long before its worker would be killed, so that it ends whole.
const STREAM_MARGIN: Duration = Duration::from_millis(500);

/// Who watches the threads of the application, and who takes the spans of its requests; each where there is one.
pub(super) type Watchers = (Option<Arc<dyn Witness>>, Option<Arc<dyn Recorder>>);

/// Of a worker that has booted.
pub(super) fn serving<S: AppService>(
    task: &Task,
    fresh_keys: Arc<FreshKeys>,
    (service, tokens): (S, Option<Box<tokens::Service>>),
    (witness, recorder): Watchers,
    (words, loan): (mpsc::UnboundedSender<ToMaster>, Option<Loan>),
) -> Serving<S> {
    let config = &task.config;
    let guard = Arc::clone(&task.guard);
    Serving {
        pipeline: Pipeline::new(
            (guard, fresh_keys),
            tokens,
            service,
            Shared {
                seat: task.seat.clone(),
                replay: task.replay.clone(),
                rates: rates(task),
                witness,
            },
            settings(task, recorder),
            request_ids(),
        ),
        limits: Limits {
            header_timeout: config.http.header_timeout,
            keep_alive: config.http.keep_alive,
            write_timeout: config.http.write_timeout,
            drain_linger: config.http.drain_linger,
        },
        dead_peer_timeout: config.http.dead_peer_timeout,
        http2: config.http.http2.then_some(http2::Settings {
            max_streams: config.http.max_streams,
            keep_alive_requests: config.http.keep_alive_requests,
        }),
        bounds: Bounds::new(config),
        tls: SecureListeners::new(config.tls.as_ref().zip(task.tls.clone())),
        open: drain::Open::with_max(config.http.max_connections),
        descriptors: Descriptors::of_this_process(),
        proxy_protocol: ProxyListeners::new(config),
        proxies: config.server.trusted_proxies.clone(),
        addresses: Addresses::new(
            config.http.max_connections_per_address,
            config.server.trusted_proxies.clone(),
        ),
        limited: Limited::new(task.seat.clone()),
        heir: OnceLock::new(),
        words,
        seat: task.seat.clone(),
        ready: loan.and_then(|loan| loan.ready().cloned()),
    }
}

/// Where a rule has a rate, the master has made the table.
fn rates(task: &Task) -> Option<Box<RateLimits>> {
    let table = task.rates.as_ref()?;
    let auth = &task.config.auth;
    let is_needed = auth.has_rate();
    is_needed.then(|| Box::new(RateLimits::new(&auth.rules, table)))
}

fn settings(task: &Task, recorder: Option<Arc<dyn Recorder>>) -> Settings {
    let config = &task.config;
    let (least, jitter_max) = (
        config.workers.max_requests,
        config.workers.max_requests_jitter,
    );
    // As in `request_ids`: without random numbers the workers go together.
    let random = getrandom::u32().unwrap_or_default();
    let jitter = random
        .checked_rem(jitter_max.saturating_add(1))
        .unwrap_or(0);
    Settings {
        worker: task.worker,
        readiness_path: config.health.readiness_path.clone(),
        bounds: Bounds::new(config),
        max_body: config.http.max_body,
        places: PlacesSettings {
            // Where requests wait for a thread, that is where it is decided who waits for how long.
            max_in_flight: if config.app.waits_for_threads() {
                None
            } else {
                config.http.max_in_flight
            },
            queue: config.http.queue,
            max_queue_wait: config.http.max_queue_wait,
        },
        body_pace: BodyPace {
            timeout: config.http.body_timeout,
            min_rate: config.http.body_min_rate,
        },
        folders: Folders::new(&config.http.static_folders),
        compression: Policy::new(config.compression.clone()),
        headers: config.headers.clone(),
        stream_grace: config.http.stream_grace.min(
            config
                .workers
                .graceful_timeout
                .saturating_sub(STREAM_MARGIN),
        ),
        keep_alive_requests: config.http.keep_alive_requests,
        access_log: AccessLog::new(config, task.worker, task.generation).map(Arc::new),
        max_requests: (least > 0).then(|| u64::from(least) + u64::from(jitter)),
        max_message: config.websocket.max_message,
        poison_guard: config.workers.poison_guard,
        trace_context: config.http.trace_context,
        recorder,
        forwarding: Forwarding::new(config),
        client_certificates: ClientCertificates::new(config),
    }
}

/// A random number: the first half of every request id of this worker.
fn request_ids() -> u64 {
    // A kernel without random numbers does not exist here (getrandom(2)); ids would then only count.
    getrandom::u64().unwrap_or_default()
}
