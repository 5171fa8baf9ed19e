//! A death report tells the request that a worker died of from those that were merely in flight, and claims only what is
//! proven.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::thread::JoinHandle;

use destrier::master::{DeathStatus, RequestStatus};
use nix::sys::signal::Signal;

use crate::support::client::{self, Address, Answer, Failure};
use crate::support::journal::Mark;
use crate::support::os;
use crate::support::server::{Server, Setup};

type Client = JoinHandle<Result<Answer, Failure>>;

/// One worker that comes back at once, whatever ends it, and an application that can die in many ways.
fn setup() -> Setup {
    Setup::faulty()
        .set("workers.count", 1)
        .set("workers.backoff_initial", "1ms")
        .set("workers.backoff_max", "1ms")
        .set("app.faults", true)
}

/// So many requests in flight, of which none is being executed.
#[track_caller]
fn neighbours(server: &Server, count: u64) -> Vec<Client> {
    let begin = |_| client::get_meanwhile(&server.address(), "/slow?ms=600000");
    let clients = (0..count).map(begin).collect();
    server.until_in_flight(count);
    clients
}

/// The newest of `count` deaths, as soon as there are so many.
#[track_caller]
fn death(server: &Server, count: usize) -> DeathStatus {
    server.until(&format!("death {count}"), |status| {
        (status.deaths.len() >= count).then(|| status.deaths[0].clone())
    })
}

/// Waits for clients whose worker has died.
#[track_caller]
fn lose(clients: Vec<Client>) {
    for client in clients {
        assert!(client.join().unwrap().is_err());
    }
}

fn path(request: &RequestStatus) -> &str {
    &request.path
}

/// Begins a request and leaves, so that what the application began is dropped.
#[track_caller]
fn leave(server: &Server, path: &str, in_flight: u64) {
    let Address::Tcp(address) = server.address() else {
        panic!("not TCP");
    };
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    server.until_in_flight(in_flight);
}

#[test]
fn the_request_that_a_worker_died_of_is_told_from_its_neighbours() {
    let server = setup().start();
    let ways = [
        ("/die/fault", "killed by SIGSEGV"),
        ("/die/overflow", "killed by SIGSEGV"),
        ("/die/abort", "killed by SIGABRT"),
        ("/die/body", "killed by SIGSEGV"),
        ("/die/when-dropped", "killed by SIGSEGV"),
        ("/fault/crash", "killed by SIGABRT"),
        ("/fault/exit?code=9", "exit code 9"),
    ];
    for (number, (way, ending)) in ways.into_iter().enumerate() {
        let clients = neighbours(&server, 5);
        if way.ends_with("dropped") {
            leave(&server, way, 6);
        } else {
            assert!(client::get(&server.address(), way).is_err(), "{way}");
        }
        let death = death(&server, number + 1);
        lose(clients);
        assert!(death.ending.starts_with(ending), "{way}: {death:?}");
        assert_eq!(death.cause, "request", "{way}");
        let executing = death.executing.as_ref().map(path);
        assert_eq!(executing, way.split('?').next(), "{way}");
        assert_eq!(death.in_flight, 6, "{way}");
        let others: Vec<_> = death.others_in_flight.iter().map(path).collect();
        assert_eq!(others, ["/slow"; 5], "{way}");
    }
    let line = server.wait_for_log(Mark::START, "worker died");
    let words = |field: &str| line[field].as_str().unwrap().to_owned();
    assert!(words("executing").starts_with("GET /die/fault "), "{line}");
    assert_eq!(words("requests").matches("GET /slow ").count(), 5);
    assert!(!words("requests").contains("/die"), "{line}");
}

