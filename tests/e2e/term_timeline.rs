//! What happens from the order to stop to the end: not ready at once, serving for the delay, then draining; one bound in
//! every state.

use std::time::Duration;

use bytes::Bytes;
use destrier::master::StopPhase;
use http_body_util::Empty;
use hyper::Request;
use nix::sys::signal::Signal;

use crate::support::client::{self, Address, Answer, Blocking, Failure};
use crate::support::journal::Mark;
use crate::support::load::{Load, Plan};
use crate::support::server::{Server, Setup, accepting};
use crate::support::{PATIENCE, eventually, os, timed};

/// Beyond `workers.drain_delay` and `workers.graceful_timeout`: what the promise allows.
const MARGIN: Duration = Duration::from_secs(1);

/// Long enough for what a test does in the delay, on a busy machine too.
const DELAY: Duration = Duration::from_secs(4);

const GRACE: Duration = Duration::from_secs(3);

/// A setup with these two.
fn timed_stop(setup: Setup) -> Setup {
    setup
        .set("workers.drain_delay", "4s")
        .set("workers.graceful_timeout", "3s")
}

/// One that would serve on for a minute.
fn long_delay(setup: Setup) -> Setup {
    setup
        .set("workers.drain_delay", "1m")
        .set("workers.graceful_timeout", "1s")
}

#[track_caller]
fn until_delayed(server: &Server) {
    server.until("the delay of a stop", |status| {
        let stop = status.stop.as_ref()?;
        (stop.phase == StopPhase::Delay).then_some(())
    });
}

#[track_caller]
fn assert_delayed(server: &Server) {
    let status = server.status();
    assert_eq!(status.state, "stopping");
    assert_eq!(status.stop.unwrap().phase, StopPhase::Delay);
}

/// Sends `signal` and waits for the end, which must not come later than promised.
#[track_caller]
fn end(server: &Server, signal: Signal, bound: Duration) -> Duration {
    let (code, took) = timed(|| {
        server.signal(signal);
        server.wait_for_exit(bound + MARGIN)
    });
    assert_eq!(code, Some(0));
    took
}

fn ask(address: &Address, method: &str, path: &str) -> Answer {
    let request = Request::builder().method(method).uri(path);
    let request = request.header("host", "test").body(Empty::<Bytes>::new());
    let mut connection = Blocking::open(address).unwrap();
    connection.send(request.unwrap()).unwrap()
}

#[test]
fn readiness_is_answered_before_token_and_rules() {
    let mut setup = Setup::new()
        .set("health.readiness_path", "/readyz")
        .set("access_log.enabled", true);
    setup.config.set_auth("");
    let server = setup.start();
    let address = server.address();
    let answer = ask(&address, "GET", "/readyz?verbose");
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (200, &"ready".into())
    );
    assert_eq!(answer.headers["cache-control"], "no-store");
    let answer = ask(&address, "HEAD", "/readyz");
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    let answer = ask(&address, "POST", "/readyz");
    assert_eq!(
        (answer.status, &answer.headers["allow"]),
        (405, &"GET, HEAD".parse().unwrap())
    );
    assert_eq!(server.status().totals.refused, 0);
    assert_eq!(ask(&address, "GET", "/readyz/").status, 403);
    let line = server.wait_for_log(Mark::START, "request");
    assert_eq!(
        (&line["path"], &line["status"]),
        (&"/readyz".into(), &200.into())
    );
}

