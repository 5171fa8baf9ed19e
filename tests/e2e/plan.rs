//! A plan says what a reload would do, and nothing of it is done.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::journal::Mark;
use crate::support::server::{Server, Setup, accepting};

/// `destrier plan --json`, which must exit with `code` and leave everything as it is.
#[track_caller]
fn plan(server: &Server, code: i32) -> Value {
    let before = server.status();
    let outcome = server.cli(["plan", "--json"]);
    assert_eq!(outcome.code, Some(code), "{outcome:?}");
    assert_eq!(outcome.stderr, "");
    let after = server.status();
    assert_eq!(accepting(&after), accepting(&before));
    assert_eq!(after.generation, before.generation);
    assert_eq!(after.listeners.len(), before.listeners.len());
    assert_eq!(after.last_reload.is_some(), before.last_reload.is_some());
    serde_json::from_str(&outcome.stdout).unwrap()
}

/// What the plan says of `key`, without where that stands.
#[track_caller]
fn change<'a>(plan: &'a Value, key: &str) -> [&'a Value; 3] {
    let changes = plan["changes"].as_array().unwrap();
    let found = changes.iter().find(|change| change["key"] == key);
    let found = found.unwrap_or_else(|| panic!("nothing of `{key}` in {plan:#}"));
    [&found["effect"], &found["before"], &found["after"]]
}

