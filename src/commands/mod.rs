//! A file for each subcommand; this one chooses, and says what the process exits with.

use std::env;
use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::Path;

use crate::app::App;
use crate::cli::{Cli, Command, ConfigArgs};
use crate::config::{
    Config, ConfigErrors, DenyListSource, FetchKind, Loaded, Search, Sources, load, read,
};
use crate::key_files::{self, Files};
use crate::master::control::Request;
use crate::tokens::{DenyTable, Password};

mod ask;
mod auth;
mod check;
mod config;
mod fetched;
mod key;
mod plan;
mod preflight;
mod run;
mod stacks;
mod status;
mod tls;
mod token;
mod top;
mod upgrade;
mod user;

/// Does what the command line asks; `run` serves `app`.
///
/// # Errors
/// It could not be done; nothing half-done remains.
pub fn execute<A: App>(cli: &Cli, app: A) -> Result<ExitCode, CommandError> {
    match &cli.command {
        Command::Run(args) if args.preflight => preflight::run(args).map(|()| ExitCode::Success),
        Command::Run(args) => run::run(args, app),
        Command::Check(args) => check::run(args).map(|()| ExitCode::Success),
        Command::Status(args) if args.stacks => stacks::run(&args.master, args.json),
        Command::Status(args) => status::run(args),
        Command::Top(args) => top::run(args),
        Command::Plan { master, json } => plan::run(master, *json),
        Command::Reload(args) => ask::run(args, &Request::Reload {}),
        Command::Upgrade { master, binary } => upgrade::run(master, binary.as_deref()),
        Command::Scale { workers, master } => {
            ask::run(master, &Request::Scale { workers: *workers })
        }
        Command::Stop { master, fast } => ask::run(master, &Request::Stop { fast: *fast }),
        Command::Reopen(args) => ask::run(args, &Request::Reopen {}),
        Command::Config { command } => config::run(command).map(|()| ExitCode::Success),
        Command::Auth { command } => auth::run(command),
        Command::Token { command } => token::run(command),
        Command::Key { command } => key::run(command),
        Command::Tls { command } => tls::run(command),
        Command::User { command } => user::run(command),
    }
}

/// Says on standard error why a command failed.
pub fn complain(error: &CommandError) {
    if !error.message.is_empty() {
        tell(&error.message);
    }
}

/// What the process tells whoever started it. A protocol: scripts and systemd rely on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    /// Stopped or done as asked.
    Success,
    /// Failed while running; for `token verify`, not valid.
    Failure,
    /// Wrong usage or configuration.
    Usage,
    /// Of `plan`: a reload would change something, or be refused. The code of diff tools and their like, although clap's
    /// errors have it too.
    Changes,
    /// The application failed to boot.
    Boot,
    /// Of `token verify` and `auth explain`: nobody can tell, for keys or a deny list could not be fetched.
    Unknown,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(match code {
            ExitCode::Success => 0,
            ExitCode::Failure => 1,
            ExitCode::Usage | ExitCode::Changes => 2,
            ExitCode::Boot => 3,
            ExitCode::Unknown => 4,
        })
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub struct CommandError {
    /// What the process exits with.
    pub code: ExitCode,
    /// For standard error; several lines when several things are wrong.
    pub message: String,
}

impl fmt::Display for CommandError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for CommandError {}

impl CommandError {
    /// It was asked for wrongly, or the configuration or a file that it names is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            code: ExitCode::Usage,
            message: message.into(),
        }
    }

    /// It was asked for rightly, but could not be done.
    pub(crate) fn failure(message: impl Into<String>) -> Self {
        Self {
            code: ExitCode::Failure,
            message: message.into(),
        }
    }
}

impl From<ConfigErrors> for CommandError {
    fn from(errors: ConfigErrors) -> Self {
        Self::usage(errors.to_string())
    }
}

/// The configuration that the arguments and the environment ask for.
pub(crate) fn load_config(args: &ConfigArgs) -> Result<Config, CommandError> {
    Ok(load(&sources(args)?)?)
}

/// As [`load_config`], with how it came about.
pub(crate) fn read_config(args: &ConfigArgs) -> Result<Loaded, CommandError> {
    Ok(read(&sources(args)?)?)
}

/// The password of the token database; absent when none is configured.
pub(crate) fn load_database_password(config: &Config) -> Result<Option<Password>, CommandError> {
    key_files::load_database_password(&Files::on_disk(), config)
        .map_err(|error| misconfigured(&[error]))
}

/// The deny list in the token database; absent where the configuration has none there.
pub(crate) fn deny_table(config: &Config) -> Result<Option<DenyTable>, CommandError> {
    let is_table = |list: &DenyListSource| match list {
        DenyListSource::File(_) => false,
        DenyListSource::Remote(fetch) => fetch.kind == FetchKind::TokenDatabase,
    };
    let auth = &config.auth;
    let tokens = auth.tokens.as_ref();
    let Some(tokens) = tokens.filter(|_| auth.revocation.lists.iter().any(is_table)) else {
        return Ok(None);
    };
    let password = load_database_password(config)?;
    Ok(Some(DenyTable::new(tokens.clone(), password)))
}

/// What is wrong with things that the configuration names, a line each.
pub(crate) fn misconfigured(errors: &[String]) -> CommandError {
    let lines = errors.iter().map(|error| format!("config: {error}"));
    CommandError::usage(lines.collect::<Vec<_>>().join("\n"))
}

/// Where the configuration comes from; a reload reads the same sources again.
pub(crate) fn sources(args: &ConfigArgs) -> Result<Sources, CommandError> {
    let mut env = Vec::new();
    for (name, value) in env::vars_os() {
        let is_ours = |name: &&str| name.to_uppercase().starts_with("DESTRIER_");
        let Some(name) = name.to_str().filter(is_ours) else {
            continue;
        };
        let Some(value) = value.to_str() else {
            // Only the name of one in lower case is of interest.
            if !name.starts_with("DESTRIER_") {
                continue;
            }
            let message = format!("config: {name}: the value is not UTF-8");
            return Err(CommandError::usage(message));
        };
        env.push((name.to_owned(), value.to_owned()));
    }
    Ok(Sources {
        // That of a directory which is no more is not known, and nothing in it is to be found.
        folder: env::current_dir().unwrap_or_default(),
        file: args.file.clone(),
        application: None,
        bind: args.bind.clone(),
        workers: args.workers.clone(),
        log_level: args.log_level.clone(),
        control_socket: None,
        reload_on_change: false,
        env,
        search: Search {
            virtual_env: env::var("VIRTUAL_ENV").ok(),
            path: env::var("PATH").ok(),
        },
    })
}

/// The folder of a file that is about to be replaced, locked until it is dropped: `token revoke` and `key rotate` read what they
/// change, and may be at work in the same folder. Each takes a moment, so that the next one waits for it.
pub(crate) fn lock_folder_of(file: &Path) -> io::Result<File> {
    let folder = key_files::folder_of(file);
    let lock = File::open(folder)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let shown = folder.display();
            tell(&format!(
                "waiting for another command that changes files in `{shown}`"
            ));
            lock.lock()?;
        }
        Err(TryLockError::Error(error)) => return Err(error),
    }
    Ok(lock)
}

/// Writes what was asked for to standard output. A reader that has seen enough (`| head`) is no failure.
pub(crate) fn print(text: &str) -> Result<(), CommandError> {
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CommandError::failure(
            format!("cannot write to standard output: {error}"),
        )),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Says something on standard error that is no data. That nobody listens changes nothing.
pub(crate) fn tell(line: &str) {
    writeln!(io::stderr(), "{line}").unwrap_or_default();
}
