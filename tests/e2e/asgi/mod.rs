//! ASGI 3 as clients see it: lifespans, every shape of an answer, uploads, streams, WebSockets, what an application is told.

mod answers;
mod frameworks;
mod lifespan;
mod operation;
mod scope;
mod streams;
mod uploads;
mod websocket;

use crate::support::server::Setup;
use crate::support::shapes;

/// The application of `tests/fixtures/asgi/shapes.py`, in one worker.
fn shapes() -> Setup {
    serving("shapes:app")
}

/// What a module of that folder serves.
fn serving(application: &str) -> Setup {
    shapes::serving("asgi", application)
}
