//! What can be asked, and how it is answered.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};

use super::callers::Door;
use super::probes::{self, Probe, Verdict};
use super::{Desk, access, beside, dashboard, metrics, openmetrics, orders, page, processes};
use crate::sys::clock;

/// The type of JSON.
pub(super) const JSON: [(HeaderName, &str); 1] = [(CONTENT_TYPE, "application/json")];

/// Nobody keeps an answer: it is of now.
pub(super) const NO_STORE: [(HeaderName, &str); 1] = [(CACHE_CONTROL, "no-store")];

const TEXT: [(HeaderName, &str); 1] = [(CONTENT_TYPE, "text/plain; charset=utf-8")];

/// The routes of one listener.
pub(super) fn router(desk: &Arc<Desk>, is_tcp: bool) -> Router {
    let mut watched = Router::new()
        .route("/metrics", get(scrape))
        .route("/events", get(dashboard::watch))
        .with_state(Arc::clone(desk));
    let guards = desk.guards.as_ref();
    let door = if is_tcp {
        Door::Tcp(guards.and_then(|guards| guards.control.clone()))
    } else {
        Door::Unix(desk.owner)
    };
    if let Some(guards) = guards.filter(|_| is_tcp) {
        let guard = Arc::clone(&guards.read);
        let judge = middleware::from_fn_with_state(guard, access::judge);
        watched = watched.route_layer(judge);
    }
    Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/startupz", get(started))
        .with_state(Arc::clone(desk))
        .merge(watched)
        .merge(orders::router(desk, door))
        // What it shows comes from `/events`: the page itself says nothing of this server.
        .merge(page::router())
}

async fn live(State(desk): State<Arc<Desk>>, RawQuery(query): RawQuery) -> Response {
    let status = desk.ask().await;
    shown(&probes::live(status.as_ref()), query.as_deref())
}

async fn ready(State(desk): State<Arc<Desk>>, RawQuery(query): RawQuery) -> Response {
    let status = desk.ask().await;
    let verdict = probes::ready(status.as_ref(), desk.ready_min);
    shown(&verdict, query.as_deref())
}

async fn started(State(desk): State<Arc<Desk>>, RawQuery(query): RawQuery) -> Response {
    let status = desk.ask().await;
    shown(&probes::started(status.as_ref()), query.as_deref())
}

fn shown(verdict: &Verdict, query: Option<&str>) -> Response {
    let code = if verdict.is_good() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut parameters = query.unwrap_or_default().split('&');
    let is_verbose = parameters.any(|it| it.split('=').next() == Some("verbose"));
    if is_verbose {
        return (code, NO_STORE, TEXT, verdict.to_string()).into_response();
    }
    let body = serde_json::to_string(verdict).unwrap_or_default();
    (code, NO_STORE, JSON, body).into_response()
}

async fn scrape(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Response {
    let began = clock::monotonic();
    let (Some(status), Some(tally)) = (desk.ask().await, desk.scoreboard.tally()) else {
        let probe = Probe::Live;
        return shown(&Verdict::silent(probe), None);
    };
    let processes = desk.processes.or(|| processes::of_now(&status.workers));
    let beside = desk.beside.or(|| beside::of_now(&status));
    let snapshot = metrics::Snapshot {
        is_ready: probes::ready(Some(&status), desk.ready_min).is_good(),
        status,
        tally,
        processes,
        beside,
        now: clock::unix(),
        began,
    };
    let accept = headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .unwrap_or_default();
    match openmetrics::encode(snapshot, accept) {
        Ok((content_type, text)) => {
            (NO_STORE, [(CONTENT_TYPE, content_type)], text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "admin: the metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
