//! The logs of every process: set up once, never blocking, reopened on demand.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::Layered;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::{Format, Level, Log};
use crate::sys::output::Output;
use crate::sys::process::Keep;

/// Lines that wait for a reader who does not read; those after them are counted and lost.
const WAITING_MAX: usize = 1024;

type Dynamic = Box<dyn Layer<Registry> + Send + Sync>;
type WithFormat = Layered<reload::Layer<Dynamic, Registry>, Registry>;

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
    waiting: VecDeque<Vec<u8>>,
    lost: u64,
}

/// Starts logging as `config` says. Once in a process's life; children inherit it.
///
/// # Errors
/// The log file cannot be opened, or logging was started before.
pub fn start(config: &Log) -> io::Result<()> {
    let (layer, format) = reload::Layer::new(layer(config));
    let (filter, level) = reload::Layer::new(level_filter(config.level));
    let queue = Mutex::new(Queue::open(config.file.clone())?);
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
            *queue = Queue::open(config.file.clone())?;
        }
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

/// The descriptor that lines go to, for a child that shall go on writing to it.
pub fn descriptor() -> Option<Keep> {
    LOG.get().map(|state| Keep::new(&state.queue().output))
}

/// In a forked child: the lines that still wait are the parent's to write.
pub fn after_fork() {
    if let Some(mut queue) = LOG.get().map(State::queue) {
        queue.waiting.clear();
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

impl State {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // A panic while a line was queued leaves a queue that can be used.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn open(path: Option<PathBuf>) -> io::Result<Self> {
        let output = match &path {
            Some(path) => Output::file(path)?,
            None => Output::standard_error()?,
        };
        Ok(Self {
            output,
            path,
            waiting: VecDeque::new(),
            lost: 0,
        })
    }

    fn push(&mut self, line: Vec<u8>) {
        if self.waiting.len() >= WAITING_MAX {
            self.lost += 1;
            return;
        }
        if self.lost > 0 {
            let lost = std::mem::take(&mut self.lost);
            self.waiting
                .push_back(format!("{lost} log lines were lost: nobody reads them\n").into_bytes());
        }
        self.waiting.push_back(line);
        self.flush();
    }

    fn flush(&mut self) {
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

fn layer(config: &Log) -> Dynamic {
    let terminal = config.file.is_none() && io::stderr().is_terminal();
    let human = match config.format {
        Format::Auto => terminal,
        Format::Human => true,
        Format::Json => false,
    };
    let plain = fmt::layer().with_writer(Line::default);
    if human {
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
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
