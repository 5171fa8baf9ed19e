//! `destrier plan`: a table for people, JSON for programs.

use insta::assert_snapshot;

use crate::place::{Place, masked};
use crate::status::{RUNS, asked};
use crate::support::server::Setup;

#[test]
fn help_of_plan() {
    assert_snapshot!(Place::new().run("plan --help"), @r#"
    exit 0
    --- stdout
    Show what a reload would change, and change nothing; exits 0 when that is nothing, 2 when it is
    something

    Usage: destrier plan [OPTIONS]

    Options:
      -c, --config <FILE>   The configuration file it runs with [default: destrier.toml here, else none,
                            as `destrier run wsgi:…` does in this folder, else
                            /etc/destrier/destrier.toml]
          --control <PATH>  Its control socket, whatever its configuration
          --json            As JSON
      -h, --help            Print help
      -V, --version         Print version

    The master reads the configuration and the key files as a reload would, with its own environment and
    arguments, and tells what it would keep, restart (workers of the new generation have it), rebind
    (addresses are opened or closed) and refuse (only a restart of the master changes it).

    Exit codes: 0 nothing would change, 1 no answer: no master runs, or what lies on disk is wrong; the
    reasons are on standard error, 2 something would change, or a reload would be refused. Wrong usage
    exits with 2 as well, with nothing on standard output.
    "#);
}

#[test]
fn a_plan_is_a_table_for_people() {
    let mut server = Setup::new()
        .env("DESTRIER_ACCESS_LOG__ENABLED", "false")
        .start();
    let _masks = masked(&RUNS);
    assert_snapshot!(asked(&server, ["plan"]), @r#"
    exit 0
    --- stdout
    EFFECT  WHAT  BEFORE  AFTER  BECAUSE
    keep  127.0.0.1:0  open  open
    keep  workers  2  2  workers.count = 2

    nothing would change: a reload would start a new generation of the same
    "#);
    server
        .config
        .set("workers.count", 3)
        .set("http.request_timeout", "5s")
        .set("access_log.enabled", true)
        .set("server.bind", vec!["127.0.0.1:0", "unix:app.sock"])
        .set_auth("[[auth.rule]]\npath = \"/**\"\naccess = \"public\"\n[[auth.issuer]]\nname = \"main\"\nsecret_file = \"key\"\ncreate_missing = true\n");
    server.config.write();
    assert_snapshot!(asked(&server, ["plan"]), @r#"
    exit 2
    --- stdout
    EFFECT  WHAT  BEFORE  AFTER  BECAUSE
    rebind  server.bind  ["127.0.0.1:0"]  ["127.0.0.1:0", "unix:/srv/app.sock"]  /srv/destrier.toml:5:15
    restart  workers.count  2  3  /srv/destrier.toml:6:17
    restart  http.request_timeout  "[span]"  "[span]"  /srv/destrier.toml:3:24
    restart  auth.issuer[0]  -  { name = "main", secret_file = "/srv/key", create_missing = true }  /srv/destrier.toml:11:8
    keep  access_log.enabled  -  true  /srv/destrier.toml:1:22, overridden by DESTRIER_ACCESS_LOG__ENABLED
    keep  127.0.0.1:0  open  open
    rebind  unix:/srv/app.sock  -  open
    restart  keys of `main`  /srv/key: the issuer is new, and its secret is made
    restart  workers  2  3  workers.count = 3

    a reload would boot 3 workers beside those that serve, to take over at once (blue-green)
    "#);
    server
        .config
        .set("reload.strategy", "rolling")
        .set("process.pid_file", "pid")
        .set("server.bind", "127.0.0.1:0")
        .set_auth("");
    server.config.write();
    assert_snapshot!(asked(&server, ["plan"]), @r#"
    exit 2
    --- stdout
    EFFECT  WHAT  BEFORE  AFTER  BECAUSE
    restart  workers.count  2  3  /srv/destrier.toml:8:17
    restart  reload.strategy  "blue-green"  "rolling"  /srv/destrier.toml:6:19
    refuse  process.pid_file  -  "/srv/pid"  /srv/destrier.toml:5:20
    restart  http.request_timeout  "[span]"  "[span]"  /srv/destrier.toml:3:24
    restart  auth.rule[0]  { path = "/**", access = "public" }  -
    keep  access_log.enabled  -  true  /srv/destrier.toml:1:22, overridden by DESTRIER_ACCESS_LOG__ENABLED
    keep  127.0.0.1:0  open  open
    restart  workers  2  3  workers.count = 3

    a reload would be refused: `process.pid_file` cannot change by a reload; restart to change it
    --- stderr
    warning: config: there is no `[[auth.rule]]`: every request will be refused
    "#);
}

#[test]
fn a_rolling_reload_is_planned_as_one() {
    let mut server = Setup::new().start();
    server.config.set("reload.strategy", "rolling").write();
    let shown = asked(&server, ["plan"]).stdout;
    assert_snapshot!(shown.lines().last().unwrap(), @"a reload would boot 2 workers slot by slot, one ahead as the canary (rolling, max_surge = 1, max_unavailable = 0)");
}
