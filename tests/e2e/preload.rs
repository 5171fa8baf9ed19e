//! The template process: a generation of a Python application is imported once, and its workers are forked from there.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use destrier::master::{Status, TemplateStatus};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::identity::unprivileged;
use crate::support::journal::Mark;
use crate::support::load::{Load, Plan};
use crate::support::server::{Server, Setup, accepting};
use crate::support::{PATIENCE, client, eventually, os, python, timed, within};

/// Notes who has imported the application.
const NOTES_IMPORT: &str = "\nwith open(os.path.join(HERE, 'imports'), 'a') as imports:\n    imports.write('%d\\n' % os.getpid())\n";

/// The application of `tests/fixtures/python/app.py`, which must be forked.
fn setup() -> Setup {
    let setup = python::setup().set("app.preload", true);
    let app = setup.folder().join("app.py");
    let text = fs::read_to_string(&app).unwrap() + NOTES_IMPORT;
    fs::write(app, text).unwrap();
    setup
}

/// The same with more at the end of its module.
fn setup_with(more: &str) -> Setup {
    let setup = setup();
    append(setup.folder(), more);
    setup
}

fn append(folder: &Path, more: &str) {
    let app = folder.join("app.py");
    let text = fs::read_to_string(&app).unwrap();
    fs::write(app, format!("{text}\n{more}\n")).unwrap();
}

fn imports(server: &Server) -> Vec<u32> {
    let text = fs::read_to_string(server.folder().join("imports")).unwrap_or_default();
    text.lines().map(|pid| pid.parse().unwrap()).collect()
}

fn template(status: &Status) -> TemplateStatus {
    let serving = status.generation.unwrap();
    let mut all = status.templates.iter();
    let template = all.find(|template| template.generation == serving);
    template.unwrap().clone()
}

fn template_pid(server: &Server) -> u32 {
    template(&server.status()).pid.unwrap()
}

/// Waits until `pid` is replaced, and says by whom.
fn replacement(server: &Server, pid: u32, count: usize) -> u32 {
    server.until("a replacement", |status| {
        let newest = status.workers.iter().max_by_key(|worker| worker.worker)?;
        let pids = accepting(status);
        (pids.len() == count && !pids.contains(&pid)).then_some(newest.pid)
    })
}

fn about(server: &Server) -> Value {
    client::get(&server.address(), "/about").unwrap().json()
}

/// What a forked worker has in common with one that was executed, as the kernel knows it.
fn traits(server: &Server, pid: u32) -> Vec<String> {
    let lines = [
        "PPid",
        "Uid",
        "Gid",
        "Groups",
        "Umask",
        "NoNewPrivs",
        "SigBlk",
        "SigIgn",
        "SigCgt",
    ];
    let mut traits: Vec<_> = lines
        .map(|line| format!("{line} {}", os::status_line(pid, line)))
        .into();
    traits[0] = traits[0].replace(&server.pid.to_string(), "master");
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    traits.push(read("oom_score_adj"));
    let stat = read("stat");
    let fields: Vec<_> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    // Process group and session.
    traits.push(
        fields[2..4]
            .join(" ")
            .replace(&server.pid.to_string(), "master"),
    );
    traits.push(
        fs::read_link(format!("/proc/{pid}/fd/0"))
            .unwrap()
            .display()
            .to_string(),
    );
    traits.push(
        fs::read_link(format!("/proc/{pid}/cwd"))
            .unwrap()
            .starts_with(server.folder().canonicalize().unwrap())
            .to_string(),
    );
    let arguments = read("cmdline").replace('\0', " ");
    let (_, title) = arguments
        .trim_end()
        .rsplit_once("destrier worker ")
        .unwrap();
    traits.push(title.split_once(':').unwrap().1.to_owned());
    let environment = read("environ").replace(&server.folder().display().to_string(), "folder");
    traits.push(environment);
    traits
}

