//! Rules of the tree that the compiler does not check: who may use whom, what a file looks like.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module, the modules of this crate it may use, and the crates (or parts of std) that must not occur in it.
/// A new edge is a design decision: argue it in the line above.
const MAY_USE: &[(&str, &[&str], &[&str])] = &[
    // Decides which workers shall run; std only. Reading no clock and no file makes it a function that tests can call.
    // `serde` for its derives: an upgrade hands the whole state to another program, and what is derived forgets no field.
    // What it is written as (`serde_json`) and where is the master's affair.
    (
        "supervisor",
        &[],
        &[
            "nix",
            "tokio",
            "serde_json",
            "tracing",
            "std::fs",
            "std::net",
            "std::os",
            "Instant",
            "SystemTime",
        ],
    ),
    // What master and worker say; both ends must be able to use it, so it uses neither.
    (
        "channel",
        &[],
        &["nix", "tokio", "std::fs", "std::net", "std::os"],
    ),
    // System calls without a decision; everything stands on it.
    ("sys", &[], &["serde", "tracing", "hyper", "jsonwebtoken"]),
    // Knows files and environment, but not what is done with the result. `nix` for the flag of open(2) that keeps a named
    // pipe from holding up a reload.
    ("config", &[], &["tokio", "tracing", "hyper"]),
    // Words that `auth` and `scoreboard`, which do not know each other, have in common.
    ("refusal_class", &[], &["nix", "tokio", "serde", "hyper"]),
    // `config`: the policy of issuers and rules. `refusal_class`: of which kind its refusals are. It reads no clock, no file and no socket: whoever asks brings them.
    (
        "auth",
        &["config", "refusal_class"],
        &[
            "nix",
            "tokio",
            "hyper",
            "tracing",
            "std::fs",
            "std::net",
            "std::os",
            "Instant",
            "SystemTime",
        ],
    ),
    // `config`: versions. `sys`: the clock, by which keys of tickets change. It reads no file and no socket: whoever holds them
    // brings what is in them.
    (
        "tls",
        &["config", "sys"],
        &["nix", "tokio", "hyper", "tracing", "std::fs", "std::os"],
    ),
    // `auth`, `config`: the files that `auth` must not read. `sys`: the clock, for the dates of certificates. `tls`: whether a
    // certificate and its key can be used. `telemetry`: what its collector is told besides. `tokens`: what signs, and the password of its database.
    (
        "key_files",
        &["auth", "config", "sys", "telemetry", "tls", "tokens"],
        &["tokio", "hyper"],
    ),
    // `refusal_class`: what is counted apart. `sys`: the memory that it shares.
    (
        "scoreboard",
        &["refusal_class", "sys"],
        &["nix", "tokio", "serde", "hyper"],
    ),
    // `config`: where spans go. `scoreboard`: what becomes of them is counted. Its thread waits for a collector, so that nobody else does.
    (
        "telemetry",
        &["config", "scoreboard"],
        &["nix", "hyper", "serde"],
    ),
    // `sys`: the memory that it shares. What a proof is, whoever asks knows.
    ("replay", &["sys"], &["nix", "tokio", "serde", "hyper"]),
    // `config`: format, fields, rules. `logging`: where lines go. `sys`: which process a message is of. It knows no request but what it is told of one.
    (
        "access_log",
        &["config", "logging", "sys"],
        &["nix", "tokio", "hyper"],
    ),
    // `config`: the rates of rules, and what of an address is one client. `sys`: the memory that it shares, the clock that all have.
    (
        "rate_limit",
        &["config", "sys"],
        &["nix", "tokio", "serde", "hyper"],
    ),
    // `config`: level, format, file. `sys`: output that does not block, and survives a fork.
    ("logging", &["config", "sys"], &["tokio", "hyper"]),
    // `logging`: what it writes. A task of a runtime, so `logging`, which the master uses too, cannot have it.
    ("log_writer", &["logging"], &["nix", "hyper"]),
    // `channel`: messages and how they are cut. `sys`: descriptors that come along. Which messages, whoever holds the end knows.
    (
        "master_end",
        &["channel", "sys"],
        &["nix", "hyper", "serde_json"],
    ),
    // std, a limiter and the timer that sums up. Used by who answers requests, and `logging`, which the master uses too, has no timer.
    ("log_quota", &[], &["nix", "hyper", "serde"]),
    // `config`: what an application may know when it boots. `auth`, `tls`: the claims and the certificate that the demo shows. `scoreboard`: what a
    // request is called about which a witness is asked, and where the bytes of its body are counted. `sys`: the clock, by which a loan is taken back.
    (
        "app",
        &["auth", "config", "scoreboard", "sys", "tls"],
        &["nix"],
    ),
    // `access_log`: the line of a request. `auth`: the verdict. `app`: what is called. `config`: which proxy may say what certificate a client has. `log_quota`: how many
    // lines refusals get. `logging`: how
    // long a field may be. `rate_limit`: how many requests a client has made, of whichever worker. `refusal_class`: of which kind its own refusals are. `replay`: which proofs were shown, for `auth` remembers nothing that workers share. `scoreboard`: what
    // is noted. `sys`: the clock. `telemetry`: what a collector is told. `tls`: the certificate of a client. `tokens`: what answers its own routes.
    (
        "http",
        &[
            "access_log",
            "app",
            "auth",
            "config",
            "log_quota",
            "logging",
            "rate_limit",
            "refusal_class",
            "replay",
            "scoreboard",
            "sys",
            "telemetry",
            "tls",
            "tokens",
        ],
        &["nix", "std::fs"],
    ),
    // `auth`: verifies what comes back, signs. `config`: lifetimes, rotation, the database. `log_quota`: how many lines logins get.
    // `sys`: the clock. It is handed a whole request and answers it; of connections and workers it knows nothing.
    (
        "tokens",
        &["auth", "config", "log_quota", "sys"],
        &["nix", "hyper"],
    ),
    // `access_log`: made of the configuration. `http`, `app`: what is served. `auth`: the guard is handed through. `channel`: orders. `config`: limits.
    // `log_quota`: how many lines connections get that break the PROXY protocol. `log_writer`, `logging`: reopened on order. `master_end`: where orders come from. `rate_limit`, `replay`, `scoreboard`: what it shares is handed through, its seat. `sys`: sockets, identity, the clock. `telemetry`: where spans go is opened in it. `tls`: what handshakes are made with. `tokens`: the service is opened
    // at the boot, for only a worker may have a database open.
    (
        "worker",
        &[
            "access_log",
            "app",
            "auth",
            "channel",
            "config",
            "http",
            "log_quota",
            "log_writer",
            "logging",
            "master_end",
            "rate_limit",
            "replay",
            "scoreboard",
            "sys",
            "telemetry",
            "tls",
            "tokens",
        ],
        &["nix", "jsonwebtoken"],
    ),
    // `auth`: whose token opens the metrics. `channel`: the words of orders, which go to the master as they are. `figures`: what the page is told. `master`: the types of what it says of itself, the document of `destrier status`, so that
    // both tell the same; nothing of it is called. `scoreboard`: what workers do. `sys`: the clock, and what the kernel knows of processes.
    (
        "admin",
        &["auth", "channel", "figures", "master", "scoreboard", "sys"],
        &["nix", "jsonwebtoken", "SystemTime"],
    ),
    // `admin`: what it answers monitoring with. `auth`: whether what was fetched can be used, by the code that the workers use it with. `channel`: orders. `config`: what is
    // fetched. `log_writer`, `logging`: its log. `master`: the types of its status, in which certificates that end are seen; nothing of it is called. `master_end`: where orders come from. `sys`: identity, the clock, sealed files. `tokens`: the deny list in their
    // database. No request of a client comes to it, so it knows neither `http` nor `app`, and what becomes of what it fetches is the master's and the workers' affair.
    (
        "agent",
        &[
            "admin",
            "auth",
            "channel",
            "config",
            "log_writer",
            "logging",
            "master",
            "master_end",
            "sys",
            "tokens",
        ],
        &["nix", "hyper", "jsonwebtoken", "SystemTime"],
    ),
    // `worker`: what an interpreter becomes, and so all that one is made of, which the parcel has in it: `config`, `key_files`, `rate_limit`, `replay`,
    // `scoreboard`, `tls`. `channel`: why it cannot become one. `logging`: where the log goes on. `sys`: execve(2), descriptors. It
    // serves nothing itself.
    (
        "interpreter",
        &[
            "channel",
            "config",
            "key_files",
            "logging",
            "rate_limit",
            "replay",
            "scoreboard",
            "sys",
            "tls",
            "worker",
        ],
        &["nix", "tokio", "hyper", "jsonwebtoken"],
    ),
    // `supervisor`: decides. `channel`: orders. `config`: what is opened. `logging`: its own log. `rate_limit`, `replay`: made before the fork
    // that needs it, and the latter handed over in an upgrade. `scoreboard`: what workers did, and what they shall not serve. `sys`: does. Never `worker`, `http`, `auth`, `app`: it is handed a function to call after the fork.
    (
        "master",
        &[
            "channel",
            "config",
            "logging",
            "rate_limit",
            "replay",
            "scoreboard",
            "supervisor",
            "sys",
        ],
        &[
            "tokio",
            "hyper",
            "http",
            "jsonwebtoken",
            "sqlx",
            "std::thread",
        ],
    ),
    // What came between looks at counters, which the page and `destrier top` tell. It reads nothing by itself.
    (
        "figures",
        &[],
        &[
            "nix",
            "tokio",
            "tracing",
            "std::fs",
            "std::net",
            "std::os",
            "Instant",
            "SystemTime",
        ],
    ),
    // What may be typed, not what is done about it.
    ("cli", &[], &["nix", "tokio", "std::fs", "tracing"]),
    // The one place that knows everybody, for it joins them: it hands `worker::run` to the master. `sys`: the clock
    // that `token` judges and signs by, since `auth` has none. `figures`: what `top` tells. `interpreter`: what workers become that run Python. `tls`: how a certificate that `tls` makes is written. `tokens`: its key,
    // and the users that `user` manages.
    (
        "commands",
        &[
            "admin",
            "agent",
            "app",
            "auth",
            "cli",
            "config",
            "figures",
            "interpreter",
            "key_files",
            "logging",
            "master",
            "sys",
            "tls",
            "tokens",
            "worker",
        ],
        &["nix", "tokio", "hyper"],
    ),
    // The front door: parses, runs the command, answers with an exit code.
    (
        "server",
        &["app", "cli", "commands"],
        &["nix", "tokio", "hyper"],
    ),
    // The map of modules, and what an application uses of them; the program.
    (
        "lib",
        &["app", "auth", "http", "scoreboard", "server", "tls"],
        &[],
    ),
    ("main", &[], &[]),
];

