//! `destrier check`: is this configuration fit to be put in force?

use std::io::{self, Write};

use super::{CommandError, misconfigured, print, read_config};
use crate::cli::ConfigArgs;
use crate::config::{Config, WorkerCount};
use crate::key_files::{self, MissingSecret};

/// Checks the configuration and the files it names, and changes nothing; says what it would serve, warnings on standard
/// error.
///
/// # Errors
///
/// Everything that is wrong, with exit code 2.
pub(super) fn run(args: &ConfigArgs) -> Result<(), CommandError> {
    let loaded = read_config(args)?;
    let auth = &loaded.config.auth;
    let guard = key_files::load(auth, MissingSecret::StandIn);
    let guard = guard.map_err(|errors| misconfigured(&errors))?;
    for warning in &loaded.warnings {
        tell(&format!("warning: {warning}"));
    }
    for warning in guard.warnings() {
        tell(&format!("warning: {warning}"));
    }
    for (issuer, file) in key_files::to_be_made(auth) {
        let (issuer, file) = (&issuer.name, file.display());
        tell(&format!(
            "note: auth.issuer `{issuer}`: `{file}` does not exist; it is made at the start"
        ));
    }
    print(&summary(&loaded.config))
}

/// A closed standard error does not make the configuration worse.
fn tell(line: &str) {
    writeln!(io::stderr(), "{line}").unwrap_or_default();
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
