//! Python applications: the same promises, in the application's own interpreter.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::identity::unprivileged;
use crate::support::client::{self, Failure};
use crate::support::journal::Mark;
use crate::support::load::{Load, Plan};
use crate::support::python;
use crate::support::server::{Server, Setup};
use crate::support::{PATIENCE, eventually, os};

fn about(server: &Server) -> Value {
    client::get(&server.address(), "/about").unwrap().json()
}

fn write(setup: &Setup, name: &str, text: &str) {
    fs::write(setup.folder().join(name), text).unwrap();
}

/// What the master says of a first boot that fails.
fn reason(setup: Setup) -> String {
    let server = setup.launch();
    assert_eq!(server.wait_for_exit(PATIENCE), Some(3));
    let last = server.wait_for_log(Mark::START, "the application failed to boot");
    last["reason"].as_str().unwrap().to_owned()
}

#[test]
fn an_application_runs_in_its_own_interpreter_and_folder() {
    let setup = python::setup()
        .set("app.wsgi", "app:create(3, extra=['x'])")
        .set("app.env.COLOUR", "blue")
        .set("app.env_file", "more")
        .env("COLOUR", "red")
        .env("SHAPE", "round");
    write(&setup, "more", "COLOUR=green\nSIZE=\"very large\"\n");
    let server = setup.start();
    let folder = server
        .folder()
        .canonicalize()
        .unwrap()
        .display()
        .to_string();
    let about = about(&server);
    assert_eq!(about["version"], 3);
    assert_eq!(about["folder"], folder);
    assert_eq!(about["path"][0], server.folder().display().to_string());
    let environment = &about["environment"];
    for (name, value) in [
        ("COLOUR", "blue"),
        ("SHAPE", "round"),
        ("SIZE", "very large"),
    ] {
        assert_eq!(environment[name], value);
    }
    assert!(environment["NOTIFY_SOCKET"].is_null(), "it is the master's");
    let shown = server.status().python.unwrap();
    assert_eq!(shown.application, "app:create(3, extra=['x'])");
    assert_eq!(
        shown.interpreter,
        python::interpreter().display().to_string()
    );
    let pid = u32::try_from(about["pid"].as_u64().unwrap()).unwrap();
    assert_eq!(os::status_line(pid, "PPid"), server.pid.to_string());
}

#[test]
fn an_application_that_is_named_needs_no_file() {
    let setup = python::setup();
    let (mut master, address) = python::run_named(&setup, "wsgi:app:application", None);
    let about = client::get(&address, "/about").unwrap().json();
    assert_eq!(about["version"], 1);
    assert!(os::send(master.id(), Signal::SIGTERM));
    assert_eq!(master.wait().unwrap().code(), Some(0));
}

#[test]
fn what_is_no_application_is_told_with_what_helps() {
    for (wsgi, words) in [
        (
            "mysite.wsgi",
            vec!["there is no module `mysite`", "`app.chdir`"],
        ),
        (
            "ap:application",
            vec!["there is no module `ap`; did you mean `app`?"],
        ),
        (
            "app:my_application",
            vec!["`app` has no `my_application`; did you mean `application`?"],
        ),
        (
            "app:number",
            vec!["`app:number` is not callable, it is an int"],
        ),
        (
            "app:speaks_asgi",
            vec!["`app:speaks_asgi` speaks ASGI: name it in `app.asgi`"],
        ),
        (
            "app:create(x)",
            vec!["the arguments of `create(x)` must be literals"],
        ),
        (
            "app:create()",
            vec!["cannot load `app:create()`: TypeError"],
        ),
        ("app:1 +", vec!["`1 +` is neither a name nor a call"]),
    ] {
        let reason = reason(python::setup().set("app.wsgi", wsgi));
        for words in words {
            assert!(reason.contains(words), "{wsgi}: {reason}");
        }
    }
}

