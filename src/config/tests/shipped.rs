//! The files in `config/`.

use super::*;
use crate::config::known::{self, Kind};

const DEMO: &str = include_str!("../../../config/demo.toml");
const PRODUCTION: &str = include_str!("../../../config/production.toml");
const REFERENCE: &str = include_str!("../../../config/reference.toml");

/// What cannot be in force with the rest: of `app.wsgi` and this there is one or the other; spans need `http.trace_context`, which is off by
/// default, and a program that can export them.
const APART: [(&str, &str); 4] = [
    ("app.asgi", "#asgi = "),
    ("telemetry.otlp_endpoint", "#otlp_endpoint = "),
    ("telemetry.otlp_headers_file", "#otlp_headers_file = "),
    ("telemetry.otlp_ca_file", "#otlp_ca_file = "),
];

fn is_apart(line: &str) -> bool {
    APART.iter().any(|(_, start)| line.starts_with(start))
}

/// The reference with its keys and tables in force: a line that begins with `#` and no space is one.
fn uncommented_reference() -> String {
    let line = |line: &'static str| match line.strip_prefix('#') {
        Some(key) if !key.starts_with(' ') && !is_apart(line) => key,
        Some(_) | None => line,
    };
    REFERENCE.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn they_are_accepted_without_a_warning() {
    for text in [DEMO, PRODUCTION, &uncommented_reference()] {
        assert_eq!(warned(text), "");
    }
}

#[test]
fn the_reference_says_nothing_but_comments() {
    assert_eq!(accepted(REFERENCE), accepted(""));
}

#[test]
fn the_reference_has_every_key_with_its_default() {
    let written: toml::Table = uncommented_reference().parse().unwrap();
    let loaded = read_text(&uncommented_reference(), &Sources::default()).unwrap();
    let defaults = read_text("", &Sources::default()).unwrap();
    let lines_apart = REFERENCE.lines().filter(|line| is_apart(line));
    assert_eq!(lines_apart.count(), APART.len());
    let all = known::all().into_iter();
    for known in all.filter(|known| APART.iter().all(|(key, _)| known.dotted() != *key)) {
        let (section, rest) = known.names.split_first().unwrap();
        // Of the tables in an array, the first that has the key.
        let value = rest
            .iter()
            .try_fold(&written[section], |value, name| match value.as_array() {
                Some(items) => items.iter().find_map(|item| item.get(name)),
                None => value.get(name),
            });
        let Some(value) = value else {
            panic!("`{}` is missing", known.dotted());
        };
        if let Some(default) = known.default.filter(|_| known.kind == Kind::OfItem) {
            assert_eq!(
                serde_json::to_value(value).unwrap(),
                default,
                "{}",
                known.names.join(".")
            );
        }
    }
    for default in defaults
        .settings
        .iter()
        .filter(|setting| setting.value.is_some())
    {
        let shown = loaded
            .settings
            .iter()
            .find(|setting| setting.key == default.key);
        assert_eq!(shown.unwrap().value, default.value, "{}", default.key);
    }
}

#[test]
fn the_demo_signs_its_own_tokens() {
    let config = accepted(DEMO);
    let file = "/srv/demo.secret".into();
    assert_eq!(
        config.auth.issuers[0].keys,
        KeySource::Secret {
            file,
            create_missing: true
        }
    );
    assert!(!config.app.faults);
}
