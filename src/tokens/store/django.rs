//! The tables of a Django site with `SimpleJWT`. They are read and written as it does; what it does not keep, families and what a
//! token was used for, stands in one table beside them.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value as Json};

use super::super::rotation::Known;
use super::database::{Connection, Database, Row, Value};
use super::tokens::{BESIDE_DJANGO, expired_at};
use super::{Account, Refresh, Result, StoreError, Token, User};

/// What families, grace and reuse need, in the same columns as in destrier's own schema.
const SCRIPT: &str = include_str!("migrations/beside_django.sql");
const TABLE: &str = "destrier_refresh_tokens";

/// What there is of a site.
#[derive(Debug, Clone)]
pub(super) struct Django {
    /// The claim for a user's groups; absent when none is wanted.
    groups_claim: Option<String>,
    /// The blacklist application is installed; without it nothing is noted of any token, as with `SimpleJWT`.
    has_blacklist: bool,
}

impl Django {
    /// Looks at the tables, and makes the one beside them.
    pub(super) async fn prepare(
        database: &Database,
        groups_claim: Option<&str>,
        needs_blacklist: bool,
    ) -> Result<Self> {
        let mut reading = database.read().await?;
        let on = &mut reading.connection();
        if !on.has_table("auth_user").await? {
            return Err(StoreError::Missing(
                "there is no table `auth_user`: `manage.py migrate` makes it, and only sites whose AUTH_USER_MODEL is Django's own have it",
            ));
        }
        let has_groups =
            on.has_table("auth_group").await? && on.has_table("auth_user_groups").await?;
        if groups_claim.is_some() && !has_groups {
            return Err(StoreError::Missing(
                "there are no tables `auth_group` and `auth_user_groups`: set `auth.tokens.groups_claim = \"\"`",
            ));
        }
        let has_blacklist = on.has_table("token_blacklist_outstandingtoken").await?
            && on.has_table("token_blacklist_blacklistedtoken").await?;
        if needs_blacklist && !has_blacklist {
            return Err(StoreError::Missing(
                "there are no tables `token_blacklist_outstandingtoken` and `token_blacklist_blacklistedtoken`, which `auth.tokens.blacklist_after_rotation` needs: \
                 install `rest_framework_simplejwt.token_blacklist` and run `manage.py migrate`",
            ));
        }
        let is_made = on.has_table(TABLE).await?;
        drop(reading);
        if has_blacklist && !is_made {
            make_table(database)
                .await
                .map_err(|error| StoreError::Table {
                    error: Box::new(error),
                    script: SCRIPT.split_whitespace().collect::<Vec<_>>().join(" "),
                })?;
        }
        Ok(Self {
            groups_claim: groups_claim.map(str::to_owned),
            has_blacklist,
        })
    }

    /// The hash of some user that can log in: most others cost as much.
    pub(super) async fn sample_hash(on: &mut Connection<'_>) -> Result<Option<String>> {
        let statement = "SELECT password FROM auth_user WHERE password LIKE '%$%' AND password NOT LIKE '!%' ORDER BY id DESC LIMIT 1";
        let row = on.fetch(statement, &[]).await?;
        row.map(|row| row.get("password")).transpose()
    }

    /// The one of this name, as a login needs it.
    pub(super) async fn account(
        &self,
        on: &mut Connection<'_>,
        username: &str,
    ) -> Result<Option<Account>> {
        let statement = "SELECT CAST(id AS BIGINT) AS id, username, is_active, password FROM auth_user WHERE username = $1";
        let Some(row) = on.fetch(statement, &[username.into()]).await? else {
            return Ok(None);
        };
        Ok(Some(Account {
            user: self.user(on, &row).await?,
            password: row.get("password")?,
        }))
    }

    /// The one with this number.
    pub(super) async fn user_of(&self, on: &mut Connection<'_>, id: i64) -> Result<Option<User>> {
        let statement =
            "SELECT CAST(id AS BIGINT) AS id, username, is_active FROM auth_user WHERE id = $1";
        match on.fetch(statement, &[id.into()]).await? {
            Some(row) => self.user(on, &row).await.map(Some),
            None => Ok(None),
        }
    }

