//! Where users and refresh tokens are kept. Everything that is SQL stands in this folder.

mod database;
mod django;
mod password;
mod postgres;
mod revocations;
mod schema;
mod sqlite;
mod tokens;
mod users;

use std::time::Duration;

use serde_json::{Map, Value};
use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migration, MigrationType};

use super::rotation::{self, Decision, Mode, Successor};
use crate::auth::Revoked;
use crate::config;
use database::{Connection, Database};
use django::Django;
use schema::Schema;

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

/// A user with the hash of the password.
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
    /// The whole of it, which only Django's tables keep.
    pub(super) text: &'a str,
    /// Whose it is.
    pub(super) user: Option<i64>,
    pub(super) issued_at: i64,
    pub(super) expires_at: i64,
}

/// Signs the new refresh token of a user.
pub(super) type Sign<'a> = dyn Fn(Option<&User>) -> std::result::Result<String, String> + Sync + 'a;

/// What a refresh asks for.
#[derive(Clone, Copy)]
pub(super) struct Refresh<'a> {
    /// What was shown.
    pub(super) token: Token<'a>,
    pub(super) mode: Mode,
    /// What shall be made, if anything.
    pub(super) new: &'a Successor,
    /// How long a new refresh token is valid.
    pub(super) lifetime: Duration,
    pub(super) sign: &'a Sign<'a>,
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
    /// It is not the database that was said.
    #[error("{0}")]
    Missing(&'static str),
    /// The table beside Django's cannot be made.
    #[error(
        "cannot make a table: {error}; let the user make tables, or run as the owner of the others: {script}"
    )]
    Table {
        /// What the database says.
        error: Box<Self>,
        /// What makes it.
        script: String,
    },
    /// The token that was to be noted could not be signed.
    #[error("{0}")]
    Signing(String),
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

/// Rows of each table that one transaction of a flush takes out.
const BATCH: i64 = 500;
/// So many transactions a flush has; what is left then is for the next one.
const BATCHES_MAX: u32 = 1000;
/// From one to the next.
const BETWEEN_BATCHES: Duration = Duration::from_millis(20);

/// Of a worker: readers beside one writer. Nearly all the time of a login is spent on its password, so that a few serve many.
pub(super) const CONNECTIONS_OF_A_WORKER: u32 = 4;
/// Of whoever opens the database, does one thing and closes it. With two, each of which ends while the other is not quite gone,
/// `SQLite` leaves its journal beside the file.
pub(super) const ONE_CONNECTION: u32 = 1;

/// Users and refresh tokens.
#[derive(Debug, Clone)]
pub(super) struct Store {
    database: Database,
    schema: Schema,
}

impl Store {
    /// Opens the database with so many connections at most; makes what is missing of it, where it is destrier's own.
    pub(super) async fn open(
        tokens: &config::Tokens,
        password: Option<&Password>,
        connections: u32,
    ) -> Result<Self> {
        let (database, schema) = match (&tokens.database, &tokens.schema) {
            (config::Database::Sqlite(path), config::Schema::Destrier) => (
                Database::Sqlite(sqlite::open(path, connections).await?),
                Schema::Own,
            ),
            (config::Database::Postgres { url, .. }, config::Schema::Destrier) => {
                let pool = postgres::open(url, password, connections).await?;
                (Database::Postgres(pool), Schema::Own)
            }
            (database, config::Schema::Django { groups_claim, .. }) => {
                let database = match database {
                    config::Database::Sqlite(path) => {
                        Database::Sqlite(sqlite::open_existing(path, connections).await?)
                    }
                    config::Database::Postgres { url, .. } => Database::Postgres(
                        postgres::open_existing(url, password, connections).await?,
                    ),
                };
                let needs_blacklist = tokens.blacklist_after_rotation;
                let preparing =
                    Django::prepare(&database, groups_claim.as_deref(), needs_blacklist);
                let django = bounded(preparing).await?;
                (database, Schema::Django(django))
            }
        };
        Ok(Self { database, schema })
    }

    /// In a table of Django's: hashes of users that can log in, the newest first.
    pub(super) async fn sample_hashes(&self) -> Result<Vec<String>> {
        bounded(async {
            let mut reading = self.database.read().await?;
            Django::sample_hashes(&mut reading.connection()).await
        })
        .await
    }

    /// In a table of Django's: puts a better hash in the place of one that nobody has changed meanwhile.
    pub(super) async fn upgrade_hash(&self, id: i64, old: &str, new: &str) -> Result<()> {
        bounded(async {
            let mut writing = self.database.write().await?;
            Django::upgrade_hash(&mut writing.connection(), id, old, new).await?;
            writing.commit().await
        })
        .await
    }

    /// Ends all connections: the last one to close a file leaves nothing beside it.
    pub(super) async fn close(&self) {
        self.database.close().await;
    }

    pub(super) async fn account(&self, username: &str) -> Result<Option<Account>> {
        bounded(async {
            let mut reading = self.database.read().await?;
            let on = &mut reading.connection();
            self.schema.account(on, username).await
        })
        .await
    }