#[test]
fn the_request_that_a_worker_hung_in_is_told_from_its_neighbours() {
    let server = setup().set("workers.hang_timeout", "300ms").start();
    let clients = neighbours(&server, 5);
    assert!(client::get(&server.address(), "/fault/hang").is_err());
    let death = death(&server, 1);
    lose(clients);
    assert!(death.ending.starts_with("killed by SIGABRT"), "{death:?}");
    assert_eq!(death.killed_for.as_deref(), Some("hang"));
    assert!(death.hung_for >= Some(0.3), "{death:?}");
    assert_eq!(death.cause, "request");
    assert_eq!(death.executing.as_ref().map(path), Some("/fault/hang"));
    let others: Vec<_> = death.others_in_flight.iter().map(path).collect();
    assert_eq!(others, ["/slow"; 5]);
}

#[test]
fn where_the_dying_thread_cannot_tell_no_request_is_named_as_the_cause() {
    let server = setup().start();
    let ways: [(&str, &dyn Fn(u32) -> bool); 2] = [
        ("exit code 7", &|_| {
            client::get(&server.address(), "/die/_exit").is_err()
        }),
        ("killed by SIGKILL", &|pid| os::send(pid, Signal::SIGKILL)),
    ];
    for (number, (ending, die)) in ways.into_iter().enumerate() {
        let clients = neighbours(&server, 2);
        assert!(die(server.pids()[0]));
        let death = death(&server, number + 1);
        lose(clients);
        assert_eq!(death.ending, ending);
        assert_eq!(
            (death.cause.as_str(), &death.executing.is_none()),
            ("unknown", &true)
        );
        assert_eq!(death.others_in_flight.len() as u64, death.in_flight);
        assert!(death.in_flight >= 2, "{death:?}");
    }
    let line = server.wait_for_log(Mark::START, "worker died");
    assert_eq!(line["executing"], "unknown", "{line}");
}

#[test]
fn a_signal_from_outside_is_told_with_its_sender_and_blamed_on_no_request() {
    let server = setup().start();
    // The event loop executes this one just now.
    let client = client::get_meanwhile(&server.address(), "/fault/hang");
    server.until_in_flight(1);
    let sender = std::process::id();
    assert!(os::send(server.pids()[0], Signal::SIGSEGV));
    let death = death(&server, 1);
    lose(vec![client]);
    let ending = format!(", sent by process {sender}");
    assert!(death.ending.ends_with(&ending), "{death:?}");
    assert_eq!(death.cause, "signal_from_outside");
    assert_eq!((death.sent_by, death.in_flight), (Some(sender), 1));
    assert!(death.executing.is_none(), "{death:?}");
}

#[test]
fn a_thread_of_the_application_that_dies_is_told_and_no_request_is_blamed() {
    let server = setup().start();
    let ways = [
        ("/die/thread", "killed by SIGSEGV"),
        ("/die/blocking", "killed by SIGSEGV"),
        ("/die/exit-of-thread", "exit code 7"),
    ];
    for (number, (way, ending)) in ways.into_iter().enumerate() {
        assert!(client::get(&server.address(), way).is_err(), "{way}");
        let death = death(&server, number + 1);
        assert!(death.ending.starts_with(ending), "{way}: {death:?}");
        assert_eq!(death.cause, "another_thread", "{way}");
        assert!(death.executing.is_none(), "{way}: {death:?}");
        let others: Vec<_> = death.others_in_flight.iter().map(path).collect();
        assert_eq!(others, [way]);
    }
}

#[test]
fn a_task_outside_of_any_request_is_told_and_no_request_is_blamed() {
    let server = setup().start();
    assert!(client::get(&server.address(), "/die/task").is_err());
    let death = death(&server, 1);
    assert_eq!((death.cause.as_str(), death.in_flight), ("no_request", 1));
    assert!(death.executing.is_none(), "{death:?}");
}

#[test]
fn a_request_beyond_those_that_can_be_named_is_told_as_that() {
    let server = setup().start();
    let clients = neighbours(&server, 32);
    assert!(client::get(&server.address(), "/die/fault").is_err());
    let death = death(&server, 1);
    lose(clients);
    assert_eq!(death.cause, "unnamed_request");
    assert_eq!((death.in_flight, death.others_in_flight.len()), (33, 32));
    assert!(death.executing.is_none(), "{death:?}");
}

