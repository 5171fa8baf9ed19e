//! One way to ask `SQLite` and `PostgreSQL`: connections, values and rows of either.

use chrono::{DateTime, Utc};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool, PgRow, Postgres};
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{Database as Driver, Decode, Row as _, Transaction, Type};

use super::Result;

/// A database that is open.
#[derive(Debug, Clone)]
pub(super) enum Database {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// A connection to read with; each statement sees what is committed when it begins.
pub(super) enum Reading {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

/// A transaction, rolled back unless it is committed.
pub(super) enum Writing {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

/// What statements are sent to.
pub(super) enum Connection<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
}

/// A parameter of a statement: `$1` is the first one, in both databases.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Number(Option<i64>),
    Text(&'a str),
    Flag(bool),
    /// As Django keeps it: a text in UTC, or a time with its zone.
    Date(DateTime<Utc>),
}

/// What a statement answers.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Database {
    pub(super) async fn read(&self) -> Result<Reading> {
        Ok(match self {
            Self::Sqlite(pool) => Reading::Sqlite(pool.acquire().await?),
            Self::Postgres(pool) => Reading::Postgres(pool.acquire().await?),
        })
    }

    pub(super) async fn write(&self) -> Result<Writing> {
        Ok(match self {
            // The lock is taken at once: what is read in it cannot change before what is written.
            Self::Sqlite(pool) => Writing::Sqlite(pool.begin_with("BEGIN IMMEDIATE").await?),
            // What is read after a lock was waited for must be what the one before has written, whatever the database's own
            // default is.
            Self::Postgres(pool) => Writing::Postgres(
                pool.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED")
                    .await?,
            ),
        })
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

impl Reading {
    pub(super) fn connection(&mut self) -> Connection<'_> {
        match self {
            Self::Sqlite(connection) => Connection::Sqlite(connection),
            Self::Postgres(connection) => Connection::Postgres(connection),
        }
    }
}

impl Writing {
    pub(super) fn connection(&mut self) -> Connection<'_> {
        match self {
            Self::Sqlite(transaction) => Connection::Sqlite(transaction),
            Self::Postgres(transaction) => Connection::Postgres(transaction),
        }
    }

    pub(super) async fn commit(self) -> Result<()> {
        match self {
            Self::Sqlite(transaction) => transaction.commit().await?,
            Self::Postgres(transaction) => transaction.commit().await?,
        }
        Ok(())
    }
}

impl Connection<'_> {
    /// How many rows were changed.
    pub(super) async fn execute(
        &mut self,
        statement: &'static str,
        values: &[Value<'_>],
    ) -> Result<u64> {
        Ok(match self {
            Self::Sqlite(connection) => {
                let done = of_sqlite(statement, values).execute(&mut **connection);
                done.await?.rows_affected()
            }
            Self::Postgres(connection) => {
                let done = of_postgres(statement, values).execute(&mut **connection);
                done.await?.rows_affected()
            }
        })
    }

    /// Runs statements that have no parameters and answer nothing.
    pub(super) async fn run(&mut self, script: &'static str) -> Result<()> {
        match self {
            Self::Sqlite(connection) => sqlx::raw_sql(script)
                .execute(&mut **connection)
                .await
                .map(drop),
            Self::Postgres(connection) => sqlx::raw_sql(script)
                .execute(&mut **connection)
                .await
                .map(drop),
        }?;
        Ok(())
    }

    /// Whether there is such a table, where names without a schema are looked for.
    pub(super) async fn has_table(&mut self, name: &str) -> Result<bool> {
        let statement = match self {
            Self::Sqlite(_) => {
                "SELECT 1 FROM sqlite_master WHERE type IN ('table', 'view') AND name = $1"
            }
            Self::Postgres(_) => "SELECT 1 WHERE to_regclass($1) IS NOT NULL",
        };
        Ok(self.fetch(statement, &[name.into()]).await?.is_some())
    }

    pub(super) async fn fetch(
        &mut self,
        statement: &'static str,
        values: &[Value<'_>],
    ) -> Result<Option<Row>> {
        Ok(match self {
            Self::Sqlite(connection) => {
                let row = of_sqlite(statement, values).fetch_optional(&mut **connection);
                row.await?.map(Row::Sqlite)
            }
            Self::Postgres(connection) => {
                let row = of_postgres(statement, values).fetch_optional(&mut **connection);
                row.await?.map(Row::Postgres)
            }
        })
    }

    pub(super) async fn fetch_all(
        &mut self,
        statement: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>> {
        Ok(match self {
            Self::Sqlite(connection) => {
                let rows = of_sqlite(statement, values).fetch_all(&mut **connection);
                rows.await?.into_iter().map(Row::Sqlite).collect()
            }
            Self::Postgres(connection) => {
                let rows = of_postgres(statement, values).fetch_all(&mut **connection);
                rows.await?.into_iter().map(Row::Postgres).collect()
            }
        })
    }
}

type Statement<'q, D> = Query<'q, D, <D as Driver>::Arguments>;

fn of_sqlite<'q>(statement: &'static str, values: &'q [Value<'q>]) -> Statement<'q, Sqlite> {
    let query = sqlx::query(statement);
    values.iter().fold(query, |query, value| match *value {
        Value::Number(number) => query.bind(number),
        Value::Text(text) => query.bind(text),
        Value::Flag(flag) => query.bind(flag),
        Value::Date(date) => query.bind(date.naive_utc()),
    })
}

fn of_postgres<'q>(statement: &'static str, values: &'q [Value<'q>]) -> Statement<'q, Postgres> {
    let query = sqlx::query(statement);
    values.iter().fold(query, |query, value| match *value {
        Value::Number(number) => query.bind(number),
        Value::Text(text) => query.bind(text),
        Value::Flag(flag) => query.bind(flag),
        Value::Date(date) => query.bind(date),
    })
}

impl Row {
    /// The column of this name.
    pub(super) fn get<T>(&self, column: &str) -> Result<T>
    where
        T: for<'r> Decode<'r, Sqlite>
            + Type<Sqlite>
            + for<'r> Decode<'r, Postgres>
            + Type<Postgres>,
    {
        Ok(match self {
            Self::Sqlite(row) => row.try_get(column)?,
            Self::Postgres(row) => row.try_get(column)?,
        })
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<Option<i64>> for Value<'_> {
    fn from(number: Option<i64>) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}