    /// Notes a refresh token that a login made; the login too, where that is kept.
    pub(super) async fn logged_in(&self, token: Token<'_>, keeps_last_login: bool) -> Result<()> {
        bounded(async {
            let mut writing = self.database.write().await?;
            let on = &mut writing.connection();
            self.schema.insert(on, token, token.jti).await?;
            if keeps_last_login {
                self.schema
                    .set_last_login(on, token.user, token.issued_at)
                    .await?;
            }
            self.schema.sweep(on, token.issued_at).await?;
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
            let decided = self.decide(&mut reading.connection(), asked).await?;
            if !matches!(decided, Refreshed::Decided(Decision::Reused, _)) {
                return Ok(decided);
            }
        }
        let mut writing = self.database.write().await?;
        let on = &mut writing.connection();
        self.schema.lock(on, asked.token).await?;
        let decided = self.decide(on, asked).await?;
        let Refreshed::Decided(decision, user) = &decided else {
            return Ok(decided);
        };
        match decision {
            Decision::Keep | Decision::Again(_) | Decision::Revoked => {}
            Decision::Rotate => self.succeed(on, asked, user.as_ref()).await?,
            Decision::RotateOnce => {
                self.succeed(on, asked, user.as_ref()).await?;
                if !self.schema.spend(on, asked).await? {
                    // What was noted is undone.
                    return Ok(Refreshed::Decided(Decision::Revoked, user.clone()));
                }
            }
            Decision::Reused => {
                self.schema
                    .revoke_family(on, asked.token.jti, asked.new.at.seconds())
                    .await?;
            }
        }
        writing.commit().await?;
        Ok(decided)
    }

    /// What shall come of a refresh token; nothing is noted.
    async fn decide(&self, on: &mut Connection<'_>, asked: &Refresh<'_>) -> Result<Refreshed> {
        let user = match asked.token.user {
            Some(id) => match self.schema.user_of(on, id).await? {
                Some(user) if user.is_active => Some(user),
                Some(_) | None => return Ok(Refreshed::NoUser),
            },
            None => None,
        };
        let known = self.schema.known(on, asked.token.jti).await?;
        let decision = rotation::decide(known.as_ref(), asked.mode, asked.new.at);
        Ok(Refreshed::Decided(decision, user))
    }

    /// Notes the token that was shown, which may come from elsewhere, and the one that follows it.
    async fn succeed(
        &self,
        on: &mut Connection<'_>,
        asked: &Refresh<'_>,
        user: Option<&User>,
    ) -> Result<()> {
        self.schema.insert(on, asked.token, asked.token.jti).await?;
        let issued_at = asked.new.at.seconds();
        let lifetime = i64::try_from(asked.lifetime.as_secs()).unwrap_or(i64::MAX);
        let text = match self.schema {
            Schema::Own => String::new(),
            Schema::Django(_) => (asked.sign)(user).map_err(StoreError::Signing)?,
        };
        let new = Token {
            jti: &asked.new.refresh,
            text: &text,
            user: asked.token.user,
            issued_at,
            expires_at: issued_at.saturating_add(lifetime),
        };
        self.schema.insert(on, new, asked.token.jti).await?;
        self.schema.sweep(on, issued_at).await
    }

    /// Whether a token was blacklisted, or used where that is allowed once.
    pub(super) async fn is_revoked(&self, jti: &str) -> Result<bool> {
        bounded(async {
            let mut reading = self.database.read().await?;
            let known = self.schema.known(&mut reading.connection(), jti).await?;
            Ok(known.is_some_and(|known| known.is_revoked || known.successor.is_some()))
        })
        .await
    }

    /// Blacklists a refresh token; one that was used already takes its family with it. Whether it was still good.
    pub(super) async fn blacklist(&self, token: Token<'_>, now: i64) -> Result<bool> {
        bounded(async {
            let mut writing = self.database.write().await?;
            let on = &mut writing.connection();
            self.schema.lock(on, token).await?;
            let known = self.schema.known(on, token.jti).await?.unwrap_or_default();
            let was_used = known.successor.is_some();
            if was_used {
                self.schema.revoke_family(on, token.jti, now).await?;
            } else if !known.is_revoked {
                self.schema.insert(on, token, token.jti).await?;
                self.schema.revoke(on, token.jti, now).await?;
            }
            writing.commit().await?;
            Ok(!was_used && !known.is_revoked)
        })
        .await
    }

    /// Takes out what has expired, in transactions of which each is short, so that nobody waits for long; how many rows there were.
    pub(super) async fn flush(&self, now: i64) -> Result<u64> {
        let mut flushed: u64 = 0;
        for _ in 0..BATCHES_MAX {
            let rows = bounded(self.flush_some(now)).await?;
            flushed = flushed.saturating_add(rows);
            if rows == 0 {
                break;
            }
            // Whoever waits to write comes first.
            tokio::time::sleep(BETWEEN_BATCHES).await;
        }
        Ok(flushed)
    }

    async fn flush_some(&self, now: i64) -> Result<u64> {
        let mut writing = self.database.write().await?;
        let on = &mut writing.connection();
        let mut rows = self.schema.flush(on, now, BATCH).await?;
        if on.has_table(revocations::TABLE_NAME).await? {
            rows = rows.saturating_add(revocations::sweep(on, now, BATCH).await?);
        }
        writing.commit().await?;
        Ok(rows)
    }

    /// The deny list in the database, of which the table is made where it is missing.
    pub(super) async fn revoked(&self, now: i64) -> Result<Vec<Revoked>> {
        bounded(async {
            let mut reading = self.database.read().await?;
            let on = &mut reading.connection();
            if !on.has_table(revocations::TABLE_NAME).await? {
                return Ok(Vec::new());
            }
            revocations::list(on, now).await
        })
        .await
    }

    /// Puts an entry on the deny list.
    pub(super) async fn deny(&self, entry: &Revoked, now: i64) -> Result<()> {
        bounded(async {
            let mut writing = self.database.write().await?;
            let on = &mut writing.connection();
            revocations::make_table(on).await?;
            revocations::add(on, entry, now).await?;
            writing.commit().await
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
