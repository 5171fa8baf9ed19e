//! One request to the token service: what is asked is looked up, decided, noted, signed and logged here.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use serde_json::{Value, json};

use super::answer::Answer;
use super::audit_log::{AuditLog, Client};
use super::claims::{self, ClaimMap, KindError, Pair, Style, Whom};
use super::endpoint::Endpoint;
use super::failure::{self, BLACKLISTED, Failure};
use super::passwords::{Busy, Policy, Pool};
use super::rotation::{Decision, Millis, Mode, Successor};
use super::signer::Signer;
use super::store::{CONNECTIONS_OF_A_WORKER, Password, Refresh, Refreshed, Store, Token, User};
use super::throttle::{Throttle, Throttled};
use super::{fields, negotiation};
use crate::auth::{Guard, UnixTime, challenge};
use crate::config::{self, Database, Schema, TokenKind};
use crate::sys::clock;

/// The longest body that is read, in bytes.
pub const BODY_MAX: usize = 64 * 1024;

/// A random number in 32 hexadecimal digits: `uuid4().hex`, which `SimpleJWT` names tokens with, has as many.
const JTI_BYTES: usize = 16;

/// The token service of one worker.
pub struct Service {
    prefix: String,
    issuer: usize,
    kind: TokenKind,
    style: Style,
    mode: Mode,
    refresh_lifetime: Duration,
    verify_knows_blacklist: bool,
    keeps_last_login: bool,
    challenge: HeaderValue,
    signer: Arc<Signer>,
    guard: Arc<Guard>,
    throttle: Throttle,
    passwords: Pool,
    store: Store,
    log: AuditLog,
}

impl fmt::Debug for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Service");
        shown.field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// A request to the service.
#[derive(Debug)]
pub struct Call<'a> {
    /// What is asked.
    pub endpoint: Endpoint,
    /// The request but its body.
    pub head: &'a Parts,
    /// Its body; absent when it is longer than [`BODY_MAX`].
    pub body: Option<Bytes>,
    /// Its id, for the log.
    pub request: String,
    /// The trace that it belongs to, where it belongs to one, for the log.
    pub trace_id: Option<String>,
    /// Whose request it is; nobody has an address on a Unix socket.
    pub client: Option<IpAddr>,
}

/// Opens the database of a configuration, with so many connections at most.
pub(super) async fn open(
    tokens: &config::Tokens,
    password: Option<&Password>,
    connections: u32,
) -> Result<Store, String> {
    let hint = match tokens.database {
        Database::Sqlite(_) => {
            " (the user that workers run as must be able to write to it and to its folder)"
        }
        Database::Postgres { .. } => "",
    };
    let opened = Store::open(tokens, password, connections).await;
    opened.map_err(|error| {
        format!(
            "cannot open the database {}: {error}{hint}",
            tokens.database
        )
    })
}

/// Which hashes of passwords there are in the database.
async fn policy(store: &Store, schema: &Schema) -> Result<Policy, String> {
    match *schema {
        Schema::Destrier => Ok(Policy::own()),
        Schema::Django {
            allow_md5_hashes,
            upgrade_hashes,
            ..
        } => {
            let sample = store.sample_hashes().await;
            let sample = sample.map_err(|error| format!("cannot read `auth_user`: {error}"))?;
            Ok(Policy::of_django(allow_md5_hashes, upgrade_hashes, &sample))
        }
    }
}

impl Service {
    /// Opens the database and is ready to answer, as one of so many workers; absent when it is off.
    ///
    /// # Errors
    /// Why it cannot be opened, for the operator.
    pub async fn start(
        auth: &config::Auth,
        signer: Option<Arc<Signer>>,
        password: Option<&Password>,
        guard: Arc<Guard>,
        workers: u16,
    ) -> Result<Option<Self>, String> {
        let (Some(tokens), Some(issuer), Some(signer)) =
            (&auth.tokens, auth.token_issuer(), signer)
        else {
            return Ok(None);
        };
        let store = open(tokens, password, CONNECTIONS_OF_A_WORKER).await?;
        let policy = policy(&store, &tokens.schema).await?;
        let mode = match (
            tokens.rotate_refresh_tokens,
            tokens.blacklist_after_rotation,
        ) {
            (false, _) => Mode::Keep,
            (true, false) => Mode::Rotate,
            (true, true) => Mode::RotateOnce {
                grace: tokens.reuse_grace,
            },
        };
        let challenge = HeaderValue::try_from(challenge(&auth.realm));
        Ok(Some(Self {
            prefix: tokens.prefix.clone(),
            issuer: tokens.issuer,
            kind: tokens.kind,
            style: Style::new(tokens, issuer),
            mode,
            refresh_lifetime: tokens.refresh_lifetime,
            verify_knows_blacklist: tokens.blacklist_after_rotation,
            keeps_last_login: tokens.update_last_login,
            challenge: challenge.unwrap_or(HeaderValue::from_static("Bearer")),
            signer,
            guard,
            throttle: Throttle::new(tokens, workers),
            passwords: Pool::new(policy),
            store,
            log: AuditLog::new(),
        }))
    }

