//! `[auth]` in force: who may sign tokens, where they stand, what they allow.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Fetch, Rate, Tokens};

/// `[auth]`: who may sign tokens and what they allow.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Auth {
    /// Named in the `WWW-Authenticate` challenge (RFC 6750 section 3).
    pub realm: String,
    /// What the server is called as a protected resource (RFC 9728): an address without query and fragment.
    pub resource: Option<String>,
    /// Who issues tokens for it, in the metadata: addresses.
    pub authorization_servers: Vec<String>,
    /// Where a token may stand in a request.
    pub token_from: Vec<TokenSource>,
    /// Origins beside the host that was asked, `https://app.example.com`, whose pages may make requests with the token in a
    /// cookie.
    pub trusted_origins: Vec<String>,
    /// What proves that the site made such a request, where the browser does not say.
    pub double_submit: Option<DoubleSubmit>,
    /// Fields of the request in which the application gets claims.
    pub headers: Vec<ClaimField>,
    /// The field in which it gets the whole payload, as the token carries it.
    pub payload_header: Option<HeaderName>,
    /// The scheme and host in the addresses of DPoP proofs: `https://api.example.com`. Absent: the host that was asked, whether by
    /// http or by https.
    pub dpop_origin: Option<String>,
    /// How old a DPoP proof may be, by its `iat`: whole seconds, up to [`DPOP_WINDOW_MAX`].
    pub dpop_window: Duration,
    /// The field, in lower case, in which a trusted proxy passes on the certificate of its client.
    pub client_cert_header: String,
    /// How the certificate is written there.
    pub client_cert_format: ClientCertFormat,
    /// What was revoked before it expires.
    pub revocation: Revocation,
    /// The token service; absent when it is off.
    pub tokens: Option<Tokens>,
    /// Who may sign.
    pub issuers: Vec<Issuer>,
    /// What a request needs; the first that matches decides, none that matches refuses.
    pub rules: Vec<Rule>,
}

/// One entry of `auth.headers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimField {
    /// The field.
    pub name: HeaderName,
    /// The claim, by name or by dotted path into a nested claim (`realm_access.roles`).
    pub claim: String,
    /// How it is written.
    pub format: FieldFormat,
}

/// `auth.headers.*.format`: how a claim becomes the value of a field.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldFormat {
    /// The items of a list after one another, or the one value; percent-encoded, so that a comma stands between items only.
    #[default]
    Comma,
    /// JSON in ASCII.
    Json,
}

impl Auth {
    /// Whether the tokens of one of the issuers are bound in this way.
    pub fn has_binding(&self, binding: Binding) -> bool {
        self.issuers.iter().any(|issuer| issuer.binding == binding)
    }

    /// Whether anything depends on the certificates of clients.
    pub fn wants_client_certs(&self) -> bool {
        let is_wanted = |rule: &Rule| rule.client_cert.is_some();
        self.has_binding(Binding::Mtls) || self.rules.iter().any(is_wanted)
    }

    /// Whether a rule lets clients make only so many requests.
    pub fn has_rate(&self) -> bool {
        self.rules.iter().any(|rule| rule.rate.is_some())
    }

    /// Whether the tokens of all issuers are.
    pub fn has_only_binding(&self, binding: Binding) -> bool {
        self.has_binding(binding) && self.issuers.iter().all(|issuer| issuer.binding == binding)
    }
}

/// The longest time for which a DPoP proof may be accepted: 10 minutes, for as long each is remembered.
pub const DPOP_WINDOW_MAX: Duration = Duration::from_mins(10);

/// `auth.issuer.binding`: what whoever shows a token of the issuer must prove besides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Binding {
    /// Nothing: who has the token may use it (RFC 6750). A token that is bound is refused.
    #[default]
    None,
    /// To hold the key of `cnf.jkt`, by a DPoP proof (RFC 9449).
    Dpop,
    /// To have the certificate of `cnf.x5t#S256` (RFC 8705).
    Mtls,
}

/// `auth.client_cert_format`: how a trusted proxy writes the certificate of its client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertFormat {
    /// DER as a byte sequence between colons (RFC 9440 section 2.1).
    #[default]
    Rfc9440,
    /// PEM with percent-encoding, the `$ssl_client_escaped_cert` of nginx.
    Nginx,
}

/// `[auth.revocation]`: tokens that are not believed any more although they are valid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revocation {
    /// Where the lists come from; a token on any of them is refused.
    pub lists: Vec<DenyListSource>,
    /// What becomes of other tokens while a list is not known, or older than it may be.
    pub on_stale: OnStale,
}

/// Where a deny list comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DenyListSource {
    /// A file that is watched.
    File(PathBuf),
    /// An address that the agent asks again and again.
    Remote(Fetch),
}

/// `auth.revocation.on_stale`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnStale {
    /// No token is believed: one that was revoked could be among them.
    #[default]
    Deny,
    /// They are believed.
    Allow,
}

/// One entry of `auth.token_from`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// The Authorization field, after `Bearer` (RFC 6750 section 2.1).
    Authorization,
    /// The cookie of this name.
    Cookie(String),
    /// The field of this name, in lower case; its value is the token.
    Header(String),
    /// The WebSocket subprotocol after the one of this name.
    Protocol(String),
}

/// `auth.csrf_cookie` and `auth.csrf_header`: a field repeats the value of a cookie, which only a page of the site can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoubleSubmit {
    /// The name of the cookie.
    pub cookie: String,
    /// The name of the field, in lower case.
    pub header: String,
}

