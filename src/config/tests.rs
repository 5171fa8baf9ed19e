//! What is accepted, what is refused, and what an operator then reads.

use std::path::Path;

use insta::assert_snapshot;

use super::*;

mod access_log;
mod addresses;
mod answers;
mod app;
mod auth;
mod database;
mod differences;
mod every_key;
mod fetched_keys;
mod identity_fields;
mod laws;
mod proxies;
mod rates;
mod shipped;
mod sources;
mod telemetry;
mod tls;
mod tokens;

/// Loads `text` as if it stood in `/srv/app.toml`.
fn read_text(text: &str, sources: &Sources) -> Result<Loaded, ConfigErrors> {
    let text = Text {
        file: "/srv/app.toml".into(),
        text: text.to_owned(),
    };
    read_again(text, sources)
}

fn accepted(text: &str) -> Config {
    read_text(text, &Sources::default()).unwrap().config
}

fn refused(text: &str) -> String {
    refused_with(text, &Sources::default())
}

fn refused_with(text: &str, sources: &Sources) -> String {
    match read_text(text, sources) {
        Ok(loaded) => panic!("accepted: {loaded:?}"),
        Err(errors) => errors.to_string(),
    }
}

fn warned(text: &str) -> String {
    let loaded = read_text(text, &Sources::default()).unwrap();
    let lines: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

fn environment<const N: usize>(variables: [(&str, &str); N]) -> Sources {
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    Sources {
        env: variables.map(owned).into(),
        ..Sources::default()
    }
}

#[test]
fn an_empty_file_is_the_defaults() {
    let config = accepted("");
    assert_eq!(
        config.server.bind,
        ["127.0.0.1:8000".parse().map(Bind::Tcp).unwrap()]
    );
    assert_eq!(config.workers.count, WorkerCount::Auto);
    assert_eq!(config.workers.graceful_timeout, Duration::from_secs(30));
    assert_eq!(config.process.umask, 0o022);
    assert_eq!(config.file, Path::new("/srv/app.toml"));
}

#[test]
fn every_error_is_told_at_once_in_the_order_of_the_file() {
    assert_snapshot!(refused(r#"workers = 4
[server]
bind = ["localhost:80", 3]
backlog = 0
balance = "fair"
unix_mode = 660
[reload]
max_surge = 0
[http]
keep_alive = "1fortnight"
header_timeout = -1
keepalive = "1s"
[app]
faults = "yes"
[log]
level = 3
[auth]
realm = ""
[[auth.issuer]]
audience = [1]
"#), @r#"
    config: /srv/app.toml:1:11: `workers` must be a table, found `4`
    config: /srv/app.toml:3:25: `server.bind[1]` must be a string, found `3`
    config: /srv/app.toml:4:11: `server.backlog` must be 1 to 65535, found `0`
    config: /srv/app.toml:5:11: `server.balance` must be `per-worker` or `shared`, found `"fair"`
    config: /srv/app.toml:6:13: `server.unix_mode` must be permission bits in quotes, "0000" to "0777", found `660`
    config: /srv/app.toml:8:13: `reload.max_surge` and `reload.max_unavailable` must not both be 0
    hint: no worker could be replaced; `max_surge = 1` starts the new one first
    config: /srv/app.toml:10:14: `http.keep_alive` must be a time of 1ms to 1day, such as "10s" or "500ms", found `"1fortnight"`
    config: /srv/app.toml:11:18: `http.header_timeout` must be a time of 1ms to 1h, such as "10s" or "500ms", found `-1`
    config: /srv/app.toml:12:1: unknown key `http.keepalive`
    hint: did you mean `http.keep_alive`?
    config: /srv/app.toml:14:10: `app.faults` must be true or false, found `"yes"`
    config: /srv/app.toml:16:9: `log.level` must be a string, found `3`
    config: /srv/app.toml:18:9: `auth.realm` must be a string that is not empty and has no control characters, found `""`
    config: /srv/app.toml:19:1: `auth.issuer[0]` must have one of `secret_file`, `public_key_file`, `jwks_file`, `jwks_url` and `discovery`
    config: /srv/app.toml:20:13: `auth.issuer[0].audience[0]` must be a string, found `1`
    "#);
}

#[test]
fn a_size_is_written_in_any_unit() {
    let memory = |value: &str| {
        accepted(&format!("workers.max_memory = {value}"))
            .workers
            .max_memory
    };
    assert_eq!(memory("0"), None);
    assert_eq!(memory("\"0\""), None);
    assert_eq!(memory("\"512MiB\""), Some(512 << 20));
    assert_eq!(memory("\"1.5 GiB\""), Some(3 << 29));
    assert_eq!(memory("\"600MB\""), Some(600_000_000));
    assert_eq!(memory("1048577"), Some((1 << 20) + 1));
    assert_snapshot!(refused("[workers]\nmax_memory = \"512 apples\"\nhang_timeout = \"1ms\""), @r#"
    config: /srv/app.toml:2:14: `workers.max_memory` must be 0, or a size of 1MiB to 1024TiB, such as "512MiB", found `"512 apples"`
    config: /srv/app.toml:3:16: `workers.hang_timeout` must be 0s or at least 100ms, found `"1ms"`
    "#);
    assert_snapshot!(refused("workers.max_memory = \"1KiB\""), @r#"config: /srv/app.toml:1:22: `workers.max_memory` must be 0, or a size of 1MiB to 1024TiB, such as "512MiB", found `"1KiB"`"#);
    assert_snapshot!(refused("workers.max_memory = -1"), @r#"config: /srv/app.toml:1:22: `workers.max_memory` must be 0, or a size of 1MiB to 1024TiB, such as "512MiB", found `-1`"#);
}

#[test]
fn an_array_is_no_table() {
    assert_snapshot!(refused("http = ['1s', '2s', '0s']\nauth.issuer = [['a'], { secret_file = 'a' }, []]"), @r#"
    config: /srv/app.toml:1:8: `http` must be a table, found `["1s", "2s", "0s"]`
    config: /srv/app.toml:2:16: `auth.issuer[0]` must be a table, found `["a"]`
    config: /srv/app.toml:2:46: `auth.issuer[2]` must be a table, found `[]`
    "#);
    assert_snapshot!(refused("auth = ['realm']\n[[log]]"), @r#"
    config: /srv/app.toml:1:8: `auth` must be a table, found `["realm"]`
    config: /srv/app.toml:2:1: `log` must be a table, found `[{}]`
    "#);
}

#[test]
fn an_unknown_key_is_told_with_the_nearest_known_one() {
    assert_snapshot!(refused(r#"
bind = "127.0.0.1:80"
[worker]
timeout = 30
[server]
user = "www-data"
backlogg = 5
[workers]
cuont = 3
[zebra]
[auth.issuers]
name = "x"
[[auth.rule]]
path = "/"
scope = "a"
"zzzz.zzzz.zzzz" = 1
"#), @r#"
    config: /srv/app.toml:2:1: unknown key `bind`
    hint: did you mean `server.bind`?
    config: /srv/app.toml:4:1: unknown key `worker.timeout`
    hint: did you mean `workers.boot_timeout`?
    config: /srv/app.toml:6:1: unknown key `server.user`
    hint: did you mean `process.user`?
    config: /srv/app.toml:7:1: unknown key `server.backlogg`
    hint: did you mean `server.backlog`?
    config: /srv/app.toml:9:1: unknown key `workers.cuont`
    hint: did you mean `workers.count`?
    config: /srv/app.toml:10:2: unknown key `zebra`
    config: /srv/app.toml:12:1: unknown key `auth.issuers.name`
    hint: did you mean `auth.issuer[].name`?
    config: /srv/app.toml:15:1: unknown key `auth.rule[0].scope`
    hint: did you mean `auth.rule[0].scopes`?
    config: /srv/app.toml:16:1: unknown key `auth.rule[0]."zzzz.zzzz.zzzz"`
    "#);
}

#[test]
fn syntax_errors_have_a_place() {
    assert_snapshot!(refused("[server]\nbind = 1\nbind = 2\n[server]\n"), @r#"
    config: /srv/app.toml:3:1: duplicate key `bind`
    config: /srv/app.toml:4:2: duplicate key `server`
    "#);
    assert_snapshot!(refused("[log]\nlevel = info\nfile = \"x\n"), @r#"
    config: /srv/app.toml:2:9: a string must stand in quotes
    config: /srv/app.toml:3:10: invalid basic string, expected `"`
    "#);
    assert_snapshot!(refused("[server]\nbacklog = 99999999999999999999"), @r#"config: /srv/app.toml:2:11: `server.backlog` has a number out of range, which is -9223372036854775808 to 9223372036854775807"#);
}

#[test]
fn a_column_counts_characters() {
    assert_snapshot!(refused("server = { unix_owner = \"é\", backlog = 0 }"), @r#"
    config: /srv/app.toml:1:40: `server.backlog` must be 1 to 65535, found `0`
    "#);
}

#[test]
fn keys_that_must_agree_are_checked_together() {
    assert_snapshot!(refused("[reload]\nmax_unavailable = 0\nmax_surge = 0"), @r#"
    config: /srv/app.toml:3:13: `reload.max_surge` and `reload.max_unavailable` must not both be 0
    hint: no worker could be replaced; `max_surge = 1` starts the new one first
    "#);
    assert_snapshot!(refused("[workers]\nbackoff_max = '50ms'"), @r#"
    config: /srv/app.toml:2:15: `workers.backoff_initial` must not be more than `workers.backoff_max`, 50ms, found `100ms`
    "#);
    accepted("[reload]\nmax_unavailable = 1\nmax_surge = 0");
}

#[test]
fn what_is_hardly_meant_is_warned_of() {
    assert_snapshot!(warned("http.drain_linger = '1m'"), @r#"
    config: /srv/app.toml:1:21: `http.drain_linger` is longer than `workers.graceful_timeout`, which ends it
    config: there is no `[[auth.rule]]`: every request will be refused
    "#);
    assert_snapshot!(warned("http.stream_grace = '31s'\n[[auth.rule]]\npath = '/'\naccess = 'public'"), @"config: /srv/app.toml:1:21: `http.stream_grace` is longer than `workers.graceful_timeout`, which ends it");
    // The default gives way without a word.
    assert_eq!(
        warned("workers.graceful_timeout = '2s'\n[[auth.rule]]\npath = '/'\naccess = 'public'"),
        ""
    );
    assert_snapshot!(warned("[[auth.rule]]\npath = '/'\naccess = 'optional'\n[[auth.rule]]\npath = '/me'"), @r#"
    config: /srv/app.toml:4:1: `auth.rule[1]` needs a token, but there is no `[[auth.issuer]]` that could sign one
    "#);
}

#[test]
fn the_path_of_readiness_is_one_path() {
    let health = accepted("health.readiness_path = '/readyz'").health;
    assert_eq!(health.readiness_path.as_deref(), Some("/readyz"));
    for path in ["readyz", "/{name}", "/**", "/ready?z", "/a%20b", ""] {
        refused(&format!("health.readiness_path = '{path}'"));
    }
    assert_snapshot!(refused("health.readiness_path = '/ready/**'"), @r#"config: /srv/app.toml:1:25: `health.readiness_path` must be one path, such as "/readyz", found `"/ready/**"`"#);
}
