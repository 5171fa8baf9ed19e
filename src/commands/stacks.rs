//! `destrier status --stacks`: what every thread of every Python worker does now.

use super::status::span;
use super::{CommandError, ExitCode};
use crate::cli::MasterArgs;
use crate::master::control::{Answer, Request};
use crate::master::{Stacks, StacksOutcome, StacksStatus, ThreadStack, WorkerStacks};

/// Asks and shows.
pub(super) fn run(master: &MasterArgs, json: bool) -> Result<ExitCode, CommandError> {
    let stacks = match super::ask::ask(master, &Request::Stacks {})? {
        Answer::Stacks(stacks) => stacks,
        Answer::Done(message) | Answer::Failed(message) => {
            return Err(CommandError::failure(message));
        }
        Answer::Status(_) | Answer::Plan(_) => {
            return Err(CommandError::failure(super::ask::SOMETHING_ELSE));
        }
    };
    let text = if json {
        serde_json::to_string_pretty(&stacks).unwrap_or_default() + "\n"
    } else {
        shown(&stacks)
    };
    super::print(&text)?;
    Ok(ExitCode::Success)
}

fn shown(status: &StacksStatus) -> String {
    let workers = status.workers.iter().map(worker);
    workers.collect::<Vec<_>>().join("\n")
}

fn worker(worker: &WorkerStacks) -> String {
    let said = match (worker.outcome, &worker.stacks) {
        (StacksOutcome::Told, Some(stacks)) => threads(stacks),
        (StacksOutcome::NoPython | StacksOutcome::Told, _) => {
            "  it runs no Python: there is nothing to show\n".to_owned()
        }
        (StacksOutcome::NoAnswer, _) => {
            "  it did not answer in time: its event loop does not turn, or it is about to exit\n"
                .to_owned()
        }
        (StacksOutcome::LeftOut, _) => "  left out: the others have so much to say\n".to_owned(),
    };
    format!(
        "worker {} (pid {}, slot {}, generation {}, {})\n{said}",
        worker.worker, worker.pid, worker.slot, worker.generation, worker.state
    )
}

fn threads(stacks: &Stacks) -> String {
    let mut text = String::new();
    if stacks.interpreter_is_held {
        text += "  no thread can run Python: code that is no Python holds the interpreter (the GIL); the last call comes first\n";
    }
    for thread in &stacks.threads {
        text += &shown_thread(thread);
    }
    if stacks.left_out > 0 {
        text += &[
            "  ",
            &stacks.left_out.to_string(),
            " more threads are left out\n",
        ]
        .concat();
    }
    text
}

fn shown_thread(thread: &ThreadStack) -> String {
    let request = match (&thread.request, thread.milliseconds) {
        (Some(request), Some(milliseconds)) => {
            let seconds = std::time::Duration::from_millis(milliseconds).as_secs_f64();
            format!(", request {request} for {}", span(seconds))
        }
        _ => String::new(),
    };
    let calls = thread.stack.lines().map(|line| format!("  {line}\n"));
    format!("  {}{request}\n{}", thread.name, calls.collect::<String>())
}
