//! A real `PostgreSQL` of Debian's package, in a folder of its own, on a Unix socket.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// What starts and ends it.
const KEEPER: &str = include_str!("../../postgres.sh");

#[derive(Debug)]
pub(crate) struct Postgres {
    folder: PathBuf,
    keeper: std::sync::Mutex<Keeper>,
    databases: AtomicU32,
}

#[derive(Debug)]
struct Keeper {
    process: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Postgres {
    /// The one that all tests of this process share.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// One of its own, for a test that stops it.
    pub(crate) fn start() -> Self {
        let mut command = if nix::unistd::geteuid().is_root() {
            // It refuses to run as root.
            let mut command = Command::new("runuser");
            command.args(["-u", "nobody", "--", "sh"]);
            command
        } else {
            Command::new("sh")
        };
        let mut process = command
            .args(["-c", KEEPER, "sh"])
            .arg(programs())
            .current_dir("/")
            .env("TMPDIR", "/tmp")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut answers = BufReader::new(process.stdout.take().unwrap());
        let mut folder = String::new();
        answers.read_line(&mut folder).unwrap();
        let folder = folder.trim_end();
        assert!(!folder.is_empty(), "PostgreSQL does not start");
        Self {
            folder: folder.into(),
            keeper: std::sync::Mutex::new(Keeper { process, answers }),
            databases: AtomicU32::new(0),
        }
    }

    /// A new database; its address.
    pub(crate) fn database(&self) -> String {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("test{number}");
        self.run("postgres", &format!("CREATE DATABASE {name}"));
        self.url("destrier", &name)
    }

    pub(crate) fn url(&self, user: &str, database: &str) -> String {
        let folder = self.folder.display();
        format!("postgresql://{user}@/{database}?host={folder}")
    }

    /// Runs a statement; what it answers, unadorned.
    #[track_caller]
    pub(crate) fn run(&self, database: &str, statement: &str) -> String {
        let output = Command::new(programs().join("psql"))
            .args([
                "-X",
                "-q",
                "-t",
                "-A",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "destrier",
            ])
            .arg("-h")
            .arg(&self.folder)
            .args(["-d", database, "-c", statement])
            .output()
            .unwrap();
        assert!(output.status.success(), "{statement}: {output:?}");
        String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned()
    }

    /// `pg_ctl` with these words: `stop -m fast`, `start`.
    #[track_caller]
    pub(crate) fn control(&self, words: &str) {
        let mut keeper = self.keeper.lock().unwrap();
        writeln!(keeper.process.stdin.as_mut().unwrap(), "{words}").unwrap();
        let mut answer = String::new();
        keeper.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer, "done\n", "pg_ctl {words}");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Ok(keeper) = self.keeper.get_mut() {
            drop(keeper.process.stdin.take());
            drop(keeper.process.wait());
        }
    }
}

/// Where Debian has the programs of the newest version, which are not on the path.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let mut found: Vec<PathBuf> = versions
        .map(|entry| entry.unwrap().path().join("bin"))
        .filter(|path| path.join("initdb").exists())
        .collect();
    found.sort();
    let on_path = || {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .find(|folder: &PathBuf| Path::new(folder).join("initdb").exists())
    };
    found
        .pop()
        .or_else(on_path)
        .unwrap_or_else(|| panic!("PostgreSQL is missing: install Debian's package `postgresql`"))
}
