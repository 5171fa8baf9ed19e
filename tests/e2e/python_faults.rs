//! What becomes of a Python application that gets stuck, dies or forks, and what an operator is told of it.

use std::fs;
use std::thread::JoinHandle;

use destrier::master::{DeathStatus, RequestStatus};
use nix::sys::signal::Signal;

use crate::support::client::{self, Answer, Failure};
use crate::support::journal::Mark;
use crate::support::server::{Server, Setup};
use crate::support::{eventually, os, python};

/// One worker that comes back at once, with two threads.
fn setup() -> Setup {
    let setup = python::bare()
        .set("app.wsgi", "faults")
        .set("app.threads", 2)
        .set("workers.count", 1)
        .set("workers.backoff_initial", "1ms")
        .set("workers.backoff_max", "1ms");
    fs::write(
        setup.folder().join("faults.py"),
        include_str!("../fixtures/python/faults.py"),
    )
    .unwrap();
    setup
}

/// Requests that never end, so many since the start, each executed by a thread.
fn stuck(server: &Server, count: usize) -> JoinHandle<Result<Answer, Failure>> {
    let client = client::get_meanwhile(&server.address(), "/stuck");
    eventually("a call that waits", || {
        let waiting = fs::read_to_string(server.folder().join("waiting")).unwrap_or_default();
        (waiting.len() >= count).then_some(())
    });
    client
}

/// The newest of `count` deaths, as soon as there are so many.
#[track_caller]
fn death(server: &Server, count: usize) -> DeathStatus {
    server.until(&format!("death {count}"), |status| {
        (status.deaths.len() >= count).then(|| status.deaths[0].clone())
    })
}

fn path(request: &RequestStatus) -> &str {
    &request.path
}

const OVERDUE: &str = "the application did not answer in time";
const LAST_WORDS: &str = "what the threads of the worker did when it died";

#[test]
fn the_stack_of_a_call_that_takes_too_long_is_told_and_the_worker_is_replaced() {
    let server = setup().set("http.request_timeout", "500ms").start();
    let before = server.pids();
    let stuck = stuck(&server, 1);
    // The other thread goes on.
    client::get(&server.address(), "/pid").unwrap();
    let answer = stuck.join().unwrap();
    assert_eq!(answer.unwrap_err(), Failure::NotSuccess(504));
    let line = server.wait_for_log(Mark::START, OVERDUE);
    for (field, value) in [
        ("path", "/stuck"),
        ("rule", "auth.rule[0]"),
        ("thread", "executes it"),
    ] {
        assert_eq!(line[field], value, "{line}");
    }
    assert_eq!(line["request"].as_str().unwrap().len(), 32, "{line}");
    let stack = line["stack"].as_str().unwrap();
    let calls: Vec<_> = ["in application", "in answer", "in wait_in_vain"]
        .iter()
        .map(|call| {
            stack
                .find(call)
                .unwrap_or_else(|| panic!("{call}: {stack}"))
        })
        .collect();
    assert!(calls.is_sorted(), "the last call comes last: {stack}");
    let line = server.wait_for_log(Mark::START, "worker shall be replaced");
    assert_eq!(line["reason"], "a request is stuck");
    server.until("another worker", |status| {
        let pids = crate::support::server::accepting(status);
        (pids.len() == 1 && pids != before).then_some(())
    });
    eventually("the end of the old one", || {
        (!os::is_alive(before[0])).then_some(())
    });
    assert_eq!(server.status().deaths.len(), 0);
}

#[test]
fn code_that_holds_the_interpreter_is_found_and_named_and_its_worker_replaced() {
    let server = setup().set("http.request_timeout", "500ms").start();
    let before = server.pids();
    let held = client::get(&server.address(), "/held");
    assert_eq!(held.unwrap_err(), Failure::NotSuccess(504));
    let line = server.wait_for_log(Mark::START, OVERDUE);
    let thread = line["thread"].as_str().unwrap();
    assert!(thread.contains("holds the interpreter (the GIL)"), "{line}");
    let stack = line["stack"].as_str().unwrap();
    let first = stack.lines().nth(1).unwrap();
    assert!(first.ends_with("in hold_the_interpreter"), "{stack}");
    server.until("another worker", |status| {
        let pids = crate::support::server::accepting(status);
        (pids.len() == 1 && pids != before).then_some(())
    });
    client::get(&server.address(), "/pid").unwrap();
    eventually("the end of the old one", || {
        (!os::is_alive(before[0])).then_some(())
    });
}

