//! `destrier status`: what runs now, as a table or as JSON, once or again and again.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use bytesize::ByteSize;
use comfy_table::{CellAlignment, Table, presets};

use super::{CommandError, ExitCode};
use crate::cli::{MasterArgs, StatusArgs};
use crate::master::control::{Answer, Request};
use crate::master::{
    AgentStatus, DeathStatus, FeedCondition, FeedStatus, RequestStatus, Status, StopPhase,
    TemplateStatus, WorkerStatus,
};
use crate::sys::poll;

/// Deaths that are shown to people; `--json` has all that are remembered.
const DEATHS_SHOWN: usize = 5;

/// Back to the first place of a terminal, and everything behind it gone: nothing flickers where most stays the same.
const ANEW: &str = "\x1b[H\x1b[J";

/// Asks and shows.
pub(super) fn run(args: &StatusArgs) -> Result<ExitCode, CommandError> {
    if args.schema {
        let schema = schemars::schema_for!(Status);
        super::print(&format!("{:#}\n", schema.to_value()))?;
        return Ok(ExitCode::Success);
    }
    match args.watch {
        Some(seconds) => watch(args, Duration::from_secs(seconds))?,
        None => super::print(&text(&ask(&args.master)?, args.json))?,
    }
    Ok(ExitCode::Success)
}

/// What the master says.
pub(super) fn ask(master: &MasterArgs) -> Result<Status, CommandError> {
    match super::ask::ask(master, &Request::Status {})? {
        Answer::Status(status) => Ok(*status),
        Answer::Done(message) | Answer::Failed(message) => Err(CommandError::failure(message)),
        Answer::Plan(_) | Answer::Stacks(_) => {
            Err(CommandError::failure(super::ask::SOMETHING_ELSE))
        }
    }
}

fn text(status: &Status, json: bool) -> String {
    if json {
        serde_json::to_string_pretty(status).unwrap_or_default() + "\n"
    } else {
        shown(status)
    }
}

/// Until whoever reads has seen enough, or there is no master any more. A terminal shows the last one; a file or a program gets all, JSON
/// as one line each.
fn watch(args: &StatusArgs, every: Duration) -> Result<(), CommandError> {
    let is_terminal = io::stdout().is_terminal();
    loop {
        let status = ask(&args.master)?;
        let text = match (args.json, is_terminal) {
            (true, _) => serde_json::to_string(&status).unwrap_or_default() + "\n",
            (false, true) => format!("{ANEW}{}", shown(&status)),
            (false, false) => shown(&status) + "\n",
        };
        let mut stdout = io::stdout().lock();
        match stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
        {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => {
                let reason = format!("cannot write to standard output: {error}");
                return Err(CommandError::failure(reason));
            }
        }
        // There is nothing but the time to wait for.
        let _woken_early = poll::wait(&[], Some(every));
    }
}

/// The configuration file.
pub(super) fn config(status: &Status) -> &str {
    if status.config.is_empty() {
        "none, the application was named on the command line"
    } else {
        &status.config
    }
}

fn shown(status: &Status) -> String {
    let mut lines = vec![
        format!(
            "destrier {}, master {}, up {}",
            status.version,
            status.pid,
            span(status.uptime)
        ),
        format!("state      {}", status.state),
        format!("config     {}", config(status)),
        format!(
            "workers    {} ({})",
            status.workers_wanted, status.workers_because
        ),
    ];
    if let Some(python) = &status.python {
        lines.push(format!(
            "python     {} in {}",
            python.application, python.interpreter
        ));
    }
    if let Some(stop) = &status.stop {
        let ends = format!("ends in {} at the latest", span(stop.ends_in));
        lines.push(match (stop.phase, stop.drains_in) {
            (StopPhase::Delay, Some(drains_in)) => {
                format!(
                    "stop       serves for {}, then drains; {ends}",
                    span(drains_in)
                )
            }
            (StopPhase::Delay | StopPhase::Draining, _) => format!("stop       drains; {ends}"),
        });
    }
    for listener in &status.listeners {
        lines.push(if listener.bind == listener.address {
            format!("listening  {}", listener.bind)
        } else {
            format!("listening  {} (as {})", listener.address, listener.bind)
        });
    }
    lines.push(match status.generation {
        Some(generation) => format!("generation {generation}"),
        None => "generation none has booted yet".to_owned(),
    });
    if let Some(reload) = &status.last_reload {
        let outcome = match (&reload.error, reload.generation) {
            (Some(error), _) => format!("failed: {}", error.replace('\n', "\n           ")),
            (None, Some(generation)) => format!("generation {generation} took over"),
            (None, None) => "done".to_owned(),
        };
        lines.push(format!("reload     {} ago, {outcome}", span(reload.ago)));
    }
    let totals = &status.totals;
    let [_, success, redirection, client_error, server_error] = totals.by_status_class;
    lines.push(format!(
        "requests   {} (2xx {success}, 3xx {redirection}, 4xx {client_error}, 5xx {server_error}; {} refused{}), {} connections",
        totals.requests,
        totals.refused,
        match totals.blocked {
            0 => String::new(),
            blocked => format!(", {blocked} blocked"),
        } + &match totals.overloaded {
            0 => String::new(),
            overloaded => format!(", {overloaded} overloaded"),
        },
        totals.connections
    ));
    lines.extend(status.templates.iter().map(template));
    lines.extend(status.agent.as_ref().map(agent));
    lines.extend(status.feeds.iter().map(feed));
    let deaths = if status.deaths.is_empty() {
        String::new()
    } else {
        format!("\n{}\n", deaths(&status.deaths).join("\n"))
    };
    let notes: String = status.workers.iter().filter_map(notes).collect();
    format!(
        "{}\n\n{}\n{notes}{deaths}",
        lines.join("\n"),
        workers(status)
    )
}

