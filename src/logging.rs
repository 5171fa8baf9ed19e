//! The logs of every process: set up once, never blocking, reopened on demand.

mod access;
mod queue;

use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Layered;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use access::flush_access;
pub use access::{access_line, access_waits, change_access, end_access};
use queue::Queue;

use crate::config::{AccessLog, Format, Level, Log};
use crate::sys::clock;
use crate::sys::identity::Identity;
use crate::sys::output::Output;
use crate::sys::process::Keep;

/// What a client may make a field of a log line long, in bytes. A line of at most 4096 goes into a pipe whole or not at
/// all (`PIPE_BUF`, pipe(7)), and a pipe is what all workers share; so no client can tear the lines of others.
const FIELD_MAX: usize = 1024;

/// The start of `text`, as much of it as a log line may hold.
pub fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(FIELD_MAX))
        .unwrap_or(text)
}

type Dynamic = Box<dyn Layer<Registry> + Send + Sync>;
type WithFormat = Layered<reload::Layer<Dynamic, Registry>, Registry>;

/// How soon a log that nobody reads is tried again.
pub const RETRY: Duration = Duration::from_millis(20);

/// The log of this process.
static LOG: OnceLock<State> = OnceLock::new();

/// Called when lines begin to wait.
static WHEN_LINES_WAIT: OnceLock<fn()> = OnceLock::new();

struct State {
    log: Mutex<Lines>,
    format: reload::Handle<Dynamic, Registry>,
    // Apart from the format: a layer with a filter of its own cannot be exchanged later.
    level: reload::Handle<Targets, WithFormat>,
}

/// The lines of the log, where they go, and what they look like.
#[derive(Debug)]
struct Lines {
    queue: Queue,
    path: Option<PathBuf>,
    is_json: bool,
}

/// Starts logging as `config` says. Once in a process's life; children inherit it.
///
/// # Errors
/// The log file cannot be opened, or logging was started before.
pub fn start(config: &Log) -> io::Result<()> {
    begin(config, Lines::open(config)?)
}

/// The files that lines go to, for a program that a process becomes which may not be able to open them itself.
#[derive(Debug, Default)]
pub struct Outputs {
    /// That of the log; none where it goes to standard error.
    pub log: Option<OwnedFd>,
    /// That of the access log; none where it goes elsewhere, or there is none.
    pub access_log: Option<OwnedFd>,
}

/// As [`start`], in the program that a process which logs has become: `outputs` is where the lines went.
///
/// # Errors
/// Logging was started before.
pub fn go_on(config: &Log, access_log: Option<&AccessLog>, outputs: Outputs) -> io::Result<()> {
    if let (Some(config), Some(output)) = (access_log, outputs.access_log) {
        access::go_on(config, Output::of(output)?);
    }
    match outputs.log {
        Some(output) => begin(config, Lines::with(config, Output::of(output)?)),
        None => start(config),
    }
}

/// Where lines go, for the program that this process becomes.
///
/// # Errors
/// dup(2).
pub fn outputs() -> io::Result<Outputs> {
    let log = LOG.get().map_or(Ok(None), |state| {
        let log = state.log();
        let output = log.path.as_ref().map(|_| &log.queue.output);
        output
            .map(|output| output.as_fd().try_clone_to_owned())
            .transpose()
    });
    Ok(Outputs {
        log: log?,
        access_log: access::file()?,
    })
}

fn begin(config: &Log, lines: Lines) -> io::Result<()> {
    let (layer, format) = reload::Layer::new(layer(config));
    let (filter, level) = reload::Layer::new(filter(config.level));
    let log = Mutex::new(lines);
    LOG.set(State { log, format, level })
        .map_err(|_| io::Error::other("logging was started before"))?;
    tracing_subscriber::registry()
        .with(layer)
        .with(filter)
        .try_init()
        .map_err(io::Error::other)
}

/// Puts another configuration into force.
pub fn change(config: &Log) -> io::Result<()> {
    if let Some(state) = LOG.get() {
        let mut log = state.log();
        if log.path != config.file {
            log.flush();
            let mut new = Lines::open(config)?;
            // What still waits here nobody reads there.
            new.queue.add_lost(log.queue.abandon());
            *log = new;
        }
        log.is_json = !is_human(config);
        drop(log);
        state
            .format
            .reload(layer(config))
            .map_err(io::Error::other)?;
        state
            .level
            .reload(filter(config.level))
            .map_err(io::Error::other)?;
    }
    Ok(())
}

/// Opens the log files anew, after they were rotated. An old one stays in use when that fails.
pub fn reopen() -> io::Result<()> {
    let of_access = access::reopen();
    if let Some(mut log) = LOG.get().map(State::log)
        && let Some(path) = log.path.clone()
    {
        log.flush();
        log.queue.output = Output::file(&path)?;
    }
    of_access
}

/// As [`reopen`], where somebody else has opened them: lines go to `outputs`; a log for which there is none is opened here.
///
/// # Errors
/// One cannot be opened, and stays in use.
pub fn replace_outputs(access_log: Option<&AccessLog>, outputs: Outputs) -> io::Result<()> {
    let of_access = match (access_log, outputs.access_log) {
        (Some(config), Some(output)) => {
            access::go_on(config, Output::of(output)?);
            Ok(())
        }
        (_, _) => access::reopen(),
    };
    if let Some(mut log) = LOG.get().map(State::log)
        && let Some(path) = log.path.clone()
    {
        log.flush();
        log.queue.output = match outputs.log {
            Some(output) => Output::of(output)?,
            None => Output::file(&path)?,
        };
    }
    of_access
}