#[test]
fn the_death_of_a_child_of_a_worker_says_nothing_about_the_worker() {
    let server = setup().start();
    let answer = client::get(&server.address(), "/die/child").unwrap();
    assert_eq!(answer.body, "lives on");
    os::kill(server.pids()[0]);
    let death = death(&server, 1);
    assert_eq!(death.ending, "killed by SIGKILL");
    assert_eq!(death.cause, "unknown");
}

#[test]
fn wait_status_and_core_are_those_of_a_process_that_is_not_watched() {
    // Cores go to the folder of the configuration, where the pattern has no folder of its own.
    const WITH_CORES: &str = "ulimit -c \"$(ulimit -H -c)\"; cd \"$(dirname \"$4\")\"; exec \"$@\"";
    let server = setup().under(&["sh", "-c", WITH_CORES, "sh"]).start();
    let ways = [
        ("/die/fault", Signal::SIGSEGV),
        ("/die/abort", Signal::SIGABRT),
    ];
    for (number, (way, signal)) in ways.into_iter().enumerate() {
        assert!(client::get(&server.address(), way).is_err());
        let death = death(&server, number + 1);
        let plain = die_of(signal, &server);
        assert_eq!(death.signal.as_deref(), Some(signal.as_str()), "{way}");
        assert_eq!(plain.signal(), Some(signal as i32), "{plain:?}");
        assert_eq!(death.core_dumped, plain.core_dumped(), "{way}: {plain:?}");
    }
}

/// How a process ends that does not watch itself, where the server's do.
fn die_of(signal: Signal, server: &Server) -> ExitStatus {
    let name = signal.as_str().trim_start_matches("SIG");
    let script = format!("ulimit -c \"$(ulimit -H -c)\"; kill -{name} $$");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).current_dir(server.folder());
    command.status().unwrap()
}

#[test]
fn the_last_thirty_two_deaths_are_kept_the_newest_first() {
    let server = setup().start();
    for _ in 0..34 {
        let [pid] = server.until_workers(1)[..] else {
            panic!("more than one worker");
        };
        os::kill(pid);
        server.until("its death", |status| {
            (status.deaths.first()?.pid == pid).then_some(())
        });
    }
    let deaths = server.status().deaths;
    let workers: Vec<_> = deaths.iter().map(|death| death.worker).collect();
    assert_eq!(workers, (3..=34).rev().collect::<Vec<_>>());
    assert!(deaths.is_sorted_by(|newer, older| newer.ago <= older.ago));
}

#[test]
fn a_worker_that_is_killed_at_the_boot_timeout_has_died_of_that() {
    let server = Setup::faulty().set("workers.boot_timeout", "1s").start();
    server.let_boot("hang");
    assert_eq!(server.cli(["reload"]).code, Some(1));
    let death = death(&server, 1);
    assert_eq!(death.ending, "killed by SIGKILL");
    assert_eq!(death.killed_for.as_deref(), Some("boot_timeout"));
    assert_eq!((death.generation, death.in_flight), (2, 0));
}

#[test]
fn an_end_that_was_ordered_is_no_death_unless_it_cost_requests() {
    let server = Setup::new().start();
    server.reload();
    server.until_workers(2);
    assert_eq!(server.cli(["scale", "1"]).code, Some(0));
    server.until_workers(1);
    assert!(server.status().deaths.is_empty());
    server.config.write_text(&server.config.to_string().replace(
        "workers.count",
        "workers.graceful_timeout = \"100ms\"\nworkers.count",
    ));
    server.reload();
    let clients = neighbours(&server, 1);
    server.reload();
    let death = death(&server, 1);
    lose(clients);
    assert_eq!(death.ending, "killed by SIGKILL");
    assert_eq!(death.killed_for.as_deref(), Some("graceful_timeout"));
    assert_eq!(death.others_in_flight.len(), 1);
}
