//! The command line as clap understands it: names, help and value types; nothing is done here.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

mod key;
mod tls;
mod token;
mod user;

pub use key::{KeyAlgorithm, KeyCommand, PROMOTE_AFTER, RotateCommand, RotatePlaceArgs};
pub use tls::{SelfSignedArgs, TlsCommand};
pub use token::{TokenCommand, TokenInput, TokenIssueArgs, TokenRevokeArgs, TokenVerifyArgs};
pub use user::{UserAddArgs, UserArgs, UserCommand, UserPasswdArgs, UserPlaceArgs};

const OVERVIEW: &str = "\
Start:       destrier check && destrier run
Operate:     destrier status; destrier plan; destrier reload; destrier upgrade; destrier stop
Try a token: destrier token issue --sub alice | destrier token verify

Every key of a section of the configuration is also an environment variable: DESTRIER_WORKERS__COUNT=4 is `count` in [workers]. \
`destrier config show` tells what is in force and where it came from.

Exit codes: 0 stopped or done as asked, 1 failed, 2 wrong usage or configuration, 3 the application failed to boot.";

const RUN: &str = "\
Examples:
  destrier run -c /etc/mysite/destrier.toml
  destrier run wsgi:mysite.wsgi:application --bind 127.0.0.1:8000
  destrier run asgi:app.main:app --bind 127.0.0.1:8000
  destrier run asgi:app.main:app --reload        while it is written

Signals: TERM stops when the requests in flight are done, INT and QUIT at once, HUP reloads, USR2 upgrades, USR1 opens the log anew.

The configuration may be written as `destrier config schema` says; `destrier check` finds every mistake in it.";

const UPGRADE: &str = "\
Examples:
  destrier upgrade                               the file was replaced or its link moved
  destrier upgrade --binary /opt/new/destrier    another file

The new program is asked first: it reads the configuration, the keys and the state of the master. When it cannot go on, \
everything stays as it is and the reason is told. Else the master becomes it, with the same process id, listeners, \
connections and workers, and a reload replaces the workers. No request is lost.

Exit codes: 0 the workers of the new program serve, 1 they do not, and the reason says which program is the master.";

const PLAN: &str = "\
The master reads the configuration and the key files as a reload would, with its own environment and arguments, and tells what it \
would keep, restart (workers of the new generation have it), rebind (addresses are opened or closed) and refuse (only a restart \
of the master changes it).

Exit codes: 0 nothing would change, 1 no answer: no master runs, or what lies on disk is wrong; the reasons are on standard error, \
2 something would change, or a reload would be refused. Wrong usage exits with 2 as well, with nothing on standard output.";

const STATUS: &str = "\
Examples:
  destrier status --watch                        again every 2 seconds
  destrier status --json --watch=5               a line of JSON every 5 seconds
  destrier status --json | jq .workers[].state

Fields of the JSON are only ever added; its `schema_version` is raised when one goes.";

const TOP: &str = "\
Keys: q ends, r reloads after a confirmation, s sorts the workers by slot, requests a second, requests in flight or memory.";

const EXPLAIN: &str = "\
Examples:
  destrier auth explain GET /admin/users
  destrier token issue --sub alice --scope admin | destrier auth explain DELETE /admin/users/7 --token-file -

Key sets and deny lists that servers fetch are fetched once, when there is a token.

Exit codes: 0 the request would pass, 1 it would be refused, 2 wrong usage or configuration, 4 nobody can tell, for keys or a deny list \
could not be fetched.";

/// Serves applications behind verified JSON Web Tokens: a master process that supervises workers.
#[derive(Debug, Parser)]
#[command(
    name = "destrier",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