/// `[[auth.issuer]]`: one party whose tokens are believed.
#[derive(Debug, Clone, PartialEq)]
pub struct Issuer {
    /// What messages call it: `name`, else the `iss` it signs with, else its number in the file.
    pub name: String,
    /// Where its keys are.
    pub keys: KeySource,
    /// The `iss` its tokens must carry; when absent, any that no other issuer has.
    pub issuer: Option<String>,
    /// `aud` must hold one of these; when empty a token must not carry an `aud`.
    pub audience: Vec<String>,
    /// Algorithms its keys may be used with; when empty, what each key is made for.
    pub algorithms: Vec<Algorithm>,
    /// Clock difference that is forgiven: whole seconds, for tokens are judged by the second, up to [`LEEWAY_MAX`].
    pub leeway: Duration,
    /// Claims that must be present, of any name.
    pub require: Vec<String>,
    /// What claims must hold, by name or dotted path.
    pub claims: BTreeMap<String, ClaimTest>,
    /// Values of the `typ` header that are accepted, compared without case and `application/`; empty: any.
    pub typ: Vec<String>,
    /// What whoever shows one of its tokens must prove besides.
    pub binding: Binding,
    /// Whether it signs for the token service, so that a claim `token_type` must say `access` where there is one: a refresh
    /// token opens nothing.
    pub signs_refresh_tokens: bool,
    /// Whether the token service signs sliding tokens, so that `sliding` is as good as `access` there.
    pub signs_sliding_tokens: bool,
}

impl Issuer {
    /// Whether its keys are fetched.
    pub fn is_remote(&self) -> bool {
        matches!(self.keys, KeySource::Remote(_))
    }
}

/// The most that a clock may be wrong: 10 minutes.
pub const LEEWAY_MAX: Duration = Duration::from_mins(10);

/// Where the keys of an issuer are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A shared secret for HS256, HS384 and HS512: the bytes of the file without a last line break.
    Secret {
        /// The file.
        file: PathBuf,
        /// Make the file, with a random secret and mode 0600, when it is missing. For development.
        create_missing: bool,
    },
    /// A public key or certificate in PEM.
    PublicKey(PathBuf),
    /// A JWK or JWK set (RFC 7517).
    Jwks(PathBuf),
    /// A JWK set that the agent fetches.
    Remote(Fetch),
}

/// A signature algorithm of RFC 7518 section 3.1 or RFC 8037.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the RFC's own names")]
pub enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    #[serde(rename = "EdDSA", alias = "Ed25519")]
    EdDsa,
}

/// `[[auth.rule]]`: what the requests that match need.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// A pattern on the path: `/exact`, `/prefix/**`, `/users/{id}`.
    pub path: String,
    /// Methods it is for; empty: all.
    pub methods: Vec<String>,
    /// Hosts it is for, in lower case: `api.example.com`, or `*.example.com` for every host below it; empty: all.
    pub hosts: Vec<String>,
    /// Whether a token is needed.
    pub access: Access,
    /// Scopes that must all be granted (`scope` or `scp`).
    pub scopes: Vec<String>,
    /// Scopes of which one must be granted.
    pub any_scopes: Vec<String>,
    /// Roles of which one must be held (`roles`).
    pub roles: Vec<String>,
    /// What claims must hold, by name or by dotted path into a nested claim (`realm_access.roles`).
    pub claims: BTreeMap<String, ClaimTest>,
    /// How long ago the user may have logged in (`auth_time`, `OpenID` Connect Core section 2).
    pub max_age: Option<Duration>,
    /// What this rule would refuse is logged and counted, and passes.
    pub audit: bool,
    /// From the last header of a request until its answer begins: its own, else `http.request_timeout`.
    pub request_timeout: Option<Duration>,
    /// How many bytes the body of a request may have: its own, else `http.max_body`.
    pub max_body: u64,
    /// The parameter of the query that may hold the token.
    pub query_token: Option<String>,
    /// The certificate that the client must have shown; absent: none is needed.
    pub client_cert: Option<ClientCert>,
    /// How many requests one client may make; absent: any number.
    pub rate: Option<RuleRate>,
}

/// How many requests one client may make that a rule lets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleRate {
    /// So many within so long, evenly.
    pub rate: Rate,
    /// So many at once.
    pub burst: NonZeroU32,
    /// What makes a client.
    pub by: RateBy,
}

/// `auth.rule.rate_by`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RateBy {
    /// Its address; of IPv6 the network of 64 bits.
    Address,
    /// The issuer and the subject of its token; its address where it has none.
    Subject,
}

/// What a rule asks of the certificate of the client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientCert {
    /// Alternative names, each after its kind (`DNS:robot.example`), of which it must have one; empty: any certificate will do.
    pub names: Vec<String>,
}

/// `auth.rule.client_cert`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertNeed {
    /// None is needed.
    #[default]
    None,
    /// The client must have shown one.
    Required,
}

/// What a claim must hold.
#[derive(Debug, Clone, PartialEq)]
pub enum ClaimTest {
    /// Exactly this value.
    Equals(serde_json::Value),
    /// A list with this item; or a text of names separated by blanks, with this name.
    Contains(serde_json::Value),
    /// One of these values.
    OneOf(Vec<serde_json::Value>),
}

/// `auth.rule.access`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// No token is looked at.
    Public,
    /// A token may be absent, but one that is there must be valid.
    Optional,
    /// A valid token is needed.
    Token,
}
