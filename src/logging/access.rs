//! The lines of the access log, on their way to where the configuration says.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::queue::Queue;
use super::{LOG, State, tell_that_lines_wait};
use crate::config::{AccessLog, AccessTarget};
use crate::sys::identity::Identity;
use crate::sys::output::Output;
use crate::sys::process::Keep;

/// The access log of this process; none where it goes into the log, or there is none.
static ACCESS: Mutex<Option<Access>> = Mutex::new(None);

/// Lines were taken, and not written yet.
static PENDING: AtomicBool = AtomicBool::new(false);

#[derive(Debug)]
struct Access {
    target: AccessTarget,
    queue: Queue,
    /// It was told that lines are lost just now.
    was_told: bool,
}

/// Puts a configuration into force.
///
/// # Errors
/// The file cannot be opened. What was in force stays so.
pub fn change_access(config: Option<&AccessLog>) -> io::Result<()> {
    let mut access = access();
    let target = config.map(|config| &config.to);
    if access.as_ref().map(|access| &access.target) == target {
        return Ok(());
    }
    let new = target.map(open).transpose()?.flatten();
    if let Some(old) = &mut *access {
        old.flush();
        old.tell_lost();
    }
    *access = new;
    Ok(())
}

/// Takes the line that `write` appends, with its line break. It is written before the process waits for something
/// (`flush_access`), or when it has as many as are written at once.
pub fn access_line(write: impl FnOnce(&mut Vec<u8>)) {
    let mut access = access();
    if let Some(access) = &mut *access {
        access.queue.push(1, write);
    } else if let Some(mut log) = LOG.get().map(State::log) {
        log.queue.push(1, write);
    }
    PENDING.store(true, Relaxed);
}

/// Writes the lines that were taken, if that can be. Costs nothing where there are none. Returns whether some wait.
pub(super) fn flush_access() -> bool {
    let mut access = access();
    match &mut *access {
        Some(access) => access.flush(),
        None => LOG.get().is_some_and(|state| state.log().flush()),
    }
}

/// As `flush_access`, for a process that is about to wait: whoever writes what waits is told.
pub fn access_waits() {
    if PENDING.swap(false, Relaxed) && flush_access() {
        tell_that_lines_wait();
    }
}

pub(super) fn reopen() -> io::Result<()> {
    let mut access = access();
    if let Some(access) = &mut *access
        && let AccessTarget::File(path) = &access.target
    {
        let new = Output::file(path)?;
        access.flush();
        access.queue.output = new;
    }
    Ok(())
}

pub(super) fn hand_over(identity: &Identity) -> io::Result<()> {
    match &*access() {
        Some(access) => access.queue.output.hand_over(identity),
        None => Ok(()),
    }
}

pub(super) fn descriptor() -> Option<Keep> {
    let access = access();
    access
        .as_ref()
        .map(|access| Keep::new(&access.queue.output))
}

/// The file that lines go to, where it is a file of their own.
pub(super) fn file() -> io::Result<Option<OwnedFd>> {
    let access = access();
    let of_file = access
        .as_ref()
        .filter(|access| matches!(access.target, AccessTarget::File(_)));
    of_file
        .map(|access| access.queue.output.as_fd().try_clone_to_owned())
        .transpose()
}

/// Lines go on to `output`, where `config` names a file.
pub(super) fn go_on(config: &AccessLog, output: Output) {
    if matches!(config.to, AccessTarget::File(_)) {
        *access() = Some(Access::new(&config.to, output));
    }
}

pub(super) fn after_fork() {
    if let Some(access) = &mut *access() {
        access.queue.forget();
    }
}

fn access() -> MutexGuard<'static, Option<Access>> {
    // A panic while a line was queued leaves a queue that can be used.
    ACCESS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// None for the log, which is open.
fn open(target: &AccessTarget) -> io::Result<Option<Access>> {
    let output = match target {
        AccessTarget::Log => return Ok(None),
        AccessTarget::Stdout => Output::standard_output()?,
        AccessTarget::Stderr => Output::standard_error()?,
        AccessTarget::File(path) => Output::file(path)?,
        AccessTarget::Syslog(path) | AccessTarget::Journald(path) => Output::datagrams(path)?,
    };
    Ok(Some(Access::new(target, output)))
}

impl Access {
    fn new(target: &AccessTarget, output: Output) -> Self {
        Self {
            target: target.clone(),
            queue: Queue::new(output),
            was_told: false,
        }
    }

    fn flush(&mut self) -> bool {
        let waits = self.queue.flush();
        if self.queue.lost() > 0 {
            if self.queue.failure().is_some() || !self.queue.has_room() {
                self.tell_that_lines_are_lost();
            } else if !waits {
                self.tell_lost();
            }
        }
        waits
    }

    /// Once, until lines are taken again.
    fn tell_that_lines_are_lost(&mut self) {
        if self.was_told {
            return;
        }
        self.was_told = true;
        let to = self.target.to_string();
        if let Some(error) = self.queue.failure() {
            tracing::error!(to, %error, "the access log cannot be written, its lines are lost until it can");
        } else {
            tracing::warn!(to, "nobody reads the access log, its lines are lost");
        }
    }

    fn tell_lost(&mut self) {
        self.was_told = false;
        let lines = self.queue.abandon();
        if lines > 0 {
            let to = self.target.to_string();
            tracing::warn!(to, lines, "lines of the access log were lost");
        }
    }
}

/// A process that ends owes the count of those that it could not write.
pub fn end_access() {
    if let Some(access) = &mut *access() {
        access.flush();
        access.tell_lost();
    }
}
