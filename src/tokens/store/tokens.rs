//! The rows of refresh tokens: what is known of one, and what is noted. The same statements for every database; the tables have
//! another name beside Django's.

use super::super::rotation::{Known, Millis, Successor};
use super::database::{Connection, Row};
use super::{Refresh, Result, Token};
use crate::config::LEEWAY_MAX;

/// A token may be accepted for so many seconds after it expired: as long it must be known that it was used.
const LEEWAY: i64 = LEEWAY_MAX.as_secs().cast_signed();
/// Rows that one login or rotation sweeps away.
pub(super) const SWEPT_AT_ONCE: i64 = 16;

/// Statements on a table of refresh tokens and one of users.
#[derive(Debug)]
pub(super) struct Table {
    lock: &'static str,
    known: &'static str,
    insert: &'static str,
    spend: &'static str,
    revoke: &'static str,
    revoke_family: &'static str,
    sweep_in_sqlite: &'static str,
    sweep_in_postgres: &'static str,
}

macro_rules! table {
    ($tokens:literal, $users:literal) => {
        Table {
            // Whatever comes of one login is decided about one after another, tokens included that have no row yet.
            lock: concat!(
                "SELECT pg_advisory_xact_lock(hashtextextended(coalesce((SELECT family FROM ",
                $tokens,
                " WHERE jti = $1), $1), 0))"
            ),
            known: concat!(
                "SELECT revoked_at, spent_at_ms, successor, successor_access FROM ",
                $tokens,
                " WHERE jti = $1"
            ),
            insert: concat!(
                "INSERT INTO ",
                $tokens,
                " (jti, family, user_id, issued_at, expires_at) VALUES ($1, coalesce((SELECT family FROM ",
                $tokens,
                " WHERE jti = $2), $2), (SELECT id FROM ",
                $users,
                " WHERE id = $3), $4, $5) ON CONFLICT (jti) DO NOTHING"
            ),
            spend: concat!(
                "UPDATE ",
                $tokens,
                " SET spent_at_ms = $1, successor = $2, successor_access = $3 WHERE jti = $4"
            ),
            revoke: concat!("UPDATE ", $tokens, " SET revoked_at = $1 WHERE jti = $2"),
            revoke_family: concat!(
                "UPDATE ",
                $tokens,
                " SET revoked_at = $1 WHERE family = (SELECT family FROM ",
                $tokens,
                " WHERE jti = $2) AND revoked_at IS NULL"
            ),
            sweep_in_sqlite: concat!(
                "DELETE FROM ",
                $tokens,
                " WHERE jti IN (SELECT jti FROM ",
                $tokens,
                " WHERE expires_at <= $1 LIMIT $2)"
            ),
            // Several workers sweep at once, and none waits for another.
            sweep_in_postgres: concat!(
                "DELETE FROM ",
                $tokens,
                " WHERE jti IN (SELECT jti FROM ",
                $tokens,
                " WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)"
            ),
        }
    };
}

/// The tables of destrier's own schema.
pub(super) static OWN: Table = table!("refresh_tokens", "users");

/// The table beside Django's.
pub(super) static BESIDE_DJANGO: Table = table!("destrier_refresh_tokens", "auth_user");

impl Table {
    /// Waits until nobody else decides about the family of a token. A writer in `SQLite` is alone as it is.
    pub(super) async fn lock(&self, on: &mut Connection<'_>, jti: &str) -> Result<()> {
        match on {
            Connection::Sqlite(_) => {}
            Connection::Postgres(_) => {
                on.execute(self.lock, &[jti.into()]).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn known(&self, on: &mut Connection<'_>, jti: &str) -> Result<Option<Known>> {
        let row = on.fetch(self.known, &[jti.into()]).await?;
        let known = |row: Row| {
            let revoked_at: Option<i64> = row.get("revoked_at")?;
            let spent_at: Option<i64> = row.get("spent_at_ms")?;
            let successor = |at| {
                Ok::<_, super::StoreError>(Successor {
                    refresh: row.get("successor")?,
                    access: row.get("successor_access")?,
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
    pub(super) async fn insert(
        &self,
        on: &mut Connection<'_>,
        token: Token<'_>,
        family_of: &str,
    ) -> Result<()> {
        let values = [
            token.jti.into(),
            family_of.into(),
            token.user.into(),
            token.issued_at.into(),
            token.expires_at.into(),
        ];
        on.execute(self.insert, &values).await?;
        Ok(())
    }

    /// Notes that the token that was shown was used.
    pub(super) async fn spend(&self, on: &mut Connection<'_>, asked: &Refresh<'_>) -> Result<()> {
        let values = [
            asked.new.at.0.into(),
            asked.new.refresh.as_str().into(),
            asked.new.access.as_str().into(),
            asked.token.jti.into(),
        ];
        on.execute(self.spend, &values).await?;
        Ok(())
    }

    pub(super) async fn revoke(&self, on: &mut Connection<'_>, jti: &str, now: i64) -> Result<()> {
        on.execute(self.revoke, &[now.into(), jti.into()]).await?;
        Ok(())
    }

    pub(super) async fn revoke_family(
        &self,
        on: &mut Connection<'_>,
        jti: &str,
        now: i64,
    ) -> Result<()> {
        let values = [now.into(), jti.into()];
        on.execute(self.revoke_family, &values).await?;
        Ok(())
    }

    /// Takes out some of what has expired, `most` rows; how many there were. A login takes out more than it puts in, so that the table
    /// does not grow.
    pub(super) async fn sweep(&self, on: &mut Connection<'_>, now: i64, most: i64) -> Result<u64> {
        let statement = match on {
            Connection::Sqlite(_) => self.sweep_in_sqlite,
            Connection::Postgres(_) => self.sweep_in_postgres,
        };
        on.execute(statement, &[expired_at(now).into(), most.into()])
            .await
    }
}

/// What expired until then is of no use at `now`.
pub(super) fn expired_at(now: i64) -> i64 {
    now.saturating_sub(LEEWAY)
}