/// Gives the log files to `identity`: a worker opens them anew by itself, with the privileges it has left.
pub fn hand_over(identity: &Identity) -> io::Result<()> {
    access::hand_over(identity)?;
    LOG.get()
        .map_or(Ok(()), |state| state.log().queue.output.hand_over(identity))
}

/// The descriptors that lines go to, for a child that shall go on writing to them.
pub fn descriptors() -> impl Iterator<Item = Keep> {
    let of_log = LOG.get().map(|state| Keep::new(&state.log().queue.output));
    of_log.into_iter().chain(access::descriptor())
}

/// In a forked child: the lines that still wait are the parent's to write.
pub fn after_fork() {
    if let Some(mut log) = LOG.get().map(State::log) {
        log.queue.forget();
    }
    access::after_fork();
}

/// Tries once more to write the lines that wait. Returns whether some still do.
pub fn flush() -> bool {
    let access_waits = flush_access();
    let log_waits = LOG.get().is_some_and(|state| {
        let mut log = state.log();
        log.flush()
    });
    log_waits || access_waits
}

/// Lines that nobody has read yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unwritten {
    /// The first one may have been begun.
    lines: Vec<Vec<u8>>,
    /// Those that there was no room for.
    lost: u64,
}

/// What still waits to be written, for a program that goes on as this process.
pub fn unwritten() -> Unwritten {
    LOG.get().map_or_else(Unwritten::default, |state| {
        let log = state.log();
        Unwritten {
            lines: log.queue.waiting().map(<[u8]>::to_vec).collect(),
            lost: log.queue.lost(),
        }
    })
}

/// Writes what the program before this one could not, before anything of this one.
pub fn go_on_with(unwritten: Unwritten) {
    if let Some(mut log) = LOG.get().map(State::log) {
        for line in unwritten.lines.into_iter().rev() {
            log.queue.put_first(line);
        }
        log.queue.add_lost(unwritten.lost);
    }
}

/// Has `callback` called when lines begin to wait, by whoever logs them. The master needs none: its loop asks each time it
/// turns.
pub fn when_lines_wait(callback: fn()) {
    // A process starts its writer once.
    let _started_before = WHEN_LINES_WAIT.set(callback);
}

fn tell_that_lines_wait() {
    if let Some(callback) = WHEN_LINES_WAIT.get() {
        callback();
    }
}

/// Whether the lines of this log are for reading, and not JSON.
pub fn is_human(config: &Log) -> bool {
    match config.format {
        Format::Auto => is_terminal(config),
        Format::Human => true,
        Format::Json => false,
    }
}

impl State {
    fn log(&self) -> MutexGuard<'_, Lines> {
        // A panic while a line was queued leaves a queue that can be used.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn open(config: &Log) -> io::Result<Self> {
        let output = match &config.file {
            Some(path) => Output::file(path)?,
            None => Output::standard_error()?,
        };
        Ok(Self::with(config, output))
    }

    fn with(config: &Log, output: Output) -> Self {
        Self {
            queue: Queue::new(output),
            path: config.file.clone(),
            is_json: !is_human(config),
        }
    }

    /// Writes a line at once, if that can be.
    fn push(&mut self, line: &[u8]) {
        // It may be read on by now.
        self.flush();
        self.queue.push(1, |buffer| buffer.extend_from_slice(line));
        if self.queue.flush() {
            tell_that_lines_wait();
        }
    }

    /// Writes what can be written; where there is room again, also how many lines there was none for. Returns whether something waits.
    fn flush(&mut self) -> bool {
        let waits = self.queue.flush();
        if waits || self.queue.lost() == 0 {
            return waits;
        }
        let lost = self.queue.take_lost();
        let line = lost_line(lost, self.is_json);
        self.queue
            .push(lost, |buffer| buffer.extend_from_slice(&line));
        self.queue.flush()
    }
}

/// A line that says how many others there are not, in the form of those.
fn lost_line(lines: u64, is_json: bool) -> Vec<u8> {
    let now = humantime::format_rfc3339_micros(std::time::UNIX_EPOCH + clock::unix());
    let message = "log lines were lost: nobody read them, or they could not be written";
    let line = if is_json {
        let line = serde_json::json!({"timestamp": now.to_string(), "level": "WARN", "message": message, "lines": lines});
        line.to_string()
    } else {
        format!("{now}  WARN {message} lines={lines}")
    };
    (line + "\n").into_bytes()
}

/// One line on its way; handed over whole when it is dropped, so that lines of several processes do not mix.
#[derive(Debug, Default)]
struct Line(Vec<u8>);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(state) = LOG.get() {
            state.log().push(&self.0);
        }
    }
}

fn is_terminal(config: &Log) -> bool {
    config.file.is_none() && io::stderr().is_terminal()
}

fn layer(config: &Log) -> Dynamic {
    let plain = fmt::layer().with_writer(Line::default);
    if is_human(config) {
        let colour = is_terminal(config)
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        plain.with_target(false).with_ansi(colour).boxed()
    } else {
        plain
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed()
    }
}

/// What is written. The codec of HTTP/2 warns of what clients do, which anybody could fill the log with; the server says itself what matters of
/// that, in lines that are summed up. A target is all that begins so.
fn filter(level: Level) -> Targets {
    let of_codec = match level {
        Level::Error | Level::Warn | Level::Info => LevelFilter::OFF,
        Level::Debug | Level::Trace => level_filter(level),
    };
    Targets::new()
        .with_default(level_filter(level))
        .with_target("h2", of_codec)
}

fn level_filter(level: Level) -> LevelFilter {
    match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    }
}
