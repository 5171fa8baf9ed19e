//! The promises, held against the real program: real processes, sockets and signals. A file for each promise.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod reload;
mod stop;
mod support;
