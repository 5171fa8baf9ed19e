//! The users of the token service, for the commands that manage them.

use serde_json::{Map, Value};
use tokio::runtime::Runtime;

use super::claims::Style;
use super::passwords;
use super::rotation::Millis;
use super::service::open;
use super::store::{Listed, ONE_CONNECTION, Password, Store};
use crate::config::{self, Schema};
use crate::sys::clock;

/// The users in the database of a configuration.
#[derive(Debug)]
pub struct Users {
    runtime: Runtime,
    store: Store,
    style: Style,
}

/// What stands between a command and its end, in words.
type Outcome<T> = Result<T, String>;

impl Users {
    /// Opens the database; makes it when it is missing.
    pub fn open(auth: &config::Auth, password: Option<&Password>) -> Outcome<Self> {
        let (Some(tokens), Some(issuer)) = (&auth.tokens, auth.token_issuer()) else {
            return Err("the configuration has no `auth.tokens.database`".to_owned());
        };
        if tokens.schema != Schema::Destrier {
            let message = "the users are Django's: manage them with its admin site, or with `manage.py` (createsuperuser, changepassword)";
            return Err(message.to_owned());
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        let store = runtime.block_on(open(tokens, password, ONE_CONNECTION))?;
        let style = Style::new(tokens, issuer);
        Ok(Self {
            runtime,
            store,
            style,
        })
    }

    /// Adds one; its number.
    pub fn add(&self, name: &str, password: &str, claims: &Map<String, Value>) -> Outcome<i64> {
        check_name(name)?;
        if let Some(claim) = claims.keys().find(|claim| !self.style.is_free(claim)) {
            return Err(format!(
                "claim `{claim}` is set by the token service itself"
            ));
        }
        let hash = hash(password)?;
        let adding = self.store.add_user(name, &hash, claims, now());
        self.runtime
            .block_on(adding)
            .map_err(|error| of(name, &error))
    }

    /// All of them, by name.
    pub fn list(&self) -> Outcome<Vec<Listed>> {
        let listing = self.runtime.block_on(self.store.users());
        listing.map_err(|error| error.to_string())
    }

    /// Sets a password; who is logged in must log in again when the access token ends.
    pub fn set_password(&self, name: &str, password: &str) -> Outcome<()> {
        let hash = hash(password)?;
        let setting = self.store.set_password(name, &hash, now());
        self.runtime
            .block_on(setting)
            .map_err(|error| of(name, &error))
    }

    /// Lets one log in, or not.
    pub fn set_active(&self, name: &str, is_active: bool) -> Outcome<()> {
        let setting = self.store.set_active(name, is_active, now());
        self.runtime
            .block_on(setting)
            .map_err(|error| of(name, &error))
    }

    /// Forgets one.
    pub fn remove(&self, name: &str) -> Outcome<()> {
        let removing = self.store.remove_user(name, now());
        self.runtime
            .block_on(removing)
            .map_err(|error| of(name, &error))
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        // A command ends at once; what it wrote shall stand in the file and not beside it.
        self.runtime.block_on(self.store.close());
    }
}

/// As Django has it: up to 150 characters; and what a login would trim away or refuse is no name.
fn check_name(name: &str) -> Outcome<()> {
    const LONGEST: usize = 150;
    let is_name = !name.is_empty()
        && name.chars().count() <= LONGEST
        && name.trim() == name
        && !name.chars().any(char::is_control);
    is_name.then_some(()).ok_or_else(|| {
        format!("a name has up to {LONGEST} characters, no white space around it and no control characters")
    })
}

fn hash(password: &str) -> Outcome<String> {
    if password.trim().is_empty() {
        return Err("the password is empty".to_owned());
    }
    if password.trim() != password {
        return Err("the password has white space around it, which a login takes away".to_owned());
    }
    passwords::hash(password).map_err(|error| format!("the password cannot be hashed: {error}"))
}

fn of(name: &str, error: &super::store::StoreError) -> String {
    format!("`{name}`: {error}")
}

fn now() -> i64 {
    Millis::of(clock::unix()).seconds()
}
