//! An application that is named on the command line, without a file: commands find its server, and it is operated as any other.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::client::{self, Address};
use crate::support::command::{self, Outcome};
use crate::support::python::{self, Named};
use crate::support::server::Setup;
use crate::support::{eventually, os};

/// The application in a folder of its own, where there is no file.
fn folder() -> Setup {
    python::setup()
}

/// Starts it with these arguments, and waits until it has said this.
fn start(setup: &Setup, more: &[&str], words: &str) -> Named {
    let mut command = python::named(setup, "wsgi:app:application");
    command.args(more);
    python::serve(command, words)
}

/// `destrier WORDS`, given in this folder.
fn destrier(folder: &Path, words: &[&str]) -> Outcome {
    let mut command = command::command(&command::destrier());
    command.args(words).current_dir(folder);
    command::run(command)
}

fn version(address: &Address) -> Option<Value> {
    let about = client::get(address, "/about").ok()?.json();
    Some(about["version"].clone())
}

fn write(setup: &Setup, version: u64) {
    let app = setup.folder().join("app.py");
    let text = include_str!("../fixtures/python/app.py");
    fs::write(
        app,
        text.replace("VERSION = 1", &format!("VERSION = {version}")),
    )
    .unwrap();
}

#[test]
fn commands_find_a_server_that_was_started_here_without_a_file() {
    let setup = folder();
    let mut named = start(&setup, &[], "");
    let here = |words: &[&str]| destrier(setup.folder(), words);
    let status = here(&["status", "--json"]);
    let told: Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(told["pid"], named.master.id(), "{status:?}");
    assert_eq!(told["control_socket"], named.control.as_str());
    assert_eq!(told["config"], "");
    let shown = here(&["status"]).stdout;
    let none = "config     none, the application was named on the command line";
    assert!(shown.contains(none), "{shown}");
    write(&setup, 2);
    let reloaded = here(&["reload"]);
    assert_eq!(reloaded.code, Some(0), "{reloaded:?}");
    eventually("the new code", || {
        (version(&named.address)? == 2).then_some(())
    });
    assert_eq!(here(&["scale", "2"]).code, Some(0));
    assert_eq!(here(&["plan"]).code, Some(2));
    // From elsewhere it is found by its socket only.
    let elsewhere = tempfile::tempdir().unwrap();
    let lost = destrier(elsewhere.path(), &["status"]);
    assert_eq!(lost.code, Some(2), "{lost:?}");
    assert!(
        lost.stderr
            .contains("there is neither `destrier.toml` here"),
        "{lost:?}"
    );
    assert!(
        lost.stderr
            .contains("a server that was started without a file is found in the folder"),
        "{lost:?}"
    );
    let found = destrier(elsewhere.path(), &["status", "--control", &named.control]);
    assert_eq!(found.code, Some(0), "{found:?}");
    let stopped = here(&["stop"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    assert_eq!(named.master.wait().unwrap().code(), Some(0));
    let gone = destrier(elsewhere.path(), &["status", "--control", &named.control]);
    assert_eq!(gone.code, Some(1), "{gone:?}");
    assert_eq!(
        gone.stderr,
        format!("no master listens on `{}`\n", named.control)
    );
}

#[test]
fn a_signal_reloads_what_the_command_line_names() {
    let setup = folder();
    let mut named = start(&setup, &[], "");
    write(&setup, 2);
    assert!(os::send(named.master.id(), Signal::SIGHUP));
    eventually("the new code", || {
        (version(&named.address)? == 2).then_some(())
    });
    // From the next reload on a file is heeded, as at a start.
    let rule = "[[auth.rule]]\npath = \"/**\"\n[[auth.issuer]]\nname = \"a\"\nsecret_file = \"a.secret\"\n";
    let secret = setup.folder().join("a.secret");
    fs::write(&secret, "a secret of thirty-two octets!!!").unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    fs::write(setup.folder().join("destrier.toml"), rule).unwrap();
    assert!(os::send(named.master.id(), Signal::SIGHUP));
    eventually("the rule", || {
        let refused = client::get(&named.address, "/about");
        matches!(refused, Err(client::Failure::NotSuccess(401))).then_some(())
    });
    assert_eq!(destrier(setup.folder(), &["stop"]).code, Some(0));
    assert_eq!(named.master.wait().unwrap().code(), Some(0));
}

#[test]
fn two_servers_of_one_folder_have_control_sockets_of_their_own() {
    let setup = folder();
    let mut first = start(&setup, &[], "");
    let refused = command::run(python::named(&setup, "wsgi:app:application"));
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("`--control PATH`"), "{refused:?}");
    let mut second = start(&setup, &["--control", "second.sock"], "");
    let socket = setup.folder().join("second.sock");
    assert_eq!(
        second.control,
        socket.canonicalize().unwrap().display().to_string()
    );
    let stopped = destrier(setup.folder(), &["stop", "--control", "second.sock"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    assert_eq!(second.master.wait().unwrap().code(), Some(0));
    assert_eq!(version(&first.address), Some(1.into()));
    assert_eq!(destrier(setup.folder(), &["stop"]).code, Some(0));
    assert_eq!(first.master.wait().unwrap().code(), Some(0));
}

#[test]
fn what_is_named_with_reload_is_served_as_it_is_saved() {
    let setup = folder();
    let mut named = start(&setup, &["--reload"], "source files is a reload");
    write(&setup, 2);
    eventually("the new code", || {
        (version(&named.address)? == 2).then_some(())
    });
    assert!(os::send(named.master.id(), Signal::SIGTERM));
    assert_eq!(named.master.wait().unwrap().code(), Some(0));
}

/// The configuration is read again in the folder of the application, where a relative path would be another one.
#[test]
fn relative_paths_are_what_they_were_at_the_start_whatever_the_folder_of_the_application_is() {
    const FILE: &str = "[[auth.rule]]\npath = \"/**\"\naccess = \"public\"\n[[auth.issuer]]\nname = \"a\"\nsecret_file = \"a.secret\"\n";
    for preload in ["auto", "false"] {
        let setup = folder();
        let inside = setup.folder().join("inside");
        fs::create_dir(&inside).unwrap();
        fs::rename(setup.folder().join("app.py"), inside.join("app.py")).unwrap();
        let secret = setup.folder().join("a.secret");
        fs::write(&secret, "a secret of thirty-two octets!!!").unwrap();
        fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
        fs::write(setup.folder().join("destrier.toml"), FILE).unwrap();
        let mut command = python::named(&setup, "wsgi:app:application");
        command
            .env("DESTRIER_APP__CHDIR", "inside")
            .env("DESTRIER_APP__PRELOAD", preload);
        let mut named = python::serve(command, "");
        assert_eq!(version(&named.address), Some(1.into()), "{preload}");
        assert_eq!(destrier(setup.folder(), &["reload"]).code, Some(0));
        assert_eq!(destrier(setup.folder(), &["stop"]).code, Some(0));
        assert_eq!(named.master.wait().unwrap().code(), Some(0));
    }
}
