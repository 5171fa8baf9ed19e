//! ASGI applications are operated as any other: named on the command line, reloaded, killed, replaced.

use nix::sys::signal::Signal;

use super::{serving, shapes};
use crate::support::client;
use crate::support::load::{Load, Plan};
use crate::support::shapes::{content, folder, get};
use crate::support::{os, python};

#[test]
fn an_asgi_application_that_is_named_needs_no_file() {
    let (mut master, address) =
        python::run_named(&shapes(), "asgi:shapes:app", Some(&folder("asgi")));
    assert!(client::get(&address, "/pid").unwrap().pid().is_some());
    assert!(os::send(master.id(), Signal::SIGTERM));
    assert_eq!(master.wait().unwrap().code(), Some(0));
}

#[test]
fn reloads_upgrades_and_kills_of_asgi_workers_lose_nothing() {
    let server = shapes().set("workers.count", 2).start();
    let load = Load::start(&server.address(), Plan::FIFTY);
    for reload in 1..=4 {
        server.signal(Signal::SIGHUP);
        server.until("the commit", |status| {
            (status.generation == Some(reload + 1)).then_some(())
        });
        server.until_workers(2);
        load.wait_for_answers(50);
    }
    server.upgrade();
    server.until_workers(2);
    load.wait_for_answers(20);
    let report = load.finish();
    report.assert_nothing_lost();
    let before = server.pids();
    os::kill(before[0]);
    server.until("another worker", |status| {
        let pids = crate::support::server::accepting(status);
        (pids.len() == 2 && !pids.contains(&before[0])).then_some(())
    });
    assert_eq!(content(&get(&server, "/one")), "hello");
}

#[test]
fn an_asgi_worker_that_has_served_enough_is_replaced() {
    let server = shapes()
        .set("workers.max_requests", 20)
        .set("workers.max_requests_jitter", 0)
        .start();
    let before = server.pids();
    let load = Load::start(&server.address(), Plan::LIGHT);
    server.until("another worker", |status| {
        let pids = crate::support::server::accepting(status);
        (pids.len() == 1 && pids != before).then_some(())
    });
    load.finish().assert_nothing_lost();
}

#[test]
fn signals_that_are_meant_for_the_master_leave_asgi_workers_cold() {
    python::stays_cold(
        &shapes().start(),
        &[
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGHUP,
            Signal::SIGQUIT,
        ],
    );
}

#[test]
fn what_is_no_asgi_application_is_told_by_the_name_of_its_key() {
    let server = serving("shapes:nothing_like_it").launch();
    assert_eq!(server.wait_for_exit(crate::support::PATIENCE), Some(3));
    server.assert_said("`app.asgi`: `shapes` has no `nothing_like_it`");
}