#[test]
fn the_request_that_a_python_worker_died_of_is_named_with_the_place() {
    let server = setup().start();
    let ways = [
        ("/segfault", "killed by SIGSEGV", "in read_nowhere"),
        ("/abort", "killed by SIGABRT", "in answer"),
    ];
    for (number, (way, ending, place)) in ways.into_iter().enumerate() {
        let neighbour = stuck(&server, number + 1);
        let mark = server.log.mark();
        assert!(client::get(&server.address(), way).is_err(), "{way}");
        let death = death(&server, number + 1);
        assert!(neighbour.join().unwrap().is_err());
        assert!(death.ending.starts_with(ending), "{way}: {death:?}");
        assert_eq!(death.cause, "request", "{way}: {death:?}");
        assert_eq!(death.executing.as_ref().map(path), Some(way));
        let others: Vec<_> = death.others_in_flight.iter().map(path).collect();
        assert_eq!(others, ["/stuck"], "{way}");
        let line = server.wait_for_log(mark, LAST_WORDS);
        assert_eq!(line["pid"], death.pid, "{line}");
        let stacks = line["stacks"].as_str().unwrap();
        let (dying, others) = stacks.split_once("\n\nThread ").unwrap();
        assert!(dying.starts_with("Fatal Python error"), "{stacks}");
        assert!(dying.contains(place), "{way}: {stacks}");
        assert!(others.contains("in wait_in_vain"), "{way}: {stacks}");
    }
}

#[test]
fn a_death_that_says_nothing_of_its_cause_is_told_for_what_it_was() {
    let server = setup().start();
    let ways = [("/exit?7", "exit code 7"), ("/kill", "killed by SIGKILL")];
    for (number, (way, ending)) in ways.into_iter().enumerate() {
        assert!(client::get(&server.address(), way).is_err(), "{way}");
        let death = death(&server, number + 1);
        assert!(death.ending.starts_with(ending), "{death:?}");
        assert_eq!(death.cause, "unknown", "{way}");
        let others: Vec<_> = death.others_in_flight.iter().map(path).collect();
        assert_eq!(others, [way.split('?').next().unwrap()]);
    }
    assert_eq!(server.count_log(Mark::START, LAST_WORDS), 0);
}

#[test]
fn a_python_worker_that_is_aborted_from_outside_says_what_all_its_threads_did() {
    let server = setup().start();
    let clients = [1, 2].map(|count| stuck(&server, count));
    assert!(os::send(server.pids()[0], Signal::SIGABRT));
    let death = death(&server, 1);
    for client in clients {
        assert!(client.join().unwrap().is_err());
    }
    assert!(death.ending.starts_with("killed by SIGABRT"), "{death:?}");
    assert_eq!(death.cause, "signal_from_outside");
    assert_eq!(death.sent_by, Some(std::process::id()));
    let line = server.wait_for_log(Mark::START, LAST_WORDS);
    let stacks = line["stacks"].as_str().unwrap();
    assert_eq!(stacks.matches("in wait_in_vain").count(), 2, "{stacks}");
}

#[test]
fn where_the_application_wants_to_have_its_last_words_they_go_there() {
    let setup = setup();
    let file = setup.folder().join("faults");
    let shown = file.display().to_string();
    let server = setup.set("app.env.FAULTS_TO", shown).start();
    assert!(client::get(&server.address(), "/segfault").is_err());
    let death = death(&server, 1);
    assert_eq!(death.executing.as_ref().map(path), Some("/segfault"));
    let written = fs::read_to_string(file).unwrap();
    assert!(written.contains("in read_nowhere"), "{written}");
    assert_eq!(server.count_log(Mark::START, LAST_WORDS), 0);
}

#[test]
fn a_process_that_the_application_forks_does_not_serve() {
    const CAME_BACK: &str = "a process that the application forked came back into the server, and has exited: it must end with `os._exit`";
    let server = setup().start();
    let before = server.pids();
    for (path, code) in [("/fork", 1), ("/fork?5", 5)] {
        let mark = server.log.mark();
        let answer = client::get(&server.address(), path).unwrap().json();
        assert_eq!(answer["code"], code, "{path}: {answer}");
        let line = server.wait_for_log(mark, CAME_BACK);
        assert_eq!(line["pid"], answer["child"].to_string(), "{line}");
        assert_eq!(line["code"], code.to_string(), "{line}");
        assert_eq!(line["request"].as_str().unwrap().len(), 32, "{line}");
    }
    let answer = client::get(&server.address(), "/fork-in-pieces").unwrap();
    assert_eq!(answer.body, "one\ntwo\n");
    assert_eq!(server.pids(), before);
    assert_eq!(server.status().deaths.len(), 0);
}

