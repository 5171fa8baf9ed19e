//! `/control`: what whoever asks may order, and orders, which the master carries out.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::callers::{Door, Peer, Refused};
use super::routes::{JSON, NO_STORE};
use super::{Asked, Desk, page};
use crate::channel::{Order, OrderOutcome};

/// The longest body of an order, in bytes.
const BODY_MAX: usize = 1024;

/// How long a body may take.
const BODY_WAIT: Duration = Duration::from_secs(5);

/// Orders that wait for what becomes of them: probes must have connections left.
pub const ORDER_PLACES: u32 = 8;

/// Then nobody waits any longer for what becomes of an order; its connection is about to be ended (`server`).
const OUTCOME_WAIT: Duration = Duration::from_mins(9);

/// An order, who gave it, and where what came of it goes.
#[derive(Debug)]
pub struct Ordered {
    /// What.
    pub order: Order,
    /// Who, in words.
    pub by: String,
    /// Dropped where nobody will know.
    pub outcome: oneshot::Sender<OrderOutcome>,
}

/// Where orders are given.
#[derive(Debug, Clone)]
struct Counter {
    desk: Arc<Desk>,
    door: Arc<Door>,
}

pub(super) fn router(desk: &Arc<Desk>, door: Door) -> Router {
    let counter = Counter {
        desk: Arc::clone(desk),
        door: Arc::new(door),
    };
    Router::new()
        .route("/control", get(permitted).fallback(only_get))
        .route("/control/reload", post(reload).fallback(only_post))
        .route("/control/scale", post(scale).fallback(only_post))
        .route("/control/pause", post(pause).fallback(only_post))
        .with_state(counter)
}

/// What the page shows buttons for.
async fn permitted(
    State(counter): State<Counter>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let answer = match counter.door.admit(peer, &request) {
        Ok(_) => serde_json::json!({ "orders": ["reload", "scale", "pause"] }),
        Err(Refused { code, detail, .. }) => {
            serde_json::json!({ "orders": [], "code": code, "detail": detail })
        }
    };
    (page::protection(), NO_STORE, JSON, answer.to_string()).into_response()
}

async fn reload(
    State(counter): State<Counter>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let order = |body: &[u8]| nothing_in(body).map(|()| Order::Reload);
    counter.take(peer, request, order).await
}

async fn pause(
    State(counter): State<Counter>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let order = |body: &[u8]| nothing_in(body).map(|()| Order::Pause);
    counter.take(peer, request, order).await
}

async fn scale(
    State(counter): State<Counter>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    counter.take(peer, request, scale_in).await
}

impl Counter {
    /// Has the order carried out, if whoever gives it may.
    async fn take(
        &self,
        peer: Peer,
        request: Request,
        order: impl FnOnce(&[u8]) -> Result<Order, String>,
    ) -> Response {
        let by = match self.door.admit_order(peer, &request) {
            Ok(by) => by,
            Err(refused) => return refused.into_response(),
        };
        let Ok(place) = Arc::clone(&self.desk.orders).try_acquire_owned() else {
            let detail = format!("{ORDER_PLACES} orders wait already for what becomes of them");
            return Refused::new(429, "too_many", detail).into_response();
        };
        let answer = match self.carry_out(by, request.into_body(), order).await {
            Ok(outcome) => answered(&outcome),
            Err(refused) => refused.into_response(),
        };
        holding(place, answer).await
    }

    async fn carry_out(
        &self,
        by: String,
        body: Body,
        order: impl FnOnce(&[u8]) -> Result<Order, String>,
    ) -> Result<OrderOutcome, Refused> {
        let reading = to_bytes(body, BODY_MAX);
        let body = match tokio::time::timeout(BODY_WAIT, reading).await {
            Ok(Ok(body)) => body,
            // It ends here for one of two reasons, and who has left hears neither.
            Ok(Err(_)) => {
                let detail = format!("an order has {BODY_MAX} bytes at most");
                return Err(Refused::new(413, "body_too_large", detail));
            }
            Err(_) => {
                let detail = "the body did not arrive in time";
                return Err(Refused::new(408, "body_too_slow", detail));
            }
        };
        let order = order(&body).map_err(|detail| Refused::new(400, "bad_body", detail))?;
        let (outcome, told) = oneshot::channel();
        let ordered = Asked::Order(Ordered { order, by, outcome });
        let asked = async {
            self.desk.questions.send(ordered).await.ok()?;
            told.await.ok()
        };
        let outcome = tokio::time::timeout(OUTCOME_WAIT, asked).await;
        outcome.ok().flatten().ok_or_else(|| {
            let detail =
                "the master was told, and what came of it is not known here: see what has happened";
            Refused::new(503, "outcome_unknown", detail)
        })
    }
}

