//! `destrier check`: every mistake with its place and what helps, and nothing changed on disk.

use insta::assert_snapshot;

use crate::place::Place;

const RULE: &str = "[[auth.rule]]\npath = \"/**\"\naccess = \"public\"\n";

#[test]
fn what_is_fine_is_said_in_one_line() {
    let place = Place::new();
    place.write("app.toml", RULE);
    assert_snapshot!(place.run("check -c app.toml"), @r#"
    exit 0
    --- stdout
    /srv/app.toml is fine: 127.0.0.1:8000, a worker for each processor, 0 issuers, 1 rule
    "#);
    assert_snapshot!(place.run("check -c app.toml --workers 3 --bind [::1]:80 --bind unix:web.sock"), @r#"
    exit 0
    --- stdout
    /srv/app.toml is fine: [::1]:80 unix:/srv/web.sock, 3 workers, 0 issuers, 1 rule
    "#);
}

#[test]
fn the_file_is_looked_for_here_and_then_for_the_system() {
    let place = Place::new();
    if !std::path::Path::new("/etc/destrier/destrier.toml").exists() {
        assert_snapshot!(place.run("check"), @r#"
        exit 2
        --- stderr
        config: there is neither `destrier.toml` here nor `/etc/destrier/destrier.toml`
        hint: write one, or name it with `--config FILE`; `config/demo.toml` is a small example
        "#);
    }
    place.write("destrier.toml", RULE);
    assert_snapshot!(place.run("check"), @r#"
    exit 0
    --- stdout
    /srv/destrier.toml is fine: 127.0.0.1:8000, a worker for each processor, 0 issuers, 1 rule
    "#);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let place = Place::new();
    assert_snapshot!(place.run("check -c nope.toml"), @r#"
    exit 2
    --- stderr
    config: cannot read `nope.toml`: no such file
    "#);
    assert_snapshot!(place.run("check -c ."), @r#"
    exit 2
    --- stderr
    config: cannot read `.`: is a directory
    "#);
    place.write("latin.toml", b"# fine\n# \xe9\n");
    assert_snapshot!(place.run("check -c latin.toml"), @r#"
    exit 2
    --- stderr
    config: cannot read `latin.toml`: line 2 is not UTF-8
    "#);
    assert_snapshot!(place.run("check latin.toml"), @r#"
    exit 2
    --- stderr
    error: unexpected argument 'latin.toml' found

    Usage: destrier check [OPTIONS]

    For more information, try '--help'.
    "#);
}

#[test]
fn what_is_no_toml_is_told_with_line_and_column() {
    let place = Place::new();
    place.write("app.toml", "[workers]\ncount = [\n");
    assert_snapshot!(place.run("check -c app.toml"), @r#"
    exit 2
    --- stderr
    config: app.toml:2:10: unclosed array, expected `]`
    "#);
}

#[test]
fn all_mistakes_are_told_at_once_with_their_places_and_the_nearest_key() {
    let place = Place::new();
    place.write(
        "app.toml",
        r#"[server]
bind = ["127.0.0.1:80", "127.0.0.1:80", "localhost:80", "unix:a", "unix:./a"]
[worker]
timeout = 3
[workers]
count = 0
boot_timeouts = "3s"
graceful_timeout = "3 parsecs"
[http]
keep_alive = true
"#,
    );
    assert_snapshot!(place.run("check -c app.toml"), @r#"
    exit 2
    --- stderr
    config: app.toml:2:25: `server.bind[1]` repeats `127.0.0.1:80`
    config: app.toml:2:41: `server.bind[2]` must be HOST:PORT, [V6]:PORT, unix:PATH, fd:N or systemd:NAME, found `"localhost:80"`
    hint: names are not looked up: write a literal address, such as `127.0.0.1:80`
    config: app.toml:2:67: `server.bind[4]` repeats `unix:/srv/./a`
    config: app.toml:4:1: unknown key `worker.timeout`
    hint: did you mean `workers.boot_timeout`?
    config: app.toml:6:9: `workers.count` must be 1 to 512 or "auto", found `0`
    config: app.toml:7:1: unknown key `workers.boot_timeouts`
    hint: did you mean `workers.boot_timeout`?
    config: app.toml:8:20: `workers.graceful_timeout` must be a time of 0s to 1day, such as "10s" or "500ms", found `"3 parsecs"`
    config: app.toml:10:14: `http.keep_alive` must be a time of 1ms to 1day, such as "10s" or "500ms", found `true`
    "#);
}

#[test]
fn rules_and_issuers_that_cannot_be_meant_are_refused() {
    let place = Place::new();
    place.write(
        "app.toml",
        r#"[[auth.issuer]]
name = "a"
secret_file = "a.secret"
jwks_file = "a.json"
[[auth.issuer]]
name = "b"
[[auth.issuer]]
name = "c"
secret_file = "c.secret"
algorithms = ["RS256", "none"]
[[auth.issuer]]
name = "c"
public_key_file = "c.pem"
create_missing = true
[[auth.rule]]
path = "api"
[[auth.rule]]
path = "/a/**/b"
[[auth.rule]]
path = "/x{id}"
[[auth.rule]]
path = "/open/**"
access = "publik"
[[auth.rule]]
path = "/closed"
access = "public"
scopes = ["admin"]
methods = ["get"]
[[auth.rule]]
path = "/api/**"
[[auth.rule]]
path = "/api/admin"
[[auth.rule]]
access = "public"
[[auth.rule]]
path = "/maybe"
access = "optional"
roles = ["ops"]
"#,
    );
    assert_snapshot!(place.run("check -c app.toml"), @r#"
    exit 2
    --- stderr
    config: app.toml:1:1: `auth.issuer[0]` must have only one of `secret_file`, `public_key_file`, `jwks_file`, `jwks_url` and `discovery`
    config: app.toml:5:1: `auth.issuer[1]` must have one of `secret_file`, `public_key_file`, `jwks_file`, `jwks_url` and `discovery`
    config: app.toml:10:24: `auth.issuer[2].algorithms[1]` must be one of `HS256`, `HS384`, `HS512`, `RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512`, `ES256`, `ES384`, `Ed25519`, `EdDSA`, found `"none"`
    config: app.toml:12:8: `auth.issuer[3]` is called `c`, as is one before it
    hint: give each issuer a `name` of its own
    config: app.toml:14:18: `auth.issuer[3].create_missing` is for `secret_file` only: other keys cannot be made up
    config: app.toml:16:8: `auth.rule[0].path` must begin with `/`, found `"api"`
    config: app.toml:18:8: `auth.rule[1].path` may have `**` at its end only, found `"/a/**/b"`
    config: app.toml:20:8: `auth.rule[2].path` may have `{name}` as a whole segment only, found `"/x{id}"`
    config: app.toml:23:10: `auth.rule[3].access` must be one of `public`, `optional`, `token`, found `"publik"`
    config: app.toml:24:1: `auth.rule[4]` is public, so it cannot have `scopes`, `any_scopes`, `roles`, `claims` or `max_age`
    hint: leave `access` out: the default needs a token
    config: app.toml:28:12: `auth.rule[4].methods[0]` must be a method in capitals, such as "GET", found `"get"`
    config: app.toml:31:1: `auth.rule[6]` can never decide: `auth.rule[5]` matches all its requests first
    hint: the first rule that matches decides: put the narrower one first
    config: app.toml:33:1: `auth.rule[7]` must have a `path`
    config: app.toml:35:1: `auth.rule[8]` is optional, so it cannot have `scopes`, `any_scopes`, `roles`, `claims` or `max_age`
    hint: leave `access` out: the default needs a token
    "#);
}

#[test]
fn environment_and_flags_are_named_as_the_place_of_a_mistake() {
    let place = Place::new();
    place.write("app.toml", RULE);
    let mut command =
        place.command("check -c app.toml --workers 0 --bind localhost --log-level loud");
    command
        .env("DESTRIER_HTTP__KEEP_ALIVE", "long")
        .env("DESTRIER_WORKER__COUNT", "3")
        .env("DESTRIER_SERVICE_HOST", "no key, so not looked at");
    assert_snapshot!(place.outcome(command), @r#"
    exit 2
    --- stderr
    config: DESTRIER_HTTP__KEEP_ALIVE: `http.keep_alive` must be a time of 1ms to 1day, such as "10s" or "500ms", found `"long"`
    config: DESTRIER_WORKER__COUNT: unknown key `worker.count`
    hint: did you mean `DESTRIER_WORKERS__COUNT`?
    config: --bind: `server.bind[0]` must be HOST:PORT, [V6]:PORT, unix:PATH, fd:N or systemd:NAME, found `"localhost"`
    hint: the port is missing, as in `127.0.0.1:8000`
    config: --log-level: `log.level` must be one of `error`, `warn`, `info`, `debug`, `trace`, found `"loud"`
    config: --workers: `workers.count` must be 1 to 512 or "auto", found `"0"`
    "#);
}

/// An issuer for each file that is no good.
const KEYS: [(&str, &str); 9] = [
    ("secret_file", "missing"),
    ("secret_file", "empty"),
    ("secret_file", "short"),
    ("secret_file", "short-for-512"),
    ("secret_file", "world-readable"),
    ("secret_file", "folder"),
    ("public_key_file", "short"),
    ("jwks_file", "short"),
    ("jwks_file", "world-writable"),
];

#[test]
fn a_key_file_that_is_no_good_is_refused_with_the_reason() {
    let place = Place::new();
    place.write_as(0o600, "empty", "");
    place.write_as(0o600, "short", "0123456789\n");
    place.write_as(0o600, "short-for-512", [b'a'; 48]);
    place.write_as(0o604, "world-readable", [b'a'; 64]);
    place.write_as(0o646, "world-writable", "{}");
    std::fs::create_dir(place.path("folder")).unwrap();
    let issuer = |(number, (key, file)): (usize, &(&str, &str))| {
        let algorithms = match *file {
            "short-for-512" => "algorithms = \"HS512\"\n",
            _ => "",
        };
        format!("[[auth.issuer]]\nname = \"{number}\"\n{key} = \"{file}\"\n{algorithms}")
    };
    let issuers: String = KEYS.iter().enumerate().map(issuer).collect();
    let text = format!("{RULE}{issuers}");
    place.write("app.toml", text);
    assert_snapshot!(place.run("check -c app.toml"), @r#"
    exit 2
    --- stderr
    config: auth.issuer `0`: `/srv/missing` does not exist; make it with `destrier key generate`, or correct the path
    config: auth.issuer `1`: `/srv/empty` is empty
    config: auth.issuer `2`: `/srv/short`: the secret has 10 bytes, HS256 needs at least 32
    config: auth.issuer `3`: `/srv/short-for-512`: the secret has 48 bytes, HS512 needs at least 64
    config: auth.issuer `4`: `/srv/world-readable` can be read by everyone (mode 0604); run `chmod 600 /srv/world-readable`
    config: auth.issuer `5`: `/srv/folder` is a directory, not a key file
    config: auth.issuer `6`: `/srv/short`: it is not a public key or certificate in PEM (RSA, P-256, P-384 or Ed25519)
    config: auth.issuer `7`: `/srv/short`: it is not a JWK or JWK set: not a JSON object
    config: auth.issuer `8`: `/srv/world-writable` can be written by everyone (mode 0646); run `chmod 644 /srv/world-writable`
    "#);
}

#[test]
fn a_secret_that_the_start_will_make_is_announced_and_not_made() {
    let place = Place::new();
    let issuer = "[[auth.issuer]]\nname = \"demo\"\ncreate_missing = true\n";
    place.write(
        "app.toml",
        format!("{RULE}{issuer}secret_file = \"demo.secret\"\n"),
    );
    assert_snapshot!(place.run("check -c app.toml"), @r#"
    exit 0
    --- stdout
    /srv/app.toml is fine: 127.0.0.1:8000, a worker for each processor, 1 issuer, 1 rule
    --- stderr
    note: auth.issuer `demo`: `/srv/demo.secret` does not exist; it is made at the start
    "#);
    assert_eq!(place.names(), ["app.toml"]);
    place.write(
        "app.toml",
        format!("{RULE}{issuer}secret_file = \"keys/demo.secret\"\n"),
    );
    assert_snapshot!(place.run("check -c app.toml"), @r#"
    exit 2
    --- stderr
    config: auth.issuer `demo`: cannot make `/srv/keys/demo.secret`: its folder does not exist
    "#);
    assert_eq!(place.names(), ["app.toml"]);
}

#[test]
fn users_groups_and_folders_that_the_start_would_miss_are_told() {
    let place = Place::new();
    place.write(
        "app.toml",
        format!(
            r#"{RULE}[process]
user = "nobdoy"
group = "nogruop"
groups = ["root", "nogroop"]
pid_file = "run/app.pid"
[server]
unix_owner = "nobdoy"
unix_group = "nogruop"
[log]
file = "log/app.log"
"#
        ),
    );
    assert_snapshot!(place.run("check -c app.toml"), @r#"
    exit 2
    --- stderr
    config: `process.user`: there is no user `nobdoy`
    config: `server.unix_owner`: there is no user `nobdoy`
    config: `process.group`: there is no group `nogruop`
    config: `server.unix_group`: there is no group `nogruop`
    config: `process.groups`: there is no group `nogroop`
    config: `log.file`: there is no folder `/srv/log`
    config: `process.pid_file`: there is no folder `/srv/run`
    "#);
    place.write(
        "app.toml",
        format!("{RULE}[process]\nuser = \"nobody\"\n[log]\nfile = \"app.log\"\n"),
    );
    place.run("check -c app.toml").data();
    assert_eq!(place.names(), ["app.toml"]);
}

#[test]
fn what_is_allowed_but_hardly_meant_is_a_warning() {
    let place = Place::new();
    place.write("empty.toml", "");
    assert_snapshot!(place.run("check -c empty.toml"), @r#"
    exit 0
    --- stdout
    /srv/empty.toml is fine: 127.0.0.1:8000, a worker for each processor, 0 issuers, 0 rules
    --- stderr
    warning: config: there is no `[[auth.rule]]`: every request will be refused
    "#);
    place.write(
        "app.toml",
        r#"[workers]
graceful_timeout = "1s"
[http]
drain_linger = "1m"
[[auth.rule]]
path = "/**"
"#,
    );
    assert_snapshot!(place.run("check -c app.toml"), @r#"
    exit 0
    --- stdout
    /srv/app.toml is fine: 127.0.0.1:8000, a worker for each processor, 0 issuers, 1 rule
    --- stderr
    warning: config: app.toml:4:16: `http.drain_linger` is longer than `workers.graceful_timeout`, which ends it
    warning: config: app.toml:5:1: `auth.rule[0]` needs a token, but there is no `[[auth.issuer]]` that could sign one
    "#);
}

#[test]
fn a_password_of_the_database_that_is_missing_is_told_with_what_helps() {
    let place = Place::new();
    place.write_as(0o600, "secret", "a secret of no less than 32 bytes");
    let config = "[auth.tokens]\ndatabase = \"postgresql://site@db.example/site\"\ndatabase_password_file = \"db.password\"\n[[auth.issuer]]\nsecret_file = \"secret\"\n";
    place.write("app.toml", format!("{config}{RULE}"));
    assert_snapshot!(place.run("check -c app.toml"), @r#"
    exit 2
    --- stderr
    config: auth.tokens.database_password_file: `/srv/db.password` does not exist; put the password into it, as a file that only its owner can read (`chmod 600 /srv/db.password`), or leave the key out where the server asks for none
    "#);
}

#[test]
#[cfg(not(feature = "otlp"))]
fn a_program_that_cannot_export_spans_says_how_to_build_one_that_can() {
    let place = Place::new();
    let config =
        "http.trace_context = \"all\"\ntelemetry.otlp_endpoint = \"http://127.0.0.1:4318\"\n";
    place.write("app.toml", format!("{config}{RULE}"));
    assert_snapshot!(place.run("check -c app.toml"), @r#"
    exit 2
    --- stderr
    config: app.toml:2:27: `telemetry.otlp_endpoint` cannot be used: this program was built without the feature `otlp`, so it exports no spans, found `"http://127.0.0.1:4318"`
    hint: build it with `cargo build --release --features otlp`
    "#);
}
