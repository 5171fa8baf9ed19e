//! One token against the issuers: its parts, its key, its signature, its claims, in this order.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::claims::{self, ClaimError, Claims};
use super::header::Header;
use super::keys::IssuerKeys;
use super::{UnixTime, algorithm, json, shown};
use crate::config::{Algorithm, Issuer};

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN: usize = 16 * 1024;

/// An issuer with its keys.
#[derive(Debug)]
pub(super) struct TrustedIssuer {
    policy: Issuer,
    keys: IssuerKeys,
}

impl TrustedIssuer {
    pub(super) fn new(policy: Issuer, keys: IssuerKeys) -> Self {
        Self { policy, keys }
    }

    pub(super) fn keys(&self) -> &IssuerKeys {
        &self.keys
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
}

impl TokenError {
    /// How far the token came; of several issuers the one where it came furthest gives the reason.
    const fn progress(&self) -> u8 {
        match self {
            Self::TooLong(_) | Self::Parts | Self::Base64(_) => 0,
            Self::Header(_) | Self::Payload(_) | Self::UnknownIssuer(_) => 0,
            Self::UnknownKey { .. } => 1,
            Self::Algorithm { .. } => 2,
            Self::Signature { .. } => 3,
            Self::Type { .. } => 4,
            Self::Claims { .. } => 5,
        }
    }
}

/// A token that an issuer signed and accepts.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) claims: Claims,
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
    for issuer in issuers.iter().filter(may_speak) {
        let verdict = signed_by(issuer, &header, parts.signed, &signature)
            .and_then(|()| accepted_by(issuer, &header, &payload, purpose, now));
        match verdict {
            Ok(until) => {
                let claims = Claims::new(payload);
                return Ok(Accepted { claims, until });
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
struct Parts<'a> {
    header: &'a [u8],
    payload: &'a [u8],
    signature: &'a [u8],
    /// Header, dot and payload.
    signed: &'a [u8],
}

impl<'a> Parts<'a> {
    fn split(token: &'a [u8]) -> Result<Self, TokenError> {
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

fn decode(part: &[u8], name: &'static str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| TokenError::Base64(name))
}

fn signed_by(
    issuer: &TrustedIssuer,
    header: &Header<'_>,
    signed: &[u8],
    signature: &[u8],
) -> Result<(), TokenError> {
    let name = || issuer.policy.name.clone();
    if let Some(kid) = header.kid.as_deref().filter(|kid| !issuer.keys.knows(kid)) {
        return Err(TokenError::UnknownKey {
            issuer: name(),
            kid: kid.to_owned(),
        });
    }
    let mut keys = issuer
        .keys
        .matching(header.kid.as_deref(), header.algorithm)
        .peekable();
    if keys.peek().is_none() {
        return Err(TokenError::Algorithm {
            issuer: name(),
            algorithm: header.algorithm,
        });
    }
    if keys.any(|key| key.accepts(signed, signature)) {
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
        Purpose::Access => claims::check_token_type(payload, &issuer.policy),
        Purpose::Service => Ok(()),
    });
    checked.map_err(|error| TokenError::Claims {
        issuer: issuer.policy.name.clone(),
        error,
    })?;
    Ok(claims::expiry(payload, &issuer.policy))
}

/// RFC 7515 section 4.1.9: a media type, whose `application/` may be left out.
fn is_same_type(one: &str, other: &str) -> bool {
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
mod tests;
