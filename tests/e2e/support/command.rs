//! Running the real program: as a server or for one command.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;

use super::PATIENCE;

/// The program under test.
pub(crate) fn destrier() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_destrier"))
}

/// The program of `tests/fixtures/faulty.rs`: an application whose boot a file decides.
pub(crate) fn faulty() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let program = profile.join("examples/faulty");
    assert!(
        program.exists(),
        "{} is missing: `cargo test` and `cargo nextest run` build it, `cargo test --test e2e` needs `cargo build --examples` first",
        program.display()
    );
    program
}

/// A copy of `program` at `path`. Made by another process: a test that forks meanwhile would hold the copy open for
/// writing, and then it cannot be executed.
pub(crate) fn copy(program: &Path, path: &Path) -> PathBuf {
    let copied = Command::new("cp").args([program, path]).status().unwrap();
    assert!(copied.success());
    path.to_owned()
}

/// A program at `path` that is this script for `sh`; made as [`copy`] does.
pub(crate) fn script(path: &Path, text: &str) -> PathBuf {
    const WRITE: &str = r#"printf '#!/bin/sh\n%s\n' "$1" >"$2" && chmod 755 "$2""#;
    let mut command = Command::new("sh");
    command.args(["-c", WRITE, "sh", text]).arg(path);
    assert!(command.status().unwrap().success());
    path.to_owned()
}

/// `program` with nothing of the test's own environment that a server would heed.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    let heeded = |name: &str| {
        name.starts_with("DESTRIER_")
            || name.starts_with("LISTEN_")
            || name.starts_with("WATCHDOG_")
            || name == "NOTIFY_SOCKET"
    };
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(heeded) {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// What came of a command.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs `command` to its end.
#[track_caller]
pub(crate) fn run(mut command: Command) -> Outcome {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (done, ended) = mpsc::channel();
    let pid = child.id();
    thread::spawn(move || {
        let stderr = thread::spawn(move || {
            let mut text = String::new();
            err.read_to_string(&mut text).map(|_| text)
        });
        let mut stdout = String::new();
        out.read_to_string(&mut stdout).unwrap();
        let status: ExitStatus = child.wait().unwrap();
        let stderr = stderr.join().unwrap().unwrap();
        let _nobody_waits = done.send(Outcome {
            code: status.code(),
            stdout,
            stderr,
        });
    });
    ended.recv_timeout(PATIENCE * 2).unwrap_or_else(|_| {
        super::os::kill(pid);
        panic!("{command:?} does not end")
    })
}
