//! The users of destrier's own schema.

use serde_json::{Map, Value as Json};

use super::database::{Connection, Database, Row};
use super::{Account, Listed, Result, StoreError, User};

/// Why a new row is refused when there is one with its name.
fn taken(error: StoreError) -> StoreError {
    let is_taken = matches!(&error, StoreError::Database(sqlx::Error::Database(error)) if error.is_unique_violation());
    if is_taken { StoreError::Taken } else { error }
}

fn user(row: &Row) -> Result<User> {
    let id = row.get("id")?;
    let claims: String = row.get("claims")?;
    Ok(User {
        id,
        username: row.get("username")?,
        is_active: row.get("is_active")?,
        claims: serde_json::from_str(&claims).map_err(|_| StoreError::Claims(id))?,
    })
}

/// The one of this name, as a login needs it.
pub(super) async fn account(on: &mut Connection<'_>, username: &str) -> Result<Option<Account>> {
    let statement =
        "SELECT id, username, is_active, claims, password FROM users WHERE username = $1";
    let row = on.fetch(statement, &[username.into()]).await?;
    let account = |row: Row| {
        Ok(Account {
            user: user(&row)?,
            password: row.get("password")?,
        })
    };
    row.map(account).transpose()
}

/// The one with this number.
pub(super) async fn user_of(on: &mut Connection<'_>, id: i64) -> Result<Option<User>> {
    let statement = "SELECT id, username, is_active, claims FROM users WHERE id = $1";
    let row = on.fetch(statement, &[id.into()]).await?;
    row.map(|row| user(&row)).transpose()
}

/// Waits for a command that ends the logins of this user, which then finds what is noted meanwhile. A writer in `SQLite` is
/// alone as it is.
pub(super) async fn lock(on: &mut Connection<'_>, id: i64) -> Result<()> {
    match on {
        Connection::Sqlite(_) => {}
        Connection::Postgres(_) => {
            let statement = "SELECT id FROM users WHERE id = $1 FOR SHARE";
            on.fetch(statement, &[id.into()]).await?;
        }
    }
    Ok(())
}

pub(super) async fn set_last_login(
    on: &mut Connection<'_>,
    id: Option<i64>,
    now: i64,
) -> Result<()> {
    let statement = "UPDATE users SET last_login = $1 WHERE id = $2";
    on.execute(statement, &[now.into(), id.into()]).await?;
    Ok(())
}

pub(super) async fn add(
    database: &Database,
    username: &str,
    password: &str,
    claims: &Map<String, Json>,
    now: i64,
) -> Result<i64> {
    let statement = "INSERT INTO users (username, password, claims, created_at) VALUES ($1, $2, $3, $4) RETURNING id";
    let claims = Json::from(claims.clone()).to_string();
    let values = [
        username.into(),
        password.into(),
        claims.as_str().into(),
        now.into(),
    ];
    let mut writing = database.write().await?;
    let added = writing.connection().fetch(statement, &values).await;
    let row = added.map_err(taken)?.ok_or(sqlx::Error::RowNotFound)?;
    writing.commit().await?;
    row.get("id")
}

pub(super) async fn list(database: &Database) -> Result<Vec<Listed>> {
    let statement = "SELECT id, username, is_active, claims, created_at, last_login FROM users ORDER BY username";
    let mut reading = database.read().await?;
    let rows = reading.connection().fetch_all(statement, &[]).await?;
    let listed = |row: &Row| {
        let user = user(row)?;
        Ok(Listed {
            id: user.id,
            username: user.username,
            is_active: user.is_active,
            claims: user.claims,
            created_at: row.get("created_at")?,
            last_login: row.get("last_login")?,
        })
    };
    rows.iter().map(listed).collect()
}

/// Sets the password, and ends every login with the old one.
pub(super) async fn set_password(
    database: &Database,
    username: &str,
    password: &str,
    now: i64,
) -> Result<()> {
    let statement = "UPDATE users SET password = $1 WHERE username = $2 RETURNING id";
    let mut writing = database.write().await?;
    let on = &mut writing.connection();
    let values = [password.into(), username.into()];
    let id = id_of(on.fetch(statement, &values).await?)?;
    revoke_all(on, id, now).await?;
    writing.commit().await
}

/// Lets a user log in, or not; one that may not loses its logins.
pub(super) async fn set_active(
    database: &Database,
    username: &str,
    is_active: bool,
    now: i64,
) -> Result<()> {
    let mut writing = database.write().await?;
    let on = &mut writing.connection();
    let id = mark_active(on, username, is_active).await?;
    if !is_active {
        revoke_all(on, id, now).await?;
    }
    writing.commit().await
}

pub(super) async fn remove(database: &Database, username: &str, now: i64) -> Result<()> {
    let mut writing = database.write().await?;
    let on = &mut writing.connection();
    // So that no refresh goes on meanwhile.
    let id = mark_active(on, username, false).await?;
    revoke_all(on, id, now).await?;
    on.execute("DELETE FROM users WHERE id = $1", &[id.into()])
        .await?;
    writing.commit().await
}

async fn mark_active(on: &mut Connection<'_>, username: &str, is_active: bool) -> Result<i64> {
    let statement = "UPDATE users SET is_active = $1 WHERE username = $2 RETURNING id";
    let values = [is_active.into(), username.into()];
    id_of(on.fetch(statement, &values).await?)
}

fn id_of(row: Option<Row>) -> Result<i64> {
    row.ok_or(StoreError::NoSuchUser)?.get("id")
}

async fn revoke_all(on: &mut Connection<'_>, id: i64, now: i64) -> Result<()> {
    let statement =
        "UPDATE refresh_tokens SET revoked_at = $1 WHERE user_id = $2 AND revoked_at IS NULL";
    on.execute(statement, &[now.into(), id.into()]).await?;
    Ok(())
}