/// About this many lines, unit tests aside, are the most that a reader takes in; see the exceptions.
const LINES_MAX: usize = 500;

/// Longer files, each with the reason.
const LONGER: &[(&str, &str)] = &[
    (
        "src/supervisor/simulation.rs",
        "one world: kernel, operator and the laws they must not break",
    ),
    (
        "src/supervisor/tests.rs",
        "a story for each rule of the supervisor",
    ),
];

#[test]
fn modules_use_only_what_lies_below_them() {
    let mut errors = Vec::new();
    for (path, text) in sources() {
        let module = top_module(&path);
        let Some((_, allowed, forbidden)) = MAY_USE.iter().find(|(name, _, _)| *name == module)
        else {
            errors.push(format!("{}: no rule for module `{module}`", shown(&path)));
            continue;
        };
        let is_test = is_test(&path);
        for (number, line) in code(&text) {
            let mut complain = |used: &str| {
                errors.push(format!(
                    "{}:{number}: `{module}` may not use `{used}`",
                    shown(&path)
                ));
            };
            for used in line.split("crate::").skip(1) {
                let used = word(used);
                if used != module && is_module(&used) && !allowed.contains(&used.as_str()) {
                    complain(&used);
                }
            }
            for used in forbidden
                .iter()
                .filter(|used| !is_test && mentions(line, used))
            {
                complain(used);
            }
        }
    }
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}