#[test]
fn a_worker_that_has_served_everybody_and_does_not_end_is_told_as_such() {
    let setup = python::bare()
        .set("app.wsgi", "lasting")
        .set("app.preload", false)
        .set("workers.count", 1)
        .set("workers.graceful_timeout", "1s");
    let text = "import threading\nthreading.Thread(target=threading.Event().wait).start()\ndef application(environ, start_response):\n    start_response('200 OK', [])\n    return []\n";
    write(&setup, "lasting.py", text);
    let server = setup.start();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_for_exit(PATIENCE), Some(0));
    server.assert_said("it has served everybody and does not end");
}

/// What is asked of them is what these libraries have; with the libraries themselves it was tried by hand.
#[test]
fn green_threads_are_refused_by_name() {
    for (package, module, asked) in [
        ("gevent", "monkey", "is_module_patched"),
        ("eventlet", "patcher", "is_monkey_patched"),
    ] {
        let setup = python::bare().set("app.wsgi", "green");
        fs::create_dir(setup.folder().join(package)).unwrap();
        let patches = format!("def {asked}(module):\n    return 'thread' in module\n");
        write(&setup, &format!("{package}/{module}.py"), &patches);
        let text = format!(
            "import {package}.{module}\ndef application(environ, start_response):\n    pass\n"
        );
        write(&setup, "green.py", &text);
        let reason = reason(setup);
        assert!(
            reason.contains(&format!("{package} has taken the place of the threads")),
            "{reason}"
        );
    }
}

#[test]
fn an_application_that_fails_to_load_is_told_with_its_place_and_its_traceback() {
    for (text, told) in [
        ("import nosuchpackage", "No module named 'nosuchpackage'"),
        ("def f(:", "SyntaxError"),
        ("raise ValueError('no colour')", "ValueError: no colour (/"),
        (
            "import sys; sys.exit('enough')",
            "it exits when it is imported, with 'enough'",
        ),
        ("import os; os._exit(9)", "exit code 9"),
    ] {
        let setup = python::bare().set("app.wsgi", "broken");
        write(&setup, "broken.py", text);
        let server = setup.launch();
        assert_eq!(server.wait_for_exit(PATIENCE), Some(3), "{text}");
        let last = server.wait_for_log(Mark::START, "the application failed to boot");
        let reason = last["reason"].as_str().unwrap();
        assert!(reason.contains(told), "{text}: {reason}");
        if !text.contains("_exit") {
            server.assert_said("the application failed to load");
        }
    }
}

#[test]
fn threads_that_cannot_be_started_are_told_at_the_boot() {
    let setup = python::setup()
        .set("app.wsgi", "limited")
        .set("app.threads", 3);
    // As where the limit on processes is reached, at the second one.
    write(
        &setup,
        "limited.py",
        "import threading\nfrom app import application\nstart = threading.Thread.start\ndef limited(self):\n    if self.name == 'destrier-2': raise RuntimeError(\"can't start new thread\")\n    start(self)\nthreading.Thread.start = limited\n",
    );
    let reason = reason(setup);
    assert!(
        reason.contains("`app.threads`: the interpreter cannot start 3 threads: RuntimeError: can't start new thread"),
        "{reason}"
    );
}

#[test]
fn an_interpreter_that_cannot_be_used_is_told_before_anything_starts() {
    let refused = |setup: Setup, words: &str| {
        let server = setup.launch();
        assert_eq!(server.wait_for_exit(PATIENCE), Some(2));
        server.assert_said(words);
    };
    let setup = python::setup();
    let folder = setup.folder().display().to_string();
    refused(
        setup.set("app.python", folder),
        "is a folder; the interpreter",
    );
    refused(
        python::setup().set("app.python", "./app.py"),
        "is not executable",
    );
    refused(
        python::setup().set("app.python", "./none"),
        "there is no interpreter",
    );
    refused(
        python::setup().set("app.chdir", "./none"),
        "there is no folder",
    );
    refused(python::setup().set("app.env_file", "./none"), "cannot read");
    let missing = python::setup().env("DESTRIER_PYTHON_EXTENSION", "/nowhere.so");
    refused(missing, "there is no Python extension `/nowhere.so`");
    let of_another_kind = python::setup().env("DESTRIER_PYTHON_EXTENSION", "/etc/passwd");
    let reason = reason(of_another_kind);
    assert!(
        reason.contains("cannot load `/etc/passwd` into"),
        "{reason}"
    );
}

