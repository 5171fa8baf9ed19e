//! What holds for every text and every configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::{collection, option, sample};

use super::{environment, read_text};
use crate::config::file::{Auth, File, Issuer, Log, Process, Rule, Server, Workers};
use crate::config::notation::{Octal, OneOrMany, Period, Size, Text, Whole};
use crate::config::{Sources, WorkerCount, shown};

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".*", variable in ".*") {
        _ = read_text(&text, &environment([("DESTRIER_AUTH__RULE", &variable)])).is_ok();
    }

    #[test]
    fn no_mixture_of_its_own_words_makes_it_panic(words in collection::vec(sample::select(WORDS), 0..40)) {
        _ = read_text(&words.concat(), &Sources::default()).is_ok();
    }

    #[test]
    fn what_is_shown_says_the_same(file in files()) {
        let written = toml::to_string(&file).unwrap();
        let loaded = read_text(&written, &Sources::default());
        let loaded = loaded.map_err(|errors| TestCaseError::fail(format!("{errors}\n{written}")))?;
        let again = read_text(&shown(&loaded.settings), &Sources::default());
        let again = again.map_err(|errors| TestCaseError::fail(errors.to_string()))?;
        prop_assert_eq!(again.config, loaded.config);
    }
}

const WORDS: &[&str] = &[
    "[",
    "]",
    "[[",
    "]]\n",
    "{",
    "}",
    "\n",
    " = ",
    ".",
    ",",
    "\"",
    "'",
    "1",
    "-1",
    "1.5",
    "inf",
    "true",
    "2020-01-01",
    "'x'",
    "\"1s\"",
    "server",
    "bind",
    "workers",
    "count",
    "auth",
    "auth.rule",
    "path",
    "issuer",
    "claims",
    "audience",
    "secret_file",
    "methods",
    "'/**'",
    "http",
    "\0",
    "é",
    "#",
];

fn texts() -> impl Strategy<Value = OneOrMany<Text>> {
    collection::vec(text(), 0..3).prop_map(OneOrMany)
}

fn text() -> impl Strategy<Value = Text> {
    "[^\\p{Cc}]{1,12}".prop_map(Text)
}

fn time<const MIN: u64, const MAX: u64>() -> impl Strategy<Value = Period<MIN, MAX>> {
    (MIN..=MAX).prop_map(|milliseconds| Period(Duration::from_millis(milliseconds)))
}

fn files() -> impl Strategy<Value = File> {
    (server(), workers(), process(), auth(), option::of(text())).prop_map(
        |(server, workers, process, auth, file)| File {
            server,
            workers,
            process,
            auth,
            log: Log {
                file,
                ..Log::default()
            },
            ..File::default()
        },
    )
}

fn server() -> impl Strategy<Value = Server> {
    let bind = sample::subsequence(
        vec![
            "[::1]:80",
            "unix:a'b\" é.sock",
            "fd:7",
            "systemd:a",
            "1.2.3.4:0",
        ],
        1..=5,
    );
    (bind, 1..=65_535_u32, 0..=0o777_u32, option::of(text())).prop_map(
        |(bind, backlog, mode, owner)| Server {
            bind: OneOrMany(bind.into_iter().map(|bind| Text(bind.to_owned())).collect()),
            backlog: Whole(backlog),
            unix_mode: Octal(mode),
            unix_owner: owner,
            ..Server::default()
        },
    )
}

fn workers() -> impl Strategy<Value = Workers> {
    let count = prop_oneof![
        Just(WorkerCount::Auto),
        (1..=512_u16).prop_map(WorkerCount::Fixed)
    ];
    // Whole units and any other number of bytes.
    let memory = prop_oneof![
        Just(0),
        1_u64 << 20..=1 << 50,
        (1..=1_u64 << 30).prop_map(|mebibytes| mebibytes << 20)
    ];
    (count, time(), time(), memory).prop_map(|(count, boot_timeout, graceful_timeout, memory)| {
        Workers {
            count,
            boot_timeout,
            graceful_timeout,
            max_memory: Size(memory),
            ..Workers::default()
        }
    })
}

fn process() -> impl Strategy<Value = Process> {
    (option::of(text()), option::of(texts()), option::of(text())).prop_map(
        |(user, groups, pid_file)| Process {
            user,
            groups,
            pid_file,
            ..Process::default()
        },
    )
}

fn auth() -> impl Strategy<Value = Auth> {
    let leeway = (0..=600_u64).prop_map(|seconds| Period(Duration::from_secs(seconds)));
    let issuers = collection::vec((text(), texts(), leeway, texts()), 0..3);
    let scopes = collection::vec("[!#-\\[\\]-~]{1,6}( [a-z]{1,6})?".prop_map(Text), 0..3);
    let rules = collection::vec((scopes.prop_map(OneOrMany), texts(), claims()), 0..3);
    (text(), issuers, rules).prop_map(|(realm, issuers, rules)| Auth {
        realm,
        issuer: (0..)
            .zip(issuers)
            .map(|(number, (file, audience, leeway, typ))| Issuer {
                name: (number > 0).then(|| Text(format!("issuer {number}"))),
                secret_file: Some(file),
                audience,
                leeway,
                typ,
                ..Issuer::default()
            })
            .collect(),
        rule: (0..)
            .zip(rules)
            .map(|(number, (scopes, roles, claims))| Rule {
                path: Some(Text(format!("/{number}/**"))),
                scopes,
                roles,
                claims,
                ..Rule::default()
            })
            .collect(),
        ..Auth::default()
    })
}

fn claims() -> impl Strategy<Value = BTreeMap<String, toml::Value>> {
    let value = prop_oneof![
        any::<String>().prop_map(toml::Value::String),
        any::<i64>().prop_map(toml::Value::Integer),
        any::<bool>().prop_map(toml::Value::Boolean),
        (-1e300..1e300_f64).prop_map(toml::Value::Float),
    ];
    let value = value.prop_recursive(2, 8, 3, |value| {
        let map = collection::btree_map(any::<String>(), value.clone(), 0..3);
        prop_oneof![
            collection::vec(value, 0..3).prop_map(toml::Value::Array),
            map.prop_map(|map| toml::Value::Table(map.into_iter().collect())),
        ]
    });
    // A table of its own says how a claim is compared.
    let test = value.prop_map(|value| {
        if value.is_table() {
            let form = [("equals".to_owned(), value)];
            toml::Value::Table(form.into_iter().collect())
        } else {
            value
        }
    });
    collection::btree_map(any::<String>(), test, 0..3)
}