    /// What is asked of the service by a request for this path.
    pub fn endpoint(&self, path: &str) -> Option<Endpoint> {
        Endpoint::at(path, &self.prefix)
    }

    /// Answers one request. Whatever goes wrong is an answer too.
    pub async fn answer(&self, call: Call<'_>) -> Response<Bytes> {
        let allow = match call.endpoint {
            Endpoint::Keys => "GET, HEAD, OPTIONS",
            Endpoint::Login | Endpoint::Refresh | Endpoint::Verify | Endpoint::Blacklist => {
                "POST, OPTIONS"
            }
        };
        let answer = match self.handle(&call).await {
            Ok(body) => Answer::ok(body),
            Err(Failure::Refused(answer)) => answer,
            Err(Failure::Store(error)) => {
                tracing::error!(request = %call.request, trace_id = call.trace_id.as_deref(), %error, "the token database failed");
                Answer::unavailable()
            }
            Err(Failure::Internal(error)) => {
                tracing::error!(request = %call.request, trace_id = call.trace_id.as_deref(), %error, "a token could not be made");
                Answer::detail(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "A server error occurred.",
                )
            }
        };
        answer.into_response(&self.challenge, allow)
    }

    async fn handle(&self, call: &Call<'_>) -> Result<Value, Failure> {
        negotiation::check(call.head)?;
        let method = &call.head.method;
        if method == Method::OPTIONS {
            return Ok(call.endpoint.description(self.kind));
        }
        if call.endpoint == Endpoint::Keys {
            return match *method {
                Method::GET | Method::HEAD => Ok(self.key_set()),
                _ => Err(Answer::not_allowed(method.as_str()).into()),
            };
        }
        if method != Method::POST {
            return Err(Answer::not_allowed(method.as_str()).into());
        }
        let body = call
            .body
            .as_ref()
            .ok_or_else(|| Answer::too_large(BODY_MAX))?;
        let content_type = call
            .head
            .headers
            .get(CONTENT_TYPE)
            .map(HeaderValue::as_bytes);
        let content_type = String::from_utf8_lossy(content_type.unwrap_or_default());
        let wanted = call.endpoint.fields(self.kind);
        let values = fields::read(wanted, &content_type, body).await?;
        let mut values = values.into_iter();
        let mut next = || values.next().unwrap_or_default();
        match call.endpoint {
            Endpoint::Login => self.login(call, next(), next()).await,
            Endpoint::Refresh if self.kind == TokenKind::Sliding => self.slide(call, &next()).await,
            Endpoint::Refresh => self.refresh(call, &next()).await,
            Endpoint::Verify => self.verify(&next()).await,
            Endpoint::Blacklist => self.blacklist(call, &next()).await,
            Endpoint::Keys => Ok(self.key_set()),
        }
    }

