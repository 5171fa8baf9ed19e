//! `app.reload_on_change`: what is saved is served, and what is wrong with it is shown.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use http_body_util::Empty;
use hyper::Request;

use crate::identity::unprivileged;
use crate::support::client::{self, Answer, Blocking};
use crate::support::journal::Mark;
use crate::support::server::{Server, Setup};
use crate::support::{eventually, os, python};

const CHANGED: &str = "the application has changed, it is reloaded";

fn setup() -> Setup {
    python::setup()
        .set("workers.count", 1)
        .set("app.reload_on_change", true)
}

/// Starts it, and waits until changes are seen.
fn watched(setup: Setup) -> Server {
    let server = setup.start();
    server.wait_for_log(
        Mark::START,
        "a change of the application's source files is a reload",
    );
    server
}

fn save(server: &Server, name: &str, text: &str) {
    let file = server.folder().join(name);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

/// Replaces some of the application.
fn change(server: &Server, before: &str, after: &str) {
    let text = fs::read_to_string(server.folder().join("app.py")).unwrap();
    assert!(text.contains(before), "{before}");
    save(server, "app.py", &text.replace(before, after));
}

fn ask(server: &Server, accept: &str) -> Option<Answer> {
    let request = Request::get("/about").header("host", "a");
    let request = request.header("accept", accept);
    let mut connection = Blocking::open(&server.address()).ok()?;
    connection.send(request.body(Empty::new()).unwrap()).ok()
}

/// Waits for a page that is shown in the place of an answer.
#[track_caller]
fn until_shown(server: &Server, words: &str) -> String {
    eventually("the page", || {
        let answer = ask(server, "text/html,application/xhtml+xml,*/*;q=0.8")?;
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        let is_it = answer.status == 500 && body.contains(words);
        is_it.then(|| {
            assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8");
            body
        })
    })
}

/// Waits until the application has this version.
#[track_caller]
fn until_version(server: &Server, version: u64) {
    eventually("the other version", || {
        let about = client::get(&server.address(), "/about").ok()?.json();
        (about["version"] == version).then_some(())
    });
}

/// The files for which it was reloaded, without the folder.
fn reloads(server: &Server) -> Vec<String> {
    let folder = format!("{}/", server.folder().display());
    let lines = server.log.since(Mark::START).into_iter();
    let changed = lines.filter(|line| line["message"] == CHANGED);
    let files = changed.map(|line| line["file"].as_str().unwrap().replace(&folder, ""));
    files.collect()
}

#[test]
fn what_is_saved_is_served() {
    let server = watched(setup());
    server.assert_said("`app.reload_on_change` is for development, not for production");
    change(&server, "VERSION = 1", "VERSION = 2");
    until_version(&server, 2);
    assert_eq!(reloads(&server), ["app.py"]);
    // A package that was not there at the start.
    save(&server, "site/version.py", "NUMBER = 3");
    let import = "from site_.version import NUMBER as VERSION";
    fs::rename(server.folder().join("site"), server.folder().join("site_")).unwrap();
    change(&server, "VERSION = 2", import);
    until_version(&server, 3);
    save(&server, "site_/version.py", "NUMBER = 4");
    until_version(&server, 4);
    save(&server, "site_/templates/page.html", "<p>");
    eventually("a reload for a template", || {
        let files = reloads(&server);
        files.last().filter(|it| it.contains("templates")).cloned()
    });
}

#[test]
fn code_that_cannot_be_loaded_is_shown_until_it_is_mended() {
    let server = watched(setup());
    let hostile = "raise ValueError('<script>alert(1)</script> \"&\"')";
    change(&server, "VERSION = 1", hostile);
    let page = until_shown(&server, "ValueError");
    assert!(
        page.contains("app.py&quot;, line") || page.contains("app.py\", line"),
        "{page}"
    );
    assert!(
        page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"),
        "{page}"
    );
    assert!(!page.contains("<script"), "{page}");
    let plain = ask(&server, "*/*").unwrap();
    assert_eq!(plain.status, 500);
    assert_eq!(plain.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(plain.headers["cache-control"], "no-store");
    let text = String::from_utf8_lossy(&plain.body).into_owned();
    assert!(text.contains("Traceback (most recent call last)"), "{text}");
    assert!(text.contains(hostile), "{text}");
    // The log says it, and so does everybody who is asked.
    let line = server.wait_for_log(
        Mark::START,
        "the application cannot be loaded, clients are shown why",
    );
    assert!(
        line["reason"].as_str().unwrap().contains("ValueError"),
        "{line}"
    );
    server.assert_said("the application failed to load\\nTraceback (most recent call last)");
    let asked = server.cli(["reload"]);
    assert_eq!(asked.code, Some(1), "{asked:?}");
    let words =
        "shows why its application cannot be loaded: cannot load `app:application`: ValueError";
    assert!(asked.stderr.contains(words), "{asked:?}");
    assert!(server.cli(["status"]).stdout.contains("ValueError"));
    // Another mistake on the way.
    change(&server, hostile, "VERSION = (");
    until_shown(&server, "SyntaxError");
    change(&server, "VERSION = (", "VERSION = 5");
    until_version(&server, 5);
    assert_eq!(server.cli(["reload"]).code, Some(0));
}

#[test]
fn a_first_boot_that_fails_is_no_end_of_the_server() {
    const LIFESPAN: &str = "async def app(scope, receive, send):\n    if scope['type'] == 'lifespan':\n        await receive()\n        raise RuntimeError('no database')\n";
    const GOOD: &str = "async def app(scope, receive, send):\n    assert scope['type'] == 'http'\n    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n    await send({'type': 'http.response.body', 'body': b'{\"version\": 1}'})\n";
    for (key, named, broken, words) in [
        (
            "app.wsgi",
            "late:app",
            "import nosuchpackage\n",
            "No module named",
        ),
        (
            "app.asgi",
            "late:app",
            LIFESPAN,
            "RuntimeError: no database",
        ),
        ("app.asgi", "late:other", GOOD, "has no `other`"),
    ] {
        let setup = python::bare()
            .set(key, named)
            .set("app.reload_on_change", true)
            // It is not asked what is not the application.
            .set("health.probe", "/")
            .set("health.probe_interval", "100ms");
        fs::write(setup.folder().join("late.py"), broken).unwrap();
        let server = watched(setup);
        until_shown(&server, words);
        if key == "app.asgi" {
            save(
                &server,
                "late.py",
                &GOOD.replace("def app", &format!("def {}", &named[5..])),
            );
            until_version(&server, 1);
        }
        server.until_workers(2);
    }
}

#[test]
fn an_import_that_ends_its_process_or_never_ends_is_shown_too() {
    let dies = ("import os; os._exit(7)", "exit code 7");
    let hangs = (
        "import time; time.sleep(3600)",
        "not ready within the boot time-out",
    );
    for ((first, shown_first), (then, shown_then)) in [(dies, hangs), (hangs, dies)] {
        let setup = setup().set("workers.boot_timeout", "3s");
        let app = setup.folder().join("app.py");
        let good = fs::read_to_string(&app).unwrap();
        fs::write(&app, first).unwrap();
        let server = watched(setup);
        until_shown(&server, shown_first);
        assert!(server.cli(["status"]).stdout.contains(shown_first));
        // The same in a reload, and the answer of one.
        save(&server, "app.py", then);
        until_shown(&server, shown_then);
        let asked = server.cli(["reload"]);
        assert_eq!(asked.code, Some(1), "{asked:?}");
        assert!(asked.stderr.contains(shown_then), "{asked:?}");
        save(&server, "app.py", &good);
        until_version(&server, 1);
        assert_eq!(server.cli(["reload"]).code, Some(0));
        let warned = |line: &&serde_json::Value| {
            let message = line["message"].as_str().unwrap_or_default();
            message.contains("`app.reload_on_change` is for development")
        };
        let lines = server.log.since(Mark::START);
        assert_eq!(lines.iter().filter(warned).count(), 1);
    }
}

#[test]
fn what_the_interpreter_writes_is_no_change() {
    let server = watched(setup().set("app.env.PYTHONDONTWRITEBYTECODE", ""));
    let written = |server: &Server| {
        let folder = fs::read_dir(server.folder().join("__pycache__"));
        folder.is_ok_and(|files| files.count() > 0)
    };
    change(&server, "VERSION = 1", "VERSION = 'two'");
    eventually("the other version", || {
        let about = client::get(&server.address(), "/about").ok()?.json();
        (about["version"] == "two").then_some(())
    });
    eventually("what it writes", || written(&server).then_some(()));
    // Had that been seen, it would be told before this.
    change(&server, "VERSION = 'two'", "VERSION = 300000");
    until_version(&server, 300_000);
    assert_eq!(reloads(&server), ["app.py", "app.py"]);
}

#[test]
fn a_burst_of_changes_is_hardly_more_than_one_reload() {
    let server = watched(setup());
    for number in 0..300 {
        save(&server, &format!("module_{number}.py"), "x = 1");
    }
    change(&server, "VERSION = 1", "VERSION = 2");
    until_version(&server, 2);
    assert!(reloads(&server).len() <= 3, "{:?}", reloads(&server));
}

#[test]
fn a_change_during_a_reload_is_one_more() {
    let server = watched(setup());
    let waits = "VERSION = 2\nopen(os.path.join(HERE, 'begun'), 'w').close()\nwait_for_start = lambda: os.path.exists(os.path.join(HERE, 'go'))\nwhile not wait_for_start(): time.sleep(0.005)";
    change(&server, "VERSION = 1", waits);
    let begun = server.folder().join("begun");
    eventually("the import", || begun.exists().then_some(()));
    change(&server, waits, "VERSION = 3");
    eventually("the second change", || {
        (reloads(&server).len() == 2).then_some(())
    });
    save(&server, "go", "");
    until_version(&server, 3);
    assert_eq!(server.status().generation, Some(3));
}

#[test]
fn what_cannot_be_read_is_told_and_read_when_it_can_be() {
    if unprivileged().is_none() {
        return;
    }
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    let setup = setup().set("process.user", "nobody");
    mode(setup.folder(), 0o755);
    let (app, private) = (
        setup.folder().join("app.py"),
        setup.folder().join("private"),
    );
    mode(&app, 0o600);
    fs::create_dir(&private).unwrap();
    mode(&private, 0o700);
    let server = watched(setup);
    let line = server.wait_for_log(Mark::START, "some changes of the application are not seen");
    let reason = line["reason"].as_str().unwrap();
    assert!(reason.contains(private.to_str().unwrap()), "{reason}");
    assert!(
        reason.contains("the user that workers run as (`process.user`)"),
        "{reason}"
    );
    until_shown(&server, "PermissionError");
    mode(&app, 0o644);
    until_version(&server, 1);
}

#[test]
fn without_being_asked_nothing_is_watched() {
    let mut server = python::setup().set("workers.count", 1).start();
    assert!(server.status().agent.is_none());
    server.config.set("app.reload_on_change", true);
    server.config.write();
    server.reload();
    let agent = server.until("an agent", |status| status.agent.as_ref()?.pid);
    let is_watching = || {
        let descriptors = fs::read_dir(format!("/proc/{agent}/fd"))
            .into_iter()
            .flatten();
        let links = descriptors.filter_map(|it| fs::read_link(it.ok()?.path()).ok());
        links
            .into_iter()
            .any(|link| link.to_string_lossy().contains("inotify"))
    };
    eventually("the watch", || is_watching().then_some(()));
    server.config.unset("app.reload_on_change");
    server.config.write();
    server.reload();
    server.until("no agent", |status| status.agent.is_none().then_some(()));
    eventually("its end", || (!os::is_alive(agent)).then_some(()));
    // And a boot that fails is the end of a reload.
    change(&server, "VERSION = 1", "import nosuchpackage");
    let outcome = server.cli(["reload"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    until_version(&server, 1);
    assert!(reloads(&server).is_empty());
}
