//! `[auth.tokens]` as it is written.

use std::num::NonZeroU32;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DAY, MINUTE, SECOND};
use crate::config::notation::{Limit, Period, Text, TextOrNone};
use crate::config::{Rate, RatePeriod, SchemaName, TokenKind};

/// The token service: login, refresh, verify, blacklist, as `SimpleJWT` answers them. It exists when it has a `database`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, expecting = "a table")]
#[schemars(deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    clippy::struct_field_names,
    reason = "the keys are named as the settings of SimpleJWT"
)]
pub(in crate::config) struct Tokens {
    /// Where users and refresh tokens are kept: `sqlite:PATH` or `postgresql://USER@HOST:PORT/NAME`. Not set: there is no token
    /// service.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub database: Option<Text>,
    /// The file with the password of the database's user.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub database_password_file: Option<Text>,
    /// Whose tables they are: `destrier`, or `django` for the database of a Django site with `SimpleJWT`.
    pub schema: SchemaName,
    /// With Django's tables: the claim that holds the names of a user's groups; empty: none.
    pub groups_claim: TextOrNone,
    /// With Django's tables: whether passwords may be checked with MD5.
    pub allow_md5_hashes: bool,
    /// With Django's tables: whether a login replaces a hash that Django would not make any more.
    pub upgrade_hashes: bool,
    /// The path before `/`, `/refresh/`, `/verify/` and `/blacklist/`.
    pub prefix: Text,
    /// The `name` of the issuer that signs; not needed when there is one only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub issuer: Option<Text>,
    /// The file with the issuer's private key, in PEM or as a JWK. An issuer with a `secret_file` signs with that.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub signing_key_file: Option<Text>,
    /// What a login gives: a refresh and an access token (`pair`), or one token that opens routes and refreshes itself
    /// (`sliding`).
    pub kind: TokenKind,
    /// How long an access token is valid, in whole seconds.
    pub access_lifetime: Period<SECOND, { 365 * DAY }>,
    /// How long a refresh token is valid, in whole seconds.
    pub refresh_lifetime: Period<SECOND, { 3650 * DAY }>,
    /// How long a sliding token is valid, in whole seconds.
    pub sliding_lifetime: Period<SECOND, { 365 * DAY }>,
    /// How long it can be refreshed after the login, in whole seconds.
    pub sliding_refresh_lifetime: Period<SECOND, { 3650 * DAY }>,
    /// Whether a refresh answers a new refresh token too.
    pub rotate_refresh_tokens: bool,
    /// Whether the refresh token that was used is blacklisted then; one that comes again ends the whole family.
    pub blacklist_after_rotation: bool,
    /// How long a used refresh token gets the same answer again, for requests that were made at the same time.
    pub reuse_grace: Period<0, { 5 * MINUTE }>,
    /// The claim that names the user, by number.
    pub user_id_claim: Text,
    /// Whether the time of the last login is kept.
    pub update_last_login: bool,
    /// How many logins are tried for one user name, whether there is such a user or not.
    pub throttle_account: Limit,
    /// How many logins are tried from one address; behind a proxy that is the proxy's, for all of its clients.
    pub throttle_address: Limit,
    /// How often rows of what has expired are taken out of the database; 0s: they go with logins and rotations only.
    pub flush_interval: Period<0, { 7 * DAY }>,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            database: None,
            database_password_file: None,
            schema: SchemaName::Destrier,
            groups_claim: TextOrNone(Some(Text("roles".to_owned()))),
            allow_md5_hashes: false,
            upgrade_hashes: false,
            prefix: Text("/api/token".to_owned()),
            issuer: None,
            signing_key_file: None,
            kind: TokenKind::Pair,
            access_lifetime: Period(Duration::from_mins(5)),
            refresh_lifetime: Period(Duration::from_hours(24)),
            sliding_lifetime: Period(Duration::from_mins(5)),
            sliding_refresh_lifetime: Period(Duration::from_hours(24)),
            rotate_refresh_tokens: false,
            blacklist_after_rotation: false,
            reuse_grace: Period(Duration::from_secs(10)),
            user_id_claim: Text("user_id".to_owned()),
            update_last_login: false,
            throttle_account: Limit(NonZeroU32::new(10).map(|count| Rate {
                count,
                per: RatePeriod::Minute,
            })),
            throttle_address: Limit(None),
            flush_interval: Period(Duration::from_hours(1)),
        }
    }
}