#[track_caller]
fn refused(server: &Server) -> String {
    let outcome = server.cli(["reload"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    outcome.stderr.trim_end().to_owned()
}

#[test]
fn a_plan_of_the_same_exits_with_0() {
    let server = Setup::new().start();
    server.wait_for_log(Mark::START, "serving");
    let mark = server.log.mark();
    let same = plan(&server, 0);
    assert_eq!(server.log.since(mark), Vec::<Value>::new());
    assert_eq!(same["outcome"], "nothing");
    assert_eq!(same["changes"], json!([]));
    assert_eq!(same["listeners"][0]["effect"], "keep");
    assert_eq!(same["workers"]["effect"], "keep");
    // Also after a reload, and with the same in other words.
    server.reload();
    server.until_workers(2);
    let text = fs::read_to_string(server.config.file()).unwrap();
    server
        .config
        .write_text(&format!("# words\nhttp.keep_alive = \"75s\"\n{text}"));
    assert_eq!(plan(&server, 0)["generation"], 2);
}

#[test]
fn a_plan_tells_each_change_and_the_reload_makes_it() {
    for balance in ["per-worker", "shared"] {
        let setup = Setup::new().set("server.balance", balance);
        let unix = |name: &str| format!("unix:{}", setup.folder().join(name).display());
        let (old, new) = (unix("old.sock"), unix("new.sock"));
        let binds = vec!["127.0.0.1:0".to_owned(), old.clone()];
        let mut server = setup.set("server.bind", binds).start();
        let binds = vec!["127.0.0.1:0".to_owned(), new.clone()];
        server
            .config
            .set("server.bind", binds)
            .set("workers.count", 3)
            .set("http.keep_alive", "5s")
            .set_auth("[[auth.rule]]\npath = \"/hello\"\naccess = \"public\"\n[[auth.rule]]\npath = \"/**\"\naccess = \"public\"\n");
        server.config.write();
        let planned = plan(&server, 2);
        assert_eq!(planned["outcome"], "changes");
        assert_eq!(change(&planned, "workers.count"), ["restart", "2", "3"]);
        let [effect, before, after] = change(&planned, "http.keep_alive");
        assert_eq!([effect, before, after], ["restart", "\"1m 15s\"", "\"5s\""]);
        assert_eq!(change(&planned, "server.bind")[0], "rebind");
        let rule = "{ path = \"/hello\", access = \"public\" }";
        let [effect, before, after] = change(&planned, "auth.rule[0]");
        assert_eq!((effect, before), (&json!("restart"), &Value::Null));
        assert_eq!(after, rule);
        assert_eq!(planned["changes"].as_array().unwrap().len(), 4);
        assert_eq!(
            planned["listeners"],
            json!([
                {"bind": "127.0.0.1:0", "effect": "keep", "problem": null},
                {"bind": new, "effect": "open", "problem": null},
                {"bind": old, "effect": "close", "problem": null},
            ])
        );
        // A plan makes nothing, not even a lock.
        assert!(!server.folder().join("new.sock").exists());
        assert!(!server.folder().join("new.sock.lock").exists());
        server.reload();
        server.until_workers(3);
        let open: Vec<String> = server
            .status()
            .listeners
            .into_iter()
            .map(|it| it.bind)
            .collect();
        assert_eq!(open, ["127.0.0.1:0".to_owned(), new]);
        assert_eq!(plan(&server, 0)["outcome"], "nothing");
    }
}

#[test]
fn what_a_reload_would_refuse_is_planned_with_its_words() {
    let mut server = Setup::new().start();
    server
        .config
        .set("process.pid_file", "other.pid")
        .set("server.backlog", 77)
        .write();
    let planned = plan(&server, 2);
    assert_eq!(planned["outcome"], "refused");
    assert_eq!(change(&planned, "server.backlog"), ["refuse", "2048", "77"]);
    assert_eq!(change(&planned, "process.pid_file")[0], "refuse");
    assert_eq!(planned["refused"][0], refused(&server));

    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let mut server = Setup::new().start();
    server.config.set("server.bind", address.clone()).write();
    let planned = plan(&server, 2);
    assert_eq!(planned["outcome"], "refused");
    assert_eq!(change(&planned, "server.bind")[0], "refuse");
    assert_eq!(planned["listeners"][0]["effect"], "refuse");
    assert_eq!(planned["refused"][0], refused(&server));
    drop(busy);
    assert_eq!(plan(&server, 2)["outcome"], "changes");
    server.reload();

    let file = server.folder().join("file");
    fs::write(&file, "").unwrap();
    let binds = vec![
        address,
        format!("unix:{}", file.display()),
        "fd:9".to_owned(),
    ];
    server.config.set("server.bind", binds).write();
    let planned = plan(&server, 2);
    assert_eq!(planned["refused"].as_array().unwrap().len(), 2);
    assert_eq!(planned["refused"][0], refused(&server));

    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let mut server = Setup::new().start();
    server.config.set("admin.bind", address).write();
    let planned = plan(&server, 2);
    assert_eq!(planned["outcome"], "refused");
    assert_eq!(change(&planned, "admin.bind")[0], "refuse");
    assert_eq!(planned["refused"][0], refused(&server));
    drop(busy);
    assert_eq!(plan(&server, 2)["outcome"], "changes");
}

#[test]
fn a_plan_of_what_is_no_configuration_exits_with_1_and_tells_every_mistake() {
    let mut server = Setup::new().start();
    server.config.write_text(
        "process.control_socket = \"control.sock\"\nworkers.count = 0\nhttp.header_timeout = 0\n",
    );
    let outcome = server.cli(["plan"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""));
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    assert!(lines[0].contains("`workers.count`"), "{lines:?}");
    assert!(lines[1].contains("`http.header_timeout`"), "{lines:?}");
    assert_eq!(lines[2..], ["a reload would be refused"]);
    assert!(outcome.stderr.starts_with(&refused(&server)));
    server.config.set_auth("[[auth.issuer]]\nname = \"a\"\nsecret_file = \"nowhere\"\n[[auth.issuer]]\nname = \"b\"\njwks_file = \"nowhere\"\n");
    server.config.write();
    let outcome = server.cli(["plan", "--json"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""));
    for issuer in ["auth.issuer `a`", "auth.issuer `b`"] {
        assert!(outcome.stderr.contains(issuer), "{outcome:?}");
    }
    server
        .config
        .set("process.user", "no-such-user")
        .set_auth("");
    server.config.write();
    let outcome = server.cli(["plan"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("no-such-user"), "{outcome:?}");
    fs::remove_file(server.config.file()).unwrap();
    assert_eq!(server.cli(["plan"]).code, Some(1));
}

#[test]
fn keys_that_are_gone_are_planned_and_never_shown_or_made() {
    let mut setup = Setup::new();
    let key = setup.folder().join("key");
    let auth = "[[auth.issuer]]\nname = \"main\"\nsecret_file = \"key\"\ncreate_missing = true\n[[auth.rule]]\npath = \"/**\"\n";
    setup.config.set_auth(auth);
    let server = setup.start();
    let of_key = |code| plan(&server, code)["key_files"][0].clone();
    assert_eq!(of_key(0)["effect"], "keep");
    assert_eq!(of_key(0)["issuer"], "main");
    let made = fs::read(&key).unwrap();
    let secret = "another secret, of forty octets or so...";
    // It is in force by itself, so a reload changes nothing about it.
    let mark = server.log.mark();
    put(&key, secret.as_bytes());
    server.wait_for_log(mark, "changed, in force without a reload");
    assert_eq!(of_key(0)["effect"], "keep");
    for outcome in [server.cli(["plan"]), server.cli(["plan", "--json"])] {
        assert!(
            !format!("{outcome:?}").contains("another secret"),
            "{outcome:?}"
        );
    }
    fs::remove_file(&key).unwrap();
    let reason = of_key(2)["reason"].as_str().unwrap().to_owned();
    assert!(
        reason.starts_with("it is gone; another secret is made"),
        "{reason}"
    );
    assert!(!key.exists());
    let mark = server.log.mark();
    put(&key, &made);
    server.wait_for_log(mark, "changed, in force without a reload");
    assert_eq!(of_key(0)["effect"], "keep");
}

fn put(key: &Path, bytes: &[u8]) {
    fs::write(key, bytes).unwrap();
    fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_number_of_workers_that_a_reload_forgets_is_a_change() {
    let server = Setup::new().start();
    server.cli(["scale", "3"]);
    server.until_workers(3);
    let planned = plan(&server, 2);
    assert_eq!(planned["changes"], json!([]));
    let workers = &planned["workers"];
    assert_eq!([&workers["before"], &workers["after"]], [3, 2]);
    assert_eq!(
        (&workers["scaled"], &workers["effect"]),
        (&json!(true), &json!("restart"))
    );
    let outcome = server.cli(["plan"]);
    assert!(
        outcome.stdout.contains("a reload forgets `destrier scale`"),
        "{outcome:?}"
    );
    server.reload();
    server.until_workers(2);
    assert_eq!(plan(&server, 0)["workers"]["scaled"], false);
}

#[test]
fn what_the_masters_environment_overrides_is_kept() {
    let mut server = Setup::new()
        .env("DESTRIER_WORKERS__COUNT", "1")
        .env("DESTRIER_LOG__LEVEL", "info")
        .start();
    assert_eq!(plan(&server, 0)["changes"], json!([]));
    server.config.set("workers.count", 5).write();
    let planned = plan(&server, 0);
    assert_eq!(change(&planned, "workers.count"), ["keep", "2", "5"]);
    let by = &planned["changes"][0]["overridden_by"];
    assert_eq!(by, "DESTRIER_WORKERS__COUNT");
    assert_eq!(planned["workers"]["after"], 1);
}

#[test]
fn a_master_that_has_nothing_to_compare_with_says_so() {
    let setup = Setup::faulty();
    fs::write(setup.folder().join("boot"), "wait").unwrap();
    let server = setup.launch();
    server.until("a worker that boots", |status| {
        (status.state == "booting" && !status.workers.is_empty()).then_some(())
    });
    let outcome = server.cli(["plan"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(
        outcome.stderr.contains("no generation serves yet"),
        "{outcome:?}"
    );
    server.let_boot("ok");
    server.wait_until_ready();
    plan(&server, 0);
}
