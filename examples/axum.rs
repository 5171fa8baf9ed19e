//! A complete service on destrier: an axum router that answers what things cost, to whoever has a token.
//!
//! ```text
//! cargo run --example axum -- run -c examples/axum.toml
//! TOKEN=$(cargo run -q --example axum -- token issue -c examples/axum.toml --sub alice --scope prices:read)
//! curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8080/prices/hay
//! ```
//!
//! Tokens are verified and rules are judged before a handler is called: `examples/axum.toml` says who may do what, and no
//! line here does. Every subcommand of `destrier` is one of this program too.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::process::ExitCode;
use std::sync::Arc;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, OptionalFromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use destrier::{Boot, BoxError, Claims, Server};
use serde_json::{Value, json};

fn main() -> ExitCode {
    Server::new(boot).run()
}

/// What all handlers of a worker share. A worker is a process: what several workers must agree on belongs in a database.
#[derive(Debug)]
struct Shop {
    prices: BTreeMap<String, u32>,
    generation: u64,
}

/// Runs once in each worker. Until it is done no request comes; when it fails the reload is rolled back, and whoever asked
/// for the reload is told why.
async fn boot(boot: Boot) -> Result<Router, BoxError> {
    let file = boot.config.file.with_file_name("prices.json");
    let text = fs::read_to_string(&file)
        .map_err(|error| format!("cannot read `{}`: {error}", file.display()))?;
    let prices =
        serde_json::from_str(&text).map_err(|error| format!("`{}`: {error}", file.display()))?;
    let shop = Shop {
        prices,
        generation: boot.generation,
    };
    Ok(Router::new()
        .route("/", get(home))
        .route("/prices/{thing}", get(price))
        .route("/me", get(me))
        .route("/watch", get(watch))
        .with_state(Arc::new(shop)))
}

/// A public route that knows its visitor, if the visitor shows a token.
async fn home(State(shop): State<Arc<Shop>>, visitor: Option<User>) -> Json<Value> {
    Json(json!({
        "hello": visitor.map_or_else(|| "stranger".to_owned(), |user| user.name),
        "things": shop.prices.len(),
        "generation": shop.generation,
    }))
}

/// Needs the scope `prices:read`; the rule says so.
async fn price(
    State(shop): State<Arc<Shop>>,
    user: User,
    Path(thing): Path<String>,
) -> Result<Json<Value>, StatusCode> {
    let price = shop.prices.get(&thing).ok_or(StatusCode::NOT_FOUND)?;
    Ok(Json(
        json!({ "thing": thing, "price": price, "for": user.name }),
    ))
}

/// A WebSocket, on which a client names things and is told what they cost. A page sends its token as a subprotocol:
/// `new WebSocket(address, ["prices", "bearer", token])`.
async fn watch(State(shop): State<Arc<Shop>>, upgrade: WebSocketUpgrade) -> Response {
    let upgrade = upgrade.protocols(["prices"]);
    upgrade.on_upgrade(|socket| tell(socket, shop))
}

/// Until the client has enough, or the server ends it because the worker goes.
async fn tell(mut socket: WebSocket, shop: Arc<Shop>) {
    while let Some(Ok(message)) = socket.recv().await {
        let Message::Text(thing) = message else {
            continue;
        };
        let price = shop.prices.get(thing.as_str());
        let answer = json!({ "thing": thing.as_str(), "price": price });
        if socket
            .send(Message::text(answer.to_string()))
            .await
            .is_err()
        {
            return;
        }
    }
}

/// The claims as they are: a request extension.
async fn me(Extension(claims): Extension<Arc<Claims>>) -> Json<Value> {
    let scopes: Vec<&str> = claims.scopes().collect();
    Json(json!({ "subject": claims.subject(), "scopes": scopes }))
}

/// The user that a token is about: an extractor, so that a handler states in its signature that it needs one.
#[derive(Debug)]
struct User {
    name: String,
}

impl User {
    fn of(parts: &Parts) -> Option<Self> {
        let claims = parts.extensions.get::<Arc<Claims>>()?;
        let name = claims.subject()?.to_owned();
        Some(Self { name })
    }
}

impl<S: Sync> FromRequestParts<S> for User {
    type Rejection = NoUser;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NoUser> {
        Self::of(parts).ok_or(NoUser)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for User {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(Self::of(parts))
    }
}

/// The rules let a request pass that has no user, but its handler needs one: rules and handlers do not fit together.
#[derive(Debug)]
struct NoUser;

impl IntoResponse for NoUser {
    fn into_response(self) -> Response {
        let body = json!({ "detail": "The rule for this path must ask for a token with a subject.", "code": "no_user" });
        (StatusCode::INTERNAL_SERVER_ERROR, Json(body)).into_response()
    }
}