#[test]
fn a_worker_is_forked_from_what_was_imported_once_and_is_like_one_that_was_executed() {
    let server = setup().set("admin.bind", "127.0.0.1:0").start();
    let template = template(&server.status());
    assert_eq!(imports(&server), [template.pid.unwrap()]);
    assert_eq!((template.state.as_str(), template.reason), ("ready", None));
    let executed = python::setup().set("app.preload", false).start();
    for (forked, executed_one) in server.pids().into_iter().zip(executed.pids()) {
        assert_eq!(traits(&server, forked), traits(&executed, executed_one));
    }
    assert!(executed.status().templates.is_empty());
    let admin = server.status().admin[0].address.parse().unwrap();
    let metrics = client::get(&client::Address::Tcp(admin), "/metrics").unwrap();
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(
        metrics.contains("destrier_templates{state=\"ready\"} 1"),
        "{metrics}"
    );
    assert_eq!(os::status_line(template.pid.unwrap(), "Threads"), "1");
    let shown = server.cli(["status"]).stdout;
    let pid = template.pid.unwrap();
    assert!(
        shown.contains(&format!("template   pid {pid}, generation 1, imported in ")),
        "{shown}"
    );
}

#[test]
fn a_killed_worker_comes_back_from_the_template_whatever_lies_on_disk() {
    let server = setup().set("workers.count", 1).start();
    let template = template_pid(&server);
    fs::write(server.folder().join("app.py"), "def broken(:").unwrap();
    for _ in 0..3 {
        let before = server.pids()[0];
        let (pid, took) = timed(|| {
            os::kill(before);
            replacement(&server, before, 1)
        });
        assert_eq!(about(&server)["version"], 1);
        assert_eq!(
            client::get(&server.address(), "/pid").unwrap().pid(),
            Some(pid)
        );
        tell(&format!(
            "from the death of a worker to its replacement: {took:?}"
        ));
    }
    assert_eq!(imports(&server), [template]);
}

#[expect(clippy::print_stderr, reason = "a figure for whoever wants to know")]
fn tell(text: &str) {
    eprintln!("{text}");
}