#[test]
fn what_every_thread_does_now_is_shown_when_it_is_asked_for() {
    let server = setup().set("workers.count", 2).start();
    let _stuck = stuck(&server, 1);
    let shown = server.cli(["status", "--stacks"]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert_eq!(
        shown.stdout.matches("\nworker ").count() + 1,
        2,
        "{shown:?}"
    );
    assert!(shown.stdout.contains("in wait_in_vain"), "{shown:?}");
    let told = server.cli(["status", "--stacks", "--json"]).stdout;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let workers = told["workers"].as_array().unwrap();
    let threads = workers.iter().flat_map(|worker| {
        assert_eq!(worker["outcome"], "told");
        assert_eq!(worker["stacks"]["interpreter_is_held"], false);
        worker["stacks"]["threads"].as_array().unwrap()
    });
    let threads: Vec<_> = threads.collect();
    assert_eq!(threads.len(), 4, "{told}");
    let busy: Vec<_> = threads
        .iter()
        .filter(|thread| thread["request"].is_string())
        .collect();
    assert_eq!(busy.len(), 1, "{told}");
    let stack = busy[0]["stack"].as_str().unwrap();
    assert!(
        stack
            .lines()
            .rev()
            .nth(1)
            .unwrap()
            .ends_with("in wait_in_vain"),
        "{stack}"
    );
    fs::write(server.folder().join("release"), "").unwrap();
}

#[test]
fn a_worker_whose_interpreter_is_held_says_so_and_what_its_threads_were_doing() {
    let server = setup().set("http.request_timeout", "0s").start();
    let _held = client::get_meanwhile(&server.address(), "/held");
    let shown = eventually("an interpreter that is held", || {
        let shown = server.cli(["status", "--stacks"]).stdout;
        shown.contains("holds the interpreter").then_some(shown)
    });
    assert!(shown.contains("in hold_the_interpreter"), "{shown}");
    server.signal(Signal::SIGQUIT);
}

#[test]
fn a_worker_that_runs_no_python_has_no_stacks_to_show() {
    let server = Setup::new().set("workers.count", 1).start();
    let shown = server.cli(["status", "--stacks"]).stdout;
    assert!(
        shown.contains("it runs no Python: there is nothing to show"),
        "{shown}"
    );
}

#[test]
fn nobody_is_blamed_for_the_end_of_a_worker_that_cannot_boot() {
    let server = setup().set("app.preload", false).start();
    fs::write(server.folder().join("faults.py"), "broken").unwrap();
    os::kill(server.pids()[0]);
    let died = server.until("a worker that cannot boot", |status| {
        let mut deaths = status.deaths.iter();
        deaths.find(|death| death.ending == "exit code 3").cloned()
    });
    assert_eq!(
        (died.cause.as_str(), died.executing.is_none()),
        ("unknown", true)
    );
}

#[test]
fn a_worker_that_is_killed_for_memory_is_told_from_one_that_is_killed() {
    const IN_GROUP: &str = "echo $$ >\"$GROUP\"; exec \"$@\"";
    let Some(group) = os::MemoryGroup::new() else {
        return;
    };
    let server = setup()
        .under(&["sh", "-c", IN_GROUP, "sh"])
        .env("GROUP", group.processes().to_str().unwrap())
        .start();
    let template = |server: &Server| server.status().templates[0].pid;
    let (before, of_before) = (template(&server), server.pids()[0]);
    group.leave(64 << 20);
    let lost = client::get(&server.address(), "/eat");
    assert!(lost.is_err(), "{lost:?}");
    let killed = death(&server, 1);
    assert_eq!(killed.pid, of_before);
    assert_eq!(killed.out_of_memory, "yes", "{killed:?}");
    assert_eq!(killed.signal.as_deref(), Some("SIGKILL"));
    assert_eq!(path(&killed.others_in_flight[0]), "/eat", "{killed:?}");
    let line = server.wait_for_log(Mark::START, "worker died");
    assert_eq!(line["out_of_memory"], "yes", "{line}");
    // The next one comes from the template, which nobody has killed; and of its death memory is not the cause.
    client::get(&server.address(), "/pid").unwrap();
    assert_eq!(template(&server), before);
    assert!(client::get(&server.address(), "/kill").is_err());
    let killed = death(&server, 2);
    assert_eq!(killed.out_of_memory, "no", "{killed:?}");
}