    async fn login(
        &self,
        call: &Call<'_>,
        username: String,
        password: String,
    ) -> Result<Value, Failure> {
        let address = call.client;
        self.throttle
            .check(&username, address)
            .map_err(|Throttled { by, wait }| {
                self.log.throttled(call, by, wait);
                Answer::throttled(wait)
            })?;
        let account = self.store.account(&username).await?;
        // One that may not log in takes as long as one that may.
        let hash = account.as_ref().map(|account| account.password.clone());
        let checked = self.passwords.check(password, hash).await;
        let checked = checked.map_err(|Busy| {
            self.log.throttled(call, "busy", 1);
            Answer::throttled(1)
        })?;
        let failed = |user: Option<i64>, reason: &'static str| {
            self.log.failed(call, user, reason);
            Failure::from(Answer::no_account())
        };
        let Some(account) = account else {
            // Not by its name: what is typed there is a password now and then.
            return Err(failed(None, "no such user"));
        };
        let user = &account.user;
        if !checked.is_right {
            return Err(failed(Some(user.id), "wrong password"));
        }
        if !user.is_active {
            return Err(failed(Some(user.id), "the user is not active"));
        }
        let new = successor()?;
        let (answer, text, expires_at) = match self.kind {
            TokenKind::Pair => {
                let pair = self.style.login(user, &new);
                let (refresh, access) = self.signed(&pair)?;
                let answer = json!({ "refresh": refresh, "access": access });
                (answer, refresh, date(&pair.refresh, "exp"))
            }
            TokenKind::Sliding => {
                let token = self.style.sliding_login(user, &new);
                let text = self.sign(&token)?;
                // It is noted for as long as it can slide, so that it stays blacklisted.
                let end = self.style.end_of_sliding(&token);
                (json!({ "token": text }), text, end)
            }
        };
        let token = Token {
            jti: &new.refresh,
            text: &text,
            user: Some(user.id),
            issued_at: new.at.seconds(),
            expires_at,
        };
        self.store.logged_in(token, self.keeps_last_login).await?;
        if let Some(better) = checked.upgraded {
            self.upgrade_hash(call, user.id, &account.password, &better)
                .await;
        }
        self.log.logged_in(call, user.id, &new.refresh);
        Ok(answer)
    }

    /// The login goes on whatever comes of it.
    async fn upgrade_hash(&self, call: &Call<'_>, user: i64, old: &str, new: &str) {
        match self.store.upgrade_hash(user, old, new).await {
            Ok(()) => {
                tracing::info!(request = %call.request, trace_id = call.trace_id.as_deref(), user, "password hash upgraded");
            }
            Err(error) => {
                tracing::warn!(request = %call.request, trace_id = call.trace_id.as_deref(), user, %error, "cannot upgrade a password hash");
            }
        }
    }

    async fn refresh(&self, call: &Call<'_>, token: &str) -> Result<Value, Failure> {
        let claims = self.read(token)?;
        let kind = claims::check_kind(&claims, "refresh");
        let is_noted = self.mode != Mode::Keep;
        let shown = self.shown(&claims, token, kind, is_noted).await?;
        let new = successor()?;
        let sign = |user: Option<&User>| {
            let pair = self.style.rotated(&claims, user, &new);
            let signed = self.signer.sign(&pair.refresh);
            signed.map_err(|error| error.to_string())
        };
        let asked = Refresh {
            token: shown,
            mode: self.mode,
            new: &new,
            lifetime: self.refresh_lifetime,
            sign: &sign,
        };
        let (decision, user) = match self.store.refresh(asked).await? {
            Refreshed::NoUser => return Err(Answer::no_account_of_token().into()),
            Refreshed::Decided(decision, user) => (decision, user),
        };
        let rotated = |made: &Successor| self.style.rotated(&claims, user.as_ref(), made);
        let (jti, whom) = (shown.jti, shown.user);
        let pair = match &decision {
            Decision::Keep => {
                let current = self.style.current(&claims, user.as_ref());
                let access = self.style.access(&current, &new.access, &new);
                self.log.refreshed(call, whom, jti);
                return Ok(json!({ "access": self.sign(&access)? }));
            }
            Decision::Rotate | Decision::RotateOnce => {
                self.log.rotated(call, whom, jti, &new.refresh);
                rotated(&new)
            }
            Decision::Again(made) => {
                self.log.rotated_again(call, whom, jti, &made.refresh);
                rotated(made)
            }
            Decision::Revoked => return Err(Answer::token(BLACKLISTED).into()),
            Decision::Reused => {
                tracing::warn!(request = %call.request, trace_id = call.trace_id.as_deref(), user = whom, client = %Client(call.client), jti, "a refresh token was used again, its family is revoked");
                return Err(Answer::token(BLACKLISTED).into());
            }
        };
        let (refresh, access) = self.signed(&pair)?;
        Ok(json!({ "access": access, "refresh": refresh }))
    }

    /// As [`Self::refresh`], of a sliding token: it is the same one with other times.
    async fn slide(&self, call: &Call<'_>, token: &str) -> Result<Value, Failure> {
        let claims = self.read(token)?;
        let new = successor()?;
        let kind = claims::check_kind(&claims, "sliding")
            .and_then(|()| self.style.check_refresh_exp(&claims, new.at));
        let shown = self.shown(&claims, token, kind, false).await?;
        let asked = Refresh {
            token: shown,
            mode: Mode::Keep,
            new: &new,
            lifetime: self.refresh_lifetime,
            sign: &|_| Err("a sliding token has no successor".to_owned()),
        };
        match self.store.refresh(asked).await? {
            Refreshed::NoUser => Err(Answer::no_account_of_token().into()),
            Refreshed::Decided(Decision::Keep, user) => {
                let slid = self.style.slid(&claims, user.as_ref(), new.at);
                self.log.refreshed(call, shown.user, shown.jti);
                Ok(json!({ "token": self.sign(&slid)? }))
            }
            Refreshed::Decided(_, _) => Err(Answer::token(BLACKLISTED).into()),
        }
    }

    async fn verify(&self, token: &str) -> Result<Value, Failure> {
        let claims = self.read(token)?;
        let jti = claims::jti(&claims)?;
        if self.verify_knows_blacklist && self.store.is_revoked(jti).await? {
            let errors = vec![("non_field_errors", vec![BLACKLISTED.to_owned()])];
            return Err(Answer::fields(errors).into());
        }
        Ok(json!({}))
    }

    async fn blacklist(&self, call: &Call<'_>, token: &str) -> Result<Value, Failure> {
        let claims = self.read(token)?;
        let kind = claims::check_kind(&claims, "refresh");
        let shown = self.shown(&claims, token, kind, true).await?;
        let now = Millis::of(clock::unix()).seconds();
        if !self.store.blacklist(shown, now).await? {
            return Err(Answer::token(BLACKLISTED).into());
        }
        tracing::info!(request = %call.request, trace_id = call.trace_id.as_deref(), user = shown.user, client = %Client(call.client), jti = shown.jti, "token blacklisted");
        Ok(json!({}))
    }

    /// The claims of a token of any kind that this service signed and that has not expired.
    fn read(&self, token: &str) -> Result<ClaimMap, Answer> {
        let now = UnixTime(clock::unix().as_secs());
        let claims = self.guard.verify_of(self.issuer, token.as_bytes(), now);
        claims
            .map(|claims| claims.as_map().clone())
            .map_err(|error| failure::not_believed(&error))
    }

    /// What the store wants to know of a token that is to be refreshed or ended, when it is of the right `kind`. As in
    /// `SimpleJWT` the blacklist is asked before the kind.
    async fn shown<'a>(
        &self,
        claims: &'a ClaimMap,
        text: &'a str,
        kind: Result<(), KindError>,
        is_noted: bool,
    ) -> Result<Token<'a>, Failure> {
        let jti = claims::jti(claims)?;
        if let Err(error) = kind {
            if self.store.is_revoked(jti).await? {
                return Err(Answer::token(BLACKLISTED).into());
            }
            return Err(error.into());
        }
        let user = match self.style.whom(claims) {
            Whom::Nobody => None,
            Whom::User(id) => Some(id),
            Whom::Blank if !is_noted => None,
            Whom::Blank | Whom::Unknown => return Err(Answer::no_account_of_token().into()),
        };
        Ok(Token {
            jti,
            text,
            user,
            issued_at: date(claims, "iat"),
            expires_at: date(claims, "exp"),
        })
    }

    fn key_set(&self) -> Value {
        self.signer.key_set(&self.guard, self.issuer)
    }

    fn signed(&self, pair: &Pair) -> Result<(String, String), Failure> {
        Ok((self.sign(&pair.refresh)?, self.sign(&pair.access)?))
    }

    fn sign(&self, claims: &ClaimMap) -> Result<String, Failure> {
        self.signer
            .sign(claims)
            .map_err(|error| Failure::Internal(error.to_string()))
    }
}

fn date(claims: &ClaimMap, name: &str) -> i64 {
    claims.get(name).map_or(0, claims::seconds)
}

/// Names for a new pair, made now.
fn successor() -> Result<Successor, Failure> {
    let jti = || {
        let mut bytes = [0; JTI_BYTES];
        getrandom::fill(&mut bytes).map_err(|error| Failure::Internal(error.to_string()))?;
        Ok::<_, Failure>(format!("{:032x}", u128::from_be_bytes(bytes)))
    };
    Ok(Successor {
        refresh: jti()?,
        access: jti()?,
        at: Millis::of(clock::unix()),
    })
}
