//! The probe of `health.probe`: no worker serves that has not passed it, and one that does no more is replaced, but never for nobody.

use std::fs;
use std::path::Path;

use crate::support::client;
use crate::support::journal::Mark;
use crate::support::load::{Load, Plan};
use crate::support::python;
use crate::support::server::{Server, Setup};
use crate::support::{PATIENCE, eventually};

/// The application answers its probe as the file `well` says.
fn probed() -> Setup {
    Setup::faulty()
        .set("health.probe", "/well")
        .set("health.probe_interval", "50ms")
        .set("health.probe_failures", 2)
        .set("workers.backoff_reset", "1s")
}

/// From now on; in this process only, or in all.
fn let_answer(folder: &Path, process: Option<u32>, what: &str) {
    let name = process.map_or_else(|| "well".to_owned(), |pid| format!("well-{pid}"));
    let new = folder.join("well.new");
    fs::write(&new, what).unwrap();
    fs::rename(new, folder.join(name)).unwrap();
}

fn ends(server: &Server, reason: &str) -> u64 {
    server.status().worker_ends[reason]
}

#[test]
fn a_first_boot_whose_probe_fails_exits_with_3_and_the_reason() {
    for (answer, reason) in [
        (
            "503 the database\n is down",
            "the probe of `/well` failed: answered 503 Service Unavailable: the database is down",
        ),
        ("404 ", "answered 404 Not Found"),
        ("hang", "no answer within 300ms"),
        ("panic", "the application panicked"),
    ] {
        let setup = probed().set("health.probe_timeout", "300ms");
        let_answer(setup.folder(), None, answer);
        let server = setup.launch();
        assert_eq!(server.wait_for_exit(PATIENCE), Some(3), "{answer}");
        let last = server.wait_for_log(Mark::START, "the application failed to boot");
        assert!(
            last["reason"].as_str().unwrap().contains(reason),
            "{answer}: {last}"
        );
    }
}

#[test]
fn a_generation_whose_probe_fails_is_rolled_back_and_the_one_before_serves_on() {
    for strategy in ["blue-green", "rolling"] {
        let server = probed()
            .set("health.probe_interval", 0)
            .set("reload.strategy", strategy)
            .start();
        let before = server.pids();
        let load = Load::start(&server.address(), Plan::LIGHT);
        let_answer(server.folder(), None, "500 cannot reach the cache");
        let outcome = server.cli(["reload"]);
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(
            outcome.stderr.contains("cannot reach the cache"),
            "{outcome:?}"
        );
        assert_eq!(server.until_workers(2), before);
        let_answer(server.folder(), None, "302 ");
        server.reload();
        load.finish().assert_nothing_lost();
    }
}

#[test]
fn a_worker_that_serves_and_whose_probe_fails_is_replaced_and_nothing_is_lost() {
    let server = probed().start();
    let load = Load::start(&server.address(), Plan::LIGHT);
    let before = server.pids();
    let_answer(server.folder(), Some(before[0]), "503 lost its way");
    let line = server.wait_for_log(Mark::START, "worker shall be replaced");
    assert_eq!(
        (&line["reason"], &line["pid"]),
        (&"probe".into(), &before[0].into())
    );
    assert!(
        line["probe"].as_str().unwrap().contains("lost its way"),
        "{line}"
    );
    let after = eventually("another worker in its place", || {
        let after = server.until_workers(2);
        (after[0] != before[0]).then_some(after)
    });
    assert_eq!(after[1], before[1]);
    assert_eq!(ends(&server, "probe"), 1);
    assert_eq!(server.status().deaths.len(), 0);
    let events = server.status().events;
    let told: Vec<_> = events
        .iter()
        .filter(|event| event.kind == "worker_replaced")
        .collect();
    assert_eq!(told.len(), 1, "{events:?}");
    assert_eq!(
        (told[0].reason.as_deref(), told[0].slot),
        (Some("probe"), Some(0))
    );
    assert!(told[0].message.contains("lost its way"), "{events:?}");
    load.finish().assert_nothing_lost();
}

