//! `destrier token revoke`: one entry more on the deny list that the configuration names.

use std::io;
use std::path::Path;

use super::{now, parse_ttl, read_token};
use crate::auth::{DenyListText, Revoked, UnixTime, inspect};
use crate::cli::{ConfigArgs, TokenRevokeArgs};
use crate::commands::user::become_the_workers;
use crate::commands::{CommandError, deny_table, load_config, lock_folder_of, tell};
use crate::config::{Config, DenyListSource, LEEWAY_MAX};
use crate::key_files;

/// Writes the entry; nothing has changed where that fails.
pub(super) fn run(args: &TokenRevokeArgs) -> Result<(), CommandError> {
    let config = load_config(&ConfigArgs {
        file: args.config.clone(),
        ..ConfigArgs::default()
    })?;
    let entry = entry(args, now())?;
    // All who share the database learn of it.
    if let Some(table) = deny_table(&config)? {
        become_the_workers(&config)?;
        let added = table.add(&entry);
        added.map_err(|error| CommandError::failure(format!("token: {error}")))?;
        tell(&format!(
            "{} on the list in the token database",
            in_words(&entry)
        ));
        return Ok(());
    }
    let files = config.auth.revocation.lists.iter();
    let mut files = files.filter_map(|list| match list {
        DenyListSource::File(path) => Some(path),
        DenyListSource::Remote(_) => None,
    });
    let path = files.next().ok_or_else(|| no_list(&config))?;
    let shown = path.display();
    // A link stays, and what it leads to is written anew.
    let target = path.canonicalize().map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            missing(path)
        } else {
            cannot(path, &error)
        }
    })?;
    // Two commands at once would else forget what one of them wrote.
    let _lock = lock_folder_of(&target).map_err(|error| cannot(path, &error))?;
    let list = key_files::read_deny_list(&target)
        .map_err(|error| CommandError::usage(format!("token: {error}")))?;
    let (list, is_new) = with(list, entry.clone(), now());
    let mut text = serde_json::to_vec_pretty(&list).map_err(|error| cannot(path, &error.into()))?;
    text.push(b'\n');
    key_files::replace(&target, &text).map_err(|error| cannot(path, &error))?;
    let what = in_words(&entry);
    if is_new {
        tell(&format!("{what} on `{shown}`"));
    } else {
        tell(&format!("{what} on `{shown}` already"));
    }
    Ok(())
}

/// Nothing that this command could write to; a list at an address is somebody else's.
fn no_list(config: &Config) -> CommandError {
    let file = config.file.display();
    let lists = &config.auth.revocation.lists;
    let only_url = if lists.is_empty() {
        ""
    } else {
        " (that of `auth.revocation.url` is kept by its server)"
    };
    let database = if config.auth.tokens.is_some() {
        ", or `database = true`: a table of the token database, for all servers that share it"
    } else {
        ""
    };
    CommandError::usage(format!(
        "token: `{file}` has no `auth.revocation.file` or `database`, so there is no list to put it on{only_url}\n\
         hint: {MAKE_LIST}, set `file = \"revoked.json\"` in its [auth.revocation]{database}; then `destrier reload`"
    ))
}

/// A server does not start without the file, so that nobody can have revoked anything in vain.
fn missing(path: &Path) -> CommandError {
    CommandError::usage(format!(
        "token: `{}`, which `auth.revocation.file` names, does not exist\nhint: {MAKE_LIST} there; workers read it, so it is no secret",
        path.display()
    ))
}

const MAKE_LIST: &str = "put `{\"revoked\": []}` into a file";

fn cannot(path: &Path, error: &io::Error) -> CommandError {
    let shown = path.display();
    CommandError::failure(format!("token: cannot write `{shown}`: {error}"))
}

