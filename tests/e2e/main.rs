//! The promises, held against the real program: real processes, sockets and signals. A file for each promise.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod access_log;
mod admin;
mod asgi;
mod binding;
mod boot;
mod bytes;
mod compression;
mod connections;
mod control;
mod crash;
mod dashboard;
mod development;
mod early_hints;
mod event_loop;
mod forensics;
mod guard;
mod handover;
mod hang;
mod headers;
mod hooks;
mod http2;
mod identity;
mod judging_commands;
mod key_files;
mod key_rotation;
mod listeners;
mod logs;
mod memory;
mod notify;
mod orders;
#[cfg(feature = "otlp")]
mod otlp;
mod overload;
mod pid1;
mod plan;
mod poison;
mod preload;
mod probe;
mod processes;
mod proxies;
mod python;
mod python_faults;
mod python_package;
mod python_threads;
mod rate_limits;
mod recycle;
mod reload;
mod remote_keys;
mod request_timeout;
mod requests;
mod rude_clients;
mod scale;
mod serve;
mod signals;
mod slow_bodies;
mod slow_clients;
mod static_files;
mod stop;
mod support;
mod term_timeline;
mod tls;
mod tls_clients;
mod token;
mod token_flush;
mod token_postgres;
mod token_service;
mod trace_context;
mod upgrade;
mod upgrade_refused;
mod websocket;
mod without_file;
mod wsgi;
