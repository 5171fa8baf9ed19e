//! `destrier config`: the values in force with their origins, and a schema that knows the files we ship.

use std::collections::BTreeSet;

use insta::assert_snapshot;
use serde_json::Value;

use crate::place::{Place, masked};

#[test]
fn show_tells_each_value_and_where_it_came_from() {
    let place = Place::new();
    place.write(
        "app.toml",
        r#"[workers]
count = 2
boot_timeout = 5
[log]
file = "app.log"
[[auth.issuer]]
name = "main"
jwks_file = "keys.json"
[[auth.rule]]
path = "/**"
methods = "GET"
"#,
    );
    let mut command = place.command("config show -c app.toml --workers auto --log-level debug");
    command.env("DESTRIER_HTTP__KEEP_ALIVE", "5s");
    command.env("DESTRIER_WORKERS__COUNT", "9");
    // The column of the origins depends on how long the name of the test's folder is.
    let _masks = masked(&[(" +# ", "  # ")]);
    assert_snapshot!(place.outcome(command), @r#"
    exit 0
    --- stdout
    server.bind = ["127.0.0.1:8000"]  # default
    server.backlog = 2048  # default
    server.balance = "per-worker"  # default
    server.unix_mode = "0660"  # default
    # server.unix_owner is not set
    # server.unix_group is not set
    server.trusted_proxies = []  # default
    server.proxy_protocol = []  # default
    server.forwarded = "x-forwarded"  # default
    # tls.bind is not set
    # tls.certificate_file is not set
    # tls.key_file is not set
    # tls.ocsp_file is not set
    tls.min_version = "1.2"  # default
    # tls.client_auth is not set
    # tls.client_ca_file is not set
    # tls.client_crl_file is not set
    tls.handshake_timeout = "10s"  # default
    workers.count = "auto"  # --workers
    workers.boot_timeout = "5s"  # app.toml:3:16
    workers.graceful_timeout = "30s"  # default
    workers.drain_delay = "0s"  # default
    workers.backoff_initial = "100ms"  # default
    workers.backoff_max = "30s"  # default
    workers.backoff_reset = "1m"  # default
    workers.max_requests = 0  # default
    workers.max_requests_jitter = 0  # default
    workers.max_lifetime = "0s"  # default
    workers.max_lifetime_jitter = "0s"  # default
    workers.hang_timeout = "1m"  # default
    workers.max_memory = 0  # default
    workers.max_memory_samples = 3  # default
    workers.memory_interval = "5s"  # default
    workers.poison_guard = false  # default
    workers.poison_window = "10m"  # default
    reload.strategy = "blue-green"  # default
    reload.max_surge = 1  # default
    reload.max_unavailable = 0  # default
    # process.user is not set
    # process.group is not set
    # process.groups is not set
    process.umask = "0022"  # default
    # process.pid_file is not set
    # process.control_socket is not set
    http.header_timeout = "10s"  # default
    http.request_timeout = "1m"  # default
    http.keep_alive = "5s"  # DESTRIER_HTTP__KEEP_ALIVE
    http.drain_linger = "1s"  # default
    http.pass_connections = false  # default
    http.stream_grace = "10s"  # default
    http.write_timeout = "30s"  # default
    http.dead_peer_timeout = "30s"  # default
    http.keep_alive_requests = 0  # default
    http.max_connections = 16384  # default
    http.max_connections_per_address = 0  # default
    http.http2 = true  # default
    http.trace_context = "off"  # default
    http.max_streams = 100  # default
    http.max_target = "8KiB"  # default
    http.max_headers = 100  # default
    http.max_head = "32KiB"  # default
    http.max_body = "1GiB"  # default
    http.body_timeout = "30s"  # default
    http.body_min_rate = "500B"  # default
    http.max_in_flight = 4096  # default
    http.queue = 1024  # default
    http.max_queue_wait = "1s"  # default
    websocket.max_message = "16MiB"  # default
    compression.algorithms = []  # default
    compression.min_size = "1KiB"  # default
    compression.types = ["text/*", "application/json", "application/javascript", "application/xml", "application/wasm", "application/manifest+json", "application/problem+json", "image/svg+xml"]  # default
    compression.authenticated = false  # default
    headers.preset = "none"  # default
    headers.default = {}  # default
    # admin.bind is not set
    # admin.issuer is not set
    admin.scopes = []  # default
    admin.control_scopes = []  # default
    # health.readiness_path is not set
    health.ready_min = 1  # default
    # health.probe is not set
    health.probe_host = "localhost"  # default
    health.probe_interval = "10s"  # default
    health.probe_timeout = "5s"  # default
    health.probe_failures = 3  # default
    hooks.on_event = []  # default
    hooks.on_event_timeout = "30s"  # default
    # telemetry.otlp_endpoint is not set
    # telemetry.otlp_headers_file is not set
    # telemetry.otlp_ca_file is not set
    telemetry.sampling_ratio = 1.0  # default
    telemetry.service_name = "destrier"  # default
    auth.realm = "destrier"  # default
    # auth.resource is not set
    auth.authorization_servers = []  # default
    auth.token_from = ["authorization"]  # default
    auth.trusted_origins = []  # default
    # auth.csrf_cookie is not set
    # auth.csrf_header is not set
    auth.headers = {}  # default
    # auth.payload_header is not set
    # auth.dpop_origin is not set
    auth.dpop_window = "1m"  # default
    auth.client_cert_header = "Client-Cert"  # default
    auth.client_cert_format = "rfc9440"  # default
    # auth.revocation.file is not set
    auth.revocation.database = false  # default
    # auth.revocation.url is not set
    auth.revocation.poll_interval = "10s"  # default
    # auth.revocation.ca_file is not set
    auth.revocation.allow_link_local = false  # default
    auth.revocation.stale_max = "10m"  # default
    auth.revocation.on_stale = "deny"  # default
    # auth.tokens.database is not set
    # auth.tokens.database_password_file is not set
    auth.tokens.schema = "destrier"  # default
    auth.tokens.groups_claim = "roles"  # default
    auth.tokens.allow_md5_hashes = false  # default
    auth.tokens.upgrade_hashes = false  # default
    auth.tokens.prefix = "/api/token"  # default
    # auth.tokens.issuer is not set
    # auth.tokens.signing_key_file is not set
    auth.tokens.kind = "pair"  # default
    auth.tokens.access_lifetime = "5m"  # default
    auth.tokens.refresh_lifetime = "1day"  # default
    auth.tokens.sliding_lifetime = "5m"  # default
    auth.tokens.sliding_refresh_lifetime = "1day"  # default
    auth.tokens.rotate_refresh_tokens = false  # default
    auth.tokens.blacklist_after_rotation = false  # default
    auth.tokens.reuse_grace = "10s"  # default
    auth.tokens.user_id_claim = "user_id"  # default
    auth.tokens.update_last_login = false  # default
    auth.tokens.throttle_account = "10/min"  # default
    auth.tokens.throttle_address = "off"  # default
    auth.tokens.flush_interval = "1h"  # default
    app.kind = "demo"  # default
    app.faults = false  # default
    # app.wsgi is not set
    # app.asgi is not set
    # app.python is not set
    app.threads = 4  # default
    app.reload_on_change = false  # default
    app.preload = "auto"  # default
    # app.chdir is not set
    app.env = {}  # default
    # app.env_file is not set
    log.level = "debug"  # --log-level
    log.format = "auto"  # default
    log.file = "/srv/app.log"  # app.toml:5:8
    access_log.enabled = false  # default
    access_log.to = "log"  # default
    access_log.format = "auto"  # default
    access_log.query = false  # default
    access_log.skip = []  # default
    access_log.syslog_facility = "local7"  # default

    [[auth.issuer]]
    name = "main"  # app.toml:7:8
    # secret_file is not set
    # public_key_file is not set
    jwks_file = "/srv/keys.json"  # app.toml:8:13
    # jwks_url is not set
    # discovery is not set
    # ca_file is not set
    allow_link_local = false  # default
    refresh_interval = "15m"  # default
    stale_max = "1day"  # default
    create_missing = false  # default
    # issuer is not set
    audience = []  # default
    algorithms = []  # default
    leeway = "0s"  # default
    require = []  # default
    claims = {}  # default
    typ = []  # default
    binding = "none"  # default

    [[auth.rule]]
    path = "/**"  # app.toml:10:8
    methods = ["GET"]  # app.toml:11:11
    hosts = []  # default
    access = "token"  # default
    scopes = []  # default
    any_scopes = []  # default
    roles = []  # default
    claims = {}  # default
    max_age = "0s"  # default
    audit = false  # default
    # request_timeout is not set
    # max_body is not set
    # query_token is not set
    client_cert = "none"  # default
    client_cert_san = []  # default
    # rate is not set
    # rate_by is not set
    # rate_burst is not set
    "#);
}

#[test]
fn what_show_tells_is_a_configuration_that_says_the_same() {
    let place = Place::new();
    let demo = std::fs::read_to_string("config/demo.toml").unwrap();
    place.write("demo.toml", demo);
    let shown = place.run("config show -c demo.toml").data();
    place.write("shown.toml", shown);
    let without_origins = |text: String| {
        let value = |line: &str| line.split("  # ").next().unwrap().trim_end().to_owned();
        text.lines().map(value).collect::<Vec<_>>()
    };
    assert_eq!(
        without_origins(place.run("config show -c shown.toml").data()),
        without_origins(place.read("shown.toml"))
    );
}

#[test]
fn show_refuses_what_check_refuses() {
    let place = Place::new();
    place.write("app.toml", "workers.count = 0\n");
    let outcome = place.run("config show -c app.toml");
    assert_eq!(outcome, place.run("check -c app.toml"));
    assert_eq!(outcome.code, Some(2));
}

#[test]
fn a_reader_who_has_seen_enough_is_no_failure() {
    let place = Place::new();
    let mut command = place.command("config schema");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.stdout(writer).stderr(std::process::Stdio::piped());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stderr, b"");
}

