//! File, environment and flags: which wins, and what is told about them.

use std::fs;

use super::*;

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let file = "[workers]\ncount = 1\nboot_timeout = \"1s\"\ngraceful_timeout = \"1s\"";
    let sources = Sources {
        workers: Some("3".to_owned()),
        ..environment([
            ("DESTRIER_WORKERS__COUNT", "2"),
            ("DESTRIER_WORKERS__BOOT_TIMEOUT", "2"),
        ])
    };
    let workers = read_text(file, &sources).unwrap().config.workers;
    assert_eq!(workers.count, WorkerCount::Fixed(3));
    assert_eq!(workers.boot_timeout, Duration::from_secs(2));
    assert_eq!(workers.graceful_timeout, Duration::from_secs(1));
}

#[test]
fn a_variable_is_read_as_its_key_wants() {
    let sources = environment([
        ("DESTRIER_AUTH__REALM", "3"),
        ("DESTRIER_PROCESS__USER", "1000"),
        ("DESTRIER_PROCESS__GROUPS", "['a', \"b\"]"),
        ("DESTRIER_SERVER__BIND", "[::1]:80"),
        ("DESTRIER_SERVER__UNIX_MODE", "0600"),
        ("DESTRIER_APP__FAULTS", "true"),
        ("DESTRIER_AUTH__RULE", "[{ path = '/a' }]"),
    ]);
    let config = read_text("", &sources).unwrap().config;
    assert_eq!(config.auth.realm, "3");
    assert_eq!(config.process.user.as_deref(), Some("1000"));
    assert_eq!(
        config.process.groups,
        Some(vec!["a".to_owned(), "b".to_owned()])
    );
    assert_eq!(config.server.bind, [Bind::Tcp("[::1]:80".parse().unwrap())]);
    assert_eq!(config.server.unix_mode, 0o600);
    assert!(config.app.faults);
    assert_eq!(config.auth.rules[0].path, "/a");
}