#[test]
fn after_a_term_it_is_not_ready_at_once_and_serves_on_for_the_delay() {
    for balance in ["per-worker", "shared"] {
        let server = timed_stop(Setup::new())
            .set("server.balance", balance)
            .set("health.readiness_path", "/readyz")
            .start();
        let address = server.address();
        let load = Load::start(&address, Plan::FIFTY);
        let (code, took) = timed(|| {
            server.signal(Signal::SIGTERM);
            let not_ready = eventually("not ready", || {
                let answer = ask(&address, "GET", "/readyz");
                (answer.status != 200).then_some(answer)
            });
            assert_eq!(
                (not_ready.status, &not_ready.json()["code"]),
                (503, &"stopping".into())
            );
            assert_delayed(&server);
            let shown = server.cli(["status"]).stdout;
            assert!(shown.contains("\nstop       serves for "), "{shown}");
            load.wait_for_answers(200);
            server.signal(Signal::SIGTERM);
            for _ in 0..10 {
                assert_eq!(ask(&address, "GET", "/readyz").status, 503);
                assert!(!ask(&address, "GET", "/pid").closes());
            }
            assert_delayed(&server);
            server.wait_for_exit(DELAY + GRACE + MARGIN)
        });
        assert_eq!(code, Some(0));
        assert!(took >= DELAY, "{took:?}");
        let report = load.finish();
        let lost = report
            .failed
            .keys()
            .filter(|failure| **failure != Failure::Refused);
        assert_eq!(lost.count(), 0, "{balance}: {report:?}");
    }
}

#[test]
fn what_is_asked_for_in_the_delay_is_refused_with_the_reason() {
    let server = long_delay(Setup::new()).start();
    let before = server.pids();
    server.signal(Signal::SIGTERM);
    until_delayed(&server);
    let mark = server.log.mark();
    for words in [&["reload"][..], &["scale", "3"], &["upgrade"]] {
        let outcome = match *words {
            [one] => server.cli([one]),
            [one, two] => server.cli([one, two]),
            _ => unreachable!("one word or two"),
        };
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(
            outcome.stderr.contains("the master is stopping"),
            "{outcome:?}"
        );
    }
    for signal in [
        Signal::SIGHUP,
        Signal::SIGUSR2,
        Signal::SIGWINCH,
        Signal::SIGTTOU,
    ] {
        server.signal(signal);
    }
    server
        .log
        .wait_for(mark, PATIENCE, |line| line["signal"] == "SIGTTOU");
    assert_eq!(server.pids(), before);
    assert_eq!(server.count_log(mark, "reload begins"), 0);
    assert_delayed(&server);
    // INT ends it fast.
    let took = end(&server, Signal::SIGINT, Duration::from_secs(1));
    assert!(took < Duration::from_secs(30));
}

#[test]
fn a_worker_that_crashes_in_the_delay_is_replaced() {
    let server = long_delay(Setup::new().set("workers.count", 1)).start();
    server.signal(Signal::SIGTERM);
    until_delayed(&server);
    let before = server.pids();
    os::kill(before[0]);
    server.until("a replacement", |status| {
        let pids = accepting(status);
        (pids.len() == 1 && pids != before).then_some(())
    });
    assert_ne!(
        client::get(&server.address(), "/pid").unwrap().pid(),
        Some(before[0])
    );
    assert_delayed(&server);
}

#[test]
fn a_term_while_it_boots_or_is_paused_has_no_delay() {
    for boot in ["slow", "hang", "stall"] {
        let setup = long_delay(Setup::faulty());
        std::fs::write(setup.folder().join("boot"), boot).unwrap();
        let server = setup.launch();
        server.wait_for_log(Mark::START, "worker spawned");
        end(&server, Signal::SIGTERM, Duration::from_secs(1));
    }
    let server = long_delay(Setup::new()).start();
    server.signal(Signal::SIGWINCH);
    server.until_workers(0);
    end(&server, Signal::SIGTERM, Duration::from_secs(1));
}

#[test]
fn a_term_while_it_reloads_gives_the_reload_up_and_what_serves_goes_on() {
    let server = timed_stop(Setup::faulty()).start();
    let before = server.pids();
    server.let_boot("stall");
    std::thread::scope(|scope| {
        let reload = scope.spawn(|| server.cli(["reload"]));
        server.until("a reload under way", |status| {
            (status.workers.len() == 4).then_some(())
        });
        let (code, took) = timed(|| {
            server.signal(Signal::SIGTERM);
            let outcome = reload.join().unwrap();
            assert_eq!(outcome.code, Some(1), "{outcome:?}");
            assert!(
                outcome.stderr.contains("the master is stopping"),
                "{outcome:?}"
            );
            assert_eq!(server.until_workers(2), before);
            client::get(&server.address(), "/hello").unwrap();
            assert_delayed(&server);
            server.wait_for_exit(DELAY + GRACE + MARGIN)
        });
        assert_eq!(code, Some(0));
        assert!(took >= DELAY, "{took:?}");
    });
}

