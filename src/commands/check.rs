//! `destrier check`: is this configuration fit to be put in force?

use std::path::Path;

use super::{CommandError, misconfigured, print, read_config, tell};
use crate::auth::Guard;
use crate::cli::ConfigArgs;
use crate::config::{self, Bind, Config, Sources, WorkerCount};
use crate::interpreter;
use crate::key_files::{self, Files, LoadedTls, MissingSecret};
use crate::master::identity_of;
use crate::sys::identity::{self, IdentityError};
use crate::sys::output;

/// Checks the configuration and the files it names, and changes nothing; says what it would serve, warnings on standard
/// error.
///
/// # Errors
///
/// Everything that is wrong, with exit code 2.
pub(super) fn run(args: &ConfigArgs) -> Result<(), CommandError> {
    let loaded = read_config(args)?;
    let auth = &loaded.config.auth;
    let (guard, tls) = examine(&loaded.config)?;
    for warning in &loaded.warnings {
        tell(&format!("warning: {warning}"));
    }
    let of_tls = tls.iter().flat_map(|tls| &tls.warnings);
    for warning in guard.warnings().iter().chain(of_tls) {
        tell(&format!("warning: {warning}"));
    }
    if let Some(warning) = check_identity(&loaded.config)? {
        tell(&format!("warning: {warning}"));
    }
    for (issuer, file) in key_files::to_be_made(auth) {
        let (issuer, file) = (&issuer.name, file.display());
        tell(&format!(
            "note: auth.issuer `{issuer}`: `{file}` does not exist; it is made at the start"
        ));
    }
    let certificates = tls.iter().flat_map(|tls| &tls.certificates);
    let lines = std::iter::once(summary(&loaded.config)).chain(certificates.cloned());
    print(&(lines.collect::<Vec<_>>().join("\n") + "\n"))
}

/// The configuration of `sources`, if this very user could start a server with it.
///
/// # Errors
///
/// As [`run`].
pub(super) fn fitness(sources: &Sources) -> Result<Config, CommandError> {
    let config = config::load(sources)?;
    examine(&config)?;
    match identity_of(&config.process) {
        Ok(_) => Ok(config),
        Err(error) => Err(misconfigured(&[error.to_string()])),
    }
}

/// The files, users and folders that the configuration names.
fn examine(config: &Config) -> Result<(Guard, Option<LoadedTls>), CommandError> {
    let files = Files::on_disk();
    let mut errors = absent(config);
    if let Some(python) = &config.app.python {
        errors.extend(
            interpreter::Program::find(python)
                .err()
                .into_iter()
                .flatten(),
        );
    }
    let tls = key_files::load_tls(&files, config, None).unwrap_or_else(|of_tls| {
        errors.splice(0..0, of_tls);
        None
    });
    match key_files::load(&config.auth, MissingSecret::StandIn) {
        Ok(guard) if errors.is_empty() => {
            let signer = key_files::load_signer(&files, config, &guard).map(drop);
            signer
                .and_then(|()| key_files::load_database_password(&files, config).map(drop))
                .and_then(|()| key_files::load_collector_access(&files, config).map(drop))
                .map_err(|error| misconfigured(&[error]))?;
            Ok((guard, tls))
        }
        Ok(_) => Err(misconfigured(&errors)),
        Err(of_keys) => {
            errors.splice(0..0, of_keys);
            Err(misconfigured(&errors))
        }
    }
}

/// Whether workers can become what they shall be; a warning where only this user, who need not be the one that starts the
/// server, cannot have it so.
fn check_identity(config: &Config) -> Result<Option<String>, CommandError> {
    match identity_of(&config.process) {
        Ok(identity) => Ok(identity.warning().map(str::to_owned)),
        Err(error @ IdentityError::NotRoot(..)) => Ok(Some(error.to_string())),
        Err(error) => Err(misconfigured(&[error.to_string()])),
    }
}

/// Users, groups and folders that the start would miss.
fn absent(config: &Config) -> Vec<String> {
    let (server, process) = (&config.server, &config.process);
    let users = [
        ("process.user", process.user.as_deref()),
        ("server.unix_owner", server.unix_owner.as_deref()),
    ];
    let groups = [
        ("process.group", process.group.as_deref()),
        ("server.unix_group", server.unix_group.as_deref()),
    ];
    let supplementary = process.groups.iter().flatten();
    let supplementary = supplementary.map(|name| ("process.groups", Some(name.as_str())));
    let access_log = config.access_log.as_ref().and_then(|log| log.to.file());
    let files = [
        ("log.file", config.log.file.as_deref()),
        ("access_log.to", access_log),
        ("process.pid_file", process.pid_file.as_deref()),
    ];
    let unknown_user = |(key, name): (_, Option<&str>)| identity::user(key, name?).err();
    let unknown_group = |(key, name): (_, Option<&str>)| identity::group(key, name?).err();
    let no_folder = |(key, file): (&str, Option<&Path>)| {
        let folder = key_files::folder_of(file?);
        let shown = folder.display();
        (!folder.is_dir()).then(|| format!("`{key}`: there is no folder `{shown}`"))
    };
    let groups = groups.into_iter().chain(supplementary);
    let served = absent_folders(config);
    users
        .into_iter()
        .filter_map(unknown_user)
        .chain(groups.filter_map(unknown_group))
        .map(|error| error.to_string())
        .chain(files.into_iter().filter_map(no_folder))
        .chain(access_log.and_then(unwritable))
        .chain(served)
        .collect()
}

/// Folders of `[[http.static]]` that are none.
pub(super) fn absent_folders(config: &Config) -> Vec<String> {
    let folders = config.http.static_folders.iter().enumerate();
    let absent = folders.filter(|(_, served)| !served.folder.is_dir());
    absent
        .map(|(index, served)| {
            let folder = served.folder.display();
            format!("`http.static[{index}].folder`: there is no folder `{folder}`")
        })
        .collect()
}

/// Why the access log could not be opened by whoever asks, where its folder is there.
fn unwritable(file: &Path) -> Option<String> {
    let folder = key_files::folder_of(file);
    let error = output::may_append(file).err().filter(|_| folder.is_dir())?;
    let (file, reason) = (file.display(), error.kind());
    Some(format!(
        "`access_log.to`: `{file}` cannot be written: {reason}"
    ))
}

/// One line that tells whether this is the file that was meant.
fn summary(config: &Config) -> String {
    let shown = |bind: &Bind| {
        let tls = if config.speaks_tls(bind) {
            " (TLS)"
        } else {
            ""
        };
        format!("{bind}{tls}")
    };
    let binds: Vec<String> = config.server.bind.iter().map(shown).collect();
    let workers = match config.workers.count {
        WorkerCount::Auto => "a worker for each processor".to_owned(),
        WorkerCount::Fixed(count) => counted(usize::from(count), "worker"),
    };
    let python = config.app.python.as_ref().map(|python| {
        let interpreter = python.interpreter.display();
        format!(" {} in {interpreter},", python.application)
    });
    format!(
        "{} is fine:{} {}, {workers}, {}, {}",
        config.file.display(),
        python.unwrap_or_default(),
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
            @"/srv/config/demo.toml is fine: 127.0.0.1:8000, 2 workers, 1 issuer, 14 rules"
        );
    }
}