#[test]
fn every_rule_is_for_a_module_and_every_edge_is_used() {
    let mut used = BTreeSet::new();
    for (path, text) in sources() {
        let module = top_module(&path);
        used.insert((module.clone(), module.clone()));
        for (_, line) in code(&text) {
            for each in line.split("crate::").skip(1) {
                used.insert((module.clone(), word(each)));
            }
            // `lib` names its modules without `crate::`.
            for each in line.split("pub use ").skip(1).filter(|_| module == "lib") {
                used.insert((module.clone(), word(each)));
            }
        }
    }
    for (module, allowed, _) in MAY_USE {
        for each in allowed.iter().chain([module]) {
            let edge = ((*module).to_owned(), (*each).to_owned());
            assert!(
                used.contains(&edge),
                "`{module}` does not use `{each}`: take it out of the table"
            );
        }
    }
}

#[test]
fn every_file_says_in_its_first_line_what_it_is() {
    for (path, text) in sources() {
        let first = text.lines().next().unwrap_or_default();
        assert!(
            first.starts_with("//! "),
            "{}: starts without a `//!` line",
            shown(&path)
        );
    }
}

#[test]
fn unsafe_code_lives_in_sys() {
    for (path, text) in sources() {
        if top_module(&path) == "sys" {
            continue;
        }
        for (number, line) in code(&text) {
            assert!(
                !mentions(line, "unsafe") && !line.contains("unsafe_code"),
                "{}:{number}: `unsafe` outside `sys`",
                shown(&path)
            );
        }
    }
}

