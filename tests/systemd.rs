//! The units of `systemd/` are what systemd takes them for.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;
use std::process::Command;

use destrier::config::{Sources, load};

/// Where a package puts the program.
const INSTALLED: &str = "/usr/bin/destrier";

#[test]
fn systemd_accepts_the_units() {
    let folder = tempfile::tempdir().unwrap();
    for unit in ["destrier@.service", "destrier@.socket"] {
        let text = unit_text(unit).replace(INSTALLED, env!("CARGO_BIN_EXE_destrier"));
        fs::write(folder.path().join(unit), text).unwrap();
    }
    let verify = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .args(["destrier@api.service", "destrier@api.socket"])
        .current_dir(folder.path())
        .env("SYSTEMD_UNIT_PATH", format!("{}:", folder.path().display()))
        .output();
    let output = match verify {
        Ok(output) => output,
        Err(error) if std::env::var_os("CI").is_none() => {
            println!("not checked, there is no systemd-analyze here: {error}");
            return;
        }
        Err(error) => panic!("systemd-analyze: {error}"),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    // A key that this systemd does not know is a warning only, and the unit then does not do what it says.
    assert!(!said.contains("destrier@"), "{said}");
}

#[test]
fn the_stop_of_the_unit_outlasts_the_drain_of_the_shipped_configurations() {
    let unit = unit_text("destrier@.service");
    let seconds = |key: &str| -> u64 {
        let line = unit
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .unwrap();
        line.trim_start_matches('=')
            .trim_end_matches('s')
            .parse()
            .unwrap()
    };
    for file in [
        "config/demo.toml",
        "config/production.toml",
        "config/reference.toml",
    ] {
        let sources = Sources {
            file: Some(file.into()),
            ..Sources::default()
        };
        let workers = load(&sources).unwrap().workers;
        assert!(
            workers.graceful_timeout.as_secs() + 1 < seconds("TimeoutStopSec"),
            "{file}"
        );
        assert!(
            workers.boot_timeout.as_secs() < seconds("TimeoutStartSec"),
            "{file}"
        );
    }
}

#[test]
fn the_unit_runs_commands_that_exist() {
    let unit = unit_text("destrier@.service");
    let commands: Vec<&str> = unit
        .lines()
        .filter_map(|line| {
            line.strip_prefix("ExecStart=")
                .or_else(|| line.strip_prefix("ExecReload="))
        })
        .collect();
    assert_eq!(
        commands,
        [
            "/usr/bin/destrier run -c /etc/destrier/%i.toml",
            "/usr/bin/destrier reload -c /etc/destrier/%i.toml"
        ]
    );
    for command in ["run", "reload"] {
        let help = Command::new(env!("CARGO_BIN_EXE_destrier"))
            .args([command, "--help"])
            .output()
            .unwrap();
        assert!(help.status.success(), "{command}");
    }
}

fn unit_text(name: &str) -> String {
    fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("systemd")
            .join(name),
    )
    .unwrap()
}