fn answered(outcome: &OrderOutcome) -> Response {
    let (status, answer) = match outcome {
        OrderOutcome::Done(done) => (StatusCode::OK, serde_json::json!({ "done": done })),
        OrderOutcome::Failed(reason) => (
            StatusCode::CONFLICT,
            serde_json::json!({ "failed": reason }),
        ),
        OrderOutcome::TooMany => {
            let detail = "too many orders within a second: nothing was done";
            return Refused::new(429, "too_many", detail).into_response();
        }
    };
    (status, NO_STORE, JSON, answer.to_string()).into_response()
}

/// The same answer, which gives its place back only when it is being written: an agent that is replaced because of the order waits for
/// that.
async fn holding(place: OwnedSemaphorePermit, answer: Response) -> Response {
    let (mut parts, body) = answer.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let length = HeaderValue::from(body.len());
    parts.headers.insert(CONTENT_LENGTH, length);
    let body = stream::once(async move {
        drop(place);
        Ok::<Bytes, Infallible>(body)
    });
    Response::from_parts(parts, Body::from_stream(body))
}

/// The router adds `Allow`.
async fn only_post() -> Refused {
    Refused::new(405, "method_not_allowed", "an order is given with POST")
}

async fn only_get() -> Refused {
    let detail = "what may be ordered is asked for with GET";
    Refused::new(405, "method_not_allowed", detail)
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        tracing::debug!(
            code = self.code,
            detail = self.detail,
            "admin: an order was refused"
        );
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::FORBIDDEN);
        let body = serde_json::json!({ "detail": self.detail, "code": self.code });
        let mut answer = (status, NO_STORE, JSON, body.to_string()).into_response();
        let fields = answer.headers_mut();
        if let Some(challenge) = self.challenge {
            fields.insert(WWW_AUTHENTICATE, challenge);
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            fields.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        answer
    }
}

/// Nothing, or an empty object.
fn nothing_in(body: &[u8]) -> Result<(), String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}

    if body.is_empty() {
        return Ok(());
    }
    serde_json::from_slice(body)
        .map(|Nothing {}| ())
        .map_err(|error| format!("this order has no body, or `{{}}`: {error}"))
}

fn scale_in(body: &[u8]) -> Result<Order, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Scale {
        workers: Option<u16>,
        by: Option<i8>,
    }

    const SHAPE: &str =
        "the body must be `{\"workers\": N}` with 1 to 512, or `{\"by\": 1}` or `{\"by\": -1}`";
    let scale: Scale = serde_json::from_slice(body).map_err(|error| format!("{SHAPE}: {error}"))?;
    match (scale.workers, scale.by) {
        (Some(workers @ 1..=512), None) => Ok(Order::ScaleTo(workers)),
        (None, Some(1)) => Ok(Order::ScaleUp),
        (None, Some(-1)) => Ok(Order::ScaleDown),
        _ => Err(SHAPE.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_to_scale_says_one_number_that_can_be() {
        for (body, order) in [
            ("{\"workers\": 3}", Order::ScaleTo(3)),
            ("{\"workers\":512}", Order::ScaleTo(512)),
            ("{\"by\": 1}", Order::ScaleUp),
            (" {\"by\":-1}\n", Order::ScaleDown),
        ] {
            assert_eq!(scale_in(body.as_bytes()), Ok(order), "{body}");
        }
        for body in [
            "",
            "{}",
            "3",
            "{\"workers\":0}",
            "{\"workers\":513}",
            "{\"workers\":-1}",
            "{\"by\":2}",
            "{\"by\":0}",
            "{\"workers\":3,\"by\":1}",
            "{\"workers\":3,\"fast\":true}",
            "{\"workers\":\"3\"}",
        ] {
            let refused = scale_in(body.as_bytes()).expect_err(body);
            assert!(refused.contains("1 to 512"), "{refused}");
        }
    }

    #[test]
    fn other_orders_say_nothing_more() {
        for body in ["", "{}", " { } "] {
            assert_eq!(nothing_in(body.as_bytes()), Ok(()), "{body}");
        }
        for body in ["[1]", "{\"fast\":true}", "x"] {
            assert!(nothing_in(body.as_bytes()).is_err(), "{body}");
        }
    }
}
