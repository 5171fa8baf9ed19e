//! The key of the token service, and what it signs with.

use serde_json::{Value, json};

use super::claims::{ClaimMap, Style};
use super::rotation::{Millis, Successor};
use super::store::User;
use crate::auth::{Guard, SignError, SigningKey, UnixTime, algorithm};
use crate::config::{self, Algorithm, Issuer};

/// A key that was found fit to sign for its issuer.
#[derive(Debug)]
pub struct Signer {
    key: SigningKey,
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
        let algorithm = Self::algorithm_of(&key, issuer)?;
        let typ = issuer.typ.first().map_or("JWT", String::as_str).to_owned();
        let own = key.kid().map(str::to_owned);
        let kid = own.or_else(|| guard.kid_of(tokens.issuer, &key, algorithm));
        let signer = Self {
            key,
            algorithm,
            typ,
            kid,
        };
        signer.try_out(&Style::new(tokens, issuer), guard, now)?;
        Ok(signer)
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
            .verify(token.as_bytes(), now)
            .map(drop)
            .map_err(|error| format!("the tokens that it signs would be refused: {error}"))
    }

    pub(super) fn sign(&self, claims: &ClaimMap) -> Result<String, SignError> {
        self.key
            .sign(self.algorithm, &self.typ, self.kid.as_deref(), claims)
    }

    /// All public keys of the issuer as a key set (RFC 7517 section 5), those that do not sign yet or any more too, so that
    /// whoever fetches it knows a key before it signs; secrets are left out.
    pub(super) fn key_set(&self, guard: &Guard, issuer: usize) -> Value {
        let kid = self.kid.as_deref();
        json!({ "keys": guard.public_keys(issuer, &self.key, self.algorithm, kid) })
    }
}
