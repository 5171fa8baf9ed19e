//! What happens is told to the program of `hooks.on_event`, bounded in number and time, and nothing waits for it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use destrier::master::FeedCondition;
use destrier::sys::clock;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::remote_keys::Provider;
use crate::support::eventually;
use crate::support::journal::Mark;
use crate::support::os;
use crate::support::server::{Server, Setup};
use crate::support::tls::Authority;
use crate::tls;

/// Runs this script with the folder as its first argument.
fn told(setup: Setup, script: &str) -> Setup {
    let file = setup.folder().join("hook");
    fs::write(&file, format!("#!/bin/sh\nset -u\n{script}\n")).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
    let folder = setup.folder().display().to_string();
    setup.set("hooks.on_event", vec![file.display().to_string(), folder])
}

/// Keeps what it is told, a line for each event.
const KEEP: &str = "env | sed 's/=.*//' | sort > \"$1/env\"; cat >> \"$1/events\"; echo told >&2";

fn events(folder: &Path, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("events")).unwrap_or_default();
    let events = text.lines().map(|line| serde_json::from_str(line).unwrap());
    events
        .filter(|event: &Value| event["event"] == name)
        .collect()
}

#[track_caller]
fn wait_for(server: &Server, name: &str) -> Value {
    eventually(name, || events(server.folder(), name).pop())
}

#[test]
fn a_worker_that_died_is_told_with_its_end_and_nothing_of_the_environment() {
    let server = told(Setup::new(), KEEP)
        .env("SECRET", "of the master")
        .start();
    let pid = server.pids()[0];
    os::kill(pid);
    let event = wait_for(&server, "worker_died");
    for (field, value) in [
        ("version", 1.into()),
        ("number", 1.into()),
        ("pid", Value::from(pid)),
        ("master", server.pid.into()),
        ("config", server.config.file().display().to_string().into()),
        ("reason", "signal".into()),
        ("ending", "killed by SIGKILL".into()),
        ("generation", 1.into()),
    ] {
        assert_eq!(event[field], value, "{event}");
    }
    assert!(event["at"].as_str().unwrap().ends_with('Z'), "{event}");
    let line = server.wait_for_log(Mark::START, "`hooks.on_event` was run");
    assert_eq!(
        (&line["event"], &line["output"]),
        (&"worker_died".into(), &"told".into())
    );
    let names = fs::read_to_string(server.folder().join("env")).unwrap();
    assert!(
        !names.contains("SECRET") && names.contains("DESTRIER_EVENT"),
        "{names}"
    );
}

#[test]
fn too_few_workers_are_told_and_their_recovery() {
    let server = told(Setup::faulty(), KEEP)
        .set("health.ready_min", 2)
        .start();
    server.let_boot("wait");
    os::kill(server.pids()[1]);
    let event = wait_for(&server, "degraded");
    assert_eq!(
        (&event["reason"], &event["accepting"], &event["ready_min"]),
        (&"too_few_workers".into(), &1.into(), &2.into())
    );
    server.let_boot("ok");
    let event = wait_for(&server, "recovered");
    assert_eq!(
        (&event["reason"], &event["accepting"]),
        (&"too_few_workers".into(), &2.into())
    );
}

#[test]
fn a_reload_is_told_with_what_came_of_it() {
    let server = told(Setup::faulty(), KEEP).start();
    server.reload();
    assert_eq!(wait_for(&server, "reload_done")["generation"], 2);
    server.let_boot("fail");
    assert_eq!(server.cli(["reload"]).code, Some(1));
    let event = wait_for(&server, "reload_failed");
    assert_eq!(event["outcome"], "rolled_back");
    assert!(
        event["message"]
            .as_str()
            .unwrap()
            .contains("the database is down"),
        "{event}"
    );
    server.config.write_text("this is no TOML");
    server.signal(Signal::SIGHUP);
    eventually("the refusal", || {
        let last = events(server.folder(), "reload_failed").pop()?;
        (last["outcome"] == "refused").then_some(())
    });
}