#[test]
fn a_full_disk_is_a_failure() {
    let place = Place::new();
    let mut command = place.command("config schema");
    command.stdout(
        std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap(),
    );
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "cannot write to standard output: No space left on device (os error 28)\n"
    );
}

#[test]
fn the_schema_knows_every_key_of_the_shipped_files_and_no_other() {
    let schema: Value = serde_json::from_str(&Place::new().run("config schema").data()).unwrap();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    let known = keys_of_schema(&schema);
    let reference = std::fs::read_to_string("config/reference.toml").unwrap();
    let uncommented = reference.lines().map(|line| match line.strip_prefix('#') {
        Some(code) if code.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()) => code,
        Some(_) | None => line,
    });
    let uncommented = uncommented.collect::<Vec<_>>().join("\n");
    let reference = toml::from_str(&uncommented).unwrap();
    assert_eq!(keys_of_file(&reference), known);
    let demo = std::fs::read_to_string("config/demo.toml").unwrap();
    let demo = keys_of_file(&toml::from_str(&demo).unwrap());
    assert!(demo.is_subset(&known), "{demo:?}");
}

/// `section.key`, and `section.array.key` for the tables of arrays. Each has a description and may stand alone in its
/// section, which refuses any other.
fn keys_of_schema(schema: &Value) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let mut note = |path: String, schema: &Value| {
        assert!(schema["description"].is_string(), "{path}");
        keys.insert(path);
    };
    assert_eq!(schema["additionalProperties"], false);
    for (section, schema) in schema["properties"].as_object().unwrap() {
        assert_eq!(schema["additionalProperties"], false, "{section}");
        for (key, schema) in schema["properties"].as_object().unwrap() {
            match schema["items"]["properties"].as_object() {
                Some(members) => {
                    assert_eq!(schema["items"]["additionalProperties"], false, "{key}");
                    for (member, schema) in members {
                        note(format!("{section}.{key}.{member}"), schema);
                    }
                }
                None => note(format!("{section}.{key}"), schema),
            }
        }
    }
    keys
}

fn keys_of_file(file: &toml::Table) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for (section, table) in file {
        for (key, value) in table.as_table().unwrap() {
            let tables = value.as_array().into_iter().flatten();
            let members = tables.filter_map(toml::Value::as_table).flatten();
            let members: Vec<_> = members
                .map(|(member, _)| format!("{section}.{key}.{member}"))
                .collect();
            if members.is_empty() {
                keys.insert(format!("{section}.{key}"));
            }
            keys.extend(members);
        }
    }
    keys
}
