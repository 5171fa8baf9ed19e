//! A file of `SQLite`, which several workers share.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use super::{Result, StoreError, migration};

/// How long a writer waits for the others.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens the file; makes it, and its tables, when they are missing.
pub(super) async fn open(path: &Path, connections: u32) -> Result<SqlitePool> {
    make_private(path)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal);
    let pool = pool(options, connections);
    migrate(&pool).await?;
    Ok(pool)
}

/// Opens a file that belongs to somebody else: nothing is made, and its journal stays what it is.
pub(super) async fn open_existing(path: &Path, connections: u32) -> Result<SqlitePool> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true);
    let pool = pool(options, connections);
    drop(pool.acquire().await?);
    Ok(pool)
}

fn pool(options: SqliteConnectOptions, connections: u32) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(BUSY_TIMEOUT * 2)
        // No timers: an idle worker sleeps.
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

async fn migrate(pool: &SqlitePool) -> Result<()> {
    // The journal mode of a file that several processes make at once is changed by one of them; the busy handler is
    // not asked then.
    let mut attempts = 0..50;
    loop {
        match try_migrate(pool).await {
            Err(error) if is_locked(&error) && attempts.next().is_some() => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            outcome => return outcome,
        }
    }
}

async fn try_migrate(pool: &SqlitePool) -> Result<()> {
    let mut writing = pool.begin_with("BEGIN IMMEDIATE").await?;
    migrator().run(&mut *writing).await?;
    writing.commit().await?;
    Ok(())
}

fn migrator() -> Migrator {
    Migrator::with_migrations(vec![migration(
        1,
        "users and refresh tokens",
        include_str!("migrations/sqlite/0001_users_and_refresh_tokens.sql"),
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
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)
                if is_busy(error)
        ),
        StoreError::File(_)
        | StoreError::TooSlow(_)
        | StoreError::Missing(_)
        | StoreError::Table { .. }
        | StoreError::Signing(_)
        | StoreError::Taken
        | StoreError::NoSuchUser
        | StoreError::Claims(_) => false,
    }
}