#[command(after_help = OVERVIEW)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// One subcommand.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the master in the foreground and serve until told to stop
    #[command(after_help = RUN)]
    Run(RunArgs),
    /// Check the configuration and the files it names; shows every error
    Check(ConfigArgs),
    /// Show what runs now
    #[command(after_help = STATUS)]
    Status(StatusArgs),
    /// Show what runs now, live, in this terminal
    #[command(after_help = TOP)]
    Top(MasterArgs),
    /// Show what a reload would change, and change nothing; exits 0 when that is nothing, 2 when it is something
    #[command(after_help = PLAN)]
    Plan {
        /// Which master
        #[command(flatten)]
        master: MasterArgs,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Put the configuration on disk into force; exits non-zero, with the reason, when the old one stays
    Reload(MasterArgs),
    /// Go on as a new program without a restart: the same process id, no request lost
    #[command(after_help = UPGRADE)]
    Upgrade {
        /// Which master
        #[command(flatten)]
        master: MasterArgs,
        /// The program to go on as [default: the file that the master was started from, as it is now]
        #[arg(long, value_name = "PATH")]
        binary: Option<PathBuf>,
    },
    /// Change the number of workers until the next reload
    Scale {
        /// How many shall serve, 1 to 512
        #[arg(value_parser = clap::value_parser!(u16).range(1..=512), allow_negative_numbers = true)]
        workers: u16,
        /// Which master
        #[command(flatten)]
        master: MasterArgs,
    },
    /// Stop the master and its workers; requests in flight are finished
    Stop {
        /// Which master
        #[command(flatten)]
        master: MasterArgs,
        /// Do not wait for requests in flight
        #[arg(long)]
        fast: bool,
    },
    /// Open the log files anew, after they were rotated
    Reopen(MasterArgs),
    /// The configuration: what is in force and what may be written
    Config {
        /// What to do
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Who may pass: try the rules of the configuration
    Auth {
        /// What to do
        #[command(subcommand)]
        command: AuthCommand,
    },
    /// Tokens: issue, verify, inspect
    Token {
        /// What to do
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Keys that sign tokens
    Key {
        /// What to do
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Certificates of the server
    Tls {
        /// What to do
        #[command(subcommand)]
        command: TlsCommand,
    },
    /// Users of the token service: add, list, passwd, disable, enable, remove
    User {
        /// What to do
        #[command(subcommand)]
        command: UserCommand,
    },
}

/// `destrier status`.
#[derive(Debug, Clone, Default, Args)]
pub struct StatusArgs {
    /// Which master
    #[command(flatten)]
    pub master: MasterArgs,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// What every thread of every Python worker does now
    #[arg(long)]
    pub stacks: bool,
    /// Again and again, every so many seconds, until interrupted [default: 2]
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "2", value_parser = clap::value_parser!(u64).range(1..=86400), conflicts_with = "stacks")]
    pub watch: Option<u64>,
    /// The JSON Schema of the JSON instead; no master is asked
    #[arg(long, conflicts_with_all = ["json", "stacks", "watch"])]
    pub schema: bool,
}

/// Which master: the one that was started with this configuration.
#[derive(Debug, Clone, Default, Args)]
pub struct MasterArgs {
    /// The configuration file it runs with [default: destrier.toml here, else none, as `destrier run wsgi:…` does in this folder, else
    /// /etc/destrier/destrier.toml]
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Its control socket, whatever its configuration
    #[arg(long, value_name = "PATH", conflicts_with = "file")]
    pub control: Option<PathBuf>,
}

/// `destrier run`.
#[derive(Debug, Clone, Default, Args)]
pub struct RunArgs {
    /// Serve this Python application, as `wsgi:MODULE:ATTRIBUTE` or `asgi:MODULE:ATTRIBUTE`, instead of `app.wsgi` or `app.asgi`;
    /// needs no configuration file: without one every request may pass
    #[arg(value_name = "APPLICATION", value_parser = application)]
    pub application: Option<ApplicationArg>,
    /// Which configuration
    #[command(flatten)]
    pub config: ConfigArgs,
    /// For development: a change of a source file of the Python application is a reload, and a page shows the traceback of one that
    /// cannot be loaded (`app.reload_on_change`)
    #[arg(long)]
    pub reload: bool,
    /// Listen for commands here instead of `process.control_socket`
    #[arg(long, value_name = "PATH")]
    pub control: Option<String>,
    /// An upgrade: says whether this program can go on with the state on standard input, and ends.
    #[arg(long, hide = true, conflicts_with = "resume")]
    pub preflight: bool,
    /// An upgrade: goes on with the state in this descriptor.
    #[arg(long, hide = true, value_name = "FD")]
    pub resume: Option<i32>,
}

/// A Python application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApplicationArg {
    /// What came after `wsgi:`.
    Wsgi(String),
    /// What came after `asgi:`.
    Asgi(String),
}

fn application(text: &str) -> Result<ApplicationArg, String> {
    match text.split_once(':') {
        Some(("wsgi", entry)) => Ok(ApplicationArg::Wsgi(entry.to_owned())),
        Some(("asgi", entry)) => Ok(ApplicationArg::Asgi(entry.to_owned())),
        Some(_) | None => Err("an application is named as in `wsgi:mysite.wsgi:application` or `asgi:app.main:app`; a configuration file with `--config FILE`".to_owned()),
    }
}

/// Which configuration, and what to change in it.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigArgs {
    /// The configuration file [default: destrier.toml here, else /etc/destrier/destrier.toml]
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Listen here instead of `server.bind`: HOST:PORT, unix:PATH, fd:N, systemd:NAME; may be given several times
    #[arg(short = 'b', long, value_name = "ADDRESS")]
    pub bind: Vec<String>,
    /// Instead of `workers.count`: a number or auto
    #[arg(short = 'w', long, value_name = "N")]
    pub workers: Option<String>,
    /// Instead of `log.level`: error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

/// `destrier config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Every key with its value in force and where that came from
    Show(ConfigArgs),
    /// The JSON Schema of the configuration file
    Schema,
}

/// `destrier auth`.
#[derive(Debug, Subcommand)]
pub enum AuthCommand {
    /// Say which rule decides about a request, what comes of it, and why; the request is sent nowhere
    #[command(after_help = EXPLAIN)]
    Explain(AuthExplainArgs),
}

/// `destrier auth explain`.
#[derive(Debug, Args)]
pub struct AuthExplainArgs {
    /// The method, in capitals
    pub method: String,
    /// The path as a client would send it; a query is not looked at
    pub path: String,
    /// The Host field, for rules that are for some hosts only
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// The file that holds the token; `-` is standard input [default: a request without a token]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Fetch nothing
    #[arg(long)]
    pub offline: bool,
    /// The configuration that has the rules [default: as for run]
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
