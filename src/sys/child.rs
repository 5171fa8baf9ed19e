//! Another program that runs for a moment as a child of this one: what it says is read without waiting for it.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, killpg, sigprocmask};
use nix::unistd::{Pid, execve};

use super::handover::{variables, words};
use super::process::ProcessId;

/// So much of each stream is listened to; one that goes on is closed.
const KEPT_MAX: usize = 16 * 1024;

/// A program that runs. Its end is whoever reaps children told.
#[derive(Debug)]
pub struct Child {
    pid: ProcessId,
    output: Stream,
    errors: Stream,
}

/// One of its streams, and the start of what came out of it.
#[derive(Debug)]
struct Stream {
    pipe: Option<File>,
    text: Vec<u8>,
}

impl Child {
    /// Starts the program at `path`, which reads `input`, in a process group of its own, without the environment
    /// variables `without`. No signal is blocked in it, and no other descriptor of this process is open.
    ///
    /// # Errors
    /// fork(2) and execve(2).
    pub fn start(
        path: &Path,
        arguments: impl IntoIterator<Item = OsString>,
        input: File,
        without: &[&str],
    ) -> io::Result<Self> {
        let program = Program::new(path, arguments, without)?;
        let mut command = Command::new(path);
        command
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        // SAFETY: `prepare` and `become_program` make system calls, with words that were laid out before the fork. That the
        // last one allocates is no danger: this process has one thread, so no lock is held in the child for ever.
        unsafe {
            command.pre_exec(move || {
                prepare()?;
                program.become_program()
            });
        }
        let mut child = command.spawn()?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        Ok(Self {
            pid: ProcessId::from_number(pid),
            output: Stream::new(child.stdout.take().map(OwnedFd::from))?,
            errors: Stream::new(child.stderr.take().map(OwnedFd::from))?,
        })
    }

    /// Its process.
    pub fn pid(&self) -> ProcessId {
        self.pid
    }

    /// Readable when it has said something.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let pipes = [&self.output.pipe, &self.errors.pipe];
        pipes.into_iter().flatten().map(AsFd::as_fd)
    }

    /// Takes in what it has said; returns at once.
    pub fn listen(&mut self) {
        self.output.read();
        self.errors.read();
    }

    /// The start of its standard output.
    pub fn output(&self) -> &[u8] {
        &self.output.text
    }

    /// The start of its standard error.
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.errors.text).trim().to_owned()
    }

    /// Ends it, and whatever it has started in its process group.
    pub fn kill(&self) {
        let _ended_already = killpg(Pid::from(self.pid), Signal::SIGKILL);
    }
}

/// In the child: std hands the mask of this process on, in which everything is blocked; and nobody would end a program that
/// hangs when this one is gone.
fn prepare() -> io::Result<()> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(prctl::set_pdeathsig(Signal::SIGKILL)?)
}

/// What execve(2) is given. std would have execvp(3) do it, which hands a file that is no program to a shell.
struct Program {
    path: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Program {
    fn new(
        path: &Path,
        arguments: impl IntoIterator<Item = OsString>,
        without: &[&str],
    ) -> io::Result<Self> {
        let name = path.as_os_str().to_owned();
        let environment =
            std::env::vars_os().filter(|(name, _)| without.iter().all(|it| name != it));
        Ok(Self {
            path: CString::new(name.as_bytes())?,
            arguments: words([name].into_iter().chain(arguments))?,
            environment: variables(environment)?,
        })
    }

    /// Returns only when it cannot.
    fn become_program(&self) -> io::Result<()> {
        Err(execve(&self.path, &self.arguments, &self.environment)
            .unwrap_err()
            .into())
    }
}

impl Stream {
    fn new(pipe: Option<OwnedFd>) -> io::Result<Self> {
        if let Some(pipe) = &pipe {
            fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        Ok(Self {
            pipe: pipe.map(File::from),
            text: Vec::new(),
        })
    }

    fn read(&mut self) {
        let mut bytes = [0; 4096];
        while let Some(pipe) = &mut self.pipe {
            match pipe.read(&mut bytes) {
                Ok(count) if count == 0 || self.text.len() >= KEPT_MAX => self.pipe = None,
                Ok(count) => self
                    .text
                    .extend_from_slice(bytes.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.pipe = None,
            }
        }
    }
}
