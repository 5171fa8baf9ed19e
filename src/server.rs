//! The library's front door: an application and the whole of destrier around it.

use clap::Parser;

use crate::app::App;
use crate::cli::Cli;
use crate::commands;

/// Runs a tower service under destrier's master, configuration and command line.
///
/// ```no_run
/// use std::convert::Infallible;
/// use std::process::ExitCode;
///
/// use axum::{Router, routing::get};
/// use destrier::{Boot, Server};
///
/// fn main() -> ExitCode {
///     Server::new(|_boot: Boot| async {
///         Ok::<_, Infallible>(Router::new().route("/", get(|| async { "hello" })))
///     })
///     .run()
/// }
/// ```
#[derive(Debug)]
pub struct Server<A> {
    app: A,
}

impl<A: App> Server<A> {
    /// Of an application: a function that boots it, once in each worker.
    pub fn new(app: A) -> Self {
        Self { app }
    }

    /// Does what the command line says, `run` among it, and returns what the process shall exit with. Call it first
    /// thing in `main`, before any thread is started: the master forks.
    pub fn run(self) -> std::process::ExitCode {
        match commands::execute(&Cli::parse(), self.app) {
            Ok(code) => code.into(),
            Err(error) => {
                commands::complain(&error);
                error.code.into()
            }
        }
    }
}
