//! Users and refresh tokens in a file of `SQLite`, which several workers share.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};
use sqlx::error::DatabaseError;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteRow, SqliteSynchronous,
};
use sqlx::{Row as _, SqlSafeStr as _, Transaction};

use super::super::rotation::{self, Decision, Known, Millis, Mode, Successor};
use super::{Account, Listed, Refresh, Refreshed, StoreError, Token, User};
use crate::config::LEEWAY_MAX;

type Result<T> = std::result::Result<T, StoreError>;

/// How long a writer waits for the others.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Readers beside one writer.
const CONNECTIONS_MAX: u32 = 4;
/// A token may be accepted for so many seconds after it expired: as long it must be known that it was used.
const LEEWAY: i64 = LEEWAY_MAX.as_secs().cast_signed();
/// Rows that one login or rotation sweeps away.
const SWEPT_AT_ONCE: i64 = 16;

/// An open file.
#[derive(Debug, Clone)]
pub(in crate::tokens) struct Sqlite {
    pool: SqlitePool,
}

impl Sqlite {
    /// Opens the file; makes it, and its tables, when they are missing.
    pub(in crate::tokens) async fn open(path: &Path) -> Result<Self> {
        make_private(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(BUSY_TIMEOUT * 2)
            // No timers: an idle worker sleeps.
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_lazy_with(options);
        let store = Self { pool };
        store.migrate().await?;
        Ok(store)
    }

    /// Closes the file: the last one to do so leaves nothing beside it.
    pub(in crate::tokens) async fn close(&self) {
        self.pool.close().await;
    }

    async fn migrate(&self) -> Result<()> {
        // The journal mode of a file that several processes make at once is changed by one of them; the busy handler is
        // not asked then.
        let mut attempts = 0..50;
        loop {
            match self.try_migrate().await {
                Err(error) if is_locked(&error) && attempts.next().is_some() => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn try_migrate(&self) -> Result<()> {
        let mut writing = self.write().await?;
        migrator().run(&mut *writing).await?;
        writing.commit().await?;
        Ok(())
    }

    /// The lock is taken at once: what is read in it cannot change before what is written.
    async fn write(&self) -> Result<Transaction<'static, sqlx::Sqlite>> {
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }

    pub(in crate::tokens) async fn account(&self, username: &str) -> Result<Option<Account>> {
        let row = sqlx::query(
            "SELECT id, username, is_active, claims, password FROM users WHERE username = ?",
        )
        .bind(username)
        .fetch_optional(&self.pool)
        .await?;
        let account = |row: SqliteRow| {
            Ok(Account {
                user: user(&row)?,
                password: row.try_get("password")?,
            })
        };
        row.map(account).transpose()
    }

    /// Notes a refresh token that a login made; the login too, where that is kept.
    pub(in crate::tokens) async fn logged_in(
        &self,
        token: Token<'_>,
        keeps_last_login: bool,
    ) -> Result<()> {
        let mut writing = self.write().await?;
        insert(&mut writing, token, token.jti).await?;
        if keeps_last_login {
            sqlx::query("UPDATE users SET last_login = ? WHERE id = ?")
                .bind(token.issued_at)
                .bind(token.user)
                .execute(&mut *writing)
                .await?;
        }
        sweep(&mut writing, token.issued_at).await?;
        writing.commit().await?;
        Ok(())
    }

    /// Decides about a refresh token and notes what was decided, as one step.
    pub(in crate::tokens) async fn refresh(&self, asked: Refresh<'_>) -> Result<Refreshed> {
        // To read is enough while nothing is written: no request waits for another one.
        if asked.mode == Mode::Keep {
            let mut reading = self.pool.acquire().await?;
            let decided = decide(&mut reading, &asked).await?;
            if !matches!(decided, Refreshed::Decided(Decision::Reused, _)) {
                return Ok(decided);
            }
        }
        let mut writing = self.write().await?;
        let decided = decide(&mut writing, &asked).await?;
        let Refreshed::Decided(decision, _) = &decided else {
            return Ok(decided);
        };
        match decision {
            Decision::Keep | Decision::Again(_) | Decision::Revoked => {}
            Decision::Rotate => succeed(&mut writing, &asked).await?,
            Decision::RotateOnce => {
                succeed(&mut writing, &asked).await?;
                spend(&mut writing, &asked).await?;
            }
            Decision::Reused => {
                revoke_family(&mut writing, asked.token.jti, asked.new.at.seconds()).await?;
            }
        }
        writing.commit().await?;
        Ok(decided)
    }

    /// Whether a token was blacklisted, or used where that is allowed once.
    pub(in crate::tokens) async fn is_revoked(&self, jti: &str) -> Result<bool> {
        let mut reading = self.pool.acquire().await?;
        let known = known(&mut reading, jti).await?;
        Ok(known.is_some_and(|known| known.is_revoked || known.successor.is_some()))
    }

    /// Blacklists a refresh token; one that was used already takes its family with it. Whether it was still good.
    pub(in crate::tokens) async fn blacklist(&self, token: Token<'_>, now: i64) -> Result<bool> {
        let mut writing = self.write().await?;
        let known = known(&mut writing, token.jti).await?.unwrap_or_default();
        let was_used = known.successor.is_some();
        if was_used {
            revoke_family(&mut writing, token.jti, now).await?;
        } else if !known.is_revoked {
            insert(&mut writing, token, token.jti).await?;
            sqlx::query("UPDATE refresh_tokens SET revoked_at = ? WHERE jti = ?")
                .bind(now)
                .bind(token.jti)
                .execute(&mut *writing)
                .await?;
        }
        writing.commit().await?;
        Ok(!was_used && !known.is_revoked)
    }

    pub(in crate::tokens) async fn add_user(
        &self,
        username: &str,
        password: &str,
        claims: &Map<String, Value>,
        now: i64,
    ) -> Result<i64> {
        let done = sqlx::query(
            "INSERT INTO users (username, password, claims, created_at) VALUES (?, ?, ?, ?)",
        )
        .bind(username)
        .bind(password)
        .bind(Value::from(claims.clone()).to_string())
        .bind(now)
        .execute(&self.pool)
        .await;
        match done {
            Ok(done) => Ok(done.last_insert_rowid()),
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                Err(StoreError::Taken)
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(in crate::tokens) async fn users(&self) -> Result<Vec<Listed>> {
        let rows = sqlx::query(
            "SELECT id, username, is_active, claims, created_at, last_login FROM users ORDER BY username",
        )
        .fetch_all(&self.pool)
        .await?;
        let listed = |row: &SqliteRow| {
            let user = user(row)?;
            Ok(Listed {
                id: user.id,
                username: user.username,
                is_active: user.is_active,
                claims: user.claims,
                created_at: row.try_get("created_at")?,
                last_login: row.try_get("last_login")?,
            })
        };
        rows.iter().map(listed).collect()
    }

    /// Sets the password, and ends every login with the old one.
    pub(in crate::tokens) async fn set_password(
        &self,
        username: &str,
        password: &str,
        now: i64,
    ) -> Result<()> {
        let mut writing = self.write().await?;
        let id = id_of(&mut writing, username).await?;
        sqlx::query("UPDATE users SET password = ? WHERE id = ?")
            .bind(password)
            .bind(id)
            .execute(&mut *writing)
            .await?;
        revoke_user(&mut writing, id, now).await?;
        writing.commit().await?;
        Ok(())
    }

    /// Lets a user log in, or not; one that may not loses its logins.
    pub(in crate::tokens) async fn set_active(
        &self,
        username: &str,
        is_active: bool,
        now: i64,
    ) -> Result<()> {
        let mut writing = self.write().await?;
        let id = id_of(&mut writing, username).await?;
        sqlx::query("UPDATE users SET is_active = ? WHERE id = ?")
            .bind(is_active)
            .bind(id)
            .execute(&mut *writing)
            .await?;
        if !is_active {
            revoke_user(&mut writing, id, now).await?;
        }
        writing.commit().await?;
        Ok(())
    }

    pub(in crate::tokens) async fn remove_user(&self, username: &str, now: i64) -> Result<()> {
        let mut writing = self.write().await?;
        let id = id_of(&mut writing, username).await?;
        revoke_user(&mut writing, id, now).await?;
        sqlx::query("DELETE FROM users WHERE id = ?")
            .bind(id)
            .execute(&mut *writing)
            .await?;
        writing.commit().await?;
        Ok(())
    }
}

/// What shall come of a refresh token; nothing is noted.
async fn decide(connection: &mut SqliteConnection, asked: &Refresh<'_>) -> Result<Refreshed> {
    let Some(user) = living_user(connection, asked.token.user).await? else {
        return Ok(Refreshed::NoUser);
    };
    let known = known(connection, asked.token.jti).await?;
    let decision = rotation::decide(known.as_ref(), asked.mode, asked.new.at);
    Ok(Refreshed::Decided(decision, user))
}

fn migrator() -> Migrator {
    Migrator::with_migrations(vec![Migration::new(
        1,
        "users and refresh tokens".into(),
        MigrationType::Simple,
        include_str!("0001_users_and_refresh_tokens.sql").into_sql_str(),
        false,
    )])
}

/// Password hashes are nobody's business: `SQLite` would make the file with the mode that the umask leaves. What it makes beside
/// the file gets the mode of the file.
fn make_private(path: &Path) -> io::Result<()> {
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn is_locked(error: &StoreError) -> bool {
    // SQLITE_BUSY and SQLITE_LOCKED with their extended codes (https://www.sqlite.org/rescode.html).
    let is_busy = |error: &sqlx::Error| {
        let code = error.as_database_error().and_then(DatabaseError::code);
        let code = code.and_then(|code| code.parse::<u32>().ok());
        code.is_some_and(|code| matches!(code & 0xff, 5 | 6))
    };
    match error {
        StoreError::Database(error) => is_busy(error),
        StoreError::Migration(error) => matches!(
            error,
            sqlx::migrate::MigrateError::Execute(error)
                | sqlx::migrate::MigrateError::ExecuteMigration(error, _) if is_busy(error)
        ),
        StoreError::File(_)
        | StoreError::Taken
        | StoreError::NoSuchUser
        | StoreError::Claims(_) => false,
    }
}

fn user(row: &SqliteRow) -> Result<User> {
    let id = row.try_get("id")?;
    let claims: String = row.try_get("claims")?;
    Ok(User {
        id,
        username: row.try_get("username")?,
        is_active: row.try_get("is_active")?,
        claims: serde_json::from_str(&claims).map_err(|_| StoreError::Claims(id))?,
    })
}

/// The user of a token; `Some(None)` for a token that names none, `None` when there is no such user that is active.
async fn living_user(
    connection: &mut SqliteConnection,
    id: Option<i64>,
) -> Result<Option<Option<User>>> {
    let Some(id) = id else {
        return Ok(Some(None));
    };
    let row = sqlx::query("SELECT id, username, is_active, claims FROM users WHERE id = ?")
        .bind(id)
        .fetch_optional(connection)
        .await?;
    let user = row.map(|row| user(&row)).transpose()?;
    Ok(user.filter(|user| user.is_active).map(Some))
}

async fn id_of(connection: &mut SqliteConnection, username: &str) -> Result<i64> {
    let row = sqlx::query("SELECT id FROM users WHERE username = ?")
        .bind(username)
        .fetch_optional(connection)
        .await?;
    let row = row.ok_or(StoreError::NoSuchUser)?;
    Ok(row.try_get("id")?)
}

async fn known(connection: &mut SqliteConnection, jti: &str) -> Result<Option<Known>> {
    let row = sqlx::query(
        "SELECT revoked_at, spent_at_ms, successor, successor_access FROM refresh_tokens WHERE jti = ?",
    )
    .bind(jti)
    .fetch_optional(connection)
    .await?;
    let known = |row: SqliteRow| {
        let revoked_at: Option<i64> = row.try_get("revoked_at")?;
        let spent_at: Option<i64> = row.try_get("spent_at_ms")?;
        let successor = |at| {
            Ok::<_, sqlx::Error>(Successor {
                refresh: row.try_get("successor")?,
                access: row.try_get("successor_access")?,
                at: Millis(at),
            })
        };
        Ok(Known {
            is_revoked: revoked_at.is_some(),
            successor: spent_at.map(successor).transpose()?,
        })
    };
    row.map(known).transpose()
}

/// Notes a refresh token, unless it is noted already. A user that no longer exists is nobody.
async fn insert(
    connection: &mut SqliteConnection,
    token: Token<'_>,
    family_of: &str,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO refresh_tokens (jti, family, user_id, issued_at, expires_at)
         VALUES (?1, coalesce((SELECT family FROM refresh_tokens WHERE jti = ?2), ?2),
                 (SELECT id FROM users WHERE id = ?3), ?4, ?5)
         ON CONFLICT (jti) DO NOTHING",
    )
    .bind(token.jti)
    .bind(family_of)
    .bind(token.user)
    .bind(token.issued_at)
    .bind(token.expires_at)
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes the token that was shown, which may come from elsewhere, and the one that follows it.
async fn succeed(connection: &mut SqliteConnection, asked: &Refresh<'_>) -> Result<()> {
    insert(connection, asked.token, asked.token.jti).await?;
    let issued_at = asked.new.at.seconds();
    let lifetime = i64::try_from(asked.lifetime.as_secs()).unwrap_or(i64::MAX);
    let new = Token {
        jti: &asked.new.refresh,
        user: asked.token.user,
        issued_at,
        expires_at: issued_at.saturating_add(lifetime),
    };
    insert(connection, new, asked.token.jti).await?;
    sweep(connection, issued_at).await
}

async fn spend(connection: &mut SqliteConnection, asked: &Refresh<'_>) -> Result<()> {
    sqlx::query(
        "UPDATE refresh_tokens SET spent_at_ms = ?, successor = ?, successor_access = ? WHERE jti = ?",
    )
    .bind(asked.new.at.0)
    .bind(&asked.new.refresh)
    .bind(&asked.new.access)
    .bind(asked.token.jti)
    .execute(connection)
    .await?;
    Ok(())
}

async fn revoke_family(connection: &mut SqliteConnection, jti: &str, now: i64) -> Result<()> {
    sqlx::query(
        "UPDATE refresh_tokens SET revoked_at = ?
         WHERE family = (SELECT family FROM refresh_tokens WHERE jti = ?) AND revoked_at IS NULL",
    )
    .bind(now)
    .bind(jti)
    .execute(connection)
    .await?;
    Ok(())
}

async fn revoke_user(connection: &mut SqliteConnection, id: i64, now: i64) -> Result<()> {
    sqlx::query(
        "UPDATE refresh_tokens SET revoked_at = ? WHERE user_id = ? AND revoked_at IS NULL",
    )
    .bind(now)
    .bind(id)
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes out some of what has expired: more than is put in, so that the table does not grow.
async fn sweep(connection: &mut SqliteConnection, now: i64) -> Result<()> {
    sqlx::query(
        "DELETE FROM refresh_tokens WHERE jti IN
         (SELECT jti FROM refresh_tokens WHERE expires_at <= ? LIMIT ?)",
    )
    .bind(now.saturating_sub(LEEWAY))
    .bind(SWEPT_AT_ONCE)
    .execute(connection)
    .await?;
    Ok(())
}