#[test]
fn a_term_in_the_middle_of_a_rolling_reload_leaves_no_slot_unserved() {
    let server = timed_stop(Setup::faulty())
        .set("reload.strategy", "rolling")
        .start();
    let load = Load::start(&server.address(), Plan::LIGHT);
    server.let_boot("one");
    server.signal(Signal::SIGHUP);
    server.until("a slot that the new generation serves", |status| {
        let serves = |worker: &destrier::master::WorkerStatus| {
            worker.state == "accepting" && worker.generation == 2
        };
        status.workers.iter().any(serves).then_some(())
    });
    server.signal(Signal::SIGTERM);
    until_delayed(&server);
    // The old generation's worker boots for its slot; until it serves, that of the new one does.
    assert_eq!(accepting(&server.status()).len(), 2);
    server.let_boot("ok");
    let mut back = server.until("the old generation in both slots", |status| {
        let pids = accepting(status);
        assert_eq!(pids.len(), 2, "{status:?}");
        let mut serving = status
            .workers
            .iter()
            .filter(|worker| worker.state == "accepting");
        serving.all(|worker| worker.generation == 1).then_some(pids)
    });
    eventually("an answer of each of them", || {
        let answered = client::get(&server.address(), "/pid").unwrap().pid();
        back.retain(|pid| Some(*pid) != answered);
        back.is_empty().then_some(())
    });
    assert_delayed(&server);
    assert_eq!(server.wait_for_exit(DELAY + GRACE + MARGIN), Some(0));
    let report = load.finish();
    let lost = report
        .failed
        .keys()
        .filter(|failure| **failure != Failure::Refused);
    assert_eq!(lost.count(), 0, "{report:?}");
}

#[test]
fn a_worker_whose_event_loop_hangs_changes_nothing_about_the_bound() {
    let server = Setup::new()
        .set("workers.drain_delay", "1s")
        .set("workers.graceful_timeout", "1s")
        .set("app.faults", true)
        .start();
    let client = client::get_meanwhile(&server.address(), "/fault/hang");
    server.until_in_flight(1);
    end(&server, Signal::SIGTERM, Duration::from_secs(2));
    assert!(client.join().unwrap().is_err());
}

#[test]
fn event_streams_are_told_of_a_drain_and_those_that_do_not_listen_are_ended_whole() {
    for drain in [Signal::SIGTERM, Signal::SIGHUP] {
        let server = Setup::new()
            .set("workers.count", 1)
            .set("http.stream_grace", "500ms")
            .set("workers.graceful_timeout", "20s")
            .start();
        let address = server.address();
        let listening = client::get_meanwhile(&address, "/events?ms=10");
        let deaf = client::get_meanwhile(&address, "/events?ms=10&deaf=1");
        let download = client::get_meanwhile(&address, "/stream?ms=400");
        server.until_in_flight(3);
        let mark = server.log.mark();
        server.signal(drain);
        let listening = listening.join().unwrap().unwrap();
        let text = String::from_utf8_lossy(&listening.body);
        assert!(
            text.ends_with("event: end\ndata: this worker goes, connect again\n\n"),
            "{text}"
        );
        let deaf = deaf.join().unwrap().unwrap();
        let text = String::from_utf8_lossy(&deaf.body);
        assert!(
            text.starts_with("data: 1\n\n") && text.ends_with("\n\n"),
            "{text}"
        );
        assert!(!text.contains("event: end"), "{text}");
        // What is no event stream goes on for as long as the worker may.
        let download = download.join().unwrap().unwrap();
        assert!(
            download.body.ends_with(
                b"chunk 9
"
            ),
            "{download:?}"
        );
        let finished = server.wait_for_log(mark, "worker finished");
        assert_eq!(finished["worker"], 1);
    }
}
