//! `destrier token`: which of its four commands, and what they have in common.

mod inspect;
mod issue;
mod revoke;
mod verify;

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::{CommandError, ExitCode, tell};
use crate::auth::{MAX_TOKEN, UnixTime, algorithm};
use crate::cli::{TokenCommand, TokenInput};
use crate::config::Algorithm;
use crate::sys::clock;

pub(super) fn run(command: &TokenCommand) -> Result<ExitCode, CommandError> {
    match command {
        TokenCommand::Issue(args) => issue::run(args)?,
        TokenCommand::Verify(args) => {
            refuse_on_command_line(&args.token)?;
            verify::run(args)?;
        }
        TokenCommand::Inspect(args) => {
            refuse_on_command_line(args)?;
            inspect::run(args)?;
        }
        TokenCommand::Revoke(args) => revoke::run(args)?,
    }
    Ok(ExitCode::Success)
}

pub(super) fn now() -> UnixTime {
    UnixTime(clock::unix().as_secs())
}

fn refuse_on_command_line(input: &TokenInput) -> Result<(), CommandError> {
    if input.on_command_line.is_empty() {
        return Ok(());
    }
    Err(CommandError::usage(
        "token: a token on the command line is shown to every user of this machine; pass it on standard input or with `--token-file`",
    ))
}

/// The token in the file `path`, `-` for standard input, without white space around it. No message repeats it.
pub(super) fn read_token(path: &Path) -> Result<Vec<u8>, CommandError> {
    // White space around the longest token is still read, so that too long is told from cut off.
    const MOST: usize = 2 * MAX_TOKEN;
    let is_standard_input = path.as_os_str() == "-";
    let name = if is_standard_input {
        "standard input".to_owned()
    } else if path.as_os_str().as_encoded_bytes().starts_with(b"eyJ") {
        "a file whose name looks like a token".to_owned()
    } else {
        format!("`{}`", path.display())
    };
    if is_standard_input && io::stdin().is_terminal() {
        tell("the token is read from standard input: paste it, then press Enter and Ctrl-D");
    }
    let mut token = Vec::new();
    let read = if is_standard_input {
        let input = io::stdin().lock();
        input.take(MOST as u64).read_to_end(&mut token)
    } else {
        File::open(path).and_then(|file| file.take(MOST as u64).read_to_end(&mut token))
    };
    read.map_err(|error| CommandError::usage(format!("token: cannot read {name}: {error}")))?;
    let refuse = |problem: &str| Err(CommandError::failure(format!("token: {name} {problem}")));
    if token.len() == MOST {
        return refuse("holds more than any token");
    }
    let token = token.trim_ascii();
    if token.is_empty() {
        return refuse("holds no token");
    }
    if token.iter().any(u8::is_ascii_whitespace) {
        return refuse("holds white space within the token; leave out `Bearer` and line breaks");
    }
    Ok(token.to_vec())
}

/// How long tokens are valid: a second at least, and not so long that a date would be none.
fn parse_ttl(text: &str) -> Result<Duration, CommandError> {
    const LONGEST: Duration = Duration::from_hours(24 * 365 * 100);
    let ttl = parse_duration("--ttl", text)?;
    if ttl < Duration::from_secs(1) || ttl > LONGEST {
        return Err(CommandError::usage(format!(
            "token: `--ttl` must be 1s to 100 years (36500d), found `{text}`"
        )));
    }
    Ok(ttl)
}

/// An algorithm by name; on the command line in any case.
fn parse_algorithm(text: &str) -> Result<Algorithm, CommandError> {
    let text = text.trim();
    let is_named = |each: &Algorithm| algorithm::name(*each).eq_ignore_ascii_case(text);
    let known = algorithm::ALL.into_iter().find(is_named);
    known.or_else(|| algorithm::by_name(text)).ok_or_else(|| {
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
pub(super) fn parse_claim<'a>(
    command: &str,
    text: &'a str,
) -> Result<(&'a str, Value), CommandError> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
            Ok((name, value))
        }
        Some(_) | None => Err(CommandError::usage(format!(
            "{command}: `--claim` must be NAME=VALUE, found `{text}`"
        ))),
    }
}
