//! `destrier status`, `reload`, `scale`, `stop`, `reopen`: with a master and without.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};

use insta::assert_snapshot;
use serde_json::Value;

use crate::place::{Outcome, Place, masked};
use crate::support::PATIENCE;
use crate::support::client;
use crate::support::command;
use crate::support::os;
use crate::support::server::{Server, Setup};

/// What differs from run to run of a server.
pub(crate) const RUNS: [(&str, &str); 4] = [
    (r"master \d+", "master [pid]"),
    (r"\b\d+(ms|s|m)( \d+(ms|s|m))*\b", "[span]"),
    (r"127\.0\.0\.1:[1-9]\d+", "127.0.0.1:[port]"),
    // The width of a column.
    (r" {2,}", "  "),
];

#[track_caller]
pub(crate) fn asked<const N: usize>(server: &Server, words: [&str; N]) -> Outcome {
    let command::Outcome {
        code,
        stdout,
        stderr,
    } = server.cli(words);
    let named = |text: String| text.replace(server.folder().to_str().unwrap(), "/srv");
    Outcome {
        code,
        stdout: named(stdout),
        stderr: named(stderr),
    }
}

#[test]
fn without_a_master_each_command_says_so() {
    let place = Place::new();
    place.write("app.toml", "process.control_socket = \"control.sock\"\n");
    let status = place.run("status -c app.toml");
    assert_snapshot!(status, @r#"
    exit 1
    --- stderr
    no master runs with this configuration (nobody listens on `/srv/control.sock`)
    "#);
    for line in [
        "status --json",
        "plan",
        "plan --json",
        "reload",
        "scale 3",
        "stop",
        "stop --fast",
        "reopen",
    ] {
        assert_eq!(place.run(&format!("{line} -c app.toml")), status, "{line}");
    }
    assert_snapshot!(place.run("status -c nope.toml"), @r#"
    exit 2
    --- stderr
    config: cannot read `nope.toml`: no such file
    "#);
}

#[test]
fn a_file_that_names_no_socket_is_asked_about_at_the_users_own_place() {
    let place = Place::new();
    place.write("app.toml", "");
    let _masks = masked(&[(
        r"`/[^`]*/app-[0-9a-f]{8}\.sock`",
        "`[place]/app-[hash].sock`",
    )]);
    assert_snapshot!(place.run("reload -c app.toml"), @r#"
    exit 1
    --- stderr
    no master runs with this configuration (nobody listens on `[place]/app-[hash].sock`)
    hint: if one does, ask as the user that started it, or set `process.control_socket`: its default place depends on the user
    "#);
}

#[test]
fn a_broken_file_is_told_when_nobody_is_found_by_it() {
    let place = Place::new();
    place.write(
        "app.toml",
        "process.control_socket = \"control.sock\"\n[[[\n",
    );
    assert_snapshot!(place.run("stop -c app.toml"), @r#"
    exit 2
    --- stderr
    config: app.toml:2:3: unquoted keys cannot be empty, expected letters, numbers, `-`, `_`
    hint: `DESTRIER_PROCESS__CONTROL_SOCKET=PATH` finds the master whatever the file says
    "#);
}

#[test]
fn a_file_that_is_no_toml_any_more_keeps_nobody_from_the_master() {
    let server = Setup::new().start();
    for broken in [
        "[workers\ncount = 2\n[process]\ncontrol_socket = \"control.sock\"\n",
        "process.control_socket = \"control.sock\"\nworkers.count = [\n",
        "log.level = \"info\n[process]\ncontrol_socket = \"control.sock\"\n",
    ] {
        server.config.write_text(broken);
        assert_eq!(asked(&server, ["status"]).code, Some(0), "{broken}");
    }
    // A bracket that is not closed takes what follows with it.
    server
        .config
        .write_text("server.bind = [\n[process]\ncontrol_socket = \"control.sock\"\n");
    assert_eq!(asked(&server, ["stop"]).code, Some(2));
    let mut command = command::command(&command::destrier());
    command.args(["stop", "-c"]).arg(server.config.file());
    command.env(
        "DESTRIER_PROCESS__CONTROL_SOCKET",
        server.config.control_socket(),
    );
    let outcome = command::run(command);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(server.wait_for_exit(PATIENCE), Some(0));
}

#[test]
fn status_is_a_table_for_people() {
    let server = Setup::new().set("app.faults", true).start();
    client::get(&server.address(), "/hello").unwrap();
    let waiting = client::get_meanwhile(&server.address(), "/slow?ms=600000");
    server.until_in_flight(1);
    // The kernel chooses which of the two gets a connection.
    let outcome = asked(&server, ["status"]);
    let mut lines: Vec<&str> = outcome.stdout.lines().collect();
    let workers = lines.split_off(lines.len() - 2);
    let (busy, idle): (Vec<&str>, Vec<&str>) =
        workers.iter().partition(|line| line.contains("/slow"));
    assert_eq!((busy.len(), idle.len()), (1, 1), "{outcome}");
    let _masks = masked(&RUNS);
    assert_snapshot!(lines.join("\n"), @r#"
    destrier 0.1.0, master [pid], up [span]
    state  serving
    config  /srv/destrier.toml
    workers  2 (workers.count = 2)
    listening  127.0.0.1:[port] (as 127.0.0.1:0)
    generation 1
    requests  1 (2xx 1, 3xx 0, 4xx 0, 5xx 0; 0 refused), 2 connections

    WORKER  PID  SLOT  GEN  STATE  UP  CONNS  BUSY  QUEUED  REQUESTS  MEMORY  OLDEST REQUEST
    "#);
    let seen: Vec<&str> = busy[0].split_whitespace().collect();
    assert_eq!(seen[3..5], ["1", "accepting"], "{busy:?}");
    assert_eq!(seen[11..seen.len() - 1], ["GET", "/slow"], "{busy:?}");
    assert!(
        !outcome.stdout.lines().any(|line| line.ends_with(' ')),
        "{outcome}"
    );
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    asked(&server, ["stop", "--fast"]).data();
    drop(waiting.join());
}

#[test]
fn status_is_json_for_programs() {
    let server = Setup::new().start();
    let status: Value = serde_json::from_str(&asked(&server, ["status", "--json"]).data()).unwrap();
    let fields = |value: &Value| {
        let fields = value.as_object().unwrap().keys();
        fields.cloned().collect::<Vec<_>>().join(" ")
    };
    assert_snapshot!(fields(&status), @"schema_version version pid uptime memory state stop generation generation_age config control_socket workers_wanted workers_because listeners admin last_reload totals latency worker_ends reloads upgrades agent feeds workers deaths events");
    assert_snapshot!(fields(&status["workers"][0]), @"worker pid slot generation state uptime connections connections_wait in_flight queued requests replaced_for probe_failure memory requests_in_flight");
    assert_snapshot!(fields(&status["listeners"][0]), @"bind address");
    assert_snapshot!(fields(&status["latency"]), @"bounds counts sum");
    assert_snapshot!(fields(&status["events"][0]), @"number at kind reason worker slot generation message");
    assert_snapshot!(fields(&status["totals"]), @"connections requests by_status_class refused audited blocked overloaded");
    assert_eq!(status["last_reload"], Value::Null);
    server.reload();
    let status: Value = serde_json::from_str(&asked(&server, ["status", "--json"]).data()).unwrap();
    assert_snapshot!(fields(&status["last_reload"]), @"ago generation error");
}

/// A watch of the status as JSON.
fn watching(server: &Server) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut command = command::command(&command::destrier());
    command.args(["status", "--json", "--watch=1", "-c"]);
    command.arg(server.config.file());
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

#[test]
fn status_is_told_again_and_again_until_nobody_reads_or_there_is_no_master() {
    let server = Setup::new().start();
    let (mut child, mut lines) = watching(&server);
    let mut uptime = || {
        let line = lines.next().unwrap().unwrap();
        let status: Value = serde_json::from_str(&line).unwrap();
        status["uptime"].as_f64().unwrap()
    };
    let (first, second) = (uptime(), uptime());
    assert!(second - first > 0.9, "{first} and {second}");
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let (mut child, lines) = watching(&server);
    asked(&server, ["stop"]).data();
    drop(lines.last());
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

/// Where this fails the shape has changed: `destrier status --schema > docs/status.schema.json`, and another `SCHEMA_VERSION` where
/// something has gone.
#[test]
fn the_schema_in_the_documents_is_that_of_the_status() {
    let place = Place::new();
    let schema = place.run("status --schema").data();
    let shown = include_str!("../../docs/status.schema.json");
    assert_eq!(schema, shown);
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let server = Setup::new().start();
    let status: Value = serde_json::from_str(&asked(&server, ["status", "--json"]).data()).unwrap();
    for (name, properties) in [
        (&status, &schema["properties"]),
        (
            &status["workers"][0],
            &schema["$defs"]["WorkerStatus"]["properties"],
        ),
        (
            &status["events"][0],
            &schema["$defs"]["EventStatus"]["properties"],
        ),
    ] {
        for field in name.as_object().unwrap().keys() {
            assert!(properties.get(field).is_some(), "{field}");
        }
    }
}

#[test]
fn status_tells_the_last_deaths() {
    let server = Setup::new()
        .set("workers.count", 1)
        .set("workers.backoff_initial", "1ms")
        .set("workers.backoff_max", "1ms")
        .set("app.faults", true)
        .start();
    let deaths = |count| {
        server.until(&format!("{count} deaths"), |status| {
            (status.deaths.len() == count).then_some(())
        });
        server.until_workers(1);
    };
    let slow = || {
        let client = client::get_meanwhile(&server.address(), "/slow?ms=600000");
        server.until_in_flight(1);
        client
    };
    assert!(client::get(&server.address(), "/fault/exit?code=9").is_err());
    deaths(1);
    let neighbour = slow();
    assert!(client::get(&server.address(), "/fault/crash").is_err());
    deaths(2);
    drop(neighbour.join());
    let neighbour = slow();
    os::kill(server.pids()[0]);
    deaths(3);
    drop(neighbour.join());
    let outcome = asked(&server, ["status"]);
    let (_, told) = outcome.stdout.split_once("\n\nWORKER").unwrap();
    let (_, told) = told.split_once("\n\n").unwrap();
    let _masks = masked(&[
        (r"\b\d+(ms|s|m)( \d+(ms|s|m))*\b", "[span]"),
        (r"pid \d+", "pid [pid]"),
        // Whether a core is written is the business of whoever runs the tests.
        (r", core dumped", ""),
    ]);
    assert_snapshot!(told, @r"
    deaths, the newest first
      [span] ago, worker 3 (pid [pid], slot 0, up [span]): killed by SIGKILL; in flight: GET /slow [span]
      [span] ago, worker 2 (pid [pid], slot 0, up [span]): killed by SIGABRT, executing GET /fault/crash [span]; in flight: GET /slow [span]
      [span] ago, worker 1 (pid [pid], slot 0, up [span]): exit code 9, executing GET /fault/exit [span]
    ");
    let status: Value = serde_json::from_str(&asked(&server, ["status", "--json"]).data()).unwrap();
    let fields = status["deaths"][0].as_object().unwrap().keys();
    let fields: Vec<_> = fields.cloned().collect();
    assert_snapshot!(fields.join(" "), @"ago at worker pid slot generation uptime ending exit_code signal core_dumped out_of_memory killed_for hung_for connections in_flight cause sent_by executing others_in_flight");
    for count in 4..=6 {
        os::kill(server.pids()[0]);
        deaths(count);
    }
    let last = asked(&server, ["status"]).data();
    assert!(last.ends_with("\n  1 more with --json\n"), "{last}");
}

#[test]
fn orders_say_what_came_of_them() {
    let server = Setup::new().start();
    assert_snapshot!(asked(&server, ["scale", "3"]), @r#"
    exit 0
    --- stdout
    3 workers serve, until the next reload
    "#);
    assert_snapshot!(asked(&server, ["reopen"]), @r#"
    exit 0
    --- stdout
    log files opened anew
    "#);
    assert_snapshot!(asked(&server, ["reload"]), @r#"
    exit 0
    --- stdout
    generation 2 serves
    "#);
    server.config.write_text(
        "process.control_socket = \"control.sock\"\nworkers.count = 0\n[log]\nlevel = \"loud\"\n",
    );
    assert_snapshot!(asked(&server, ["reload"]), @r#"
    exit 1
    --- stderr
    config: /srv/destrier.toml:2:17: `workers.count` must be 1 to 512 or "auto", found `0`
    config: /srv/destrier.toml:4:9: `log.level` must be one of `error`, `warn`, `info`, `debug`, `trace`, found `"loud"`
    "#);
    let _masks = masked(&RUNS);
    let status = asked(&server, ["status"]).data();
    let last = status
        .lines()
        .skip_while(|line| !line.starts_with("reload"));
    let last: Vec<&str> = last
        .take_while(|line| !line.starts_with("requests"))
        .collect();
    assert_snapshot!(last.join("\n"), @r#"
    reload  [span] ago, failed: config: /srv/destrier.toml:2:17: `workers.count` must be 1 to 512 or "auto", found `0`
      config: /srv/destrier.toml:4:9: `log.level` must be one of `error`, `warn`, `info`, `debug`, `trace`, found `"loud"`
    "#);
    assert_snapshot!(asked(&server, ["stop"]), @r#"
    exit 0
    --- stdout
    stopped
    "#);
    assert_eq!(server.wait_for_exit(PATIENCE), Some(0));
    assert_eq!(asked(&server, ["stop"]).code, Some(1));
}