#[test]
fn one_that_does_not_end_is_killed_with_what_it_has_started() {
    let script =
        "sleep 1000 & echo $! > \"$1/sleeper.new\"; mv \"$1/sleeper.new\" \"$1/sleeper\"; wait";
    let server = told(Setup::new(), script)
        .set("hooks.on_event_timeout", "400ms")
        .start();
    server.reload();
    let line = server.wait_for_log(Mark::START, "`hooks.on_event` took too long, killed");
    assert_eq!(line["event"], "reload_done");
    let sleeper = fs::read_to_string(server.folder().join("sleeper")).unwrap();
    eventually("the end of what it had started", || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", sleeper.trim()));
        // Whoever adopts it may not have waited for it yet.
        stat.map_or(true, |stat| stat.contains(") Z "))
            .then_some(())
    });
}

#[test]
fn no_more_than_four_run_at_once_and_the_others_follow() {
    let script = "cat >/dev/null; echo + >> \"$1/runs\"; until [ -e \"$1/go\" ]; do sleep 0.01; done; echo - >> \"$1/runs\"";
    let server = told(Setup::new(), script).start();
    server.config.write_text("this is no TOML");
    for reload in 1..=9 {
        server.signal(Signal::SIGHUP);
        eventually("the refusal", || {
            let refused = "reload refused, everything stays as it is";
            (server.count_log(Mark::START, refused) == reload).then_some(())
        });
    }
    let runs = || fs::read_to_string(server.folder().join("runs")).unwrap_or_default();
    eventually("four that run", || {
        (runs().lines().count() >= 4).then_some(())
    });
    // Nothing waits for them.
    assert_eq!(server.pids().len(), 2);
    fs::write(server.folder().join("go"), "").unwrap();
    eventually("all of them", || {
        (runs().lines().count() == 18).then_some(())
    });
    let (mut running, mut most) = (0, 0);
    for line in runs().lines() {
        running += if line == "+" { 1 } else { -1 };
        most = most.max(running);
    }
    assert_eq!((running, most), (0, 4));
}

#[test]
fn what_happens_while_there_is_no_agent_the_next_one_tells() {
    let server = told(Setup::new(), KEEP).start();
    let agent = server.until("the agent", |status| status.agent.as_ref()?.pid);
    os::kill(agent);
    os::kill(server.pids()[0]);
    wait_for(&server, "worker_died");
}

#[test]
fn a_program_that_cannot_be_run_is_told_in_the_log_and_costs_nothing_else() {
    let server = Setup::new().set("hooks.on_event", "/nowhere/hook").start();
    server.reload();
    let line = server.wait_for_log(Mark::START, "cannot run `hooks.on_event`");
    assert_eq!(
        (&line["event"], &line["program"]),
        (&"reload_done".into(), &"/nowhere/hook".into())
    );
    assert_eq!(server.pids().len(), 2);
}

#[test]
fn a_certificate_that_ends_soon_is_told_once_with_its_end() {
    let authority = Authority::new();
    let setup = told(tls::setup(&authority), KEEP);
    let soon = authority.certify_for(&["localhost"], 5);
    soon.write(setup.folder(), "a");
    let server = setup.start();
    let event = wait_for(&server, "certificate_expiring");
    assert_eq!(event["within_days"], 7, "{event}");
    let file = server.folder().join("a.crt").display().to_string();
    assert_eq!(event["certificate"], file);
    let left = event["not_after"].as_u64().unwrap() - clock::unix().as_secs();
    assert!((4 * 86_400..6 * 86_400).contains(&left), "{left} s");
    // Something else is told after it, and it is not told again.
    server.reload();
    wait_for(&server, "reload_done");
    assert_eq!(events(server.folder(), "certificate_expiring").len(), 1);
}

#[test]
fn keys_that_are_older_than_they_may_be_are_told_with_why_they_could_not_be_fetched() {
    let provider = Provider::start("a");
    let keys = "refresh_interval = \"1s\"\nstale_max = \"2s\"";
    let server = told(provider.set_up(keys), KEEP).start();
    provider.go_away(true);
    let agent = server.until("keys that are too old", |status| {
        let is_stale = status.feeds.first()?.state == FeedCondition::Stale;
        status.agent.as_ref()?.pid.filter(|_| is_stale)
    });
    // One looks soon after it was started, and then once a minute.
    os::kill(agent);
    let event = wait_for(&server, "keys_stale");
    assert_eq!(
        (&event["purpose"], &event["issuer"]),
        (&"keys".into(), &"login".into())
    );
    let source = event["source"].as_str().unwrap();
    assert_eq!(source, format!("http://{}/jwks.json", provider.address));
    assert!(!event["message"].as_str().unwrap().is_empty(), "{event}");
}
