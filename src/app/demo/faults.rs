//! What goes wrong in real applications, on demand. Exists only with `app.faults`.

use http::{Response, StatusCode};
use serde_json::json;

use super::answers::{Body, json};

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
