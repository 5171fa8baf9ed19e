//! One token against the issuers: its parts, its key, its signature, its claims, in this order.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::claims::{self, ClaimError, Claims};
use super::header::Header;
use super::keys::{IssuerKeys, KeyError};
use super::revocation::Denied;
use super::signing::SigningKey;
use super::{UnixTime, algorithm, json, shown};
use crate::config::{Algorithm, Binding, Issuer};

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN: usize = 16 * 1024;

/// An issuer with its keys, which may be replaced while tokens are verified.
#[derive(Debug)]
pub(super) struct TrustedIssuer {
    policy: Issuer,
    /// That of the policy, for every token.
    name: Arc<str>,
    keys: ArcSwap<IssuerKeys>,
    /// From then on the keys are too old to be believed, in seconds since 1970.
    good_until: AtomicU64,
}

impl TrustedIssuer {
    /// With keys that are good for ever, but for those that must be fetched: none are known of these.
    pub(super) fn new(policy: Issuer, keys: IssuerKeys) -> Self {
        let good_until = if policy.is_remote() { 0 } else { u64::MAX };
        Self {
            name: policy.name.as_str().into(),
            policy,
            keys: ArcSwap::from_pointee(keys),
            good_until: AtomicU64::new(good_until),
        }
    }

    /// Goes on with the keys in `content`, which are good until then or for ever; those of before stay when none can be read
    /// there.
    pub(super) fn renew_keys(
        &self,
        content: &[u8],
        good_until: Option<UnixTime>,
    ) -> Result<(), KeyError> {
        let keys = IssuerKeys::read(&self.policy, content)?;
        self.keys.store(Arc::new(keys));
        self.keep_keys(good_until);
        Ok(())
    }

    /// The keys are good until then, or for ever.
    pub(super) fn keep_keys(&self, good_until: Option<UnixTime>) {
        let until = good_until.map_or(u64::MAX, |until| until.0);
        self.good_until.store(until, Ordering::Relaxed);
    }

    /// Whether the keys are known, and not too old.
    pub(super) fn has_keys(&self, now: UnixTime) -> bool {
        now.0 < self.good_until.load(Ordering::Relaxed)
    }

    /// How many keys there are now.
    pub(super) fn key_count(&self) -> usize {
        self.keys.load().count()
    }

    /// What whoever shows one of its tokens must prove.
    pub(super) fn binding(&self) -> Binding {
        self.policy.binding
    }

    /// Whether this is the issuer that messages call so, and its keys are fetched.
    pub(super) fn is_remote(&self, name: &str) -> bool {
        self.policy.name == name && self.policy.is_remote()
    }

    /// As [`IssuerKeys::kid_of`], of the keys of now.
    pub(super) fn kid_of(&self, key: &SigningKey, algorithm: Algorithm) -> Option<String> {
        self.keys.load().kid_of(key, algorithm).map(str::to_owned)
    }

    /// As [`IssuerKeys::published`], of the keys of now.
    pub(super) fn published(
        &self,
        key: &SigningKey,
        algorithm: Algorithm,
        kid: Option<&str>,
    ) -> Vec<Value> {
        self.keys.load().published(key, algorithm, kid)
    }
}

/// Why a token is not believed; fit for a log, never holds the token or a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// RFC 7519 sets no bound, a server must.
    #[error("the token has {0} bytes, more than {MAX_TOKEN}")]
    TooLong(usize),
    /// RFC 7515 section 7.1.
    #[error("the token does not have three parts")]
    Parts,
    /// RFC 7515 section 2: the URL alphabet, no padding, no stray bits.
    #[error("the {0} is not base64url without padding")]
    Base64(&'static str),
    /// It cannot be read, or says something that must not be ignored.
    #[error("header: {0}")]
    Header(String),
    /// It cannot be read.
    #[error("payload: {0}")]
    Payload(String),
    /// `iss` is none of those who may sign.
    #[error("no issuer is configured for iss {}", .0.as_deref().map_or(Cow::Borrowed("(absent)"), |iss| shown(iss).into()))]
    UnknownIssuer(Option<String>),
    /// The issuer has no key of this name.
    #[error("issuer {issuer}: no key has the kid {}", shown(.kid))]
    UnknownKey {
        /// The name of the issuer.
        issuer: String,
        /// What the header says.
        kid: String,
    },
    /// Its keys must be fetched, and none are known, or only such as are too old (`auth.issuer.stale_max`).
    #[error("issuer {issuer}: its keys are not known, or older than `stale_max`")]
    NoKeys {
        /// The name of the issuer.
        issuer: String,
    },
    /// The key decides about the algorithm, not the token (RFC 8725 section 3.1).
    #[error("issuer {issuer}: {} is not allowed for its keys", algorithm::name(*.algorithm))]
    Algorithm {
        /// The name of the issuer.
        issuer: String,
        /// What the header says.
        algorithm: Algorithm,
    },
    /// RFC 8725 section 3.11.
    #[error("issuer {issuer}: typ {} is not accepted", .typ.as_deref().map_or(Cow::Borrowed("(absent)"), |typ| shown(typ).into()))]
    Type {
        /// The name of the issuer.
        issuer: String,
        /// What the header says.
        typ: Option<String>,
    },
    /// Made by someone else, or changed.
    #[error("issuer {issuer}: the signature is not valid")]
    Signature {
        /// The name of the issuer.
        issuer: String,
    },
    /// Signed by the issuer, but not acceptable.
    #[error("issuer {issuer}: {error}")]
    Claims {
        /// The name of the issuer.
        issuer: String,
        /// What is wrong.
        error: ClaimError,
    },
    /// It was revoked before it expires.
    #[error("the token is revoked: its {0} is on a deny list")]
    Revoked(&'static str),
    /// Whether it was revoked is not known, for lack of the list at this place of the configuration.
    #[error("a deny list is not known or too old, and `auth.revocation.on_stale` is `deny`")]
    NoDenyList(usize),
}

impl From<Denied> for TokenError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Listed(claim) => Self::Revoked(claim),
            Denied::Unknown(place) => Self::NoDenyList(place),
        }
    }
}

