//! What is accepted, what is refused, and what an operator then reads.

use super::*;

/// Loads `text` as `/etc/destrier/app.toml`.
fn read_text(text: &str, sources: &Sources) -> Result<Loaded, ConfigErrors> {
    let mut problems = Problems::default();
    let name = std::path::Path::new("/etc/destrier/app.toml");
    let document = document::parse(name, text, &mut problems);
    check(document, problems, sources)
}

fn errors(text: &str) -> String {
    errors_with(text, &Sources::default())
}

fn errors_with(text: &str, sources: &Sources) -> String {
    match read_text(text, sources) {
        Ok(loaded) => panic!("accepted: {loaded:?}"),
        Err(errors) => errors.to_string(),
    }
}

#[test]
fn probe() {
    let text = r#"workers = 4
[server]
bind = ["localhost:80", "127.0.0.1:8000", 3, "127.0.0.1:8000"]
backlog = 0
balance = "fair"
unix_mode = 660
unix_owner = ""
[reload]
strategy = 3
max_surge = 0
[worker]
timeout = 30
[http]
keep_alive = "1fortnight"
header_timeout = -1
drain_linger = 1.5
keepalive = "1s"
[auth]
realm = 5
[[auth.issuer]]
audience = [1]
[[auth.rule]]
path = "/**"
[[auth.rule]]
path = "/a"
scope = "x"
access = "public"
scopes = ["a"]
[[auth.rule]]
pth = "x"
"#;
    println!("{}", errors(text));
    for text in [
        "a = ",
        "[server]\nbind = 1\nbind = 2",
        "[server\nx=1\ny = = 2\n[server]\n[server]\n",
        "\u{feff}x = \"",
        "a = 99999999999999999999",
        "[server]\nbind=\"é\" x",
    ] {
        println!("--\n{}", errors(text));
    }
    let env = |k: &str, v: &str| (k.to_owned(), v.to_owned());
    let s = Sources {
        workers: Some("0".into()),
        log_level: Some("loud".into()),
        bind: vec!["x".into(), ":80".into()],
        env: vec![
            env("DESTRIER_WORKER__COUNT", "3"),
            env("DESTRIER_LOG", "x"),
            env("DESTRIER_workers__count", "3"),
            env("DESTRIER_AUTH__REALM", "3"),
            env("DESTRIER_HTTP__KEEP_ALIVE", "x"),
            env("DESTRIER_APP__FAULTS", "yes"),
            env("DESTRIER_AUTH__RULE", "[{path='x'}]"),
            env("DESTRIER_AUTH__RULE__PATH", "[{path='x'}]"),
        ],
        ..Sources::default()
    };
    println!("--\n{}", errors_with("[http]\nkeep_alive = 3.\n", &s));
    println!("--\n{}", errors_with("", &s));
    let s = Sources {
        env: vec![
            env("DESTRIER_AUTH__REALM", "3"),
            env("DESTRIER_LOG__FILE", "x.log"),
            env("DESTRIER_PROCESS__GROUPS", "[\"a\", 'b']"),
            env("DESTRIER_SERVER__BIND", "[::1]:80"),
        ],
        ..Sources::default()
    };
    let l = read_text(
        r#"
[[auth.issuer]]
secret_file = "x"
[[auth.rule]]
path = "/a"
claims = { a = 1, "b.c" = [1, 2] }
[[auth.rule]]
path = "/b"
claims = { }
"#,
        &s,
    )
    .unwrap();
    println!("--\n{}", shown(&l.settings));
    println!("--\n{:#}", schema());
}