/// What is not as it should be with a worker, and no column tells.
fn notes(worker: &WorkerStatus) -> Option<String> {
    let waits = worker.connections_wait.as_ref();
    let fails = worker.probe_failure.as_ref();
    let replaced = worker.replaced_for.as_ref();
    let notes: Vec<_> = [
        waits.map(|limit| format!("new connections wait ({limit})")),
        fails.map(|failure| format!("its probe fails: {failure}")),
        replaced.map(|reason| format!("another one shall take its place ({reason})")),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!notes.is_empty()).then(|| format!("\nworker {}: {}\n", worker.worker, notes.join("; ")))
}

fn agent(agent: &AgentStatus) -> String {
    match (agent.pid, agent.uptime, agent.restarts_in) {
        (Some(pid), Some(uptime), _) => {
            let rss = agent.rss.map(|rss| format!(", {}", bytes(rss)));
            let rss = rss.unwrap_or_default();
            format!("agent      pid {pid}, up {}{rss}", span(uptime))
        }
        (_, _, Some(restarts_in)) => format!(
            "agent      none runs, another one is started in {}",
            span(restarts_in)
        ),
        (_, _, None) => "agent      none runs".to_owned(),
    }
}

/// What the workers of a generation are forked from.
fn bytes(bytes: u64) -> String {
    ByteSize(bytes).display().iec_short().to_string()
}

fn template(template: &TemplateStatus) -> String {
    let generation = template.generation;
    let mut parts = vec![match template.pid {
        Some(pid) => format!("pid {pid}, generation {generation}"),
        None => format!("none for generation {generation}"),
    }];
    match (template.state.as_str(), template.import_seconds) {
        ("ready", Some(import)) => parts.push(format!("imported in {}", span(import))),
        ("none", _) => parts.push("each worker imports the application".to_owned()),
        (state, _) => parts.push(state.to_owned()),
    }
    parts.extend(template.uptime.map(|uptime| format!("up {}", span(uptime))));
    let rss = template.rss.map(bytes);
    parts.extend(rss.map(|rss| format!("{rss} with what it shares")));
    let reason = template.reason.as_ref();
    let reason = reason.map(|reason| format!("\n           {}", reason.replace('\n', " ")));
    format!(
        "template   {}{}",
        parts.join(", "),
        reason.unwrap_or_default()
    )
}

/// A key file, a key set, a deny list: how much there is, from where, how old.
fn feed(feed: &FeedStatus) -> String {
    let many = |one: &str, many: &str| match feed.entries {
        Some(1) => format!("1 {one} of "),
        Some(entries) => format!("{entries} {many} of "),
        None => String::new(),
    };
    let issuer = feed.issuer.as_deref().unwrap_or_default();
    let what = match feed.purpose.as_str() {
        "keys" => format!("keys       `{issuer}`: {}", many("key", "keys")),
        "signing-key" => format!("signs      `{issuer}`: "),
        "certificate" => "TLS        ".to_owned(),
        "client-authorities" => "TLS        clients of ".to_owned(),
        _ => format!("deny list  {}", many("entry", "entries")),
    };
    let mut parts = vec![format!("{what}{}", feed.source)];
    match feed.state {
        FeedCondition::Unknown => parts.push("NOT KNOWN".to_owned()),
        FeedCondition::Stale => parts.push("TOO OLD".to_owned()),
        FeedCondition::Good => {}
    }
    parts.extend(feed.age.map(|age| format!("confirmed {} ago", span(age))));
    if feed.failure.is_some() && feed.state == FeedCondition::Good {
        let left = feed.stale_in.map(|left| format!("good for {}", span(left)));
        parts.extend(left);
    }
    parts.extend(feed.next_in.map(|next| format!("next in {}", span(next))));
    let line = parts.join(", ");
    match &feed.failure {
        Some(failure) => {
            let since = failure.since.map(|since| format!(" for {}", span(since)));
            let since = since.unwrap_or_default();
            format!("{line}\n           failing{since}: {}", failure.reason)
        }
        None => line,
    }
}

