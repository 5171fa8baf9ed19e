//! `destrier user`: who may log in at the token service.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};
use std::time::Duration;

use comfy_table::{Table, presets};
use serde_json::{Map, Value, json};

use super::token::parse_claim;
use super::{
    CommandError, ExitCode, deny_table, load_config, load_database_password, misconfigured, print,
    tell,
};
use crate::auth::Revoked;
use crate::cli::{ConfigArgs, UserAddArgs, UserCommand};
use crate::config::{Config, LEEWAY_MAX};
use crate::master::identity_of;
use crate::sys::clock;
use crate::sys::identity::IdentityError;
use crate::tokens::{DenyTable, Listed, Users};

pub(super) fn run(command: &UserCommand) -> Result<ExitCode, CommandError> {
    match command {
        UserCommand::Add(args) => add(args)?,
        UserCommand::List { user, json } => list(user, *json)?,
        UserCommand::Passwd(args) => {
            let (place, name) = (open(&args.user.place)?, &args.user.name);
            let password = read_password(name, args.allow_weak)?;
            let id = place.id_of(name)?;
            done(place.users.set_password(name, &password))?;
            let end = place.end_access(id)?;
            tell(&format!(
                "`{name}` has a new password, and must log in anew, {end}"
            ));
        }
        UserCommand::Enable(args) => {
            done(open(&args.place)?.users.set_active(&args.name, true))?;
            tell(&format!("`{}` may log in", args.name));
        }
        UserCommand::Disable(args) => {
            let place = open(&args.place)?;
            let id = place.id_of(&args.name)?;
            done(place.users.set_active(&args.name, false))?;
            let end = place.end_access(id)?;
            tell(&format!("`{}` may not log in, {end}", args.name));
        }
        UserCommand::Remove(args) => {
            let place = open(&args.place)?;
            let id = place.id_of(&args.name)?;
            done(place.users.remove(&args.name))?;
            let end = place.end_access(id)?;
            tell(&format!("`{}` is removed, {end}", args.name));
        }
    }
    Ok(ExitCode::Success)
}

fn add(args: &UserAddArgs) -> Result<(), CommandError> {
    let claims = claims(args)?;
    let users = open(&args.user.place)?.users;
    let name = &args.user.name;
    let password = read_password(name, args.allow_weak)?;
    let id = done(users.add(name, &password, &claims))?;
    tell(&format!("user {id}: `{name}` may log in"));
    Ok(())
}

/// What goes into the tokens of the user.
fn claims(args: &UserAddArgs) -> Result<Map<String, Value>, CommandError> {
    let mut claims = Map::new();
    for (name, values) in [("roles", &args.role), ("groups", &args.group)] {
        if !values.is_empty() {
            claims.insert(name.to_owned(), json!(values));
        }
    }
    if !args.scope.is_empty() {
        claims.insert("scope".to_owned(), args.scope.join(" ").into());
    }
    for text in &args.claim {
        let (name, value) = parse_claim("user add", text)?;
        claims.insert(name.to_owned(), value);
    }
    Ok(claims)
}

fn list(args: &crate::cli::UserPlaceArgs, as_json: bool) -> Result<(), CommandError> {
    let users = done(open(args)?.users.list())?;
    if as_json {
        let rows: Vec<Value> = users.iter().map(in_json).collect();
        return print(&format!("{:#}\n", Value::from(rows)));
    }
    if users.is_empty() {
        tell("there are no users; `destrier user add NAME` makes one");
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["ID", "NAME", "ACTIVE", "LAST LOGIN", "CLAIMS"]);
    for user in &users {
        table.add_row([
            user.id.to_string(),
            user.username.clone(),
            if user.is_active { "yes" } else { "no" }.to_owned(),
            user.last_login.map_or_else(|| "-".to_owned(), date),
            Value::from(user.claims.clone()).to_string(),
        ]);
    }
    let lines: Vec<String> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    print(&(lines.join("\n") + "\n"))
}

fn in_json(user: &Listed) -> Value {
    json!({
        "id": user.id,
        "username": user.username,
        "is_active": user.is_active,
        "created_at": date(user.created_at),
        "last_login": user.last_login.map(date),
        "claims": user.claims,
    })
}

/// RFC 3339, UTC.
fn date(seconds: i64) -> String {
    let since_1970 = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + since_1970).to_string()
}

