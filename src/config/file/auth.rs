//! `[auth]` as it is written: who may sign tokens, where they stand, what requests need.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DAY, SECOND, Tokens};
use crate::config::notation::{Limit, OneOrMany, Period, Size, Text, Whole};
use crate::config::{
    Access, Algorithm, Binding, ClientCertFormat, ClientCertNeed, DPOP_WINDOW_MAX, LEEWAY_MAX,
    OnStale, RateBy,
};

/// Who may sign tokens and what they allow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, expecting = "a table")]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Auth {
    /// Named to clients that come without a valid token.
    pub realm: Text,
    /// What the server is called as a protected resource, `https://api.example.com`: clients are told where they get a token
    /// (RFC 9728). Not set: they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub resource: Option<Text>,
    /// Who issues tokens for it; when empty, every `auth.issuer.issuer` that is an address.
    pub authorization_servers: OneOrMany<Text>,
    /// Where a token may stand: `authorization`, `cookie:NAME`, `header:NAME`, `protocol:NAME`.
    pub token_from: OneOrMany<Text>,
    /// Origins whose pages may make requests with the token in a cookie, beside the host itself: `https://app.example.com`.
    pub trusted_origins: OneOrMany<Text>,
    /// A cookie whose value `csrf_header` repeats proves the same where the browser sends neither Origin nor Referer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub csrf_cookie: Option<Text>,
    /// See `csrf_cookie`; the two stand together.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub csrf_header: Option<Text>,
    /// Fields of the request in which the application gets claims, `X-Auth-Subject = "sub"`; a list is written with commas, or
    /// as `{ claim = "roles", format = "json" }` says.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub headers: BTreeMap<String, toml::Value>,
    /// The field in which it gets the payload of the token, as base64url of its JSON. Not set: in none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub payload_header: Option<Text>,
    /// The scheme and host in the addresses of DPoP proofs, `https://api.example.com`. Not set: the host that was asked, by https,
    /// or http too where the connection is not encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub dpop_origin: Option<Text>,
    /// How old a DPoP proof may be, in whole seconds; each is remembered for as long, so that nobody can use it again.
    pub dpop_window: Period<SECOND, { DPOP_WINDOW_MAX.as_secs() * SECOND }>,
    /// The field in which a proxy of `server.trusted_proxies` passes on the certificate of its client.
    pub client_cert_header: Text,
    /// How the certificate is written there: `rfc9440`, or `nginx` for `$ssl_client_escaped_cert`.
    pub client_cert_format: ClientCertFormat,
    /// Tokens that are not believed any more although they are valid.
    pub revocation: Revocation,
    /// The token service: login, refresh, verify, blacklist.
    pub tokens: Tokens,
    /// The parties whose tokens are believed.
    pub issuer: Vec<Issuer>,
    /// What requests need: the first rule that matches decides, a request that none matches is refused.
    pub rule: Vec<Rule>,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            realm: Text("destrier".to_owned()),
            resource: None,
            authorization_servers: OneOrMany::default(),
            token_from: OneOrMany(vec![Text("authorization".to_owned())]),
            trusted_origins: OneOrMany::default(),
            csrf_cookie: None,
            csrf_header: None,
            headers: BTreeMap::new(),
            payload_header: None,
            dpop_origin: None,
            dpop_window: Period(Duration::from_mins(1)),
            client_cert_header: Text("Client-Cert".to_owned()),
            client_cert_format: ClientCertFormat::Rfc9440,
            revocation: Revocation::default(),
            tokens: Tokens::default(),
            issuer: Vec::new(),
            rule: Vec::new(),
        }
    }
}

/// Tokens that are not believed any more although they are valid: `{"revoked": [{"jti": "…"}, {"sub": "42", "issued_before":
/// 1767225600}, {"sid": "…"}]}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, expecting = "a table")]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Revocation {
    /// The file with the list. It is watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub file: Option<Text>,
    /// Whether the database of the token service has such a list too, for all who share it: `destrier token revoke` writes there, and
    /// so do `destrier user disable`, `remove` and `passwd`.
    pub database: bool,
    /// The address of such a list, `https://…`; all that are given count.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub url: Option<Text>,
    /// How often `url` and `database` are asked.
    pub poll_interval: Period<SECOND, DAY>,
    /// The authorities that the server's certificate may come from, in PEM; those of the system when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub ca_file: Option<Text>,
    /// Whether `url` may lead to link-local addresses.
    pub allow_link_local: bool,
    /// How long the last list of `url` or `database` is good while its server is away.
    pub stale_max: Period<SECOND, { 365 * DAY }>,
    /// What becomes of tokens that are not listed while a list is not known or too old.
    pub on_stale: OnStale,
}

impl Default for Revocation {
    fn default() -> Self {
        Self {
            file: None,
            database: false,
            url: None,
            poll_interval: Period(Duration::from_secs(10)),
            ca_file: None,
            allow_link_local: false,
            stale_max: Period(Duration::from_mins(10)),
            on_stale: OnStale::Deny,
        }
    }
}

