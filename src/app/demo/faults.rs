//! What goes wrong in real applications, on demand. Exists only with `app.faults`.

use std::time::Duration;

use http::{Request, Response, StatusCode};
use serde_json::json;

use super::answers::{Body, json};
use crate::app::RequestBody;

/// Ends the process as a broken C extension would.
pub(super) fn crash() -> ! {
    std::process::abort()
}

/// Keeps the event loop for ever: no other request of this worker gets on.
pub(super) fn hang() -> ! {
    loop {
        std::thread::park();
    }
}

/// Works on the request in a thread of its own, which goes on when nobody waits for the answer any more: for ever, or for
/// so many milliseconds.
pub(super) async fn stuck(
    request: Request<RequestBody>,
    milliseconds: Option<u64>,
) -> Response<Body> {
    let working = tokio::task::spawn_blocking(move || {
        match milliseconds.map(Duration::from_millis) {
            Some(time) => std::thread::park_timeout(time),
            None => hang(),
        }
        drop(request);
    });
    match working.await {
        Ok(()) => json(StatusCode::OK, &json!({ "worked": milliseconds })),
        Err(error) => json(
            StatusCode::INTERNAL_SERVER_ERROR,
            &json!({ "error": error.to_string() }),
        ),
    }
}

/// Memory that nobody will give back.
pub(super) fn leak(mebibytes: usize) -> Response<Body> {
    let lost: &'static mut [u8] =
        Box::leak(vec![1_u8; mebibytes.saturating_mul(1 << 20)].into_boxed_slice());
    json(StatusCode::OK, &json!({ "leaked": lost.len() }))
}

/// Ends the process as an application that calls `exit()` would.
#[expect(clippy::disallowed_methods, clippy::exit, reason = "that is the fault")]
pub(super) fn exit(code: u8) -> ! {
    std::process::exit(code.into())
}
