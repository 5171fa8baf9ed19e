//! A `PostgreSQL` server.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::Connection as _;
use sqlx::Executor as _;
use sqlx::migrate::{Migrate as _, Migration, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use tokio::time::timeout;

use super::database::Connection;
use super::{Password, Result, StoreError, migration};

/// How long a request waits for a connection; a server that is away is tried until then.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a boot may take to connect and to make the tables, which may mean to wait for other workers that do so.
const BOOT_TIMEOUT: Duration = Duration::from_secs(15);

/// Connects, and makes the tables when they are missing.
pub(super) async fn open(
    url: &str,
    password: Option<&Password>,
    connections: u32,
) -> Result<PgPool> {
    let options = options(url, password)?;
    let mut connection = first_connection(&options).await?;
    let migrating = timeout(BOOT_TIMEOUT, migrate(&mut connection));
    migrating
        .await
        .map_err(|_| StoreError::TooSlow(BOOT_TIMEOUT))??;
    // What was asked for is done, whatever the end of the connection is.
    drop(connection.close().await);
    Ok(pool(options, connections))
}

/// Makes the tables, unless they are there: `CREATE TABLE IF NOT EXISTS` needs the right to make tables also where it makes none.
async fn migrate(connection: &mut PgConnection) -> Result<()> {
    let migrator = migrator();
    let table = &migrator.table_name;
    if Connection::Postgres(connection).has_table(table).await? {
        let applied = connection.list_applied_migrations(table).await?;
        let is_done = |wanted: &Migration| {
            let mut applied = applied.iter();
            applied.any(|it| it.version == wanted.version && it.checksum == wanted.checksum)
        };
        let is_dirty = connection.dirty_version(table).await?.is_some();
        if !is_dirty && applied.len() == migrator.iter().len() && migrator.iter().all(is_done) {
            return Ok(());
        }
    }
    // Several workers boot at once: sqlx takes an advisory lock.
    migrator.run(connection).await?;
    Ok(())
}

/// Connects to a database that belongs to somebody else: nothing is made.
pub(super) async fn open_existing(
    url: &str,
    password: Option<&Password>,
    connections: u32,
) -> Result<PgPool> {
    let options = options(url, password)?;
    drop(first_connection(&options).await?.close().await);
    Ok(pool(options, connections))
}

fn options(url: &str, password: Option<&Password>) -> Result<PgConnectOptions> {
    let mut options = PgConnectOptions::from_str(url)?;
    if options.get_application_name().is_none() {
        options = options.application_name("destrier");
    }
    Ok(match password {
        Some(password) => options.password(password.reveal()),
        None => options,
    })
}

/// Not through the pool, which would say that it has no connection, but not why.
async fn first_connection(options: &PgConnectOptions) -> Result<PgConnection> {
    let connected = timeout(BOOT_TIMEOUT, options.connect());
    let mut connection = connected
        .await
        .map_err(|_| StoreError::TooSlow(BOOT_TIMEOUT))??;
    // That a table is there already is no news.
    connection
        .execute("SET client_min_messages = warning")
        .await?;
    Ok(connection)
}

fn pool(options: PgConnectOptions, connections: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // No timers: an idle worker sleeps.
        .idle_timeout(None)
        .max_lifetime(None)
        // A server that was restarted has closed every connection; one that does not answer is replaced.
        .test_before_acquire(true)
        .connect_lazy_with(options)
}

fn migrator() -> Migrator {
    Migrator::with_migrations(vec![migration(
        1,
        "users and refresh tokens",
        include_str!("migrations/postgres/0001_users_and_refresh_tokens.sql"),
    )])
}
