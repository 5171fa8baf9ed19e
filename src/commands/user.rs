//! `destrier user`: who may log in at the token service.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

use comfy_table::{Table, presets};
use serde_json::{Map, Value, json};

use super::token::parse_claim;
use super::{
    CommandError, ExitCode, load_config, load_database_password, misconfigured, print, tell,
};
use crate::cli::{ConfigArgs, UserAddArgs, UserCommand};
use crate::config::Config;
use crate::master::identity_of;
use crate::sys::identity::IdentityError;
use crate::tokens::{Listed, Users};

pub(super) fn run(command: &UserCommand) -> Result<ExitCode, CommandError> {
    match command {
        UserCommand::Add(args) => add(args)?,
        UserCommand::List { user, json } => list(user, *json)?,
        UserCommand::Passwd(args) => {
            let users = open(&args.place)?;
            let password = read_password(&args.name)?;
            done(users.set_password(&args.name, &password))?;
            tell(&format!(
                "`{}` has a new password, and must log in anew",
                args.name
            ));
        }
        UserCommand::Enable(args) => {
            done(open(&args.place)?.set_active(&args.name, true))?;
            tell(&format!("`{}` may log in", args.name));
        }
        UserCommand::Disable(args) => {
            done(open(&args.place)?.set_active(&args.name, false))?;
            tell(&format!(
                "`{}` may not log in, access tokens end with their lifetime",
                args.name
            ));
        }
        UserCommand::Remove(args) => {
            done(open(&args.place)?.remove(&args.name))?;
            tell(&format!(
                "`{}` is removed, access tokens end with their lifetime",
                args.name
            ));
        }
    }
    Ok(ExitCode::Success)
}

fn add(args: &UserAddArgs) -> Result<(), CommandError> {
    let claims = claims(args)?;
    let users = open(&args.user.place)?;
    let name = &args.user.name;
    let password = read_password(name)?;
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
    let users = done(open(args)?.list())?;
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
    let since_1970 = std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + since_1970).to_string()
}

fn open(args: &crate::cli::UserPlaceArgs) -> Result<Users, CommandError> {
    let config = load_config(&ConfigArgs {
        file: args.config.clone(),
        ..ConfigArgs::default()
    })?;
    if config.auth.tokens.is_none() {
        let message = format!(
            "user: `{}` has no `auth.tokens.database`, so there are no users",
            config.file.display()
        );
        return Err(CommandError::usage(message));
    }
    let password = load_database_password(&config)?;
    become_the_workers(&config)?;
    done(Users::open(&config.auth, password.as_ref()))
}

/// What root makes here, workers must be able to write to.
fn become_the_workers(config: &Config) -> Result<(), CommandError> {
    match identity_of(&config.process) {
        Ok(identity) => identity.assume().map_err(|error| {
            CommandError::failure(format!("user: cannot become `process.user`: {error}"))
        }),
        // Whether this user may write to the database, the file system says.
        Err(IdentityError::NotRoot(..)) => Ok(()),
        Err(error) => Err(misconfigured(&[error.to_string()])),
    }
}

fn done<T>(outcome: Result<T, String>) -> Result<T, CommandError> {
    outcome.map_err(|error| CommandError::failure(format!("user: {error}")))
}

/// From the terminal, twice and not shown; else the first line of standard input.
fn read_password(name: &str) -> Result<String, CommandError> {
    const LONGEST: u64 = 4096;
    let failed =
        |error: io::Error| CommandError::usage(format!("user: cannot read the password: {error}"));
    if io::stdin().is_terminal() {
        let ask = |prompt: String| rpassword::prompt_password(prompt).map_err(failed);
        let password = ask(format!("Password of {name}: "))?;
        if ask("The same again: ".to_owned())? != password {
            return Err(CommandError::usage("user: the passwords differ"));
        }
        return Ok(password);
    }
    let mut line = String::new();
    let mut input = io::stdin().lock().take(LONGEST);
    input.read_line(&mut line).map_err(failed)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
