//! Whose tables they are: destrier's own, or those of a Django site.

use super::super::rotation::Known;
use super::database::Connection;
use super::django::Django;
use super::tokens::{OWN, SWEPT_AT_ONCE};
use super::{Account, Refresh, Result, Token, User, users};

/// What stands where.
#[derive(Debug, Clone)]
pub(super) enum Schema {
    Own,
    Django(Django),
}

impl Schema {
    pub(super) async fn account(
        &self,
        on: &mut Connection<'_>,
        username: &str,
    ) -> Result<Option<Account>> {
        match self {
            Self::Own => users::account(on, username).await,
            Self::Django(django) => django.account(on, username).await,
        }
    }

    pub(super) async fn user_of(&self, on: &mut Connection<'_>, id: i64) -> Result<Option<User>> {
        match self {
            Self::Own => users::user_of(on, id).await,
            Self::Django(django) => django.user_of(on, id).await,
        }
    }

    pub(super) async fn set_last_login(
        &self,
        on: &mut Connection<'_>,
        id: Option<i64>,
        now: i64,
    ) -> Result<()> {
        match self {
            Self::Own => users::set_last_login(on, id, now).await,
            Self::Django(_) => Django::set_last_login(on, id, now).await,
        }
    }

    /// Waits until nobody else decides about the family of a token, or about its user.
    pub(super) async fn lock(&self, on: &mut Connection<'_>, token: Token<'_>) -> Result<()> {
        match self {
            Self::Own => {
                // The user first, as whoever changes one does.
                if let Some(id) = token.user {
                    users::lock(on, id).await?;
                }
                OWN.lock(on, token.jti).await
            }
            // Django ends no login when it changes a user, so there is nothing to wait for.
            Self::Django(django) => django.lock(on, token.jti).await,
        }
    }

    pub(super) async fn known(&self, on: &mut Connection<'_>, jti: &str) -> Result<Option<Known>> {
        match self {
            Self::Own => OWN.known(on, jti).await,
            Self::Django(django) => django.known(on, jti).await,
        }
    }

    /// Notes a refresh token, unless it is noted already.
    pub(super) async fn insert(
        &self,
        on: &mut Connection<'_>,
        token: Token<'_>,
        family_of: &str,
    ) -> Result<()> {
        match self {
            Self::Own => OWN.insert(on, token, family_of).await,
            Self::Django(django) => django.insert(on, token, family_of).await,
        }
    }

    /// Notes that the token that was shown was used; false when somebody who takes no locks was faster.
    pub(super) async fn spend(&self, on: &mut Connection<'_>, asked: &Refresh<'_>) -> Result<bool> {
        match self {
            Self::Own => OWN.spend(on, asked).await.map(|()| true),
            Self::Django(django) => django.spend(on, asked).await,
        }
    }

    pub(super) async fn revoke(&self, on: &mut Connection<'_>, jti: &str, now: i64) -> Result<()> {
        match self {
            Self::Own => OWN.revoke(on, jti, now).await,
            Self::Django(django) => django.revoke(on, jti, now).await,
        }
    }

    pub(super) async fn revoke_family(
        &self,
        on: &mut Connection<'_>,
        jti: &str,
        now: i64,
    ) -> Result<()> {
        match self {
            Self::Own => OWN.revoke_family(on, jti, now).await,
            Self::Django(django) => django.revoke_family(on, jti, now).await,
        }
    }

    /// Takes out some rows of what has expired.
    pub(super) async fn sweep(&self, on: &mut Connection<'_>, now: i64) -> Result<()> {
        match self {
            Self::Own => OWN.sweep(on, now, SWEPT_AT_ONCE).await,
            Self::Django(django) => django.sweep(on, now, SWEPT_AT_ONCE).await,
        }
        .map(drop)
    }

    /// Takes out up to `most` rows of each table; how many there were.
    pub(super) async fn flush(&self, on: &mut Connection<'_>, now: i64, most: i64) -> Result<u64> {
        match self {
            Self::Own => OWN.sweep(on, now, most).await,
            Self::Django(django) => django.flush(on, now, most).await,
        }
    }
}
