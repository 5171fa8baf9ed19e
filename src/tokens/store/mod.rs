//! Where users and refresh tokens are kept. Everything that is SQL stands in this folder.

mod database;
mod password;
mod postgres;
mod sqlite;
mod tokens;
mod users;

use std::time::Duration;

use serde_json::{Map, Value};
use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migration, MigrationType};

use super::rotation::{self, Decision, Mode, Successor};
use crate::config;
use database::{Connection, Database};
use tokens::OWN;

pub use password::Password;

type Result<T> = std::result::Result<T, StoreError>;

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
    #[error("{}", in_words(.0))]
    Database(#[from] sqlx::Error),
    /// The tables could not be made.
    #[error("{0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// It waits for something that does not come.
    #[error("no answer within {} s", .0.as_secs())]
    TooSlow(Duration),
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

/// How long a request waits for the database in all, locks included.
const PATIENCE: Duration = Duration::from_secs(10);

/// Users and refresh tokens.
#[derive(Debug, Clone)]
pub(super) struct Store {
    database: Database,
}

impl Store {
    /// Opens the database; makes what is missing of it.
    pub(super) async fn open(
        database: &config::Database,
        password: Option<&Password>,
    ) -> Result<Self> {
        let database = match database {
            config::Database::Sqlite(path) => Database::Sqlite(sqlite::open(path).await?),
            config::Database::Postgres { url, .. } => {
                Database::Postgres(postgres::open(url, password).await?)
            }
        };
        Ok(Self { database })
    }

    /// Ends all connections: the last one to close a file leaves nothing beside it.
    pub(super) async fn close(&self) {
        self.database.close().await;
    }

    pub(super) async fn account(&self, username: &str) -> Result<Option<Account>> {
        bounded(async {
            let mut reading = self.database.read().await?;
            users::account(&mut reading.connection(), username).await
        })
        .await
    }

    /// Notes a refresh token that a login made; the login too, where that is kept.
    pub(super) async fn logged_in(&self, token: Token<'_>, keeps_last_login: bool) -> Result<()> {
        bounded(async {
            let mut writing = self.database.write().await?;
            let on = &mut writing.connection();
            OWN.insert(on, token, token.jti).await?;
            if keeps_last_login {
                users::set_last_login(on, token.user, token.issued_at).await?;
            }
            OWN.sweep(on, token.issued_at).await?;
            writing.commit().await
        })
        .await
    }

    /// Decides about a refresh token and notes what was decided, as one step.
    pub(super) async fn refresh(&self, asked: Refresh<'_>) -> Result<Refreshed> {
        bounded(self.decide_and_note(&asked)).await
    }

    async fn decide_and_note(&self, asked: &Refresh<'_>) -> Result<Refreshed> {
        // To read is enough while nothing is written: no request waits for another one.
        if asked.mode == Mode::Keep {
            let mut reading = self.database.read().await?;
            let decided = decide(&mut reading.connection(), asked).await?;
            if !matches!(decided, Refreshed::Decided(Decision::Reused, _)) {
                return Ok(decided);
            }
        }
        let mut writing = self.database.write().await?;
        let on = &mut writing.connection();
        lock(on, asked.token).await?;
        let decided = decide(on, asked).await?;
        let Refreshed::Decided(decision, _) = &decided else {
            return Ok(decided);
        };
        match decision {
            Decision::Keep | Decision::Again(_) | Decision::Revoked => {}
            Decision::Rotate => succeed(on, asked).await?,
            Decision::RotateOnce => {
                succeed(on, asked).await?;
                OWN.spend(on, asked).await?;
            }
            Decision::Reused => {
                OWN.revoke_family(on, asked.token.jti, asked.new.at.seconds())
                    .await?;
            }
        }
        writing.commit().await?;
        Ok(decided)
    }

    /// Whether a token was blacklisted, or used where that is allowed once.
    pub(super) async fn is_revoked(&self, jti: &str) -> Result<bool> {
        bounded(async {
            let mut reading = self.database.read().await?;
            let known = OWN.known(&mut reading.connection(), jti).await?;
            Ok(known.is_some_and(|known| known.is_revoked || known.successor.is_some()))
        })
        .await
    }

    /// Blacklists a refresh token; one that was used already takes its family with it. Whether it was still good.
    pub(super) async fn blacklist(&self, token: Token<'_>, now: i64) -> Result<bool> {
        bounded(async {
            let mut writing = self.database.write().await?;
            let on = &mut writing.connection();
            lock(on, token).await?;
            let known = OWN.known(on, token.jti).await?.unwrap_or_default();
            let was_used = known.successor.is_some();
            if was_used {
                OWN.revoke_family(on, token.jti, now).await?;
            } else if !known.is_revoked {
                OWN.insert(on, token, token.jti).await?;
                OWN.revoke(on, token.jti, now).await?;
            }
            writing.commit().await?;
            Ok(!was_used && !known.is_revoked)
        })
        .await
    }

    pub(super) async fn add_user(
        &self,
        username: &str,
        password: &str,
        claims: &Map<String, Value>,
        now: i64,
    ) -> Result<i64> {
        bounded(users::add(&self.database, username, password, claims, now)).await
    }

    pub(super) async fn users(&self) -> Result<Vec<Listed>> {
        users::list(&self.database).await
    }

    /// Sets the password, and ends every login with the old one.
    pub(super) async fn set_password(
        &self,
        username: &str,
        password: &str,
        now: i64,
    ) -> Result<()> {
        bounded(users::set_password(&self.database, username, password, now)).await
    }

    /// Lets a user log in, or not; one that may not loses its logins.
    pub(super) async fn set_active(&self, username: &str, is_active: bool, now: i64) -> Result<()> {
        bounded(users::set_active(&self.database, username, is_active, now)).await
    }

    pub(super) async fn remove_user(&self, username: &str, now: i64) -> Result<()> {
        bounded(users::remove(&self.database, username, now)).await
    }
}

/// A server that is there but does not answer is as good as one that is away.
async fn bounded<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let done = tokio::time::timeout(PATIENCE, work).await;
    done.unwrap_or(Err(StoreError::TooSlow(PATIENCE)))
}

