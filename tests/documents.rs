//! What the documents show is what happens: their commands are run, their outputs compared, their tables and links checked.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Where the documents say that the demo listens.
const SHOWN_ADDRESS: &str = "127.0.0.1:8000";

/// Stands for any text within a line, and alone in a line for any lines.
const ANYTHING: &str = "…";

#[test]
fn the_readme_shows_what_happens() {
    play("README.md");
}

#[test]
fn the_page_on_tokens_shows_what_happens() {
    play("docs/jwt.md");
}

#[test]
fn the_page_on_the_token_service_shows_what_happens() {
    play("docs/tokens.md");
}

#[test]
fn the_page_on_the_control_socket_shows_what_happens() {
    play("docs/control-socket.md");
}

#[test]
fn cargo_commands_are_those_that_ci_runs() {
    let ci = read(".ci/run");
    let commands: Vec<String> = blocks(&read("README.md"))
        .into_iter()
        .filter(|block| block.language == "sh")
        .flat_map(|block| block.lines)
        .collect();
    assert_eq!(
        commands,
        [
            "cargo run --release -- run -c config/demo.toml",
            "cargo test"
        ]
    );
    for command in commands {
        let is_run = |line: &str| line.trim_end_matches(" &") == command;
        assert!(ci.lines().any(is_run), ".ci/run does not run `{command}`");
    }
}

#[test]
fn the_table_of_the_readme_has_every_key_with_its_default() {
    let schema = Command::new(env!("CARGO_BIN_EXE_destrier"))
        .args(["config", "schema"])
        .output()
        .unwrap();
    let schema: Value = serde_json::from_slice(&schema.stdout).unwrap();
    let mut keys = BTreeMap::new();
    collect(&schema, "", &mut keys);
    assert!(keys.len() > 40, "{keys:?}");
    let mut shown = BTreeMap::new();
    for line in read("README.md").lines() {
        let cells: Vec<&str> = line
            .split('|')
            .map(|cell| cell.trim().trim_matches('`'))
            .collect();
        if let ["", key, default, _, ""] = cells[..]
            && key.contains('.')
            && !key.contains(' ')
        {
            shown.insert(key.to_owned(), default.to_owned());
        }
    }
    assert_eq!(shown, keys);
}

#[test]
fn links_lead_somewhere() {
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let file = target.split('#').next().unwrap();
            if !target.contains("://") && !file.is_empty() {
                let path = document.parent().unwrap().join(file);
                assert!(
                    path.exists(),
                    "{}: there is no {target}",
                    document.display()
                );
            }
        }
    }
}

#[test]
fn code_that_is_named_exists() {
    for document in documents() {
        for word in fs::read_to_string(&document)
            .unwrap()
            .split('`')
            .skip(1)
            .step_by(2)
        {
            let is_path = [
                "src/",
                "tests/",
                "docs/",
                "config/",
                "examples/",
                "systemd/",
                ".ci/",
            ]
            .iter()
            .any(|folder| word.starts_with(folder))
                && !word.contains([' ', '*', '{', '…']);
            // `demo.secret` is made at the first start.
            assert!(
                !is_path || root().join(word).exists() || word.ends_with(".secret"),
                "{}: there is no `{word}`",
                document.display()
            );
        }
    }
}

#[test]
fn every_test_that_the_specification_names_exists() {
    let sources: String = below("src")
        .chain(below("tests"))
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let specification = read("docs/specification.md");
    let mut promises = 0;
    for line in specification
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains('`'))
    {
        let tests = line.trim_end_matches('|').rsplit('|').next().unwrap();
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test holds: {line}");
        for name in names {
            let is_script = root().join(name).is_file();
            assert!(
                is_script || sources.contains(&format!("fn {name}(")),
                "there is no test `{name}`: {line}"
            );
        }
        promises += 1;
    }
    assert!(promises > 20, "the table was not found");
}

/// Runs the `console` blocks of a document, in order, in one shell, in a copy of `config/`; compares what is shown.
fn play(document: &str) {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let address = free_address();
    copy_configuration(folder.path(), &address);
    fs::create_dir(&home).unwrap();
    // At a terminal curl shows no progress.
    fs::write(home.join(".curlrc"), "silent\nshow-error\nmax-time = 20\n").unwrap();

    let exchanges: Vec<Exchange> = blocks(&read(document))
        .into_iter()
        .filter(|block| block.language == "console")
        .flat_map(|block| exchanges(&block.lines))
        .collect();
    assert!(!exchanges.is_empty(), "{document} shows nothing");
    let program = Path::new(env!("CARGO_BIN_EXE_destrier")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let output = Command::new("timeout")
        .args(["--signal=KILL", "120", "bash", "-c"])
        .arg(script(&exchanges).replace(SHOWN_ADDRESS, &address))
        .current_dir(folder.path())
        .env("HOME", &home)
        .env("PATH", path)
        .env("COLUMNS", "100")
        .env("DESTRIER_LOG__FORMAT", "human")
        .env(
            "DESTRIER_PROCESS__CONTROL_SOCKET",
            folder.path().join("control.sock"),
        )
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).replace(&address, SHOWN_ADDRESS);
    assert!(output.status.success(), "{document}: {output:?}");
    let outputs: Vec<&str> = said.split("\n@@@\n").collect();
    for (exchange, actual) in exchanges.iter().zip(&outputs) {
        let actual: Vec<&str> = actual.trim_end().lines().collect();
        let expected: Vec<&str> = exchange.output.iter().map(String::as_str).collect();
        assert!(
            lines_match(&expected, &actual),
            "{document}: `{}` shows\n{}\n\nbut it says\n{}\n",
            exchange.command,
            expected.join("\n"),
            actual.join("\n")
        );
    }
    assert_eq!(outputs.len(), exchanges.len() + 1, "{document}: {said}");
}