/// A line for each of the last deaths, newest first.
fn deaths(deaths: &[DeathStatus]) -> Vec<String> {
    let mut lines = vec!["deaths, the newest first".to_owned()];
    lines.extend(deaths.iter().take(DEATHS_SHOWN).map(death));
    let more = deaths.len().saturating_sub(DEATHS_SHOWN);
    if more > 0 {
        lines.push(format!("  {more} more with --json"));
    }
    lines
}

fn death(death: &DeathStatus) -> String {
    let killed_for = match &death.killed_for {
        Some(reason) => format!(", by the master for {reason}"),
        None => String::new(),
    };
    let executing = match (&death.executing, death.cause.as_str()) {
        (Some(request), _) => format!(", executing {}", in_words(request)),
        (None, "unnamed_request") => ", executing a request that is not named".to_owned(),
        (None, "no_request") => ", executing no request".to_owned(),
        (None, "another_thread") => ", in a thread of the application".to_owned(),
        (None, _) => String::new(),
    };
    let others = death
        .in_flight
        .saturating_sub(u64::from(death.executing.is_some()));
    let in_flight = match (others, death.others_in_flight.first()) {
        (0, _) | (_, None) => String::new(),
        (1, Some(request)) => format!("; in flight: {}", in_words(request)),
        (many, Some(oldest)) => format!("; {many} in flight, the oldest {}", in_words(oldest)),
    };
    format!(
        "  {} ago, worker {} (pid {}, slot {}, up {}): {}{killed_for}{executing}{in_flight}",
        span(death.ago),
        death.worker,
        death.pid,
        death.slot,
        span(death.uptime),
        death.ending
    )
}

fn in_words(request: &RequestStatus) -> String {
    let age = span(request.age);
    format!("{} {} {age}", request.method, request.path)
}

/// The columns of the workers that hold words, not numbers.
const STATE_COLUMN: usize = 4;
const LAST_COLUMN: usize = 11;

fn workers(status: &Status) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "WORKER",
        "PID",
        "SLOT",
        "GEN",
        "STATE",
        "UP",
        "CONNS",
        "BUSY",
        "QUEUED",
        "REQUESTS",
        "MEMORY",
        "OLDEST REQUEST",
    ]);
    for worker in &status.workers {
        let oldest = worker.requests_in_flight.first().map(in_words);
        let memory = worker.memory.as_ref().map(|memory| {
            let bytes = ByteSize(memory.pss.unwrap_or(memory.rss));
            bytes.display().iec_short().to_string()
        });
        table.add_row([
            worker.worker.to_string(),
            worker.pid.to_string(),
            worker.slot.to_string(),
            worker.generation.to_string(),
            worker.state.clone(),
            span(worker.uptime),
            worker.connections.to_string(),
            busy(worker),
            queued(worker),
            worker.requests.to_string(),
            memory.unwrap_or_default(),
            oldest.unwrap_or_default(),
        ]);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if ![STATE_COLUMN, LAST_COLUMN].contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

/// Requests that the application works on; of how many threads, where it has some.
fn busy(worker: &WorkerStatus) -> String {
    match worker.threads {
        Some(threads) => format!("{}/{}", threads.busy, threads.all),
        None => worker.in_flight.saturating_sub(worker.queued).to_string(),
    }
}

/// Requests that wait, and how long the oldest does.
fn queued(worker: &WorkerStatus) -> String {
    match worker.queued_for {
        Some(oldest) => format!("{} ({})", worker.queued, span(oldest)),
        None => worker.queued.to_string(),
    }
}

/// Seconds for reading: whole ones, milliseconds below one.
pub(super) fn span(seconds: f64) -> String {
    let span = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let whole = Duration::from_secs(span.as_secs());
    let rounded = if whole.is_zero() {
        Duration::from_millis(u64::from(span.subsec_millis()))
    } else {
        whole
    };
    humantime::format_duration(rounded).to_string()
}