/// What all of them need is down: replacements do not pass, so nobody goes; and when it is there again, nobody needs to.
#[test]
fn when_no_worker_passes_all_serve_on_until_they_do_again() {
    let server = probed().start();
    let load = Load::start(&server.address(), Plan::LIGHT);
    let before = server.pids();
    let_answer(server.folder(), None, "503 the database is down");
    server.until(
        "workers that shall be replaced, and no replacement",
        |status| {
            let unwell = status.workers.iter().filter(|worker| {
                let failure = worker.probe_failure.as_deref().unwrap_or_default();
                worker.replaced_for.as_deref() == Some("probe") && failure.contains("is down")
            });
            (unwell.count() == 2 && status.state == "degraded").then_some(())
        },
    );
    assert_eq!(server.pids(), before);
    let said = server.cli(["status"]).stdout;
    let notes = said.lines().filter(|line| {
        line.starts_with("worker ")
            && line.contains("its probe fails: ")
            && line.ends_with("; another one shall take its place (probe)")
    });
    assert_eq!(notes.count(), 2, "{said}");
    let_answer(server.folder(), None, "200 ");
    server.until("workers that are well, and the server", |status| {
        let is_well = status
            .workers
            .iter()
            .all(|worker| worker.replaced_for.is_none());
        (is_well && status.state == "serving").then_some(())
    });
    server.until_workers(2);
    assert!(
        ends(&server, "probe") <= 1,
        "one may have been about to be replaced"
    );
    load.finish().assert_nothing_lost();
}

#[test]
fn a_probe_is_a_request_of_its_own_that_no_rule_judges_and_nothing_counts() {
    let mut setup = probed()
        .set("workers.count", 1)
        .set("workers.max_requests", 3)
        .set("health.probe", "/well?deep")
        .set("health.probe_host", "shop.example")
        .set("http.max_in_flight", 1)
        .set("access_log.enabled", true);
    setup
        .config
        .set_auth("[[auth.rule]]\npath = \"/no/**\"\naccess = \"public\"\n");
    let server = setup.start();
    let before = server.pids();
    let asked = eventually("ten probes", || {
        let asked = fs::read_to_string(server.folder().join("asked")).unwrap_or_default();
        (asked.lines().count() >= 10).then_some(asked)
    });
    let line = format!(
        "GET /well?deep host=shop.example agent=destrier-probe/{}",
        env!("CARGO_PKG_VERSION")
    );
    assert!(asked.lines().all(|it| it == line), "{asked}");
    let status = server.status();
    assert_eq!((status.totals.requests, status.totals.refused), (0, 0));
    assert_eq!(server.pids(), before);
    assert_eq!(server.count_log(Mark::START, "request"), 0);
}

#[test]
fn a_worker_that_has_no_place_free_is_not_taken_for_one_that_is_unwell() {
    let server = probed()
        .set("workers.count", 1)
        .set("http.max_in_flight", 1)
        .set("log.level", "debug")
        .start();
    let held = client::get_meanwhile(&server.address(), "/held/one");
    server.until_in_flight(1);
    let_answer(server.folder(), None, "503 ");
    let (mark, asked) = (server.log.mark(), asked(&server));
    eventually("more rounds than may fail", || {
        (server.count_log(mark, "not probed: no place is free") > 3).then_some(())
    });
    assert_eq!(asked, self::asked(&server));
    assert_eq!(server.status().workers[0].replaced_for, None);
    fs::write(server.folder().join("go"), "").unwrap();
    held.join().unwrap().unwrap();
    server.wait_for_log(mark, "worker shall be replaced");
}

fn asked(server: &Server) -> String {
    fs::read_to_string(server.folder().join("asked")).unwrap()
}

const APPLICATION: &str = "
import os
def application(environ, start_response):
    if environ['PATH_INFO'] == '/well':
        assert environ['HTTP_HOST'] == 'localhost' and environ['REMOTE_ADDR'] == ''
        with open('well') as file:
            status = file.read()
    else:
        status = '200 OK'
    start_response(status, [('Content-Type', 'text/plain')])
    return [b'pid ', str(os.getpid()).encode()]
";

#[test]
fn a_python_application_is_probed_as_any_other() {
    let setup = python::bare()
        .set("app.wsgi", "site_app")
        .set("health.probe", "/well")
        .set("health.probe_interval", "50ms")
        .set("health.probe_failures", 2);
    fs::write(setup.folder().join("site_app.py"), APPLICATION).unwrap();
    let_answer(setup.folder(), None, "204 No Content");
    let server = setup.start();
    let before = server.pids();
    let_answer(server.folder(), None, "503 Unavailable");
    let outcome = server.cli(["reload"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("answered 503"), "{outcome:?}");
    server.wait_for_log(Mark::START, "worker shall be replaced");
    assert_eq!(server.pids(), before);
}