impl TokenError {
    /// How far the token came; of several issuers the one where it came furthest gives the reason.
    const fn progress(&self) -> u8 {
        match self {
            Self::TooLong(_) | Self::Parts | Self::Base64(_) => 0,
            Self::Header(_) | Self::Payload(_) | Self::UnknownIssuer(_) => 0,
            Self::UnknownKey { .. } | Self::NoKeys { .. } => 1,
            Self::Algorithm { .. } => 2,
            Self::Signature { .. } => 3,
            Self::Type { .. } => 4,
            Self::Claims { .. } => 5,
            Self::Revoked(_) | Self::NoDenyList(_) => 6,
        }
    }

    /// The issuer whose keys are missing, with the name of the one that is.
    pub(super) fn wants(&self) -> Option<(&str, Option<&str>)> {
        match self {
            Self::UnknownKey { issuer, kid } => Some((issuer, Some(kid))),
            Self::NoKeys { issuer } => Some((issuer, None)),
            Self::TooLong(_)
            | Self::Parts
            | Self::Base64(_)
            | Self::Header(_)
            | Self::Payload(_)
            | Self::UnknownIssuer(_)
            | Self::Algorithm { .. }
            | Self::Type { .. }
            | Self::Signature { .. }
            | Self::Claims { .. }
            | Self::Revoked(_)
            | Self::NoDenyList(_) => None,
        }
    }

    /// Whether nothing is wrong with the token as far as is known, but this server lacks something to judge it.
    pub const fn is_ours(&self) -> bool {
        matches!(self, Self::NoDenyList(_) | Self::NoKeys { .. })
    }
}

/// A token that an issuer signed and accepts.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) claims: Claims,
    /// What whoever shows it must prove.
    pub(super) binding: Binding,
    /// The place of the issuer among those that were asked.
    pub(super) issuer: usize,
    /// From then on it has expired: `exp` and the issuer's leeway.
    pub(super) until: i64,
}

/// What a token is shown for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be let through: refresh tokens are not.
    Access,
    /// To the token service, which knows the kinds of tokens itself.
    Service,
}

/// The claims, when one of the issuers signed the token and accepts it.
pub(super) fn verify(
    token: &[u8],
    issuers: &[TrustedIssuer],
    now: UnixTime,
) -> Result<Accepted, TokenError> {
    verify_for(Purpose::Access, token, issuers, now)
}

/// As [`verify`], for any purpose.
pub(super) fn verify_for(
    purpose: Purpose,
    token: &[u8],
    issuers: &[TrustedIssuer],
    now: UnixTime,
) -> Result<Accepted, TokenError> {
    let parts = Parts::split(token)?;
    let header_json = decode(parts.header, "header")?;
    let header = Header::read(&header_json).map_err(TokenError::Header)?;
    let signature = decode(parts.signature, "signature")?;
    // Read before the signature is checked, because `iss` chooses the keys. Nothing of it is believed yet.
    let payload = json::object(&decode(parts.payload, "payload")?).map_err(TokenError::Payload)?;

    let iss = payload.get("iss").and_then(Value::as_str);
    let has_name = |issuer: &&TrustedIssuer| issuer.policy.issuer.is_some();
    let is_named =
        |issuer: &&TrustedIssuer| has_name(issuer) && issuer.policy.issuer.as_deref() == iss;
    // Who names itself is the only one to speak in its name (RFC 8725 section 3.8): an issuer that names none would
    // else pass off its tokens as those of another, and by its own policy.
    let is_taken = issuers.iter().any(|issuer| is_named(&issuer));
    let may_speak = |issuer: &&TrustedIssuer| {
        if is_taken {
            is_named(issuer)
        } else {
            !has_name(issuer)
        }
    };

    let mut reason = None;
    let places = issuers.iter().enumerate();
    for (place, issuer) in places.filter(|(_, issuer)| may_speak(issuer)) {
        let verdict = keys_known(issuer, now)
            .and_then(|()| signed_by(issuer, &header, parts.signed, &signature))
            .and_then(|()| accepted_by(issuer, &header, &payload, purpose, now));
        match verdict {
            Ok(until) => {
                let claims = Claims::new(payload).verified_by(&issuer.name);
                return Ok(Accepted {
                    claims,
                    binding: issuer.binding(),
                    issuer: place,
                    until,
                });
            }
            Err(error) => {
                let furthest = reason.as_ref().map(TokenError::progress);
                if furthest < Some(error.progress()) {
                    reason = Some(error);
                }
            }
        }
    }
    Err(reason.unwrap_or_else(|| TokenError::UnknownIssuer(iss.map(str::to_owned))))
}

