//! `destrier plan`: what a reload would do, as a table or as JSON.

use comfy_table::{Table, presets};

use super::{CommandError, ExitCode};
use crate::cli::MasterArgs;
use crate::config::Strategy;
use crate::master::control::{Answer, Request};
use crate::master::{Change, Effect, ListenerEffect, Outcome, Plan, WorkersPlan};

/// Asks and shows. A command of its own kind: 2 means changes, so whatever keeps the answer from being given is 1.
pub(super) fn run(master: &MasterArgs, json: bool) -> Result<ExitCode, CommandError> {
    let answer = super::ask::ask(master, &Request::Plan {})
        .map_err(|error| CommandError::failure(error.message))?;
    let plan = match answer {
        Answer::Plan(plan) => plan,
        Answer::Failed(reason) => return Err(CommandError::failure(reason)),
        Answer::Done(_) | Answer::Status(_) | Answer::Stacks(_) => {
            return Err(CommandError::failure(super::ask::SOMETHING_ELSE));
        }
    };
    if json {
        super::print(&(serde_json::to_string_pretty(&plan).unwrap_or_default() + "\n"))?;
    } else {
        for warning in &plan.warnings {
            super::tell(&format!("warning: {warning}"));
        }
        super::print(&shown(&plan))?;
    }
    Ok(match plan.outcome {
        Outcome::Nothing => ExitCode::Success,
        Outcome::Changes | Outcome::Refused => ExitCode::Changes,
    })
}

fn shown(plan: &Plan) -> String {
    format!("{}\n\n{}\n", table(plan), verdict(plan))
}

fn verdict(plan: &Plan) -> String {
    match plan.outcome {
        Outcome::Nothing => {
            "nothing would change: a reload would start a new generation of the same".to_owned()
        }
        Outcome::Changes => takeover(&plan.workers),
        Outcome::Refused => {
            let reasons = plan.refused.iter();
            let reasons = reasons.map(|reason| format!("a reload would be refused: {reason}"));
            reasons.collect::<Vec<_>>().join("\n")
        }
    }
}

fn takeover(workers: &WorkersPlan) -> String {
    let after = match workers.after {
        1 => "1 worker".to_owned(),
        after => format!("{after} workers"),
    };
    match workers.strategy {
        Strategy::BlueGreen => {
            format!(
                "a reload would boot {after} beside those that serve, to take over at once (blue-green)"
            )
        }
        Strategy::Rolling => format!(
            "a reload would boot {after} slot by slot, one ahead as the canary (rolling, max_surge = {}, max_unavailable = {})",
            workers.max_surge, workers.max_unavailable
        ),
    }
}

fn table(plan: &Plan) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["EFFECT", "WHAT", "BEFORE", "AFTER", "BECAUSE"]);
    for change in &plan.changes {
        table.add_row(change_row(change));
    }
    for listener in &plan.listeners {
        let effect = match listener.effect {
            ListenerEffect::Keep => "keep",
            ListenerEffect::Open | ListenerEffect::Close => "rebind",
            ListenerEffect::Refuse => "refuse",
        };
        let [before, after] = match listener.effect {
            ListenerEffect::Keep => ["open", "open"],
            ListenerEffect::Open | ListenerEffect::Refuse => ["-", "open"],
            ListenerEffect::Close => ["open", "-"],
        };
        let problem = listener.problem.as_deref().unwrap_or_default();
        table.add_row([effect, &listener.bind, before, after, problem]);
    }
    for keys in &plan.key_files {
        let what = match keys.purpose.as_str() {
            "signing-key" => format!("signing key of `{}`", keys.issuer),
            "deny-list" => "deny list".to_owned(),
            _ => format!("keys of `{}`", keys.issuer),
        };
        let because = match &keys.reason {
            Some(reason) => format!("{}: {reason}", keys.file),
            None => keys.file.clone(),
        };
        table.add_row([word(keys.effect), &what, "", "", &because]);
    }
    if plan.identity_changed {
        let because = "the system's users or groups have changed";
        table.add_row([word(Effect::Restart), "who workers are", "", "", because]);
    }
    let workers = &plan.workers;
    let because = match (workers.scaled, workers.before) {
        (true, 0) => format!("{}; the pause ends", workers.because),
        (true, _) => format!("{}; a reload forgets `destrier scale`", workers.because),
        (false, _) => workers.because.clone(),
    };
    let [before, after] = [workers.before, workers.after].map(|count| count.to_string());
    table.add_row([word(workers.effect), "workers", &before, &after, &because]);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

fn change_row(change: &Change) -> [String; 5] {
    let origin = change.origin.as_deref().unwrap_or_default();
    let because = match &change.overridden_by {
        Some(by) if origin.is_empty() => format!("overridden by {by}"),
        Some(by) => format!("{origin}, overridden by {by}"),
        None => origin.to_owned(),
    };
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    [
        word(change.effect).to_owned(),
        change.key.clone(),
        value(&change.before),
        value(&change.after),
        because,
    ]
}

fn word(effect: Effect) -> &'static str {
    match effect {
        Effect::Keep => "keep",
        Effect::Restart => "restart",
        Effect::Rebind => "rebind",
        Effect::Refuse => "refuse",
    }
}