fn entry(args: &TokenRevokeArgs, UnixTime(now): UnixTime) -> Result<Revoked, CommandError> {
    let ttl = args.ttl.as_deref().map(parse_ttl).transpose()?;
    let until = ttl.map(|ttl| now.saturating_add(ttl.as_secs()));
    let mut entry = Revoked {
        jti: args.jti.clone(),
        sub: args.sub.clone(),
        sid: args.sid.clone(),
        // One issued in this very second was issued before.
        issued_before: (args.sub.is_some() && !args.for_good).then_some(now.saturating_add(1)),
        iss: args.iss.clone(),
        exp: until,
    };
    if let Some(file) = &args.token_file {
        // Whatever is wrong with the token, the list is as it was, and what was asked for is wrong.
        let token = read_token(file).map_err(|error| CommandError::usage(error.message))?;
        let said = inspect(&token)
            .map_err(|error| CommandError::usage(format!("token cannot be read: {error}")))?;
        let text = |name: &str| said.payload.get(name).and_then(|it| it.as_str());
        let jti = text("jti").ok_or_else(|| {
            CommandError::usage(
                "token: it has no `jti` to be known by; --sub revokes every token of its subject",
            )
        })?;
        entry.jti = Some(jti.to_owned());
        entry.iss = entry.iss.or_else(|| text("iss").map(str::to_owned));
        let exp = said.payload.get("exp").and_then(serde_json::Value::as_u64);
        // Clocks may differ by as much as an issuer forgives.
        entry.exp = until.or_else(|| Some(exp?.saturating_add(LEEWAY_MAX.as_secs())));
    }
    let empty = [&entry.jti, &entry.sub, &entry.sid];
    if empty.into_iter().flatten().any(String::is_empty) {
        return Err(CommandError::usage(
            "token: what is revoked must not be empty",
        ));
    }
    Ok(entry)
}

/// The list with the entry, without entries that are of no use any more; whether the entry says something new.
fn with(list: DenyListText, entry: Revoked, UnixTime(now): UnixTime) -> (DenyListText, bool) {
    let mut revoked = list.revoked;
    revoked.retain(|each| each.exp.is_none_or(|exp| now < exp));
    let covers = |each: &Revoked| {
        let same = (&each.jti, &each.sub, &each.sid, &each.iss)
            == (&entry.jti, &entry.sub, &entry.sid, &entry.iss);
        let until = |exp: Option<u64>| exp.unwrap_or(u64::MAX);
        let before = |at: Option<u64>| at.unwrap_or(u64::MAX);
        same && until(each.exp) >= until(entry.exp)
            && before(each.issued_before) >= before(entry.issued_before)
    };
    let is_new = !revoked.iter().any(covers);
    if is_new {
        revoked.push(entry);
    }
    (DenyListText { revoked }, is_new)
}

fn in_words(entry: &Revoked) -> String {
    let what = match (&entry.jti, &entry.sub, &entry.sid) {
        (Some(jti), _, _) => format!("the token with jti `{jti}` is"),
        (_, Some(sub), _) if entry.issued_before.is_some() => {
            format!("the tokens of `{sub}` that were issued until now are")
        }
        (_, Some(sub), _) => format!("the tokens of `{sub}` are"),
        (_, _, Some(sid)) => format!("the tokens of the session `{sid}` are"),
        (None, None, None) => "nothing is".to_owned(),
    };
    what.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sub(name: &str, issued_before: Option<u64>, exp: Option<u64>) -> Revoked {
        Revoked {
            sub: Some(name.to_owned()),
            issued_before,
            exp,
            ..Revoked::default()
        }
    }

    #[test]
    fn what_has_expired_goes_and_what_is_there_is_not_written_twice() {
        let list = DenyListText {
            revoked: vec![
                sub("old", None, Some(100)),
                sub("a", Some(50), None),
                sub("b", None, Some(200)),
            ],
        };
        let (after, is_new) = with(list.clone(), sub("a", Some(40), None), UnixTime(100));
        assert!(!is_new);
        assert_eq!(after.revoked, list.revoked[1..]);
        let (after, is_new) = with(list, sub("a", Some(60), None), UnixTime(99));
        assert!(is_new);
        assert_eq!(after.revoked.len(), 4);
    }

    #[test]
    fn an_entry_for_longer_or_for_all_is_new() {
        let list = DenyListText {
            revoked: vec![sub("a", Some(50), Some(200))],
        };
        for entry in [sub("a", None, Some(200)), sub("a", Some(50), None)] {
            assert!(with(list.clone(), entry, UnixTime(0)).1);
        }
        let other = Revoked {
            iss: Some("i".to_owned()),
            ..sub("a", Some(50), Some(200))
        };
        assert!(with(list, other, UnixTime(0)).1);
    }
}
