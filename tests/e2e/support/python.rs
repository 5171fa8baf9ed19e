//! What Python applications run with: the extension, an interpreter, and environments with packages in them.

use std::fs;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::client::{self, Address};
use super::server::{Server, Setup};
use super::{command, os};

/// An interpreter that every user of the machine can run, where there is one.
pub(crate) fn interpreter() -> PathBuf {
    let of_system = PathBuf::from("/usr/bin/python3");
    if of_system.exists() {
        of_system
    } else {
        PathBuf::from("python3")
    }
}

/// The application of `tests/fixtures/python/app.py`, in the folder of the server.
pub(crate) fn setup() -> Setup {
    let setup = bare();
    fs::write(
        setup.folder().join("app.py"),
        include_str!("../../fixtures/python/app.py"),
    )
    .unwrap();
    setup.set("app.wsgi", "app")
}

/// A server that may run Python, and whatever application is still to be written.
pub(crate) fn bare() -> Setup {
    LazyLock::force(&EXTENSION);
    let interpreter = interpreter().display().to_string();
    Setup::new()
        .set("app.python", interpreter)
        .set("app.env.PYTHONDONTWRITEBYTECODE", "1")
}

/// `destrier run APPLICATION` without a file, in the folder of `setup`, where the application is too.
pub(crate) fn named(setup: &Setup, application: &str) -> Command {
    let mut command = command::command(&command::destrier());
    command
        .args(["run", application, "--bind", "127.0.0.1:0"])
        .args(["--workers", "1", "--log-level", "info"])
        .current_dir(setup.folder())
        .env("DESTRIER_APP__PYTHON", interpreter())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// What it serves.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) master: Child,
    pub(crate) address: Address,
    /// Its control socket, as the first line of its log tells it.
    pub(crate) control: String,
}

/// Waits until it listens, and has said these words.
pub(crate) fn serve(mut command: Command, words: &str) -> Named {
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut master = command.spawn().unwrap();
    let mut lines = BufReader::new(master.stderr.take().unwrap()).lines();
    let (mut control, mut address, mut is_said) = (String::new(), None, false);
    while address.is_none() || !is_said {
        let line = lines.next().unwrap().unwrap();
        is_said |= line.contains(words);
        let line: Value = serde_json::from_str(&line).unwrap();
        if let Some(path) = line["control"].as_str() {
            path.clone_into(&mut control);
        }
        if line["message"] == "listening" {
            let listening = line["address"].as_str().unwrap();
            address = Some(Address::Tcp(listening.parse().unwrap()));
        }
    }
    Named {
        master,
        address: address.unwrap(),
        control,
    }
}

/// The same with a control socket in the folder of `setup`, and the application in another `folder`.
pub(crate) fn run_named(
    setup: &Setup,
    application: &str,
    folder: Option<&Path>,
) -> (Child, Address) {
    let mut command = named(setup, application);
    command
        .envs(folder.map(|folder| ("DESTRIER_APP__CHDIR", folder)))
        .env(
            "DESTRIER_PROCESS__CONTROL_SOCKET",
            setup.folder().join("other.sock"),
        );
    let Named {
        master, address, ..
    } = serve(command, "");
    (master, address)
}

/// The one worker goes on after each of these signals.
pub(crate) fn stays_cold(server: &Server, signals: &[Signal]) {
    let pid = server.pids()[0];
    for signal in signals {
        assert!(os::send(pid, *signal));
        let answer = client::get(&server.address(), "/pid").unwrap();
        assert_eq!(answer.pid(), Some(pid), "{signal}");
    }
}

/// Built once, as the program was: an extension module is no target that tests depend on. `--test tidy` asks for the features that
/// dependencies have for tests, so that nothing is built anew but the extension.
static EXTENSION: LazyLock<()> = LazyLock::new(|| {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let program = command::destrier();
    let mut build = Command::new(cargo);
    build
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--quiet", "--locked", "--package", "destrier"])
        .args(["--package", "destrier-python", "--lib", "--test", "tidy"])
        .arg("--target-dir")
        .arg(target());
    if cfg!(feature = "otlp") {
        build.args(["--features", "otlp"]);
    }
    if program
        .parent()
        .is_some_and(|folder| folder.ends_with("release"))
    {
        build.arg("--release");
    }
    assert!(
        build.status().unwrap().success(),
        "the extension is not built"
    );
});

/// Where cargo builds.
fn target() -> PathBuf {
    let program = command::destrier();
    program.ancestors().nth(2).map(Path::to_owned).unwrap()
}

/// A virtual environment with these packages, made once for all runs of the tests.
pub(crate) fn environment(name: &str, packages: &[&str]) -> PathBuf {
    let folder = target().join("python");
    fs::create_dir_all(&folder).unwrap();
    // Tests are threads of one process, or processes of their own (nextest).
    let lock = File::create(folder.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    let environment = folder.join(name);
    let made = environment.join("made");
    let wanted = packages.join(" ");
    if fs::read_to_string(&made).is_ok_and(|made| made == wanted) {
        return environment.join("bin/python");
    }
    let run = |program: &Path, arguments: &[&str]| {
        let status = command::command(program).args(arguments).status().unwrap();
        assert!(
            status.success(),
            "`{} {}` failed; Debian needs the package python3-venv",
            program.display(),
            arguments.join(" ")
        );
    };
    let shown = environment.display().to_string();
    run(&interpreter(), &["-m", "venv", "--clear", &shown]);
    let python = environment.join("bin/python");
    let mut install = vec![
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ];
    install.extend(packages);
    run(&python, &install);
    fs::write(made, wanted).unwrap();
    python
}