/// All commands with a mark after each. A server stays in the background; its output is what it said until it served.
fn script(exchanges: &[Exchange]) -> String {
    let mut script = "exec 2>&1\ntrap 'kill -9 $(jobs -p) 2>/dev/null' EXIT\n".to_owned();
    for Exchange { command, .. } in exchanges {
        let is_server = command.contains(" run -c ");
        script += command;
        script += if is_server {
            " >server.log 2>&1 &\nserver=$!\n\
             until grep -qs ' serving ' server.log; do kill -0 $server || exit 1; read -rt 0.02 <> <(:); done\n\
             cat server.log\n"
        } else {
            "\n"
        };
        // What the command exited with is still there for an `echo $?`.
        script += "code=$?; printf '\\n@@@\\n'; (exit $code)\n";
    }
    // Every document stops what it starts, and that goes well.
    script + "[ -z \"${server:-}\" ] || wait $server\n"
}

struct Exchange {
    command: String,
    output: Vec<String>,
}

fn exchanges(lines: &[String]) -> Vec<Exchange> {
    let mut exchanges: Vec<Exchange> = Vec::new();
    for line in lines {
        if let Some(command) = line.strip_prefix("$ ") {
            exchanges.push(Exchange {
                command: command.to_owned(),
                output: Vec::new(),
            });
        } else if let Some(more) = line.strip_prefix("> ") {
            let exchange = exchanges.last_mut().expect("a command that goes on");
            exchange.command += "\n";
            exchange.command += more;
        } else {
            exchanges
                .last_mut()
                .expect("a block begins with a command")
                .output
                .push(line.clone());
        }
    }
    for exchange in &mut exchanges {
        while exchange.output.last().is_some_and(String::is_empty) {
            exchange.output.pop();
        }
    }
    exchanges
}

fn lines_match(expected: &[&str], actual: &[&str]) -> bool {
    match (expected.split_first(), actual.split_first()) {
        (None, None) => true,
        (Some((&ANYTHING, rest)), _) => {
            (0..=actual.len()).any(|skipped| lines_match(rest, &actual[skipped..]))
        }
        (Some((expected, rest)), Some((actual, others))) => {
            line_matches(expected, actual) && lines_match(rest, others)
        }
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// Columns may be wider than shown: blanks count as one.
fn line_matches(expected: &str, actual: &str) -> bool {
    let plain = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let (expected, actual) = (plain(expected), plain(actual));
    let mut pieces = expected.split(ANYTHING);
    let Some(mut rest) = actual.strip_prefix(pieces.next().unwrap()) else {
        return false;
    };
    let pieces: Vec<&str> = pieces.collect();
    let Some((last, between)) = pieces.split_last() else {
        return rest.is_empty();
    };
    for piece in between {
        let Some((_, after)) = rest.split_once(piece) else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(last)
}

#[test]
fn anything_stands_for_any_text_and_nothing_else_does() {
    assert!(line_matches("up … s", "up 12 s"));
    assert!(line_matches("a  b", "a b"));
    assert!(!line_matches("a b", "a c"));
    assert!(!line_matches("up … s", "up 12 h"));
    assert!(!line_matches("a", "a b"));
    assert!(lines_match(&["a", ANYTHING, "d"], &["a", "b", "c", "d"]));
    assert!(!lines_match(&["a", ANYTHING], &["b"]));
    assert!(!lines_match(&["a"], &["a", "b"]));
}

struct Block {
    language: String,
    lines: Vec<String>,
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(language), None) => {
                open = Some(Block {
                    language: language.to_owned(),
                    lines: Vec::new(),
                });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.lines.push(line.to_owned()),
            (None, None) => {}
        }
    }
    blocks
}

/// The keys of a schema with their defaults as TOML; nothing where there is none.
fn collect(schema: &Value, name: &str, keys: &mut BTreeMap<String, String>) {
    for (key, value) in schema["properties"].as_object().into_iter().flatten() {
        let name = if name.is_empty() {
            key.clone()
        } else {
            format!("{name}.{key}")
        };
        if value["properties"].is_object() {
            collect(value, &name, keys);
        } else if value["items"]["properties"].is_object() {
            collect(&value["items"], &name, keys);
        } else {
            let default = value.get("default").filter(|default| !default.is_null());
            keys.insert(name, default.map_or_else(String::new, Value::to_string));
        }
    }
}

/// An address that nobody else has, so that tests can run side by side: all of 127.0.0.0/8 is this machine.
fn free_address() -> String {
    let [_, a, b, c] = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, a | 1, b, c.clamp(1, 254));
    TcpListener::bind((address, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string()
}

fn copy_configuration(folder: &Path, address: &str) {
    let config = folder.join("config");
    fs::create_dir(&config).unwrap();
    for file in below("config").filter(|file| {
        file.extension()
            .is_some_and(|extension| extension == "toml")
    }) {
        let text = fs::read_to_string(&file)
            .unwrap()
            .replace(SHOWN_ADDRESS, address);
        fs::write(config.join(file.file_name().unwrap()), text).unwrap();
    }
}

fn documents() -> Vec<PathBuf> {
    let markdown = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "md");
    let found: Vec<PathBuf> = below("docs")
        .filter(markdown)
        .chain(["README.md", "CHANGELOG.md"].map(|name| root().join(name)))
        .collect();
    assert!(found.len() > 3, "the documents were not found");
    found
}

fn below(folder: &str) -> impl Iterator<Item = PathBuf> {
    let mut folders = vec![root().join(folder)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found.into_iter()
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
