//! Every key of the schema, with values that are none for it: what is refused says where, which key, and is no panic.

use insta::assert_snapshot;

use super::{environment, read_text};
use crate::config::Sources;
use crate::config::known::{self, Kind, Known};

/// What no key takes: kinds that it does not have, and numbers, texts and lists that nothing means.
const NONSENSE: &[&str] = &[
    "-1",
    "-0.5",
    "9223372036854775807",
    "-9223372036854775808",
    "99999999999999999999",
    "nan",
    "inf",
    "[1]",
    "[true]",
    "[[]]",
    "[\"\"]",
    "\"\\u0000\"",
    "\"\\n\"",
];

/// A file in which `known` has `value`, in its second line.
fn file_with(known: &Known, value: &str) -> String {
    let (key, parents) = known.names.split_last().unwrap();
    let parents = parents.join(".");
    match known.kind {
        Kind::OfItem => format!("[[{parents}]]\n{key} = {value}\n"),
        Kind::OfSection | Kind::ArrayOfTables => format!("[{parents}]\n{key} = {value}\n"),
    }
}

/// As messages name it in such a file; what is in it has a longer name.
fn name(known: &Known) -> String {
    format!("`{}", known.dotted().replace("[]", "[0]"))
}

/// What is said of `known`, with its place, where the file says `text`.
fn blamed(known: &Known, text: &str, sources: &Sources, place: &str) -> Option<String> {
    let errors = read_text(text, sources).err()?.to_string();
    let name = name(known);
    let of_it = |line: &&str| {
        line.split_once(": `")
            .is_some_and(|(before, _)| before.contains(place))
            && line.contains(&name)
    };
    errors.lines().find(of_it).map(ToOwned::to_owned)
}

/// Whether nothing is said against `value`; keys that it needs beside it may be missed.
fn takes(known: &Known, value: &str) -> bool {
    let text = file_with(known, value);
    blamed(known, &text, &Sources::default(), "app.toml:2:").is_none()
}

/// The keys that take `value`.
fn that_take(value: &str) -> String {
    let keys = known::all().into_iter();
    let keys = keys.filter(|known| takes(known, value));
    keys.map(|known| known.dotted())
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn no_key_takes_nonsense_and_each_says_so_with_its_name_and_its_line() {
    for value in NONSENSE {
        assert_eq!(that_take(value), "", "{value}");
    }
}

/// Each was judged: 0 is none of it, at once, for ever or without a bound, and its documentation says so.
#[test]
fn these_keys_may_be_0() {
    assert_snapshot!(that_take("0"), @r"
    workers.graceful_timeout
    workers.drain_delay
    workers.max_requests
    workers.max_requests_jitter
    workers.max_lifetime
    workers.max_lifetime_jitter
    workers.hang_timeout
    workers.max_memory
    reload.max_unavailable
    http.request_timeout
    http.drain_linger
    http.stream_grace
    http.dead_peer_timeout
    http.keep_alive_requests
    http.max_connections
    http.max_connections_per_address
    http.max_body
    http.body_timeout
    http.body_min_rate
    http.max_in_flight
    http.queue
    websocket.max_message
    compression.min_size
    health.probe_interval
    telemetry.sampling_ratio
    auth.tokens.reuse_grace
    auth.tokens.flush_interval
    auth.issuer[].leeway
    auth.rule[].max_age
    auth.rule[].request_timeout
    auth.rule[].max_body
    ");
}

#[test]
fn an_empty_text_is_no_value_but_where_it_says_none() {
    assert_snapshot!(that_take("\"\""), @"auth.tokens.groups_claim");
}

#[test]
fn these_keys_are_switches() {
    assert_snapshot!(that_take("true"), @r"
    workers.poison_guard
    http.pass_connections
    http.http2
    http.static[].index
    http.static[].fallthrough
    compression.authenticated
    auth.tokens.allow_md5_hashes
    auth.tokens.upgrade_hashes
    auth.tokens.rotate_refresh_tokens
    auth.tokens.blacklist_after_rotation
    auth.tokens.update_last_login
    auth.rule[].audit
    app.faults
    app.reload_on_change
    app.preload
    access_log.enabled
    access_log.query
    ");
}

/// A variable is read as the value of a file would be, and where that is none, as a text; errors name it.
#[test]
fn variables_take_what_the_file_takes() {
    let texts = [
        "",
        "0",
        "-1",
        "1.5",
        "true",
        "[[]]",
        "{}",
        "99999999999999999999",
        "x y",
        "\n",
    ];
    for known in known::all() {
        let Some(variable) = known.variable() else {
            continue;
        };
        for text in texts {
            let sources = environment([(&variable, text)]);
            let is_taken = blamed(&known, "", &sources, &variable).is_none();
            let quoted = toml::Value::from(text).to_string();
            let is_value = format!("x = {text}").parse::<toml::Table>().is_ok();
            let file_takes = takes(&known, &quoted) || (is_value && takes(&known, text));
            assert_eq!(is_taken, file_takes, "{variable}={text:?}");
        }
    }
}