#[test]
fn a_file_is_short_enough_to_be_read() {
    for (path, text) in sources() {
        let lines = code(&text).count();
        let excused = LONGER.iter().any(|(longer, _)| *longer == shown(&path));
        assert!(
            lines <= LINES_MAX || excused,
            "{}: {lines} lines; a file does one job: divide it, or say in LONGER why not",
            shown(&path)
        );
        assert!(
            lines > LINES_MAX || !excused,
            "{}: {lines} lines need no excuse: take it out of LONGER",
            shown(&path)
        );
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut section = "";
    let mut lines_before = String::new();
    let mut with_reason = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.contains("dependencies]") && line.contains('=') && !line.starts_with('#')
        {
            let name = line.split('=').next().unwrap().trim().to_owned();
            // A development dependency may repeat an ordinary one with other features; its reason stands there.
            let reason = line.contains(" # ") || lines_before.starts_with("# ");
            assert!(
                reason || with_reason.contains(&name),
                "Cargo.toml: `{name}` does not say what it is for"
            );
            with_reason.insert(name);
        }
        line.clone_into(&mut lines_before);
    }
    assert!(with_reason.len() > 10, "the dependencies were not found");
}

#[test]
fn nothing_is_left_for_later_and_nothing_looks_pasted() {
    let own = Path::new(file!()).file_name().unwrap();
    for path in texts() {
        if path.file_name().unwrap() == own {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let number = number + 1;
            for (word, instead) in [
                ("\u{2014}", "write a colon, a comma or two sentences"),
                ("TODO", "do it, or say it in the closing note"),
                ("FIXME", "do it, or say it in the closing note"),
                ("XXX", "do it, or say it in the closing note"),
            ] {
                assert!(
                    !line.contains(word),
                    "{}:{number}: `{word}`: {instead}",
                    shown(&path)
                );
            }
            assert!(
                !line.ends_with([' ', '\t']),
                "{}:{number}: blank at the end of the line",
                shown(&path)
            );
        }
        assert!(
            text.is_empty() || text.ends_with('\n'),
            "{}: no line break at the end",
            shown(&path)
        );
    }
}

/// The lines of code with their numbers: without comments, and without the unit tests that a file ends with.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..)
        .zip(text.lines())
        .take_while(|(_, line)| *line != "mod tests {")
        .map(|(number, line)| (number, line.split("//").next().unwrap_or_default()))
}

/// Whether `line` holds `name` as a word of its own, as a path that begins with it, or after `use`.
fn mentions(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(start, _)| {
        let before = line.get(..start).and_then(|text| text.chars().next_back());
        let after = line.get(start + name.len()..).unwrap_or_default();
        let stands_alone = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
        // `http::` is the crate; `http.` a field, `crate::http` a module, `"http"` a text.
        let is_path = after.starts_with("::")
            || name.contains("::")
            || name.chars().any(char::is_uppercase)
            || name == "unsafe";
        stands_alone(before)
            && stands_alone(after.chars().next())
            && is_path
            && !line.get(..start).unwrap_or_default().ends_with("crate::")
    })
}

fn word(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

fn is_module(name: &str) -> bool {
    let file = root().join("src").join(name);
    file.is_dir() || file.with_extension("rs").is_file()
}

fn is_test(path: &Path) -> bool {
    let name = path.file_stem().unwrap();
    name == "tests" || name == "simulation" || path.parent().unwrap().ends_with("tests")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

fn sources() -> Vec<(PathBuf, String)> {
    let files = below(&root().join("src"));
    let rust = files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let found: Vec<_> = rust
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect();
    assert!(found.len() > 20, "the sources were not found");
    found
}

/// What people wrote and read here: code, configuration, documents.
fn texts() -> Vec<PathBuf> {
    let folders = [
        "src", "python", "tests", "examples", "benches", "config", "docs", "systemd", ".ci",
    ];
    let in_folders = folders
        .iter()
        .flat_map(|folder| below(&root().join(folder)));
    let at_the_top = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    in_folders
        .chain(at_the_top.filter(|path| path.is_file()))
        .filter(|path| {
            let extension = path.extension().and_then(|extension| extension.to_str());
            matches!(
                extension,
                Some("rs" | "toml" | "md" | "service" | "socket" | "yml" | "yaml" | "sh")
            )
        })
        .collect()
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// `src/supervisor/reload.rs` and `src/supervisor.rs` both belong to `supervisor`.
fn top_module(path: &Path) -> String {
    let below = path.strip_prefix(root().join("src")).unwrap();
    let first = below
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}
