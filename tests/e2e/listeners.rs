//! Every kind of address serves; an address that somebody lives on is not taken, one that nobody lives on is.

use std::fs;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use destrier::sys::listener;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr};

use crate::support::client::{self, Address};
use crate::support::journal::Mark;
use crate::support::server::{Server, Setup};
use crate::support::{PATIENCE, eventually, os};

#[test]
fn every_kind_of_address_serves() {
    for balance in ["per-worker", "shared"] {
        let setup = Setup::new()
            .set("server.balance", balance)
            .set("server.unix_mode", "0606");
        let socket = setup.folder().join("app.sock");
        let binds = vec![
            "127.0.0.1:0".to_owned(),
            "[::1]:0".to_owned(),
            format!("unix:{}", socket.display()),
        ];
        let server = setup.set("server.bind", binds).start();
        let addresses = server.addresses();
        assert_eq!(addresses.len(), 3);
        for address in &addresses {
            client::get(address, "/hello").unwrap();
        }
        assert_eq!(addresses[2], Address::Unix(socket.clone()));
        let mode = fs::metadata(&socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o606);
        let line = server.wait_for_log(Mark::START, "listening");
        assert!(
            line["address"].as_str().unwrap().starts_with("127.0.0.1:"),
            "{line}"
        );
    }
}

/// Starts a server with two passed sockets and `bind`. They stay open here, as they do in systemd.
fn activated(bind: &[&str], web: &TcpListener, admin: &TcpListener) -> Server {
    let handed = |listener: &TcpListener| OwnedFd::from(listener.try_clone().unwrap());
    let bind: Vec<String> = bind.iter().map(|&bind| bind.to_owned()).collect();
    Setup::new()
        .set("server.bind", bind)
        .pass([(handed(web), "web"), (handed(admin), "admin")])
        .launch()
}

#[test]
fn sockets_of_systemd_are_used_by_name_and_outlive_the_server() {
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::from(web.local_addr().unwrap());
    let server = activated(&["systemd:web"], &web, &admin);
    server.wait_until_ready();
    assert_eq!(server.addresses(), std::slice::from_ref(&address));
    client::get(&address, "/hello").unwrap();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_for_exit(PATIENCE), Some(0));
    // Whoever comes now waits for the next start.
    let waiting = client::get_meanwhile(&address, "/hello");
    let next = activated(&["systemd:web", "systemd:admin"], &web, &admin);
    next.wait_until_ready();
    waiting.join().unwrap().unwrap();
    let second = Address::from(admin.local_addr().unwrap());
    assert_eq!(next.addresses(), [address, second.clone()]);
    client::get(&second, "/hello").unwrap();
}

#[test]
fn passed_sockets_are_used_by_number_too() {
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = activated(&["fd:4"], &web, &admin);
    server.wait_until_ready();
    let address = Address::from(admin.local_addr().unwrap());
    assert_eq!(server.addresses(), std::slice::from_ref(&address));
    client::get(&address, "/hello").unwrap();
    server.reload();
    client::get(&address, "/hello").unwrap();
}

#[test]
fn a_name_that_systemd_did_not_pass_is_refused() {
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = activated(&["systemd:wbe"], &web, &web);
    assert_eq!(server.wait_for_exit(PATIENCE), Some(1));
    server.assert_said("systemd:wbe");
}

/// A start beside `server` fails, and names its process.
#[track_caller]
fn assert_refused(second: Setup, owner: u32) {
    let second = second.launch();
    assert_eq!(second.wait_for_exit(PATIENCE), Some(1));
    second.assert_said(&format!("process {owner}"));
}

#[test]
fn a_second_server_with_the_same_control_socket_is_refused() {
    let server = Setup::new().start();
    assert_refused(server.another(), server.pid);
    assert!(server.config.control_socket().exists());
    client::get(&server.address(), "/hello").unwrap();
    server.reload();
}

#[test]
fn a_second_server_on_the_same_unix_socket_is_refused() {
    let setup = Setup::new();
    let bind = format!("unix:{}", setup.folder().join("app.sock").display());
    let server = setup.set("server.bind", bind.clone()).start();
    assert_refused(Setup::new().set("server.bind", bind), server.pid);
    client::get(&server.address(), "/hello").unwrap();
}

#[test]
fn a_second_server_on_the_same_port_is_refused() {
    for balance in ["per-worker", "shared"] {
        let server = Setup::new().set("server.balance", balance).start();
        let address = server.port();
        let second = Setup::new()
            .set("server.balance", balance)
            .set("server.bind", address.to_string())
            .launch();
        assert_eq!(second.wait_for_exit(PATIENCE), Some(1));
        second.assert_said(&address.to_string());
    }
}

#[test]
fn a_unix_socket_of_another_program_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let _other = UnixListener::bind(&path).unwrap();
    let bind = format!("unix:{}", path.display());
    assert_refused(Setup::new().set("server.bind", bind), std::process::id());
    assert!(path.exists());
}