    async fn user(&self, on: &mut Connection<'_>, row: &Row) -> Result<User> {
        let id: i64 = row.get("id")?;
        let mut claims = Map::new();
        if let Some(claim) = &self.groups_claim {
            let statement = "SELECT g.name FROM auth_group g JOIN auth_user_groups m ON m.group_id = g.id WHERE m.user_id = $1 ORDER BY g.name";
            let rows = on.fetch_all(statement, &[id.into()]).await?;
            let names: Result<Vec<String>> = rows.iter().map(|row| row.get("name")).collect();
            claims.insert(claim.clone(), Json::from(names?));
        }
        Ok(User {
            id,
            username: row.get("username")?,
            is_active: row.get("is_active")?,
            claims,
        })
    }

    pub(super) async fn set_last_login(
        on: &mut Connection<'_>,
        id: Option<i64>,
        now: i64,
    ) -> Result<()> {
        let statement = "UPDATE auth_user SET last_login = $1 WHERE id = $2";
        on.execute(statement, &[date(now), id.into()]).await?;
        Ok(())
    }

    /// Puts a better hash in the place of one that nobody has changed meanwhile.
    pub(super) async fn upgrade_hash(
        on: &mut Connection<'_>,
        id: i64,
        old: &str,
        new: &str,
    ) -> Result<()> {
        let statement = "UPDATE auth_user SET password = $1 WHERE id = $2 AND password = $3";
        let values = [new.into(), id.into(), old.into()];
        on.execute(statement, &values).await?;
        Ok(())
    }

    pub(super) async fn lock(&self, on: &mut Connection<'_>, jti: &str) -> Result<()> {
        if self.has_blacklist {
            BESIDE_DJANGO.lock(on, jti).await?;
        }
        Ok(())
    }

    /// What is known of a token here, and of one that `SimpleJWT` blacklisted.
    pub(super) async fn known(&self, on: &mut Connection<'_>, jti: &str) -> Result<Option<Known>> {
        if !self.has_blacklist {
            return Ok(None);
        }
        let statement = "SELECT 1 FROM token_blacklist_blacklistedtoken b JOIN token_blacklist_outstandingtoken o ON o.id = b.token_id WHERE o.jti = $1";
        let is_blacklisted = on.fetch(statement, &[jti.into()]).await?.is_some();
        let mut known = BESIDE_DJANGO.known(on, jti).await?.unwrap_or_default();
        // One that was used here is blacklisted there too, which says nothing more.
        known.is_revoked |= is_blacklisted && known.successor.is_none();
        Ok(Some(known))
    }

    /// Notes a refresh token as `SimpleJWT` does, unless it is noted already.
    pub(super) async fn insert(
        &self,
        on: &mut Connection<'_>,
        token: Token<'_>,
        family_of: &str,
    ) -> Result<()> {
        if !self.has_blacklist {
            return Ok(());
        }
        let statement =
            "INSERT INTO token_blacklist_outstandingtoken (user_id, jti, token, created_at, expires_at)
             VALUES ((SELECT id FROM auth_user WHERE id = $1), $2, $3, $4, $5) ON CONFLICT (jti) DO NOTHING";
        let values = [
            token.user.into(),
            token.jti.into(),
            token.text.into(),
            date(token.issued_at),
            date(token.expires_at),
        ];
        on.execute(statement, &values).await?;
        BESIDE_DJANGO.insert(on, token, family_of).await
    }

    /// Notes that a token was used, and blacklists it; false when `SimpleJWT` did so at this very moment.
    pub(super) async fn spend(&self, on: &mut Connection<'_>, asked: &Refresh<'_>) -> Result<bool> {
        BESIDE_DJANGO.spend(on, asked).await?;
        blacklist(on, asked.token.jti, asked.new.at.seconds()).await
    }

