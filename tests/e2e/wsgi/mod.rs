//! WSGI (PEP 3333) as clients see it: every shape of an answer, uploads, streams, what an application is told.

mod answers;
mod environ;
mod frameworks;
mod streams;
mod uploads;

use crate::support::server::Setup;
use crate::support::shapes;

/// The application of `tests/fixtures/wsgi/shapes.py`, in one worker with one thread.
fn shapes() -> Setup {
    serving("shapes:application")
}

/// What a module of that folder serves.
fn serving(application: &str) -> Setup {
    shapes::serving("wsgi", application).set("app.threads", 1)
}