#[test]
fn a_folder_that_others_may_write_to_is_one_for_applications_but_none_for_the_control_socket() {
    let mode = |folder: &Path, mode| {
        fs::create_dir_all(folder).unwrap();
        fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
    };
    let setup = Setup::new().set("process.control_socket", "run/control.sock");
    let run = setup.folder().join("run");
    mode(&run, 0o775);
    let refused = setup.launch();
    assert_eq!(refused.wait_for_exit(PATIENCE), Some(1));
    refused.assert_said("others may write to");
    // As /tmp is: everybody may add to it, nobody may take away what is another's.
    mode(&run, 0o1777);
    let bind = format!("unix:{}", run.join("app/app.sock").display());
    mode(&run.join("app"), 0o775);
    let server = refused
        .another()
        .set("server.bind", bind)
        .set("process.control_socket", "control.sock")
        .start();
    client::get(&server.address(), "/hello").unwrap();
    let second = refused.another().launch();
    second.wait_for_notification(Mark::START, "READY=1");
}

#[test]
fn a_unix_socket_whose_owner_hangs_is_left_alone() {
    let setup = Setup::new();
    let path = setup.folder().join("app.sock");
    let socket = || {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        socket::socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap()
    };
    let (owner, address) = (socket(), UnixAddr::new(&path).unwrap());
    socket::bind(owner.as_raw_fd(), &address).unwrap();
    socket::listen(&owner, Backlog::new(1).unwrap()).unwrap();
    let mut waiting = Vec::new();
    let full = std::iter::repeat_with(|| {
        waiting.push(socket());
        socket::connect(waiting.last().unwrap().as_raw_fd(), &address)
    })
    .find(Result::is_err);
    assert_eq!(full, Some(Err(Errno::EAGAIN)));
    let bind = format!("unix:{}", path.display());
    let server = setup.set("server.bind", bind).launch();
    assert_eq!(server.wait_for_exit(PATIENCE), Some(1));
    server.assert_said("belongs to a server that runs: process unknown");
    assert!(path.exists());
}

#[test]
fn a_stale_socket_is_taken_over_and_a_file_is_not() {
    let setup = Setup::new();
    let path = setup.folder().join("app.sock");
    let bind = format!("unix:{}", path.display());
    drop(UnixListener::bind(&path).unwrap());
    drop(UnixListener::bind(setup.config.control_socket()).unwrap());
    let server = setup.set("server.bind", bind).start();
    client::get(&server.address(), "/hello").unwrap();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_for_exit(PATIENCE), Some(0));
    fs::write(&path, "precious").unwrap();
    let next = server.another().launch();
    assert_eq!(next.wait_for_exit(PATIENCE), Some(1));
    next.assert_said("is no socket");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn the_pid_file_goes_with_the_master_and_its_control_socket_is_for_its_owner_only() {
    let server = Setup::new().set("process.pid_file", "master.pid").start();
    let file = server.folder().join("master.pid");
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        format!("{}\n", server.pid)
    );
    let mode = fs::metadata(server.config.control_socket())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_for_exit(PATIENCE), Some(0));
    assert!(!file.exists());
}

#[test]
fn descriptors_do_not_pile_up_over_reloads() {
    let server = Setup::new().start();
    let of_worker = server.pids().into_iter().map(os::descriptors).max();
    let of_master = os::descriptors(server.pid);
    for _ in 0..5 {
        server.reload();
        server.until_workers(2);
    }
    assert_eq!(
        server.pids().into_iter().map(os::descriptors).max(),
        of_worker
    );
    // One more is the connection of the status that was just asked for.
    assert!(os::descriptors(server.pid) <= of_master + 1);
}

#[test]
fn a_passed_socket_goes_on_listening_when_the_master_is_killed() {
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = activated(&["systemd:web"], &web, &admin);
    server.wait_until_ready();
    let workers = server.pids();
    os::kill(server.pid);
    eventually("the workers are gone", || {
        (!workers.iter().any(|pid| os::is_alive(*pid))).then_some(())
    });
    assert!(listener::is_listening(&web), "the orphans stopped it");
}

#[test]
fn a_descriptor_of_the_servers_own_is_no_passed_socket() {
    let mut server = Setup::new().start();
    // The control listener, and whatever else is open, is among the first of them.
    for number in 3..12 {
        server
            .config
            .set("server.bind", format!("fd:{number}"))
            .write();
        let outcome = server.cli(["reload"]);
        assert_eq!(outcome.code, Some(1), "{number}: {outcome:?}");
        assert!(
            outcome.stderr.contains("no listening socket was passed"),
            "{outcome:?}"
        );
    }
    assert_eq!(server.cli(["stop"]).code, Some(0));
    assert_eq!(server.wait_for_exit(PATIENCE), Some(0));
}