    pub(super) async fn revoke(&self, on: &mut Connection<'_>, jti: &str, now: i64) -> Result<()> {
        if self.has_blacklist {
            BESIDE_DJANGO.revoke(on, jti, now).await?;
            blacklist(on, jti, now).await?;
        }
        Ok(())
    }

    pub(super) async fn revoke_family(
        &self,
        on: &mut Connection<'_>,
        jti: &str,
        now: i64,
    ) -> Result<()> {
        BESIDE_DJANGO.revoke_family(on, jti, now).await?;
        let statement =
            "INSERT INTO token_blacklist_blacklistedtoken (token_id, blacklisted_at)
             SELECT o.id, $1 FROM token_blacklist_outstandingtoken o JOIN destrier_refresh_tokens r ON r.jti = o.jti
             WHERE r.family = (SELECT family FROM destrier_refresh_tokens WHERE jti = $2)
             ON CONFLICT (token_id) DO NOTHING";
        on.execute(statement, &[date(now), jti.into()]).await?;
        Ok(())
    }

    /// Takes out rows of the table that is ours.
    pub(super) async fn sweep(&self, on: &mut Connection<'_>, now: i64, most: i64) -> Result<u64> {
        if !self.has_blacklist {
            return Ok(0);
        }
        BESIDE_DJANGO.sweep(on, now, most).await
    }

    /// As `manage.py flushexpiredtokens`, up to `most` rows of each table. It takes out what has expired; here that stays for as long as
    /// the greatest leeway, in which a token may be accepted still, and must be known to be blacklisted.
    pub(super) async fn flush(&self, on: &mut Connection<'_>, now: i64, most: i64) -> Result<u64> {
        if !self.has_blacklist {
            return Ok(0);
        }
        let values = [date(expired_at(now)), most.into()];
        let statement = "DELETE FROM token_blacklist_blacklistedtoken WHERE token_id IN (SELECT o.id FROM token_blacklist_outstandingtoken o
             JOIN token_blacklist_blacklistedtoken b ON b.token_id = o.id WHERE o.expires_at <= $1 LIMIT $2)";
        let blacklisted = on.execute(statement, &values).await?;
        let statement = "DELETE FROM token_blacklist_outstandingtoken WHERE id IN (SELECT o.id FROM token_blacklist_outstandingtoken o
             WHERE o.expires_at <= $1 AND NOT EXISTS (SELECT 1 FROM token_blacklist_blacklistedtoken b WHERE b.token_id = o.id) LIMIT $2)";
        let outstanding = on.execute(statement, &values).await?;
        let own = BESIDE_DJANGO.sweep(on, now, most).await?;
        Ok(blacklisted.saturating_add(outstanding).saturating_add(own))
    }
}

async fn make_table(database: &Database) -> Result<()> {
    let mut writing = database.write().await?;
    let on = &mut writing.connection();
    // Several workers boot at once; a writer in SQLite is alone as it is.
    if matches!(on, Connection::Postgres(_)) {
        let statement =
            "SELECT pg_advisory_xact_lock(hashtextextended('destrier_refresh_tokens', 0))";
        on.execute(statement, &[]).await?;
    }
    on.run(SCRIPT).await?;
    writing.commit().await
}

/// Whether it was not blacklisted yet.
async fn blacklist(on: &mut Connection<'_>, jti: &str, now: i64) -> Result<bool> {
    let statement = "INSERT INTO token_blacklist_blacklistedtoken (token_id, blacklisted_at)
         SELECT id, $1 FROM token_blacklist_outstandingtoken WHERE jti = $2
         ON CONFLICT (token_id) DO NOTHING";
    let rows = on.execute(statement, &[date(now), jti.into()]).await?;
    Ok(rows > 0)
}

fn date(seconds: i64) -> Value<'static> {
    let date = DateTime::<Utc>::from_timestamp(seconds, 0);
    // Dates of tokens were found to lie before the year 10000.
    Value::Date(date.unwrap_or(DateTime::<Utc>::MAX_UTC))
}
