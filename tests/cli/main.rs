//! The commands as an operator meets them: whole outcomes of the real program. A file for each command.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod auth;
mod check;
mod config;
mod help;
mod key;
mod place;
mod plan;
mod run;
mod status;
#[path = "../e2e/support/mod.rs"]
#[expect(dead_code, reason = "the end-to-end tests use all of it")]
mod support;
mod tls;
mod token;
mod top;
mod user;