#[test]
fn a_reload_imports_anew_and_one_that_fails_changes_nothing() {
    let server = setup().start();
    let (first, pids) = (template_pid(&server), server.pids());
    let app = server.folder().join("app.py");
    let good = fs::read_to_string(&app).unwrap();
    fs::write(&app, format!("{good}\nimport nosuchpackage\n")).unwrap();
    let mark = server.log.mark();
    let load = Load::start(&server.address(), Plan::LIGHT);
    let outcome = server.cli(["reload"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    let told = "No module named 'nosuchpackage'";
    assert!(outcome.stderr.contains(told), "{outcome:?}");
    let logged = server.log.wait_for(mark, PATIENCE, |line| {
        let text = line["message"].as_str().unwrap_or_default();
        text.contains("Traceback") && text.contains(told)
    });
    assert!(logged.is_some(), "no traceback");
    assert_eq!((template_pid(&server), server.pids()), (first, pids));
    server.until("the end of the other template", |status| {
        (status.templates.len() == 1).then_some(())
    });
    fs::write(&app, good.replace("VERSION = 1", "VERSION = 2")).unwrap();
    server.reload();
    load.wait_for_answers(20);
    load.finish().assert_nothing_lost();
    assert_eq!(about(&server)["version"], 2);
    assert_ne!(template_pid(&server), first);
    eventually("the end of the first template", || {
        (!os::is_alive(first)).then_some(())
    });
}

#[test]
fn an_import_that_hangs_is_given_up_and_serving_goes_on() {
    let server = setup().set("workers.boot_timeout", "2s").start();
    let (first, pids) = (template_pid(&server), server.pids());
    append(server.folder(), "wait_for('never')");
    let load = Load::start(&server.address(), Plan::LIGHT);
    let mark = server.log.mark();
    let outcome = server.cli(["reload"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("boot time-out"), "{outcome:?}");
    let hanging = server.wait_for_log(mark, "template started")["pid"].clone();
    let hanging = u32::try_from(hanging.as_u64().unwrap()).unwrap();
    eventually("its end", || (!os::is_alive(hanging)).then_some(()));
    load.wait_for_answers(20);
    load.finish().assert_nothing_lost();
    assert_eq!((template_pid(&server), server.pids()), (first, pids));
}

#[test]
fn a_slow_import_under_load_costs_no_request() {
    let server = setup().start();
    append(server.folder(), "wait_for('imported')\nVERSION = 2");
    let load = Load::start(&server.address(), Plan::FIFTY);
    let mark = server.log.mark();
    server.signal(Signal::SIGHUP);
    server.wait_for_log(mark, "template started");
    load.wait_for_answers(2_000);
    assert_eq!(server.status().generation, Some(1));
    fs::write(server.folder().join("imported"), "").unwrap();
    server.until("the commit", |status| {
        (status.generation == Some(2)).then_some(())
    });
    server.until_workers(2);
    load.wait_for_answers(200);
    load.finish().assert_nothing_lost();
    assert_eq!(about(&server)["version"], 2);
}

/// What keeps an application from being forked, and what is told of it.
const UNFIT: [(&str, &[&str]); 9] = [
    (
        "def tick():\n    wait_for('never')\nthreading.Thread(target=tick, name='ticker').start()",
        &["the thread `ticker` of `app.tick`"],
    ),
    (
        "import helper",
        &["the thread `Thread-1`", "of `helper.Worker`"],
    ),
    (
        "import socket\nlistener = socket.create_server(('127.0.0.1', 0))",
        &["an open socket at `127.0.0.1:", "of `app`"],
    ),
    (
        "import sqlite3\nclass Store:\n    def __init__(self):\n        self.connection = sqlite3.connect(':memory:')\nstore = Store()",
        &["an open connection to an SQLite database of `app`"],
    ),
    (
        "import asyncio\nloop = asyncio.new_event_loop()",
        &["an event loop (eventpoll)", "an open socket"],
    ),
    (
        "import subprocess\nserver = subprocess.Popen(['sleep', '1000'])\nwith open(os.path.join(HERE, 'child-%d' % os.getpid()), 'w') as file:\n    file.write(str(server.pid))",
        &["the child process ", "`sleep`"],
    ),
    (
        "import multiprocessing\nqueue = multiprocessing.Queue()",
        &["a pipe of `app`"],
    ),
    (
        "from concurrent.futures import ProcessPoolExecutor\npool = ProcessPoolExecutor(2)",
        &["a pipe of `app`"],
    ),
    (
        "import tempfile\ncache = tempfile.TemporaryDirectory()",
        &["the temporary folder `/", "` of `app`, which is removed"],
    ),
];

/// An application that cannot be forked.
fn unfit(more: &str) -> Setup {
    let setup = setup_with(more);
    let helper = "import threading\nclass Worker(threading.Thread):\n    def run(self):\n        threading.Event().wait()\nWorker(daemon=True).start()\n";
    fs::write(setup.folder().join("helper.py"), helper).unwrap();
    setup
}

#[test]
fn an_application_that_cannot_be_forked_is_told_why_and_each_worker_imports_it() {
    for (more, told) in UNFIT {
        let server = unfit(more).set("app.preload", "auto").start();
        let status = server.status();
        let template = template(&status);
        assert_eq!(
            (template.state.as_str(), template.pid),
            ("none", None),
            "{more}"
        );
        let reason = template.reason.unwrap();
        assert!(told.iter().all(|words| reason.contains(words)), "{reason}");
        assert!(reason.matches("a pipe").count() < 2, "{reason}");
        let logged = server.wait_for_log(
            Mark::START,
            "preload: no template for this generation, each worker imports the application",
        );
        assert_eq!(logged["reason"], reason.as_str());
        let shown = server.cli(["status"]).stdout;
        assert!(shown.contains(&reason), "{shown}");
        let first = server.pids();
        assert_eq!(imports(&server).len(), 1 + first.len());
        os::kill(first[0]);
        let next = replacement(&server, first[0], 2);
        assert!(imports(&server).contains(&next));
        end_children(&server);
    }
}

/// As what is executed does at its end.
#[test]
fn an_application_that_cannot_be_forked_leaves_nothing_behind_in_its_template() {
    let more = "import atexit, tempfile\ncache = tempfile.TemporaryDirectory()\natexit.register(lambda: open(os.path.join(HERE, 'ended-%d' % os.getpid()), 'w').write(cache.name))";
    let server = unfit(more).set("app.preload", "auto").start();
    let template = imports(&server)[0];
    let ended = server.folder().join(format!("ended-{template}"));
    let folder = eventually("its end", || {
        fs::read_to_string(&ended).ok().filter(|it| !it.is_empty())
    });
    eventually("no folder", || (!Path::new(&folder).exists()).then_some(()));
    assert_eq!(server.pids().len(), 2);
}

/// Of applications that start some.
fn end_children(server: &Server) {
    for pid in imports(server) {
        let noted = fs::read_to_string(server.folder().join(format!("child-{pid}")));
        if let Ok(child) = noted {
            os::kill(child.parse().unwrap());
        }
    }
}

#[test]
fn an_application_that_must_be_forked_and_cannot_does_not_boot() {
    let (more, told) = UNFIT[0];
    let server = unfit(more).launch();
    assert_eq!(server.wait_for_exit(PATIENCE), Some(3));
    let last = server.wait_for_log(Mark::START, "the application failed to boot");
    let reason = last["reason"].as_str().unwrap();
    assert!(reason.contains(told[0]), "{reason}");
    assert!(reason.contains("set `app.preload`"), "{reason}");
}

#[test]
fn a_template_that_fails_at_the_first_start_ends_the_server_with_its_reason() {
    for (more, told) in [
        ("import nosuchpackage", "No module named 'nosuchpackage'"),
        ("os._exit(9)", "exit code 9"),
    ] {
        let server = setup_with(more).launch();
        assert_eq!(server.wait_for_exit(PATIENCE), Some(3), "{more}");
        let last = server.wait_for_log(Mark::START, "the application failed to boot");
        let reason = last["reason"].as_str().unwrap();
        assert!(reason.contains(told), "{more}: {reason}");
    }
}

#[test]
fn the_death_of_a_template_costs_nothing_and_another_one_takes_its_place() {
    let server = setup().start();
    let (first, pids) = (template_pid(&server), server.pids());
    let load = Load::start(&server.address(), Plan::LIGHT);
    os::kill(first);
    let second = server.until("another template", |status| {
        let template = template(status);
        (template.state == "ready")
            .then_some(template.pid?)
            .filter(|pid| *pid != first)
    });
    assert_eq!(server.pids(), pids);
    load.wait_for_answers(20);
    load.finish().assert_nothing_lost();
    assert_eq!(imports(&server), [first, second]);
    os::kill(pids[0]);
    replacement(&server, pids[0], 2);
    assert_eq!(imports(&server), [first, second]);
    // A worker that is wanted while there is none waits for the next one.
    let pids = server.pids();
    os::kill(second);
    os::kill(pids[1]);
    replacement(&server, pids[1], 2);
    assert_eq!(server.pids()[0], pids[0]);
}

#[test]
fn a_template_that_does_not_come_back_is_done_without() {
    let server = setup().set("workers.backoff_initial", "50ms").start();
    let (first, pids) = (template_pid(&server), server.pids());
    let app = server.folder().join("app.py");
    let good = fs::read_to_string(&app).unwrap();
    fs::write(&app, "import nosuchpackage").unwrap();
    os::kill(first);
    let reason = server.until("the end of the attempts", |status| template(status).reason);
    assert!(reason.contains("3 times in a row"), "{reason}");
    assert!(reason.contains("nosuchpackage"), "{reason}");
    assert_eq!(server.pids(), pids);
    fs::write(&app, &good).unwrap();
    os::kill(pids[0]);
    let next = replacement(&server, pids[0], 2);
    assert!(imports(&server).contains(&next), "it was executed");
    server.reload();
    assert_eq!(template(&server.status()).state, "ready");
}

#[test]
fn nothing_is_left_of_a_template_when_its_master_ends_however_it_ends() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGKILL] {
        let server = setup().start();
        let mut all = server.pids();
        all.push(template_pid(&server));
        server.signal(signal);
        server.wait_for_exit(PATIENCE);
        eventually("their end", || {
            all.iter().all(|pid| !os::is_alive(*pid)).then_some(())
        });
    }
}

#[test]
fn nothing_is_left_of_a_template_that_imports_when_its_master_is_killed() {
    let server = setup_with("wait_for('never')").launch();
    let started = server.wait_for_log(Mark::START, "template started");
    let pid = u32::try_from(started["pid"].as_u64().unwrap()).unwrap();
    eventually("the import", || {
        (!imports(&server).is_empty()).then_some(())
    });
    server.signal(Signal::SIGKILL);
    eventually("its end", || (!os::is_alive(pid)).then_some(()));
}

#[test]
fn an_upgrade_makes_another_template_and_loses_nothing() {
    let server = setup().start();
    let (first, pids) = (template_pid(&server), server.pids());
    let load = Load::start(&server.address(), Plan::LIGHT);
    server.upgrade();
    server.until_workers(2);
    load.wait_for_answers(20);
    load.finish().assert_nothing_lost();
    let second = template_pid(&server);
    assert_eq!(imports(&server), [first, second]);
    let mut old = pids;
    old.push(first);
    eventually("the end of those before", || {
        old.iter().all(|pid| !os::is_alive(*pid)).then_some(())
    });
    let killed = server.pids()[0];
    os::kill(killed);
    replacement(&server, killed, 2);
    assert_eq!(imports(&server), [first, second]);
}

#[test]
fn what_is_read_afresh_is_read_afresh_for_each_generation_and_not_for_each_worker() {
    let setup = setup()
        .set("app.env_file", "more")
        .set("app.chdir", "current")
        .set("workers.count", 1);
    let folder = setup.folder().to_owned();
    fs::write(folder.join("more"), "COLOUR=red\n").unwrap();
    for release in ["1", "2"] {
        fs::create_dir(folder.join(release)).unwrap();
        let text = fs::read_to_string(folder.join("app.py")).unwrap();
        let text = text.replace("VERSION = 1", &format!("VERSION = {release}"));
        fs::write(folder.join(release).join("app.py"), text).unwrap();
    }
    let current = folder.join("current");
    symlink("1", &current).unwrap();
    let server = setup.start();
    fs::remove_file(&current).unwrap();
    symlink("2", &current).unwrap();
    fs::write(folder.join("more"), "COLOUR=blue\n").unwrap();
    let is = |release: u64, colour: &str| {
        let about = about(&server);
        assert_eq!(about["version"], release);
        assert_eq!(about["environment"]["COLOUR"], colour);
        let ends_right =
            Path::new(about["folder"].as_str().unwrap()).ends_with(release.to_string());
        assert!(ends_right, "{about}");
    };
    let pid = server.pids()[0];
    os::kill(pid);
    replacement(&server, pid, 1);
    is(1, "red");
    server.reload();
    is(2, "blue");
}

#[test]
fn forked_workers_share_no_random_state_and_functions_at_the_fork_are_called() {
    let more = "import random, socket\nlog = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\ndef after():\n    threading.Thread(target=lambda: None).start()\n    with open(os.path.join(HERE, 'after'), 'a') as file:\n        file.write('%d\\n' % os.getpid())\nos.register_at_fork(after_in_child=after)\nplain = answer\ndef answer(path):\n    return {'pid': os.getpid(), 'random': random.random()} if path == '/random' else plain(path)";
    let server = setup_with(more).start();
    let called = fs::read_to_string(server.folder().join("after")).unwrap();
    let mut called: Vec<u32> = called.lines().map(|pid| pid.parse().unwrap()).collect();
    let mut pids = server.pids();
    called.sort_unstable();
    pids.sort_unstable();
    assert_eq!(called, pids);
    let mut seen = std::collections::BTreeMap::new();
    eventually("both workers", || {
        let answer = client::get(&server.address(), "/random").unwrap().json();
        let number = answer["random"].as_f64().unwrap().to_bits();
        seen.entry(answer["pid"].as_u64().unwrap())
            .or_insert(number);
        (seen.len() == 2).then_some(())
    });
    let numbers: std::collections::BTreeSet<_> = seen.values().collect();
    assert_eq!(numbers.len(), 2, "the first number of each");
}

#[test]
fn an_orphan_of_the_application_is_reaped_and_disturbs_nobody() {
    let more = "import subprocess\nplain = answer\ndef answer(path):\n    if path == '/orphan':\n        subprocess.run(['sh', '-c', 'sleep 0.1 & echo $! > orphan'], check=True)\n    return plain(path)";
    let server = setup_with(more).start();
    let pids = server.pids();
    client::get(&server.address(), "/orphan").unwrap();
    let orphan = fs::read_to_string(server.folder().join("orphan")).unwrap();
    let orphan = format!("/proc/{}", orphan.trim());
    eventually("the end of the orphan", || {
        (!Path::new(&orphan).exists()).then_some(())
    });
    assert_eq!(server.pids(), pids);
}

#[test]
fn a_forked_worker_is_somebody_else_and_writes_to_the_logs_of_now() {
    let Some(user) = unprivileged() else { return };
    let setup = setup()
        .set("process.user", "nobody")
        .set("workers.count", 1)
        .set("access_log.enabled", true)
        .set("access_log.to", "logs/access.log");
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    mode(setup.folder(), 0o755);
    // That is not what this is about.
    fs::write(setup.folder().join("imports"), "").unwrap();
    mode(&setup.folder().join("imports"), 0o666);
    fs::create_dir(setup.folder().join("logs")).unwrap();
    mode(&setup.folder().join("logs"), 0o700);
    let server = setup.start();
    for pid in [server.pids()[0], template_pid(&server)] {
        let four = [user.uid.to_string().as_str(); 4].join(" ");
        assert_eq!(os::status_line(pid, "Uid"), four);
        assert_eq!(os::status_line(pid, "NoNewPrivs"), "1");
    }
    let log = server.folder().join("logs/access.log");
    let is_written = |path: &str| {
        client::get(&server.address(), path).unwrap();
        eventually("a line", || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            text.contains(path).then_some(())
        });
    };
    is_written("/one");
    fs::rename(&log, log.with_extension("old")).unwrap();
    server.signal(Signal::SIGUSR1);
    server.wait_for_log(Mark::START, "log files opened anew");
    let pid = server.pids()[0];
    os::kill(pid);
    replacement(&server, pid, 1);
    is_written("/two");
}