#[test]
fn a_reload_with_a_broken_application_changes_nothing_and_tells_where() {
    for preload in ["auto", "false"] {
        broken_application_changes_nothing(python::setup().env("DESTRIER_APP__PRELOAD", preload));
    }
}

fn broken_application_changes_nothing(setup: Setup) {
    let server = setup.start();
    let before = server.pids();
    let app = server.folder().join("app.py");
    let good = fs::read_to_string(&app).unwrap();
    fs::write(&app, format!("{good}\nimport nosuchpackage\n")).unwrap();
    let load = Load::start(&server.address(), Plan::LIGHT);
    let outcome = server.cli(["reload"]);
    load.wait_for_answers(20);
    load.finish().assert_nothing_lost();
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(
        outcome.stderr.contains("No module named 'nosuchpackage'"),
        "{outcome:?}"
    );
    let traceback = "\nTraceback (most recent call last):\n  File \"";
    assert!(outcome.stderr.contains(traceback), "{outcome:?}");
    let place = format!("  File \"{}\", line ", app.display());
    assert!(outcome.stderr.contains(&place), "{outcome:?}");
    let end = "\nModuleNotFoundError: No module named 'nosuchpackage'\n";
    assert!(outcome.stderr.ends_with(end), "{outcome:?}");
    let status = server.status().last_reload.unwrap().error.unwrap();
    assert!(!status.contains("Traceback"), "{status}");
    // What is refused for another reason is not taken for it.
    let paused = server.cli(["scale", "0"]);
    assert!(!paused.stderr.contains("Traceback"), "{paused:?}");
    assert_eq!(server.pids(), before);
    fs::write(&app, good.replace("VERSION = 1", "VERSION = 2")).unwrap();
    server.reload();
    // One that drains may still take what comes before it has heard of it.
    server.until_workers(2);
    assert_eq!(about(&server)["version"], 2);
}

#[test]
fn ten_reloads_of_a_python_application_lose_nothing() {
    let server = python::setup().start();
    let load = Load::start(&server.address(), Plan::FIFTY);
    for reload in 1..=10 {
        server.signal(Signal::SIGHUP);
        server.until("the commit", |status| {
            (status.generation == Some(reload + 1)).then_some(())
        });
        server.until_workers(2);
        load.wait_for_answers(50);
    }
    let report = load.finish();
    report.assert_nothing_lost();
    assert!(report.by_pid.len() >= 20, "{report:?}");
}

#[test]
fn a_python_worker_that_is_killed_is_replaced() {
    let server = python::setup().start();
    let before = server.pids();
    os::kill(before[0]);
    server.until("another worker", |status| {
        let pids = crate::support::server::accepting(status);
        (pids.len() == 2 && !pids.contains(&before[0])).then_some(())
    });
    client::get(&server.address(), "/pid").unwrap();
}

#[test]
fn a_drain_waits_for_a_call_and_the_interpreter_ends_as_it_should() {
    let server = python::setup().set("workers.count", 1).start();
    let pid = server.pids()[0];
    let held = client::get_meanwhile(&server.address(), "/hold");
    server.until_in_flight(1);
    server.signal(Signal::SIGHUP);
    server.until("the commit", |status| {
        (status.generation == Some(2)).then_some(())
    });
    assert!(os::is_alive(pid));
    fs::write(server.folder().join("release"), "").unwrap();
    assert_eq!(held.join().unwrap().unwrap().pid(), Some(pid));
    eventually("last words", || {
        let said = fs::read_to_string(server.folder().join("last-words")).ok()?;
        // Its template may have said them too: it has imported the same, and goes when nobody needs it.
        let said = said.lines().any(|line| line == pid.to_string());
        said.then_some(())
    });
}

