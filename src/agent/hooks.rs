//! Runs `hooks.on_event` for what happens: a program for each, bounded in number and time, without a shell.

use std::collections::VecDeque;
use std::io;
use std::process::Stdio;
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::channel::Happening;
use crate::logging::cut;
use crate::sys::process::{ProcessGroup, ProcessId};

/// The number of the shape of [`Document`]: another one only where something is taken away or means something else.
const VERSION: u32 = 1;

/// So many run at once.
const RUNNING_MAX: usize = 4;

/// So many more wait; what happens then is not told.
const WAITING_MAX: usize = 64;

/// So much of what one says is read for the log, in bytes; the rest is read and forgotten.
const OUTPUT_MAX: u64 = 4096;

/// Where it finds other programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is run, and for whom.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The program, absolute, and its arguments.
    pub command: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
    /// The configuration file of the server.
    pub config: String,
}

/// What the program gets on standard input.
#[derive(Debug, Serialize)]
struct Document<'a> {
    version: u32,
    /// Counted by this agent.
    number: u64,
    /// When it happened (RFC 3339).
    at: String,
    /// The name of the machine.
    host: &'a str,
    /// The configuration file of the server.
    config: &'a str,
    /// The master's process.
    master: u32,
    #[serde(flatten)]
    happening: &'a Happening,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Hooks {
    setting: Option<Setting>,
    host: String,
    master: ProcessId,
    waiting: VecDeque<Job>,
    running: JoinSet<()>,
    number: u64,
    /// Not told since the last one was.
    lost: u64,
}

/// One that is to be run.
#[derive(Debug)]
struct Job {
    event: &'static str,
    document: Vec<u8>,
}

impl Hooks {
    /// None are run without a setting.
    pub(super) fn new(setting: Option<Setting>, master: ProcessId) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            setting,
            host: host.trim().to_owned(),
            master,
            waiting: VecDeque::new(),
            running: JoinSet::new(),
            number: 0,
            lost: 0,
        }
    }

    /// Whether anybody is told.
    pub(super) fn are_set(&self) -> bool {
        self.setting.is_some()
    }

    /// Has it told; `at` is in seconds since 1970. Within a runtime of tokio.
    pub(super) fn happened(&mut self, at: u64, happening: &Happening) {
        let Some(setting) = &self.setting else {
            return;
        };
        self.number += 1;
        let event = happening.name();
        if self.waiting.len() >= WAITING_MAX {
            self.lost += 1;
            if self.lost == 1 {
                tracing::warn!(
                    event,
                    "`hooks.on_event`: too many wait already, this is not told, nor is what comes until one of them has ended"
                );
            }
            return;
        }
        let at = UNIX_EPOCH.checked_add(Duration::from_secs(at));
        let document = Document {
            version: VERSION,
            number: self.number,
            at: humantime::format_rfc3339_seconds(at.unwrap_or(UNIX_EPOCH)).to_string(),
            host: &self.host,
            config: &setting.config,
            master: self.master.number(),
            happening,
        };
        // A type of ours with string keys: serialising it into memory cannot fail.
        let mut document = serde_json::to_vec(&document).unwrap_or_default();
        document.push(b'\n');
        self.waiting.push_back(Job { event, document });
        self.begin();
    }

    /// Returns when one has ended, and has begun the next. Can be dropped while it waits.
    pub(super) async fn go_on(&mut self) {
        match self.running.join_next().await {
            Some(_ended) => self.begin(),
            None => std::future::pending().await,
        }
    }

    /// Returns when all have ended: each does, within its time.
    pub(super) async fn finish(mut self) {
        while self.running.join_next().await.is_some() {
            self.begin();
        }
    }

    fn begin(&mut self) {
        let Some(setting) = &self.setting else {
            return;
        };
        while self.running.len() < RUNNING_MAX
            && let Some(job) = self.waiting.pop_front()
        {
            self.running.spawn(run(setting.clone(), job));
        }
        if self.lost > 0 && self.waiting.len() < WAITING_MAX {
            let lost = std::mem::take(&mut self.lost);
            tracing::warn!(lost, "`hooks.on_event` was not run for all that happened");
        }
    }
}

/// Runs the program for one event, and tells the log what came of it.
async fn run(setting: Setting, job: Job) {
    let (event, program) = (job.event, setting.command.first());
    let program = program.map_or("", String::as_str);
    match tell(&setting, job).await {
        Ok(Told { ending, output }) => {
            let output = (!output.is_empty()).then_some(output);
            match ending {
                Ending::Good => tracing::info!(event, program, output, "`hooks.on_event` was run"),
                Ending::Bad(ending) => {
                    tracing::warn!(event, program, ending, output, "`hooks.on_event` failed");
                }
                Ending::Late => {
                    let timeout = humantime::format_duration(setting.timeout).to_string();
                    tracing::warn!(
                        event,
                        program,
                        timeout,
                        output,
                        "`hooks.on_event` took too long, killed"
                    );
                }
            }
        }
        Err(error) => tracing::error!(event, program, %error, "cannot run `hooks.on_event`"),
    }
}

/// What came of it.
struct Told {
    ending: Ending,
    output: String,
}

enum Ending {
    Good,
    Bad(String),
    Late,
}

async fn tell(setting: &Setting, job: Job) -> io::Result<Told> {
    let (program, arguments) = setting
        .command
        .split_first()
        .ok_or(io::ErrorKind::InvalidInput)?;
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("LANG", "C.UTF-8")
        .env("DESTRIER_EVENT", job.event)
        .env("DESTRIER_CONFIG", &setting.config)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // What it starts goes with it when its time is over.
        .process_group(0)
        .spawn()?;
    let group = child.id().and_then(ProcessGroup::led_by);
    let mut input = child.stdin.take();
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let mut heard = (Vec::new(), Vec::new());
    let talking = async {
        let say = async {
            if let Some(mut input) = input.take() {
                // It need not read it.
                let _not_read = input.write_all(&job.document).await;
            }
        };
        tokio::join!(
            say,
            listen(output, &mut heard.0),
            listen(errors, &mut heard.1)
        );
        child.wait().await
    };
    let ended = tokio::time::timeout(setting.timeout, talking).await;
    let ending = match ended {
        Ok(Ok(status)) if status.success() => Ending::Good,
        Ok(Ok(status)) => Ending::Bad(status.to_string()),
        Ok(Err(error)) => Ending::Bad(error.to_string()),
        Err(_) => {
            // Its group is there as long as it was not waited for.
            if let Some(group) = group {
                group.kill();
            }
            let _ended = child.wait().await;
            Ending::Late
        }
    };
    let (mut said, errors) = heard;
    if !said.is_empty() && !errors.is_empty() {
        said.push(b'\n');
    }
    said.extend(errors);
    let said = String::from_utf8_lossy(&said);
    Ok(Told {
        ending,
        output: cut(said.trim()).to_owned(),
    })
}

/// Reads all of it, and keeps the start.
async fn listen(pipe: Option<impl AsyncRead + Unpin>, heard: &mut Vec<u8>) {
    let Some(mut pipe) = pipe else {
        return;
    };
    let _read = (&mut pipe).take(OUTPUT_MAX).read_to_end(heard).await;
    let _rest = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
}
