//! `[auth.tokens]` in force: the token service.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Auth, FeedPurpose, Issuer};

impl Auth {
    /// The issuer that the token service signs for; absent when there is no service.
    pub fn token_issuer(&self) -> Option<&Issuer> {
        self.issuers.get(self.tokens.as_ref()?.issuer)
    }

    /// Whose keys, or key to sign with, this is; absent of all else.
    pub fn issuer_of(&self, purpose: FeedPurpose) -> Option<&Issuer> {
        match purpose {
            FeedPurpose::IssuerKeys(place) => self.issuers.get(place),
            FeedPurpose::SigningKey => self.token_issuer(),
            FeedPurpose::DenyList(_) | FeedPurpose::TlsCertificate(_) | FeedPurpose::TlsClients => {
                None
            }
        }
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
    /// How often rows that are of no use any more are taken out; absent: they go with logins and rotations only.
    pub flush_interval: Option<Duration>,
    /// Where users and refresh tokens are kept.
    pub database: Database,
    /// In which tables.
    pub schema: Schema,
}

/// Claims that the token service sets itself, so that neither a user's record nor a group can.
pub const RESERVED_CLAIMS: [&str; 8] = [
    "token_type",
    "exp",
    "iat",
    "nbf",
    "jti",
    "aud",
    "iss",
    "refresh_exp",
];

/// `auth.tokens.schema` as it is written: whose tables they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SchemaName {
    /// Destrier's own, which it makes.
    Destrier,
    /// Those of an existing Django site with `SimpleJWT`.
    Django,
}

/// Whose tables they are, with what is asked of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schema {
    /// Destrier's own, which it makes.
    Destrier,
    /// Those of an existing Django site with `SimpleJWT`.
    Django {
        /// The claim that holds the names of a user's groups; absent when none shall.
        groups_claim: Option<String>,
        /// Whether a password may be checked with MD5.
        allow_md5_hashes: bool,
        /// Whether a login replaces a hash that Django would not make any more.
        upgrade_hashes: bool,
    },
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

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.per {
            RatePeriod::Second => "s",
            RatePeriod::Minute => "min",
            RatePeriod::Hour => "hour",
            RatePeriod::Day => "day",
        };
        write!(formatter, "{}/{word}", self.count)
    }
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
    /// A `PostgreSQL` server.
    Postgres {
        /// Where it is, with the user and the name of the database; the password is never in it.
        url: String,
        /// The file with the user's password; absent when the server wants none, or `PGPASSFILE` has it.
        password_file: Option<PathBuf>,
    },
}

impl fmt::Display for Database {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(formatter, "`{}`", path.display()),
            Self::Postgres { url, .. } => write!(formatter, "`{url}`"),
        }
    }
}
