//! Destrier: a production app server that verifies tokens before the application is touched.
//!
//! A master forks and supervises workers; each worker serves an application, any tower service, behind a guard that
//! verifies JSON Web Tokens. [`Server`] puts all of it around an application of yours; `docs/architecture.md` is the
//! map of the rest.

pub mod access_log;
pub mod admin;
pub mod agent;
pub mod app;
pub mod auth;
pub mod channel;
pub mod cli;
pub mod commands;
pub mod config;
pub mod figures;
pub mod http;
pub mod interpreter;
pub mod key_files;
mod log_quota;
mod log_writer;
pub mod logging;
pub mod master;
mod master_end;
pub mod rate_limit;
pub mod refusal_class;
pub mod replay;
pub mod scoreboard;
mod server;
pub mod supervisor;
pub mod sys;
pub mod telemetry;
pub mod tls;
pub mod tokens;
pub mod worker;

pub use app::{
    App, Boot, BoxError, Client, Draining, EarlyHints, EarlyHintsError, InHand, Overloaded,
    RequestBody,
};
pub use auth::Claims;
pub use http::websocket::Subprotocols;
pub use http::{InProgress, TraceContext};
pub use scoreboard::RequestId;
pub use server::Server;
pub use tls::{ClientCertificate, Encryption};