/// What a token says, nothing checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Unverified {
    /// The JOSE header.
    pub header: Map<String, Value>,
    /// The claims.
    pub payload: Map<String, Value>,
}

/// Header and payload as they stand: only for a person to look at.
pub fn inspect(token: &[u8]) -> Result<Unverified, TokenError> {
    let parts = Parts::split(token)?;
    let header = json::object(&decode(parts.header, "header")?).map_err(TokenError::Header)?;
    let payload = json::object(&decode(parts.payload, "payload")?).map_err(TokenError::Payload)?;
    Ok(Unverified { header, payload })
}

/// The compact serialization (RFC 7515 section 3.1).
pub(super) struct Parts<'a> {
    pub(super) header: &'a [u8],
    pub(super) payload: &'a [u8],
    pub(super) signature: &'a [u8],
    /// Header, dot and payload.
    pub(super) signed: &'a [u8],
}

impl<'a> Parts<'a> {
    pub(super) fn split(token: &'a [u8]) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::TooLong(token.len()));
        }
        let mut parts = token.split(|byte| *byte == b'.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Parts);
        };
        let signed = token
            .get(..header.len() + 1 + payload.len())
            .ok_or(TokenError::Parts)?;
        Ok(Self {
            header,
            payload,
            signature,
            signed,
        })
    }
}

pub(super) fn decode(part: &[u8], name: &'static str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| TokenError::Base64(name))
}

fn keys_known(issuer: &TrustedIssuer, now: UnixTime) -> Result<(), TokenError> {
    if issuer.has_keys(now) {
        return Ok(());
    }
    Err(TokenError::NoKeys {
        issuer: issuer.policy.name.clone(),
    })
}

fn signed_by(
    issuer: &TrustedIssuer,
    header: &Header<'_>,
    signed: &[u8],
    signature: &[u8],
) -> Result<(), TokenError> {
    let name = || issuer.policy.name.clone();
    let keys = issuer.keys.load();
    if let Some(kid) = header.kid.as_deref().filter(|kid| !keys.knows(kid)) {
        return Err(TokenError::UnknownKey {
            issuer: name(),
            kid: kid.to_owned(),
        });
    }
    let mut matching = keys
        .matching(header.kid.as_deref(), header.algorithm)
        .peekable();
    if matching.peek().is_none() {
        return Err(TokenError::Algorithm {
            issuer: name(),
            algorithm: header.algorithm,
        });
    }
    if matching.any(|key| key.accepts(signed, signature)) {
        Ok(())
    } else {
        Err(TokenError::Signature { issuer: name() })
    }
}

fn accepted_by(
    issuer: &TrustedIssuer,
    header: &Header<'_>,
    payload: &Map<String, Value>,
    purpose: Purpose,
    now: UnixTime,
) -> Result<i64, TokenError> {
    let typ = header.typ.as_deref();
    let accepted = &issuer.policy.typ;
    let is_accepted = accepted.is_empty()
        || typ.is_some_and(|typ| accepted.iter().any(|each| is_same_type(each, typ)));
    if !is_accepted {
        return Err(TokenError::Type {
            issuer: issuer.policy.name.clone(),
            typ: typ.map(str::to_owned),
        });
    }
    let checked = claims::check(payload, &issuer.policy, now).and_then(|()| match purpose {
        Purpose::Access => claims::check_token_type(payload, &issuer.policy)
            .and_then(|()| claims::check_confirmation(payload, &issuer.policy)),
        Purpose::Service => Ok(()),
    });
    checked.map_err(|error| TokenError::Claims {
        issuer: issuer.policy.name.clone(),
        error,
    })?;
    Ok(claims::expiry(payload, &issuer.policy))
}

/// RFC 7515 section 4.1.9: a media type, whose `application/` may be left out.
pub(super) fn is_same_type(one: &str, other: &str) -> bool {
    fn bare(typ: &str) -> &str {
        const PREFIX: &str = "application/";
        match typ.split_at_checked(PREFIX.len()) {
            Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) => rest,
            Some(_) | None => typ,
        }
    }
    bare(one).eq_ignore_ascii_case(bare(other))
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
