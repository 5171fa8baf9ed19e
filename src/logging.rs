//! The logs of every process: set up once, never blocking, reopened on demand.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::Layered;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::{Format, Level, Log};
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

/// Lines that wait for a reader who does not read; those after them are counted and lost.
const WAITING_MAX: usize = 1024;

type Dynamic = Box<dyn Layer<Registry> + Send + Sync>;
type WithFormat = Layered<reload::Layer<Dynamic, Registry>, Registry>;

/// How soon a log that nobody reads is tried again.
pub const RETRY: Duration = Duration::from_millis(20);

/// The log of this process.
static LOG: OnceLock<State> = OnceLock::new();

struct State {
    queue: Mutex<Queue>,
    format: reload::Handle<Dynamic, Registry>,
    // Apart from the format: a layer with a filter of its own cannot be exchanged later.
    level: reload::Handle<LevelFilter, WithFormat>,
}

/// Where lines go, and those that could not go there yet.
#[derive(Debug)]
struct Queue {
    output: Output,
    path: Option<PathBuf>,
    is_json: bool,
    waiting: VecDeque<Vec<u8>>,
    lost: u64,
    when_lines_wait: Option<fn()>,
}

/// Starts logging as `config` says. Once in a process's life; children inherit it.
///
/// # Errors
/// The log file cannot be opened, or logging was started before.
pub fn start(config: &Log) -> io::Result<()> {
    begin(config, Queue::open(config)?)
}

/// As [`start`], in the program that a process which logs has become: `output` is where the lines went.
///
/// # Errors
/// Logging was started before.
pub fn go_on(config: &Log, output: Option<OwnedFd>) -> io::Result<()> {
    match output {
        Some(output) => begin(config, Queue::with(config, Output::of(output)?)),
        None => start(config),
    }
}

/// Where lines go, for the program that this process becomes; none where that is standard error.
///
/// # Errors
/// dup(2).
pub fn output() -> io::Result<Option<OwnedFd>> {
    LOG.get().map_or(Ok(None), |state| {
        let queue = state.queue();
        let output = queue.path.as_ref().map(|_| &queue.output);
        output
            .map(|output| output.as_fd().try_clone_to_owned())
            .transpose()
    })
}

fn begin(config: &Log, queue: Queue) -> io::Result<()> {
    let (layer, format) = reload::Layer::new(layer(config));
    let (filter, level) = reload::Layer::new(level_filter(config.level));
    let queue = Mutex::new(queue);
    LOG.set(State {
        queue,
        format,
        level,
    })
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
        let mut queue = state.queue();
        if queue.path != config.file {
            queue.flush();
            let mut new = Queue::open(config)?;
            // What still waits here nobody reads there.
            new.lost = queue.lost + queue.waiting.len() as u64;
            new.when_lines_wait = queue.when_lines_wait;
            *queue = new;
        }
        queue.is_json = !is_human(config);
        drop(queue);
        state
            .format
            .reload(layer(config))
            .map_err(io::Error::other)?;
        state
            .level
            .reload(level_filter(config.level))
            .map_err(io::Error::other)?;
    }
    Ok(())
}

/// Opens the log file anew, after it was rotated. The old one stays in use when that fails.
pub fn reopen() -> io::Result<()> {
    let Some(mut queue) = LOG.get().map(State::queue) else {
        return Ok(());
    };
    if let Some(path) = queue.path.clone() {
        queue.output = Output::file(&path)?;
    }
    Ok(())
}

/// Gives the log file to `identity`: a worker opens it anew by itself, with the privileges it has left.
pub fn hand_over(identity: &Identity) -> io::Result<()> {
    LOG.get()
        .map_or(Ok(()), |state| state.queue().output.hand_over(identity))
}

/// The descriptor that lines go to, for a child that shall go on writing to it.
pub fn descriptor() -> Option<Keep> {
    LOG.get().map(|state| Keep::new(&state.queue().output))
}

/// In a forked child: the lines that still wait are the parent's to write.
pub fn after_fork() {
    if let Some(mut queue) = LOG.get().map(State::queue) {
        queue.waiting.clear();
        queue.lost = 0;
    }
}

/// Tries once more to write the lines that wait. Returns whether some still do.
pub fn flush() -> bool {
    LOG.get().is_some_and(|state| {
        let mut queue = state.queue();
        queue.flush();
        !queue.waiting.is_empty()
    })
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
        let queue = state.queue();
        Unwritten {
            lines: queue.waiting.iter().cloned().collect(),
            lost: queue.lost,
        }
    })
}

/// Writes what the program before this one could not, before anything of this one.
pub fn go_on_with(unwritten: Unwritten) {
    if let Some(mut queue) = LOG.get().map(State::queue) {
        for line in unwritten.lines.into_iter().rev() {
            queue.waiting.push_front(line);
        }
        queue.lost += unwritten.lost;
    }
}

/// Has `callback` called when lines begin to wait, by whoever logs them. The master needs none: its loop asks each time it
/// turns.
pub fn when_lines_wait(callback: fn()) {
    if let Some(mut queue) = LOG.get().map(State::queue) {
        queue.when_lines_wait = Some(callback);
    }
}

impl State {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // A panic while a line was queued leaves a queue that can be used.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn open(config: &Log) -> io::Result<Self> {
        let output = match &config.file {
            Some(path) => Output::file(path)?,
            None => Output::standard_error()?,
        };
        Ok(Self::with(config, output))
    }

    fn with(config: &Log, output: Output) -> Self {
        Self {
            output,
            path: config.file.clone(),
            is_json: !is_human(config),
            waiting: VecDeque::new(),
            lost: 0,
            when_lines_wait: None,
        }
    }

    fn push(&mut self, line: Vec<u8>) {
        // It may be read on by now.
        self.flush();
        if self.waiting.len() >= WAITING_MAX {
            self.lost += 1;
            return;
        }
        self.queue_lost();
        self.waiting.push_back(line);
        self.flush();
        if let (false, Some(callback)) = (self.waiting.is_empty(), self.when_lines_wait) {
            callback();
        }
    }

    /// Says how many lines are missing here, if any are.
    fn queue_lost(&mut self) {
        if self.lost > 0 {
            let line = lost(std::mem::take(&mut self.lost), self.is_json);
            self.waiting.push_back(line);
        }
    }

    /// Writes what can be written; once there is room for all of it, also how many lines there was none for.
    fn flush(&mut self) {
        self.write();
        if self.waiting.is_empty() && self.lost > 0 {
            self.queue_lost();
            self.write();
        }
    }

    fn write(&mut self) {
        while let Some(line) = self.waiting.front_mut() {
            match self.output.write(line) {
                Ok(written) if written < line.len() => drop(line.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Written; or refused for good (disk full, reader gone), and then there is nobody to tell.
                Ok(_) | Err(_) => drop(self.waiting.pop_front()),
            }
        }
    }
}

/// A line that says how many others there are not, in the form of those.
fn lost(lines: u64, is_json: bool) -> Vec<u8> {
    let now = humantime::format_rfc3339_micros(std::time::UNIX_EPOCH + clock::unix());
    let message = "log lines were lost: nobody read them";
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
            state.queue().push(std::mem::take(&mut self.0));
        }
    }
}

fn is_terminal(config: &Log) -> bool {
    config.file.is_none() && io::stderr().is_terminal()
}

fn is_human(config: &Log) -> bool {
    match config.format {
        Format::Auto => is_terminal(config),
        Format::Human => true,
        Format::Json => false,
    }
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

fn level_filter(level: Level) -> LevelFilter {
    match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    }
}
