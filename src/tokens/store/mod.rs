//! Where users and refresh tokens are kept. Everything that is SQL stands in this folder.

mod sqlite;

use std::time::Duration;

use serde_json::{Map, Value};

use super::rotation::{Decision, Mode, Successor};

pub(super) use sqlite::Sqlite as Store;

/// A user, as tokens need one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct User {
    /// The number that tokens name.
    pub(super) id: i64,
    /// The name that is typed.
    pub(super) username: String,
    /// Whether a login and a refresh are let through.
    pub(super) is_active: bool,
    /// Roles, groups and other claims of the record.
    pub(super) claims: Map<String, Value>,
}

/// A user with the hash of the password, as a PHC string.
#[derive(Clone)]
pub(super) struct Account {
    pub(super) user: User,
    pub(super) password: String,
}

/// A user, as an operator sees one.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// The number that tokens name.
    pub id: i64,
    /// The name.
    pub username: String,
    /// Whether it may log in.
    pub is_active: bool,
    /// Roles, groups and other claims.
    pub claims: Map<String, Value>,
    /// When it was made: seconds since 1970.
    pub created_at: i64,
    /// When it last logged in, where that is kept.
    pub last_login: Option<i64>,
}

/// A refresh token that was shown, or made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'a> {
    pub(super) jti: &'a str,
    /// Whose it is.
    pub(super) user: Option<i64>,
    pub(super) issued_at: i64,
    pub(super) expires_at: i64,
}

/// What a refresh asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refresh<'a> {
    /// What was shown.
    pub(super) token: Token<'a>,
    pub(super) mode: Mode,
    /// What shall be made, if anything.
    pub(super) new: &'a Successor,
    /// How long a new refresh token is valid.
    pub(super) lifetime: Duration,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Refreshed {
    /// The token names a user that does not exist or is not active.
    NoUser,
    /// As it was decided; the user as the record has it now.
    Decided(Decision, Option<User>),
}

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// The database says so.
    #[error("{0}")]
    Database(#[from] sqlx::Error),
    /// The tables could not be made.
    #[error("{0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// Its file cannot be made.
    #[error("{0}")]
    File(#[from] std::io::Error),
    /// There is such a user already.
    #[error("there is a user of this name")]
    Taken,
    /// There is none.
    #[error("there is no user of this name")]
    NoSuchUser,
    /// What stands there is not what this program wrote.
    #[error("the claims of user {0} are not a JSON object")]
    Claims(i64),
}
