//! `[auth.tokens]` in force: the token service.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Auth, Issuer};

impl Auth {
    /// The issuer that the token service signs for; absent when there is no service.
    pub fn token_issuer(&self) -> Option<&Issuer> {
        self.issuers.get(self.tokens.as_ref()?.issuer)
    }
}

/// `[auth.tokens]`: the token service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// The path before `/refresh/` and its like, without a slash at its end.
    pub prefix: String,
    /// The place in [`Auth::issuers`] of the one that signs.
    pub issuer: usize,
    /// The private key; absent for an issuer that has a secret, with which it signs.
    pub signing_key_file: Option<PathBuf>,
    /// What a login gives.
    pub kind: TokenKind,
    /// How long an access token is valid: whole seconds.
    pub access_lifetime: Duration,
    /// How long a refresh token is valid: whole seconds.
    pub refresh_lifetime: Duration,
    /// How long a sliding token is valid: whole seconds.
    pub sliding_lifetime: Duration,
    /// How long it can be refreshed after the login: whole seconds.
    pub sliding_refresh_lifetime: Duration,
    /// Whether a refresh answers a new refresh token too.
    pub rotate_refresh_tokens: bool,
    /// Whether the one that was used is blacklisted then.
    pub blacklist_after_rotation: bool,
    /// How long a used refresh token gets the same answer again.
    pub reuse_grace: Duration,
    /// The claim that names the user.
    pub user_id_claim: String,
    /// Whether the time of the last login is kept.
    pub update_last_login: bool,
    /// How many logins are tried for one user name; absent: any number.
    pub throttle_account: Option<Rate>,
    /// How many logins are tried from one address; absent: any number.
    pub throttle_address: Option<Rate>,
    /// Where users and refresh tokens are kept.
    pub database: Database,
}

impl Tokens {
    /// How long a token of the service can be valid at most: what its key signed is of no use after that.
    pub fn longest_lifetime(&self) -> Duration {
        match self.kind {
            TokenKind::Pair => self.refresh_lifetime.max(self.access_lifetime),
            TokenKind::Sliding => self.sliding_lifetime,
        }
    }
}

/// `auth.tokens.kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TokenKind {
    /// A refresh token and an access token.
    Pair,
    /// One token that opens routes and refreshes itself.
    Sliding,
}

/// So many within so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: NonZeroU32,
    /// Within how long.
    pub per: RatePeriod,
}

/// What a rate is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words say it")]
pub enum RatePeriod {
    Second,
    Minute,
    Hour,
    Day,
}

impl RatePeriod {
    /// Its length.
    pub const fn length(self) -> Duration {
        match self {
            Self::Second => Duration::from_secs(1),
            Self::Minute => Duration::from_mins(1),
            Self::Hour => Duration::from_hours(1),
            Self::Day => Duration::from_hours(24),
        }
    }
}

/// `auth.tokens.database`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// A file of `SQLite`, which all workers open.
    Sqlite(PathBuf),
}
