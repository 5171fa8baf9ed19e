//! The key of the token service, and what it signs with.

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::{Value, json};

use super::claims::{ClaimMap, Style};
use super::rotation::{Millis, Successor};
use super::store::User;
use crate::auth::{Guard, SignError, SigningKey, UnixTime, algorithm};
use crate::config::{self, Algorithm, Issuer, KeySource};

/// What signs for the issuer of the token service. Its key may be replaced while tokens are signed.
#[derive(Debug)]
pub struct Signer(ArcSwap<Current>);

/// A key that was found fit to sign.
#[derive(Debug)]
struct Current {
    key: Arc<SigningKey>,
    algorithm: Algorithm,
    typ: String,
    kid: Option<String>,
}

impl Signer {
    /// Joins the key with the issuer that the service signs for. The guard must accept what it signs. Tokens carry a `kid` when
    /// the key is a JWK that has one, or the issuer's key set has one for its public half.
    ///
    /// # Errors
    /// Why it would not, for the operator.
    pub fn new(
        tokens: &config::Tokens,
        issuer: &Issuer,
        key: SigningKey,
        guard: &Guard,
        now: UnixTime,
    ) -> Result<Self, String> {
        let current = Current::new(tokens, issuer, Arc::new(key), guard, now)?;
        Ok(Self(ArcSwap::from_pointee(current)))
    }

    /// Signs with the key in `content` from now on, as [`SigningKey::read`] reads it; `auth` is the configuration that the
    /// signer was made for.
    ///
    /// # Errors
    /// As [`Self::new`]; then the key of before goes on.
    pub fn renew(
        &self,
        auth: &config::Auth,
        content: &[u8],
        guard: &Guard,
        now: UnixTime,
    ) -> Result<(), String> {
        let (Some(tokens), Some(issuer)) = (&auth.tokens, auth.token_issuer()) else {
            return Ok(());
        };
        let key = match issuer.keys {
            KeySource::Secret { .. } => SigningKey::from_secret(content),
            KeySource::PublicKey(_) | KeySource::Jwks(_) | KeySource::Remote(_) => {
                SigningKey::read(content)
            }
        };
        let key = key.map_err(|error| error.to_string())?;
        let current = Current::new(tokens, issuer, Arc::new(key), guard, now)?;
        self.0.store(Arc::new(current));
        Ok(())
    }

    /// The issuer has other keys: its own may have another name there. Where they do not accept it any more it signs on as before, for
    /// the key that follows it may be on its way.
    pub fn look_up_name(&self, auth: &config::Auth, guard: &Guard, now: UnixTime) {
        let (Some(tokens), Some(issuer)) = (&auth.tokens, auth.token_issuer()) else {
            return;
        };
        let key = Arc::clone(&self.0.load().key);
        if let Ok(current) = Current::new(tokens, issuer, key, guard, now) {
            self.0.store(Arc::new(current));
        }
    }

    pub(super) fn sign(&self, claims: &ClaimMap) -> Result<String, SignError> {
        self.0.load().sign(claims)
    }

    /// What the key signs with for this issuer: the first that both allow.
    ///
    /// # Errors
    /// There is none, for the operator.
    pub fn algorithm_of(key: &SigningKey, issuer: &Issuer) -> Result<Algorithm, String> {
        let served = key.algorithms();
        let accepted = if issuer.algorithms.is_empty() {
            served
        } else {
            &issuer.algorithms
        };
        let usable = accepted.iter().find(|each| served.contains(each)).copied();
        usable.ok_or_else(|| {
            format!(
                "the key serves {}, the issuer accepts {}",
                algorithm::list(served),
                algorithm::list(accepted)
            )
        })
    }

    /// All public keys of the issuer as a key set (RFC 7517 section 5), those that do not sign yet or any more too, so that
    /// whoever fetches it knows a key before it signs; secrets are left out.
    pub(super) fn key_set(&self, guard: &Guard, issuer: usize) -> Value {
        let Current {
            key,
            algorithm,
            typ: _,
            kid,
        } = &**self.0.load();
        json!({ "keys": guard.public_keys(issuer, key, *algorithm, kid.as_deref()) })
    }
}

impl Current {
    fn new(
        tokens: &config::Tokens,
        issuer: &Issuer,
        key: Arc<SigningKey>,
        guard: &Guard,
        now: UnixTime,
    ) -> Result<Self, String> {
        let algorithm = Signer::algorithm_of(&key, issuer)?;
        let typ = issuer.typ.first().map_or("JWT", String::as_str).to_owned();
        let own = key.kid().map(str::to_owned);
        let kid = own.or_else(|| guard.kid_of(tokens.issuer, &key, algorithm));
        let current = Self {
            key,
            algorithm,
            typ,
            kid,
        };
        current.try_out(&Style::new(tokens, issuer), guard, now)?;
        Ok(current)
    }

    /// Signs a token for nobody, and shows it to the guard.
    fn try_out(&self, style: &Style, guard: &Guard, now: UnixTime) -> Result<(), String> {
        let nobody = User {
            id: 0,
            username: String::new(),
            is_active: false,
            claims: ClaimMap::new(),
        };
        let pair = style.login(
            &nobody,
            &Successor {
                refresh: "r".to_owned(),
                access: "a".to_owned(),
                at: Millis(i64::try_from(now.0.saturating_mul(1000)).unwrap_or(i64::MAX)),
            },
        );
        let token = self.sign(&pair.access).map_err(|error| error.to_string())?;
        guard
            .try_out(token.as_bytes(), now)
            .map_err(|error| format!("the tokens that it signs would be refused: {error}"))
    }

    fn sign(&self, claims: &ClaimMap) -> Result<String, SignError> {
        self.key
            .sign(self.algorithm, &self.typ, self.kid.as_deref(), claims)
    }
}
