//! What an ASGI application is told of its own life, and what follows from what it says.

use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::serving;
use crate::support::journal::Mark;
use crate::support::server::{Server, Setup};
use crate::support::shapes::{ask, content, get};
use crate::support::{PATIENCE, eventually};

fn lives(name: &str) -> Setup {
    let setup = serving(&format!("lives:{name}"));
    let notes = setup.folder().join("notes").display().to_string();
    setup.set("app.env.NOTES", notes)
}

fn notes(server: &Server) -> PathBuf {
    server.folder().join("notes")
}

fn noted(server: &Server) -> String {
    let noted = fs::read_to_string(notes(server)).unwrap_or_default();
    noted.lines().collect::<Vec<_>>().join(",")
}

/// What the master says of a first boot that fails.
fn reason(name: &str) -> String {
    let server = lives(name).launch();
    assert_eq!(server.wait_for_exit(PATIENCE), Some(3));
    let last = server.wait_for_log(Mark::START, "the application failed to boot");
    last["reason"].as_str().unwrap().to_owned()
}

#[test]
fn an_application_starts_up_before_the_first_request_and_shuts_down_after_the_last() {
    let server = lives("lives").start();
    assert_eq!(noted(&server), "startup");
    assert_eq!(content(&get(&server, "/")), "{'database': 'open'}");
    let mut held = ask(&server, "/hold");
    server.until_in_flight(1);
    server.signal(Signal::SIGHUP);
    server.until("the commit", |status| {
        (status.generation == Some(2)).then_some(())
    });
    // The one that drains and the one that took its place.
    assert_eq!(noted(&server), "startup,startup");
    fs::write(notes(&server).with_extension("release"), "").unwrap();
    let mut answer = String::new();
    held.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("0\r\n\r\n"), "{answer}");
    eventually("the shutdown", || {
        (noted(&server) == "startup,startup,answered,worked on,shutdown").then_some(())
    });
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_for_exit(PATIENCE), Some(0));
    assert!(noted(&server).ends_with("shutdown,shutdown"));
}

#[test]
fn an_application_that_knows_no_lifespan_runs_without() {
    for name in ["knows_none", "ignores"] {
        let server = lives(name).start();
        assert_eq!(content(&get(&server, "/")), "{}", "{name}");
    }
    let server = lives("answers_anything").start();
    assert_eq!(content(&get(&server, "/")), "{}");
    // A callable that a call makes.
    let server = serving("lives:create()");
    let notes = server.folder().join("notes").display().to_string();
    let server = server.set("app.env.NOTES", notes).start();
    assert_eq!(content(&get(&server, "/")), "{'database': 'open'}");
}

#[test]
fn an_application_that_does_not_start_up_does_not_boot() {
    for (name, words) in [
        (
            "fails_to_start",
            "`lives:fails_to_start` failed to start up: the database is not there",
        ),
        (
            "raises_at_start",
            "`lives:raises_at_start` failed to start up: ConnectionError: nobody listens",
        ),
        (
            "exits_at_start",
            "`lives:exits_at_start` failed to start up: it exits, with 4",
        ),
        ("wsgi", "`lives:wsgi` is no ASGI 3 application: "),
    ] {
        let reason = reason(name);
        assert!(reason.contains(words), "{reason}");
    }
}

#[test]
fn a_reload_of_an_application_that_does_not_start_up_changes_nothing() {
    let mut server = lives("lives").start();
    let before = server.pids();
    server.config.set("app.asgi", "lives:fails_to_start");
    server.config.write();
    let outcome = server.cli(["reload"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(
        outcome.stderr.contains("the database is not there"),
        "{outcome:?}"
    );
    server.wait_for_log(
        Mark::START,
        "the application failed to start up\nTraceback\n  of it\nthe database is not there",
    );
    assert_eq!(server.pids(), before);
}

#[test]
fn an_end_that_takes_too_long_keeps_nobody() {
    for name in ["never_ends", "blocks_at_the_end"] {
        let server = lives(name).set("workers.graceful_timeout", "2s").start();
        get(&server, "/");
        server.signal(Signal::SIGTERM);
        assert_eq!(
            server.wait_for_exit(Duration::from_secs(10)),
            Some(0),
            "{name}"
        );
        let noted = noted(&server);
        assert!(noted.starts_with("asked to end"), "{name}: {noted}");
        if name == "never_ends" {
            assert_eq!(noted, "asked to end,cancelled");
            let said = server.wait_for_log(Mark::START, "the application failed to shut down: its time is over (`workers.graceful_timeout`)");
            assert!(said["worker"].is_number());
        }
    }
}