#[test]
fn errors_in_variables_and_flags_name_them() {
    let sources = Sources {
        bind: vec!["127.0.0.1:80".to_owned(), ":80".to_owned()],
        workers: Some("0".to_owned()),
        log_level: Some("loud".to_owned()),
        ..environment([
            ("DESTRIER_WORKER__COUNT", "3"),
            ("DESTRIER_workers__count", "3"),
            ("DESTRIER_AUTH__RULE__PATH", "/"),
            ("DESTRIER_HTTP__KEEP_ALIVE", "x"),
            ("DESTRIER_AUTH__RULE", "[{ path = 'x' }]"),
            ("DESTRIER_LOG", "not ours to judge"),
        ])
    };
    // The file's own mistakes are of no account where something overrides them.
    let file = "http.keep_alive = true\nserver.bind = ['x', 'y']";
    assert_snapshot!(refused_with(file, &sources), @r#"
    config: DESTRIER_AUTH__RULE: `auth.rule[0].path` must begin with `/`, found `"x"`
    config: DESTRIER_AUTH__RULE__PATH: unknown key `auth.rule__path`
    hint: did you mean `DESTRIER_AUTH__RULE`?
    config: DESTRIER_HTTP__KEEP_ALIVE: `http.keep_alive` must be a time of 1ms to 1day, such as "10s" or "500ms", found `"x"`
    config: DESTRIER_WORKER__COUNT: unknown key `worker.count`
    hint: did you mean `DESTRIER_WORKERS__COUNT`?
    config: DESTRIER_workers__count: unknown key `workers.count`
    hint: did you mean `DESTRIER_WORKERS__COUNT`?
    config: --bind: `server.bind[1]` must be HOST:PORT, [V6]:PORT, unix:PATH, fd:N or systemd:NAME, found `":80"`
    hint: for every address of this machine, write `[::]:80` or `0.0.0.0:80`
    config: --log-level: `log.level` must be one of `error`, `warn`, `info`, `debug`, `trace`, found `"loud"`
    config: --workers: `workers.count` must be 1 to 512 or "auto", found `"0"`
    "#);
}

#[test]
fn a_variable_that_almost_means_something_is_warned_of() {
    let sources = environment([
        ("DESTRIER_AUTH_REALM", "a"),
        ("destrier_log__level", "debug"),
        ("Destrier_Workers_Boot_Timeout", "1s"),
        ("DESTRIER_LOG", "a"),
        ("DESTRIER_HOME", "a"),
        ("destrier_home", "a"),
    ]);
    let rule = "[[auth.rule]]\npath = '/'\naccess = 'public'";
    let loaded = read_text(rule, &sources).unwrap();
    assert_eq!(loaded.config, accepted(rule));
    let lines: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_snapshot!(lines.join("\n"), @r"
    config: DESTRIER_AUTH_REALM: this variable is not looked at
    hint: did you mean `DESTRIER_AUTH__REALM`?
    config: destrier_log__level: this variable is not looked at
    hint: did you mean `DESTRIER_LOG__LEVEL`?
    config: Destrier_Workers_Boot_Timeout: this variable is not looked at
    hint: did you mean `DESTRIER_WORKERS__BOOT_TIMEOUT`?
    ");
}

#[test]
fn a_path_is_relative_to_what_names_it() {
    let file =
        "log.file = 'a.log'\nprocess.pid_file = 'a.pid'\n[[auth.issuer]]\njwks_file = 'a.json'";
    let config = read_text(file, &environment([("DESTRIER_LOG__FILE", "b.log")]))
        .unwrap()
        .config;
    assert_eq!(
        config.log.file,
        Some(std::env::current_dir().unwrap().join("b.log"))
    );
    assert_eq!(
        config.process.pid_file.as_deref(),
        Some(Path::new("/srv/a.pid"))
    );
    assert_eq!(
        config.auth.issuers[0].keys,
        KeySource::Jwks("/srv/a.json".into())
    );
}

#[test]
fn a_file_that_cannot_be_read_is_told_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("app.toml");
    let load = || {
        let sources = Sources {
            file: Some(name.clone()),
            ..Sources::default()
        };
        let errors = load(&sources).unwrap_err().to_string();
        errors.replace(&name.display().to_string(), "app.toml")
    };
    assert_snapshot!(load(), @r#"config: cannot read `app.toml`: no such file"#);
    fs::write(&name, b"[log]\n# \xff").unwrap();
    assert_snapshot!(load(), @r#"config: cannot read `app.toml`: line 2 is not UTF-8"#);
    fs::write(&name, "#".repeat(2 << 20)).unwrap();
    assert_snapshot!(load(), @r#"config: cannot read `app.toml`: larger than 1 MiB"#);
    fs::remove_file(&name).unwrap();
    fs::create_dir(&name).unwrap();
    assert_snapshot!(load(), @r#"config: cannot read `app.toml`: is a directory"#);
    fs::remove_dir(&name).unwrap();
    // Nobody writes to it, and nothing waits for that.
    nix::unistd::mkfifo(&name, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_snapshot!(load(), @r#"config: cannot read `app.toml`: not a regular file, which a reload could read again"#);
}

#[test]
fn what_is_in_force_is_shown_with_its_origin() {
    let file = "[log]\nfile = 'a.log'\n[[auth.issuer]]\nsecret_file = 'a'\n[[auth.rule]]\npath = '/'\nclaims = { 'x.y' = 1 }\n";
    let sources = Sources {
        bind: vec!["[::1]:80".to_owned()],
        ..environment([("DESTRIER_WORKERS__COUNT", "4")])
    };
    assert_snapshot!(shown(&read_text(file, &sources).unwrap().settings), @r#"
    server.bind = ["[::1]:80"]                       # --bind
    server.backlog = 2048                            # default
    server.balance = "per-worker"                    # default
    server.unix_mode = "0660"                        # default
    # server.unix_owner is not set
    # server.unix_group is not set
    server.trusted_proxies = []                      # default
    server.proxy_protocol = []                       # default
    server.forwarded = "x-forwarded"                 # default
    # tls.bind is not set
    # tls.certificate_file is not set
    # tls.key_file is not set
    # tls.ocsp_file is not set
    tls.min_version = "1.2"                          # default
    # tls.client_auth is not set
    # tls.client_ca_file is not set
    # tls.client_crl_file is not set
    tls.handshake_timeout = "10s"                    # default
    workers.count = 4                                # DESTRIER_WORKERS__COUNT
    workers.boot_timeout = "30s"                     # default
    workers.graceful_timeout = "30s"                 # default
    workers.drain_delay = "0s"                       # default
    workers.backoff_initial = "100ms"                # default
    workers.backoff_max = "30s"                      # default
    workers.backoff_reset = "1m"                     # default
    workers.max_requests = 0                         # default
    workers.max_requests_jitter = 0                  # default
    workers.max_lifetime = "0s"                      # default
    workers.max_lifetime_jitter = "0s"               # default
    workers.hang_timeout = "1m"                      # default
    workers.max_memory = 0                           # default
    workers.max_memory_samples = 3                   # default
    workers.memory_interval = "5s"                   # default
    workers.poison_guard = false                     # default
    workers.poison_window = "10m"                    # default
    reload.strategy = "blue-green"                   # default
    reload.max_surge = 1                             # default
    reload.max_unavailable = 0                       # default
    # process.user is not set
    # process.group is not set
    # process.groups is not set
    process.umask = "0022"                           # default
    # process.pid_file is not set
    # process.control_socket is not set
    http.header_timeout = "10s"                      # default
    http.request_timeout = "1m"                      # default
    http.keep_alive = "1m 15s"                       # default
    http.drain_linger = "1s"                         # default
    http.pass_connections = false                    # default
    http.stream_grace = "10s"                        # default
    http.write_timeout = "30s"                       # default
    http.dead_peer_timeout = "30s"                   # default
    http.keep_alive_requests = 0                     # default
    http.max_connections = 16384                     # default
    http.max_connections_per_address = 0             # default
    http.http2 = true                                # default
    http.trace_context = "off"                       # default
    http.max_streams = 100                           # default
    http.max_target = "8KiB"                         # default
    http.max_headers = 100                           # default
    http.max_head = "32KiB"                          # default
    http.max_body = "1GiB"                           # default
    http.body_timeout = "30s"                        # default
    http.body_min_rate = "500B"                      # default
    http.max_in_flight = 4096                        # default
    http.queue = 1024                                # default
    http.max_queue_wait = "1s"                       # default
    websocket.max_message = "16MiB"                  # default
    compression.algorithms = []                      # default
    compression.min_size = "1KiB"                    # default
    compression.types = ["text/*", "application/json", "application/javascript", "application/xml", "application/wasm", "application/manifest+json", "application/problem+json", "image/svg+xml"]  # default
    compression.authenticated = false                # default
    headers.preset = "none"                          # default
    headers.default = {}                             # default
    # admin.bind is not set
    # admin.issuer is not set
    admin.scopes = []                                # default
    admin.control_scopes = []                        # default
    # health.readiness_path is not set
    health.ready_min = 1                             # default
    # health.probe is not set
    health.probe_host = "localhost"                  # default
    health.probe_interval = "10s"                    # default
    health.probe_timeout = "5s"                      # default
    health.probe_failures = 3                        # default
    hooks.on_event = []                              # default
    hooks.on_event_timeout = "30s"                   # default
    # telemetry.otlp_endpoint is not set
    # telemetry.otlp_headers_file is not set
    # telemetry.otlp_ca_file is not set
    telemetry.sampling_ratio = 1.0                   # default
    telemetry.service_name = "destrier"              # default
    auth.realm = "destrier"                          # default
    # auth.resource is not set
    auth.authorization_servers = []                  # default
    auth.token_from = ["authorization"]              # default
    auth.trusted_origins = []                        # default
    # auth.csrf_cookie is not set
    # auth.csrf_header is not set
    auth.headers = {}                                # default
    # auth.payload_header is not set
    # auth.dpop_origin is not set
    auth.dpop_window = "1m"                          # default
    auth.client_cert_header = "Client-Cert"          # default
    auth.client_cert_format = "rfc9440"              # default
    # auth.revocation.file is not set
    auth.revocation.database = false                 # default
    # auth.revocation.url is not set
    auth.revocation.poll_interval = "10s"            # default
    # auth.revocation.ca_file is not set
    auth.revocation.allow_link_local = false         # default
    auth.revocation.stale_max = "10m"                # default
    auth.revocation.on_stale = "deny"                # default
    # auth.tokens.database is not set
    # auth.tokens.database_password_file is not set
    auth.tokens.schema = "destrier"                  # default
    auth.tokens.groups_claim = "roles"               # default
    auth.tokens.allow_md5_hashes = false             # default
    auth.tokens.upgrade_hashes = false               # default
    auth.tokens.prefix = "/api/token"                # default
    # auth.tokens.issuer is not set
    # auth.tokens.signing_key_file is not set
    auth.tokens.kind = "pair"                        # default
    auth.tokens.access_lifetime = "5m"               # default
    auth.tokens.refresh_lifetime = "1day"            # default
    auth.tokens.sliding_lifetime = "5m"              # default
    auth.tokens.sliding_refresh_lifetime = "1day"    # default
    auth.tokens.rotate_refresh_tokens = false        # default
    auth.tokens.blacklist_after_rotation = false     # default
    auth.tokens.reuse_grace = "10s"                  # default
    auth.tokens.user_id_claim = "user_id"            # default
    auth.tokens.update_last_login = false            # default
    auth.tokens.throttle_account = "10/min"          # default
    auth.tokens.throttle_address = "off"             # default
    auth.tokens.flush_interval = "1h"                # default
    app.kind = "demo"                                # default
    app.faults = false                               # default
    # app.wsgi is not set
    # app.asgi is not set
    # app.python is not set
    app.threads = 4                                  # default
    app.reload_on_change = false                     # default
    app.preload = "auto"                             # default
    # app.chdir is not set
    app.env = {}                                     # default
    # app.env_file is not set
    log.level = "info"                               # default
    log.format = "auto"                              # default
    log.file = "/srv/a.log"                          # /srv/app.toml:2:8
    access_log.enabled = false                       # default
    access_log.to = "log"                            # default
    access_log.format = "auto"                       # default
    access_log.query = false                         # default
    access_log.skip = []                             # default
    access_log.syslog_facility = "local7"            # default

    [[auth.issuer]]
    # name is not set
    secret_file = "/srv/a"                           # /srv/app.toml:4:15
    # public_key_file is not set
    # jwks_file is not set
    # jwks_url is not set
    # discovery is not set
    # ca_file is not set
    allow_link_local = false                         # default
    refresh_interval = "15m"                         # default
    stale_max = "1day"                               # default
    create_missing = false                           # default
    # issuer is not set
    audience = []                                    # default
    algorithms = []                                  # default
    leeway = "0s"                                    # default
    require = []                                     # default
    claims = {}                                      # default
    typ = []                                         # default
    binding = "none"                                 # default

    [[auth.rule]]
    path = "/"                                       # /srv/app.toml:6:8
    methods = []                                     # default
    hosts = []                                       # default
    access = "token"                                 # default
    scopes = []                                      # default
    any_scopes = []                                  # default
    roles = []                                       # default
    claims = { "x.y" = 1 }                           # /srv/app.toml:7:10
    max_age = "0s"                                   # default
    audit = false                                    # default
    # request_timeout is not set
    # max_body is not set
    # query_token is not set
    client_cert = "none"                             # default
    client_cert_san = []                             # default
    # rate is not set
    # rate_by is not set
    # rate_burst is not set
    "#);
}