/// One party whose tokens are believed. Exactly one of `secret_file`, `public_key_file`, `jwks_file`, `jwks_url` and `discovery`
/// is needed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, expecting = "a table")]
#[schemars(deny_unknown_fields)]
#[expect(
    clippy::struct_field_names,
    reason = "the key is named after the claim `iss`"
)]
pub(in crate::config) struct Issuer {
    /// What messages call it; `issuer` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub name: Option<Text>,
    /// The file with the shared secret for HS256, HS384 and HS512.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub secret_file: Option<Text>,
    /// The file with the public key or certificate in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub public_key_file: Option<Text>,
    /// The file with the JWK or JWK set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub jwks_file: Option<Text>,
    /// Where the JWK set is fetched from, once for all workers: `https://…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub jwks_url: Option<Text>,
    /// The issuer whose metadata says where its JWK set is (`OpenID` Connect Discovery 1.0, RFC 8414): `https://…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub discovery: Option<Text>,
    /// The authorities whose certificates are trusted when keys are fetched, in PEM; when absent, those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub ca_file: Option<Text>,
    /// Whether keys may be fetched from link-local addresses, where clouds hand out credentials.
    pub allow_link_local: bool,
    /// How old fetched keys may become before they are fetched anew, where the answer does not say.
    pub refresh_interval: Period<SECOND, DAY>,
    /// How long the last good keys are used while no new ones can be fetched.
    pub stale_max: Period<SECOND, { 365 * DAY }>,
    /// Make `secret_file`, with a random secret, when it is missing. For development.
    pub create_missing: bool,
    /// The `iss` that its tokens must carry; when absent, `discovery`, or any that no other issuer has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub issuer: Option<Text>,
    /// `aud` must hold one of these; when empty a token must not carry an `aud`.
    pub audience: OneOrMany<Text>,
    /// Algorithms that its keys may be used with; when empty, what each key is made for.
    pub algorithms: OneOrMany<Algorithm>,
    /// Clock difference that is forgiven, in whole seconds.
    pub leeway: Period<0, { LEEWAY_MAX.as_secs() * SECOND }>,
    /// Claims that must be present.
    pub require: OneOrMany<Text>,
    /// What claims of all its tokens must hold; written as `auth.rule.claims`.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub claims: BTreeMap<String, toml::Value>,
    /// Values of the `typ` header that are accepted; when empty, any.
    pub typ: OneOrMany<Text>,
    /// What whoever shows one of its tokens must prove: nothing, to hold a key (`dpop`, RFC 9449), or to have a certificate
    /// (`mtls`, RFC 8705).
    pub binding: Binding,
}

impl Default for Issuer {
    fn default() -> Self {
        Self {
            name: None,
            secret_file: None,
            public_key_file: None,
            jwks_file: None,
            jwks_url: None,
            discovery: None,
            ca_file: None,
            allow_link_local: false,
            refresh_interval: Period(Duration::from_mins(15)),
            stale_max: Period(Duration::from_hours(24)),
            create_missing: false,
            issuer: None,
            audience: OneOrMany::default(),
            algorithms: OneOrMany::default(),
            leeway: Period(Duration::ZERO),
            require: OneOrMany::default(),
            claims: BTreeMap::new(),
            typ: OneOrMany::default(),
            binding: Binding::None,
        }
    }
}

/// What the requests that match need.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, expecting = "a table")]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Rule {
    /// A pattern on the path: `/exact`, `/users/{id}`, `/prefix/**`. Needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub path: Option<Text>,
    /// Methods it is for; when empty, all.
    pub methods: OneOrMany<Text>,
    /// Hosts it is for, without port: `api.example.com`, `*.example.com`; when empty, all.
    pub hosts: OneOrMany<Text>,
    /// Whether a token is needed.
    pub access: Access,
    /// Scopes that must all be granted.
    pub scopes: OneOrMany<Text>,
    /// Scopes of which one must be granted.
    pub any_scopes: OneOrMany<Text>,
    /// Roles of which one must be held.
    pub roles: OneOrMany<Text>,
    /// What claims must hold, by name or dotted path: exactly a value, or `{ contains = … }`, `{ one_of = […] }`,
    /// `{ equals = … }`.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub claims: BTreeMap<String, toml::Value>,
    /// How long ago the user may have logged in, by the claim `auth_time`; 0s: any time.
    pub max_age: Period<0, { 365 * DAY }>,
    /// Log and count what this rule would refuse, and let it pass.
    pub audit: bool,
    /// As `http.request_timeout`, which it replaces where it is given. 0s: for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Period<0, DAY>")]
    pub request_timeout: Option<Period<0, DAY>>,
    /// As `http.max_body`, which it replaces where it is given. 0: any size.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Size<1, { 1 << 50 }>")]
    pub max_body: Option<Size<1, { 1 << 50 }>>,
    /// The parameter of the query that may hold the token; it stands in logs and histories. Not set: none may.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub query_token: Option<Text>,
    /// Whether the client must have shown a certificate: `none` or `required`.
    pub client_cert: ClientCertNeed,
    /// Alternative names of certificates, of which the client's must have one: `DNS:robot.example`, `IP:192.0.2.7`,
    /// `URI:spiffe://example/robot`, `email:robot@example.com`; when empty, any certificate will do.
    pub client_cert_san: OneOrMany<Text>,
    /// How many requests one client may make that this rule lets pass, as all workers count them: `10/s`, `100/min`; then 429.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Limit")]
    pub rate: Option<Limit>,
    /// What makes a client: its `address`, or the `subject` of its token, which is the default where a token is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "RateBy")]
    pub rate_by: Option<RateBy>,
    /// How many of them it may make at once; as many as `rate` counts when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Whole<1, 1_000_000>")]
    pub rate_burst: Option<Whole<1, 1_000_000>>,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            path: None,
            methods: OneOrMany::default(),
            hosts: OneOrMany::default(),
            access: Access::Token,
            scopes: OneOrMany::default(),
            any_scopes: OneOrMany::default(),
            roles: OneOrMany::default(),
            claims: BTreeMap::new(),
            max_age: Period(Duration::ZERO),
            audit: false,
            request_timeout: None,
            max_body: None,
            query_token: None,
            client_cert: ClientCertNeed::None,
            client_cert_san: OneOrMany::default(),
            rate: None,
            rate_by: None,
            rate_burst: None,
        }
    }
}