/// Where users are kept.
struct Place {
    users: Users,
    /// Where the tokens that they have can be ended.
    table: Option<DenyTable>,
    /// How long these can be accepted at most.
    lifetime: Duration,
}

impl Place {
    /// The number of a user, where it is needed; an unknown one is told by what is done next.
    fn id_of(&self, name: &str) -> Result<Option<i64>, CommandError> {
        if self.table.is_none() {
            return Ok(None);
        }
        let users = done(self.users.list())?;
        let user = users.iter().find(|user| user.username == name);
        Ok(user.map(|user| user.id))
    }

    /// Ends the access tokens of a user where that is possible; in words, when they end.
    fn end_access(&self, user: Option<i64>) -> Result<&'static str, CommandError> {
        let (Some(table), Some(user)) = (&self.table, user) else {
            return Ok("access tokens end with their lifetime");
        };
        let now = clock::unix().as_secs();
        let lifetime = self.lifetime.saturating_add(LEEWAY_MAX).as_secs();
        let entry = Revoked {
            sub: Some(user.to_string()),
            // One issued in this very second was issued before.
            issued_before: Some(now.saturating_add(1)),
            exp: Some(now.saturating_add(lifetime)),
            ..Revoked::default()
        };
        done(table.add(&entry))?;
        Ok("access tokens end within `auth.revocation.poll_interval`")
    }
}

fn open(args: &crate::cli::UserPlaceArgs) -> Result<Place, CommandError> {
    let config = load_config(&ConfigArgs {
        file: args.config.clone(),
        ..ConfigArgs::default()
    })?;
    let Some(tokens) = &config.auth.tokens else {
        let message = format!(
            "user: `{}` has no `auth.tokens.database`, so there are no users",
            config.file.display()
        );
        return Err(CommandError::usage(message));
    };
    let password = load_database_password(&config)?;
    let table = deny_table(&config)?;
    become_the_workers(&config)?;
    Ok(Place {
        users: done(Users::open(&config.auth, password.as_ref()))?,
        table,
        lifetime: tokens.longest_lifetime(),
    })
}

/// What root makes here, workers must be able to write to.
pub(super) fn become_the_workers(config: &Config) -> Result<(), CommandError> {
    match identity_of(&config.process) {
        Ok(identity) => identity.assume().map_err(|error| {
            CommandError::failure(format!("cannot become `process.user`: {error}"))
        }),
        // Whether this user may write to the database, the file system says.
        Err(IdentityError::NotRoot(..)) => Ok(()),
        Err(error) => Err(misconfigured(&[error.to_string()])),
    }
}

fn done<T>(outcome: Result<T, String>) -> Result<T, CommandError> {
    outcome.map_err(|error| CommandError::failure(format!("user: {error}")))
}

/// From the terminal, twice and not shown; else the first line of standard input. No message repeats it.
fn read_password(name: &str, allow_weak: bool) -> Result<String, CommandError> {
    const LONGEST: u64 = 4096;
    let failed =
        |error: io::Error| CommandError::usage(format!("user: cannot read the password: {error}"));
    if io::stdin().is_terminal() {
        let ask = |prompt: String| rpassword::prompt_password(prompt).map_err(failed);
        let password = ask(format!("Password of {name}: "))?;
        judge(&password, allow_weak)?;
        if ask("The same again: ".to_owned())? != password {
            return Err(CommandError::usage("user: the passwords differ"));
        }
        return Ok(password);
    }
    let mut line = String::new();
    let mut input = io::stdin().lock().take(LONGEST);
    input.read_line(&mut line).map_err(failed)?;
    let password = line.trim_end_matches(['\r', '\n']);
    judge(password, allow_weak)?;
    Ok(password.to_owned())
}

/// Whether it is long enough. An empty one is told as such by whoever would hash it.
fn judge(password: &str, allow_weak: bool) -> Result<(), CommandError> {
    // As in NIST SP 800-63B (revision 3) section 5.1.1.2, and as Django's MinimumLengthValidator asks by default.
    const SHORTEST: usize = 8;
    if allow_weak || password.trim().is_empty() || password.chars().count() >= SHORTEST {
        return Ok(());
    }
    Err(CommandError::failure(format!(
        "user: the password is too short, it must have at least {SHORTEST} characters\nhint: `--allow-weak` accepts it"
    )))
}
