//! `destrier token`: which of its three commands, and what they have in common.

mod inspect;
mod issue;
mod verify;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::{CommandError, ExitCode};
use crate::auth::{MAX_TOKEN, UnixTime, algorithm};
use crate::cli::TokenCommand;
use crate::config::Algorithm;
use crate::sys::clock;

pub(super) fn run(command: &TokenCommand) -> Result<ExitCode, CommandError> {
    match command {
        TokenCommand::Issue(args) => issue::run(args)?,
        TokenCommand::Verify(args) => verify::run(args)?,
        TokenCommand::Inspect { token_file } => inspect::run(token_file)?,
    }
    Ok(ExitCode::Success)
}

fn now() -> UnixTime {
    UnixTime(clock::unix().as_secs())
}

/// The token in a file, or on standard input for `-`, without white space around it.
fn read_token(path: &Path) -> Result<Vec<u8>, CommandError> {
    // White space around the longest token is still read, so that too long is told from cut off.
    let most = 2 * MAX_TOKEN as u64;
    let mut token = Vec::new();
    let read = if path.as_os_str() == "-" {
        io::stdin().lock().take(most).read_to_end(&mut token)
    } else {
        File::open(path).and_then(|file| file.take(most).read_to_end(&mut token))
    };
    let name = path.display();
    read.map_err(|error| CommandError::usage(format!("token: cannot read `{name}`: {error}")))?;
    let token = token.trim_ascii();
    if token.is_empty() {
        return Err(CommandError::usage(format!(
            "token: `{name}` holds no token"
        )));
    }
    Ok(token.to_vec())
}

/// An algorithm by name; on the command line in any case.
fn parse_algorithm(text: &str) -> Result<Algorithm, CommandError> {
    let is_named = |each: &Algorithm| algorithm::name(*each).eq_ignore_ascii_case(text.trim());
    algorithm::ALL.into_iter().find(is_named).ok_or_else(|| {
        CommandError::usage(format!(
            "token: `--alg` must be one of {}, found `{text}`",
            algorithm::list(&algorithm::ALL)
        ))
    })
}

/// `30s`, `1h 5m`, or a bare number of seconds.
fn parse_duration(option: &str, text: &str) -> Result<Duration, CommandError> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text).map_err(|error| {
        CommandError::usage(format!(
            "token: `{option}` must be a duration as in 30s or 1h, found `{text}`: {error}"
        ))
    })
}

/// `NAME=VALUE`; the value is JSON, or text when it is not.
fn parse_claim(text: &str) -> Result<(&str, Value), CommandError> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
            Ok((name, value))
        }
        Some(_) | None => Err(CommandError::usage(format!(
            "token: `--claim` must be NAME=VALUE, found `{text}`"
        ))),
    }
}