/// Waits until nobody else decides about the family of a token, or about its user.
async fn lock(on: &mut Connection<'_>, token: Token<'_>) -> Result<()> {
    // The user first, as whoever changes one does.
    if let Some(id) = token.user {
        users::lock(on, id).await?;
    }
    OWN.lock(on, token.jti).await
}

/// What shall come of a refresh token; nothing is noted.
async fn decide(on: &mut Connection<'_>, asked: &Refresh<'_>) -> Result<Refreshed> {
    let user = match asked.token.user {
        Some(id) => match users::user_of(on, id).await? {
            Some(user) if user.is_active => Some(user),
            Some(_) | None => return Ok(Refreshed::NoUser),
        },
        None => None,
    };
    let known = OWN.known(on, asked.token.jti).await?;
    let decision = rotation::decide(known.as_ref(), asked.mode, asked.new.at);
    Ok(Refreshed::Decided(decision, user))
}

/// Notes the token that was shown, which may come from elsewhere, and the one that follows it.
async fn succeed(on: &mut Connection<'_>, asked: &Refresh<'_>) -> Result<()> {
    OWN.insert(on, asked.token, asked.token.jti).await?;
    let issued_at = asked.new.at.seconds();
    let lifetime = i64::try_from(asked.lifetime.as_secs()).unwrap_or(i64::MAX);
    let new = Token {
        jti: &asked.new.refresh,
        user: asked.token.user,
        issued_at,
        expires_at: issued_at.saturating_add(lifetime),
    };
    OWN.insert(on, new, asked.token.jti).await?;
    OWN.sweep(on, issued_at).await
}

fn migration(version: i64, description: &'static str, text: &'static str) -> Migration {
    Migration::new(
        version,
        description.into(),
        MigrationType::Simple,
        text.into_sql_str(),
        false,
    )
}

/// What the pool says of a server that is away is about the pool.
fn in_words(error: &sqlx::Error) -> String {
    if matches!(error, sqlx::Error::PoolTimedOut) {
        return "no connection to the database: it cannot be reached, or all are in use".to_owned();
    }
    error.to_string()
}