#[test]
fn a_call_that_never_ends_does_not_keep_the_server_from_ending() {
    let setup = python::setup()
        .set("workers.count", 1)
        .set("workers.graceful_timeout", "1s");
    let server = setup.start();
    let _held = client::get_meanwhile(&server.address(), "/hold");
    server.until_in_flight(1);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_for_exit(Duration::from_secs(10)), Some(0));
}

#[test]
fn signals_that_are_meant_for_the_master_leave_python_workers_cold() {
    python::stays_cold(
        &python::setup().set("workers.count", 1).start(),
        &[
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGHUP,
            Signal::SIGUSR1,
            Signal::SIGUSR2,
            Signal::SIGQUIT,
        ],
    );
}

#[test]
fn a_worker_is_somebody_else_before_its_interpreter_runs() {
    let Some(user) = unprivileged() else { return };
    let setup = python::setup().set("process.user", "nobody");
    // Runs when the interpreter starts, before destrier's own code.
    write(
        &setup,
        "sitecustomize.py",
        "import os\nopen('/dev/shm/destrier-e2e-%d' % os.getppid(), 'a').write('%d ' % os.getuid())\n",
    );
    let folder = setup.folder().display().to_string();
    let setup = setup.set("app.env.PYTHONPATH", folder);
    fs::set_permissions(
        setup.folder(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let server = setup.start();
    assert_eq!(about(&server)["uid"], user.uid.as_raw());
    for pid in server.pids() {
        let four = [user.uid.to_string().as_str(); 4].join(" ");
        assert_eq!(os::status_line(pid, "Uid"), four);
        assert_eq!(os::status_line(pid, "NoNewPrivs"), "1");
    }
    let noted = format!("/dev/shm/destrier-e2e-{}", server.pid);
    let uids = fs::read_to_string(&noted).unwrap();
    fs::remove_file(noted).unwrap();
    assert!(
        uids.split_whitespace()
            .all(|uid| uid == user.uid.to_string()),
        "{uids}"
    );
}

#[test]
fn the_access_log_is_where_the_user_of_the_workers_cannot_go() {
    if unprivileged().is_none() {
        return;
    }
    let setup = python::setup()
        .set("process.user", "nobody")
        .set("workers.count", 1)
        .set("access_log.enabled", true)
        .set("access_log.to", "logs/access.log");
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    mode(setup.folder(), 0o755);
    fs::create_dir(setup.folder().join("logs")).unwrap();
    mode(&setup.folder().join("logs"), 0o700);
    let server = setup.start();
    let first = server.folder().join("logs/access.log");
    let is_written = |file: &Path, path: &str| {
        client::get(&server.address(), path).unwrap();
        eventually("a line", || {
            let text = fs::read_to_string(file).unwrap_or_default();
            text.contains(path).then_some(())
        });
    };
    is_written(&first, "/one");
    // A worker that was born after the rotation writes to the new file.
    fs::rename(&first, first.with_extension("old")).unwrap();
    server.signal(Signal::SIGUSR1);
    server.wait_for_log(Mark::START, "log files opened anew");
    server.reload();
    is_written(&first, "/two");
}

#[test]
fn keys_are_read_by_the_master_alone_and_shown_nowhere() {
    const SECRET: &str = "0123456789abcdefghijklmnopqrstuvwxyz-secret";
    let mut setup = python::setup();
    write(&setup, "key", SECRET);
    fs::set_permissions(
        setup.folder().join("key"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    setup.config.set_auth("[[auth.issuer]]\nname = \"main\"\nsecret_file = \"key\"\n[[auth.rule]]\npath = \"/pid\"\naccess = \"token\"\n[[auth.rule]]\npath = \"/**\"\naccess = \"public\"\n");
    let setup = if unprivileged().is_some() {
        fs::set_permissions(
            setup.folder(),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        setup.set("process.user", "nobody")
    } else {
        setup
    };
    let server = setup.start();
    let issue = || {
        server
            .cli(["token", "issue", "--sub", "anna"])
            .stdout
            .trim()
            .to_owned()
    };
    let status_of = |token: &str| {
        let request =
            hyper::Request::get("/pid").header("authorization", format!("Bearer {token}"));
        let request = request
            .header("host", "localhost")
            .body(http_body_util::Empty::new())
            .unwrap();
        let mut connection = client::Blocking::open(&server.address()).unwrap();
        match connection.send(request) {
            Ok(answer) => answer.status,
            Err(Failure::NotSuccess(status)) => status,
            Err(failure) => panic!("{failure:?}"),
        }
    };
    assert_eq!(status_of(&issue()), 200);
    for pid in server.pids() {
        for file in ["environ", "cmdline"] {
            let shown = fs::read(format!("/proc/{pid}/{file}")).unwrap();
            let shown = String::from_utf8_lossy(&shown).into_owned();
            assert!(!shown.contains(SECRET), "{file}: {shown}");
        }
    }
    // A worker that is replaced has the keys of its generation, and what has changed since, without reading the file itself.
    let old = issue();
    let new_secret = SECRET.to_uppercase();
    fs::write(server.folder().join("key"), &new_secret).unwrap();
    eventually("the new key in force", || {
        (status_of(&issue()) == 200).then_some(())
    });
    assert_eq!(status_of(&old), 401);
    let before = server.pids();
    os::kill(before[0]);
    os::kill(before[1]);
    server.until("other workers", |status| {
        let pids = crate::support::server::accepting(status);
        (pids.len() == 2 && pids.iter().all(|pid| !before.contains(pid))).then_some(())
    });
    assert_eq!((status_of(&issue()), status_of(&old)), (200, 401));
}

#[test]
fn the_rate_of_a_rule_counts_for_all_python_workers_together() {
    let mut setup = python::setup().set("workers.count", 2);
    setup
        .config
        .set_auth("[[auth.rule]]\npath = \"/**\"\naccess = \"public\"\nrate = \"5/day\"\n");
    let server = setup.start();
    let status = |_| match client::get(&server.address(), "/about") {
        Ok(answer) => answer.status,
        Err(Failure::NotSuccess(status)) => status,
        Err(failure) => panic!("{failure:?}"),
    };
    let answers: Vec<u16> = (0..20).map(status).collect();
    let passed = answers.iter().filter(|status| **status == 200).count();
    assert_eq!(passed, 5, "{answers:?}");
    assert!(answers.iter().all(|status| [200, 429].contains(status)));
}

#[test]
fn an_upgrade_goes_on_with_python_workers() {
    let server = python::setup().start();
    let load = Load::start(&server.address(), Plan::LIGHT);
    server.upgrade();
    server.until_workers(2);
    load.wait_for_answers(20);
    load.finish().assert_nothing_lost();
    assert_eq!(server.status().generation, Some(2));
}

#[test]
fn flask_and_django_run_from_their_environment() {
    let python = python::environment("frameworks", &["flask", "django"]);
    let shown = python.display().to_string();
    let setup = python::bare().set("app.python", shown.as_str());
    write(
        &setup,
        "flasky.py",
        "import flask\napp = flask.Flask(__name__)\n@app.get('/hello')\ndef hello():\n    return flask.jsonify(framework='flask')\n",
    );
    write(
        &setup,
        "djangoish.py",
        "from django.conf import settings\nsettings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=['*'], SECRET_KEY='x')\nfrom django.core.wsgi import get_wsgi_application\nfrom django.http import JsonResponse\nfrom django.urls import path\nurlpatterns = [path('hello', lambda request: JsonResponse({'framework': 'django'}))]\napplication = get_wsgi_application()\n",
    );
    let mut server = setup.set("app.wsgi", "flasky:app").start();
    let hello = |server: &Server| client::get(&server.address(), "/hello").unwrap().json();
    assert_eq!(hello(&server)["framework"], "flask");
    server.config.set("app.wsgi", "djangoish");
    server.config.write();
    server.reload();
    server.until_workers(2);
    assert_eq!(hello(&server)["framework"], "django");
}
