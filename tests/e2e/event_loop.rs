//! Who turns the event loop of a worker with a Python application: where calls are short and close to each other the thread that calls it, and as
//! soon as that is held up the thread that the event loop belongs to.

use std::fs;
use std::time::Duration;

use crate::support::client::{Blocking, Failure, get, get_meanwhile};
use crate::support::python;
use crate::support::server::{Server, Setup};
use crate::support::within;

/// The same application for both interfaces: `/hold` keeps its thread until there is a file.
const APPLICATION: &str = r#"
import pathlib, time

def content(path):
    while path == "/hold" and not pathlib.Path("release").exists():
        time.sleep(0.001)
    return b"done"

def wsgi(environ, start_response):
    said = content(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Length", str(len(said)))])
    return [said]

async def asgi(scope, receive, send):
    said = content(scope.get("path", ""))
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(said))]})
        await send({"type": "http.response.body", "body": said})
"#;

fn setup(interface: &str) -> Setup {
    let setup = python::bare()
        .set(
            &format!("app.{interface}"),
            format!("application:{interface}"),
        )
        .set("workers.count", 1)
        .set("http.request_timeout", "300ms")
        .set("health.readiness_path", "/ready");
    let setup = if interface == "wsgi" {
        setup.set("app.threads", 1)
    } else {
        setup
    };
    fs::write(setup.folder().join("application.py"), APPLICATION).unwrap();
    setup
}

/// Until the application turns the event loop.
const PATIENCE: Duration = Duration::from_secs(40);

/// How often the thread that the event loop belongs to has left its processor (proc(5)); none where its worker is gone.
fn switches_of_the_owner(server: &Server) -> Option<u64> {
    let pid = server.pids()[0];
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let mut tasks = tasks.filter_map(|task| Some(task.ok()?.path()));
    let owner = tasks.find(|task| {
        fs::read_to_string(task.join("comm")).is_ok_and(|name| name == "destrier-io\n")
    });
    let status = fs::read_to_string(owner?.join("status")).ok()?;
    let counts = status
        .lines()
        .filter_map(|line| line.split_once("ctxt_switches:"));
    let counts = counts.map(|(_, count)| count.trim().parse::<u64>().unwrap());
    Some(counts.sum())
}

/// Asks on some connections at once until the owner has hardly anything to do with it.
fn until_the_application_turns_it(server: &Server) {
    const CLIENTS: u64 = 2;
    const EACH: u64 = 100;
    // A machine that does much else keeps the application from its turn, and then it is not tried again at once.
    within(PATIENCE, "an owner that is not woken for requests", || {
        let before = switches_of_the_owner(server)?;
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    let mut connection = Blocking::open(&server.address()).unwrap();
                    for _ in 0..EACH {
                        assert_eq!(connection.get("/").unwrap().status, 200);
                    }
                });
            }
        });
        // It looks what is going on every two milliseconds.
        let woken = switches_of_the_owner(server)?.checked_sub(before)?;
        (woken < CLIENTS * EACH / 2).then_some(())
    });
}

fn goes_on_while_a_call_is_held(interface: &str) {
    let server = setup(interface).start();
    until_the_application_turns_it(&server);
    let mut connection = Blocking::open(&server.address()).unwrap();
    assert_eq!(connection.get("/").unwrap().status, 200);
    let held = get_meanwhile(&server.address(), "/hold");
    server.until_in_flight(1);
    // The application is needed for neither.
    assert_eq!(get(&server.address(), "/ready").unwrap().status, 200);
    let answer = held.join().unwrap();
    assert!(
        matches!(answer, Err(Failure::NotSuccess(504))),
        "{answer:?}"
    );
    fs::write(server.folder().join("release"), "").unwrap();
    assert_eq!(connection.get("/").unwrap().status, 200);
    until_the_application_turns_it(&server);
}

#[test]
fn the_thread_that_calls_a_wsgi_application_gives_the_event_loop_up_when_it_is_held() {
    goes_on_while_a_call_is_held("wsgi");
}

#[test]
fn the_event_loop_of_an_asgi_application_gives_that_of_the_worker_up_when_it_is_held() {
    goes_on_while_a_call_is_held("asgi");
}

#[test]
fn a_drain_does_not_wait_for_who_turns_the_event_loop() {
    for interface in ["wsgi", "asgi"] {
        let server = setup(interface).start();
        until_the_application_turns_it(&server);
        let before = server.pids();
        server.reload();
        let after = server.pids();
        assert_ne!(before, after, "{interface}");
        assert_eq!(get(&server.address(), "/").unwrap().status, 200);
    }
}
