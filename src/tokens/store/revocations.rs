//! The rows of what was revoked: a deny list for all who share the database. The table is destrier's own, also beside Django's.

use super::Result;
use super::database::{Connection, Row, Value};
use crate::auth::Revoked;

pub(super) const TABLE_NAME: &str = "destrier_revocations";
/// Made with the first entry.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS destrier_revocations (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    iss TEXT NOT NULL,
    issued_before BIGINT,
    expires_at BIGINT
)";

pub(super) async fn make_table(on: &mut Connection<'_>) -> Result<()> {
    on.run(TABLE).await
}

/// What is of use still.
pub(super) async fn list(on: &mut Connection<'_>, now: i64) -> Result<Vec<Revoked>> {
    let statement = "SELECT kind, name, iss, issued_before FROM destrier_revocations WHERE expires_at IS NULL OR expires_at > $1 ORDER BY kind, name, iss, issued_before";
    let rows = on.fetch_all(statement, &[now.into()]).await?;
    rows.iter().map(revoked).collect()
}

fn revoked(row: &Row) -> Result<Revoked> {
    let (kind, name, iss): (String, String, String) =
        (row.get("kind")?, row.get("name")?, row.get("iss")?);
    let issued_before: Option<i64> = row.get("issued_before")?;
    let mut entry = Revoked {
        issued_before: issued_before.and_then(|at| u64::try_from(at).ok()),
        iss: (!iss.is_empty()).then_some(iss),
        ..Revoked::default()
    };
    let place = match kind.as_str() {
        "jti" => &mut entry.jti,
        "sid" => &mut entry.sid,
        _ => &mut entry.sub,
    };
    *place = Some(name);
    Ok(entry)
}

/// Forgets up to `most` entries that are of no use any more; how many there were.
pub(super) async fn sweep(on: &mut Connection<'_>, now: i64, most: i64) -> Result<u64> {
    // Rows of this table have no key of their own.
    let statement = match on {
        Connection::Sqlite(_) => {
            "DELETE FROM destrier_revocations WHERE rowid IN (SELECT rowid FROM destrier_revocations WHERE expires_at <= $1 LIMIT $2)"
        }
        Connection::Postgres(_) => {
            "DELETE FROM destrier_revocations WHERE ctid IN (SELECT ctid FROM destrier_revocations WHERE expires_at <= $1 LIMIT $2)"
        }
    };
    on.execute(statement, &[now.into(), most.into()]).await
}

/// Notes one more, and forgets what is of no use any more.
pub(super) async fn add(on: &mut Connection<'_>, entry: &Revoked, now: i64) -> Result<()> {
    let statement =
        "DELETE FROM destrier_revocations WHERE expires_at IS NOT NULL AND expires_at <= $1";
    on.execute(statement, &[now.into()]).await?;
    let (kind, name) = match (&entry.jti, &entry.sid, &entry.sub) {
        (Some(jti), _, _) => ("jti", jti),
        (None, Some(sid), _) => ("sid", sid),
        (None, None, Some(sub)) => ("sub", sub),
        (None, None, None) => return Ok(()),
    };
    let number = |number: Option<u64>| number.map(|it| i64::try_from(it).unwrap_or(i64::MAX));
    let values = [
        kind.into(),
        name.as_str().into(),
        entry.iss.as_deref().unwrap_or_default().into(),
        Value::Number(number(entry.issued_before)),
        Value::Number(number(entry.exp)),
    ];
    let statement = "INSERT INTO destrier_revocations (kind, name, iss, issued_before, expires_at) VALUES ($1, $2, $3, $4, $5)";
    on.execute(statement, &values).await?;
    Ok(())
}
