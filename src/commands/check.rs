//! `destrier check`: is this configuration fit to be put in force?

use std::io::{self, Write};

use super::{CommandError, print, read_config};
use crate::cli::ConfigArgs;
use crate::config::{Config, WorkerCount};

/// Checks the configuration and the files it names; says what it would serve, warnings on standard error.
///
/// # Errors
///
/// Everything that is wrong, with exit code 2.
pub(super) fn run(args: &ConfigArgs) -> Result<(), CommandError> {
    let loaded = read_config(args)?;
    let guard = super::load_guard(&loaded.config)?;
    let of_keys = guard.warnings().iter().map(ToString::to_string);
    let of_config = loaded.warnings.iter().map(ToString::to_string);
    for warning in of_config.chain(of_keys) {
        // A closed standard error does not make the configuration worse.
        writeln!(io::stderr(), "warning: {warning}").unwrap_or_default();
    }
    print(&summary(&loaded.config))
}

/// One line that tells whether this is the file that was meant.
fn summary(config: &Config) -> String {
    let binds: Vec<String> = config.server.bind.iter().map(ToString::to_string).collect();
    let workers = match config.workers.count {
        WorkerCount::Auto => "a worker for each processor".to_owned(),
        WorkerCount::Fixed(count) => counted(usize::from(count), "worker"),
    };
    format!(
        "{} is fine: {}, {workers}, {}, {}\n",
        config.file.display(),
        binds.join(" "),
        counted(config.auth.issuers.len(), "issuer"),
        counted(config.auth.rules.len(), "rule"),
    )
}

fn counted(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    #[test]
    fn the_summary_says_what_would_be_served() {
        let sources = Sources {
            file: Some("config/demo.toml".into()),
            ..Sources::default()
        };
        let config = load(&sources).unwrap();
        let here = std::env::current_dir().unwrap().display().to_string();
        insta::assert_snapshot!(
            summary(&config).replace(&here, "/srv"),
            @"/srv/config/demo.toml is fine: 127.0.0.1:8000, 2 workers, 1 issuer, 13 rules"
        );
    }
}