#[test]
fn a_template_that_is_stopped_is_replaced_and_the_worker_that_waited_comes() {
    // Longer than a fork may take.
    let server = setup().set("workers.boot_timeout", "1m").start();
    let (first, pids) = (template_pid(&server), server.pids());
    assert!(os::send(first, Signal::SIGSTOP));
    os::kill(pids[0]);
    within(Duration::from_secs(40), "a replacement", || {
        let now = accepting(&server.try_status()?);
        (now.len() == 2 && !now.contains(&pids[0])).then_some(())
    });
    server.assert_said("the template does not answer, it is replaced");
    assert_ne!(template_pid(&server), first);
    assert_eq!(server.pids()[1], pids[1]);
}

#[test]
fn a_django_site_is_imported_with_its_urlconf_and_one_that_fails_changes_nothing() {
    let python = python::environment("wsgi", &["django==5.2.19", "flask==3.1.3"]);
    let setup = python::bare()
        .set("app.python", python.to_str().unwrap())
        .set("app.wsgi", "site_of_django")
        .set("app.preload", true)
        .set("workers.count", 2);
    let write = |name: &str, text: &str| fs::write(setup.folder().join(name), text).unwrap();
    write(
        "site_of_django.py",
        "from django.conf import settings\n\
         settings.configure(ROOT_URLCONF='urls', ALLOWED_HOSTS=['*'])\n\
         from django.core.wsgi import get_wsgi_application\n\
         application = get_wsgi_application()\n",
    );
    let urls = format!(
        "import os\nHERE = os.path.dirname(__file__){NOTES_IMPORT}\
         from django.http import HttpResponse\n\
         from django.urls import path\n\
         urlpatterns = [path('hello', lambda request: HttpResponse('hello'))]\n"
    );
    write("urls.py", &urls);
    let file = setup.folder().join("urls.py");
    let server = setup.start();
    assert_eq!(imports(&server), [template_pid(&server)]);
    let hello = || client::get(&server.address(), "/hello").unwrap().status;
    assert_eq!(hello(), 200);
    let pids = server.pids();
    fs::write(&file, format!("{urls}raise ValueError('no addresses')\n")).unwrap();
    let outcome = server.cli(["reload"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(
        outcome.stderr.contains("ValueError: no addresses"),
        "{outcome:?}"
    );
    assert_eq!((server.pids(), hello()), (pids, 200));
}
