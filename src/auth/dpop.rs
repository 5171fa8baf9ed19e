//! DPoP proofs (RFC 9449): a JWT that the client makes for one request with the key that its token is bound to.

use aws_lc_rs::digest::{Context, SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderName, Uri};
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::authority::is_host_of;
use super::claims::{self, ClaimError};
use super::header::Header;
use super::jwk::{self, Holds};
use super::keys::KeyError;
use super::token::{self, Parts, TokenError};
use super::{Proof, RequestView, UnixTime, algorithm, json, path, shown};
use crate::config::{self, Algorithm};

/// What proofs may be signed with: every algorithm that is none with a shared secret (section 4.2).
pub(super) const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::Es256,
    Algorithm::Es384,
    Algorithm::EdDsa,
    Algorithm::Ps256,
    Algorithm::Ps384,
    Algorithm::Ps512,
    Algorithm::Rs256,
    Algorithm::Rs384,
    Algorithm::Rs512,
];

/// The longest proof that is looked at, in bytes: one with an RSA key of 8192 bits has some 4000.
const PROOF_MAX: usize = 8 * 1024;

/// The longest `jti`, in bytes; a random UUID has 36.
const JTI_MAX: usize = 256;

/// How far the clock of a client may be ahead, in seconds (section 11.1).
const AHEAD_MAX: i64 = 10;

const FIELD: HeaderName = HeaderName::from_static("dpop");

/// Why a proof is not right; fit for a log, never holds the proof.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProofError {
    #[error("there is no DPoP field")]
    Absent,
    #[error("there is more than one DPoP field")]
    Several,
    #[error("it has {0} bytes, more than {PROOF_MAX}")]
    TooLong(usize),
    /// Its parts cannot be read.
    #[error("it is no JWT: {0}")]
    Jwt(TokenError),
    #[error("header: {0}")]
    Header(String),
    #[error("its `typ` is not `dpop+jwt`")]
    Type,
    #[error("its `alg` {} is for shared secrets", algorithm::name(*.0))]
    Algorithm(Algorithm),
    #[error("its `jwk` is missing")]
    NoKey,
    #[error("its `jwk` holds a private key")]
    PrivateKey,
    #[error("its `jwk` cannot be used: {0}")]
    Key(KeyError),
    /// RFC 7638.
    #[error("its `jwk` has no thumbprint")]
    Thumbprint,
    /// The one thing that is wrong with the token rather than with the proof.
    #[error("its key is not the one that the token is bound to")]
    OtherKey,
    #[error("its signature is not valid")]
    Signature,
    #[error("payload: {0}")]
    Payload(String),
    #[error("its {0}")]
    Claim(ClaimError),
    #[error("its claim `{0}` is missing, or no string")]
    NoText(&'static str),
    #[error("its `jti` does not have 1 to {JTI_MAX} bytes")]
    Id,
    #[error("its `htm` {} is not the method of the request", shown(.0))]
    Method(String),
    #[error("its `htu` {} is not the address of the request", shown(.0))]
    Address(String),
    #[error("it was made at {issued}, and it is {now}")]
    Time { issued: i64, now: i64 },
    #[error("its `ath` is not the digest of the token")]
    Token,
}

/// What proofs are held against.
#[derive(Debug)]
pub(super) struct Dpop {
    /// `https://api.example.com`.
    origin: Option<String>,
    /// In seconds.
    window: i64,
}

impl Dpop {
    pub(super) fn new(auth: &config::Auth) -> Self {
        Self {
            origin: auth.dpop_origin.clone(),
            window: i64::try_from(auth.dpop_window.as_secs()).unwrap_or(i64::MAX),
        }
    }

    /// Judges the proof of a request (section 4.3) whose token is bound to the key with the thumbprint `jkt`. A `nonce` is not
    /// asked for.
    pub(super) fn check(
        &self,
        request: &RequestView<'_>,
        token: &[u8],
        jkt: &str,
        now: UnixTime,
    ) -> Result<Proof, ProofError> {
        let mut fields = request.headers.get_all(FIELD).iter();
        let proof = match (fields.next(), fields.next()) {
            (None, _) => return Err(ProofError::Absent),
            (Some(_), Some(_)) => return Err(ProofError::Several),
            (Some(field), None) => field.as_bytes().trim_ascii(),
        };
        if proof.len() > PROOF_MAX {
            return Err(ProofError::TooLong(proof.len()));
        }
        let parts = Parts::split(proof).map_err(ProofError::Jwt)?;
        let decode = |part, name| token::decode(part, name).map_err(ProofError::Jwt);
        is_signed(&parts, &decode(parts.header, "header")?, jkt)?;
        let payload = decode(parts.payload, "payload")?;
        let payload = json::object(&payload).map_err(ProofError::Payload)?;
        self.accept(&payload, request, token, now)
            .map(|(jti, htu, until)| Proof {
                fingerprint: fingerprint([jkt, jti, htu]),
                until,
                is_audit: false,
            })
    }

    /// Its `jti`, its `htu`, and the last second in which it is accepted.
    fn accept<'p>(
        &self,
        payload: &'p Map<String, Value>,
        request: &RequestView<'_>,
        token: &[u8],
        now: UnixTime,
    ) -> Result<(&'p str, &'p str, UnixTime), ProofError> {
        let jti = text(payload, "jti")?;
        if !(1..=JTI_MAX).contains(&jti.len()) {
            return Err(ProofError::Id);
        }
        let htm = text(payload, "htm")?;
        if htm != request.method {
            return Err(ProofError::Method(htm.to_owned()));
        }
        let htu = text(payload, "htu")?;
        if !self.is_address_of(htu, request) {
            return Err(ProofError::Address(htu.to_owned()));
        }
        let until = self.accept_time(payload, now)?;
        if text(payload, "ath")? != URL_SAFE_NO_PAD.encode(digest(&SHA256, token)) {
            return Err(ProofError::Token);
        }
        Ok((jti, htu, until))
    }

    fn accept_time(
        &self,
        payload: &Map<String, Value>,
        UnixTime(now): UnixTime,
    ) -> Result<UnixTime, ProofError> {
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let date = |name| claims::date(payload, name).map_err(ProofError::Claim);
        let missing = || ProofError::Claim(ClaimError::Missing("iat".to_owned()));
        let issued = date("iat")?.ok_or_else(missing)?;
        let until = issued.saturating_add(self.window);
        if now > until || issued > now.saturating_add(AHEAD_MAX) {
            return Err(ProofError::Time { issued, now });
        }
        // Not asked for, but who says so means it (RFC 7519 section 4.1).
        if let Some(expiry) = date("exp")?.filter(|expiry| now >= *expiry) {
            return Err(ProofError::Claim(ClaimError::Expired { expiry, now }));
        }
        let latest = now.saturating_add(AHEAD_MAX);
        if let Some(start) = date("nbf")?.filter(|start| *start > latest) {
            return Err(ProofError::Claim(ClaimError::NotYet { start, now }));
        }
        Ok(UnixTime(until.try_into().unwrap_or(0)))
    }

    /// Whether `htu` is the address that was asked, query and fragment aside, and however it is spelled (RFC 3986 sections 6.2.2
    /// and 6.2.3). Where another one may have ended TLS before this server, and without an origin, either scheme is taken.
    fn is_address_of(&self, htu: &str, request: &RequestView<'_>) -> bool {
        let Ok(address) = htu.parse::<Uri>() else {
            return false;
        };
        let (Some(scheme), Some(authority)) = (address.scheme_str(), address.authority()) else {
            return false;
        };
        let scheme = scheme.to_ascii_lowercase();
        let host = match &self.origin {
            Some(origin) => origin
                .split_once("://")
                .filter(|(wanted, _)| scheme == *wanted)
                .map(|(_, host)| host),
            None if request.may_have_scheme(&scheme) => request.host(),
            None => None,
        };
        // A path that has two readings is that of no request (see `path`).
        let is_path = || match (
            path::normalise(address.path()),
            path::normalise(request.path),
        ) {
            (Ok(named), Ok(asked)) => named == asked,
            (Err(_), _) | (_, Err(_)) => false,
        };
        host.is_some_and(|host| is_host_of(authority, Some(&scheme), host)) && is_path()
    }
}

/// Whether the proof is signed by the key that it brings, and that key is the one with the thumbprint `jkt`. That it brings its
/// key is what tokens must never do, so `token` does not read it.
fn is_signed(parts: &Parts<'_>, header_json: &[u8], jkt: &str) -> Result<(), ProofError> {
    #[derive(Deserialize)]
    struct Carrier<'a> {
        #[serde(borrow)]
        jwk: Option<&'a RawValue>,
    }
    let header = Header::read(header_json).map_err(ProofError::Header)?;
    let is_proof = |typ: &str| token::is_same_type(typ, "dpop+jwt");
    if !header.typ.as_deref().is_some_and(is_proof) {
        return Err(ProofError::Type);
    }
    if !ALGORITHMS.contains(&header.algorithm) {
        return Err(ProofError::Algorithm(header.algorithm));
    }
    let carrier = serde_json::from_slice::<Carrier<'_>>(header_json);
    let jwk = carrier.ok().and_then(|carrier| carrier.jwk);
    let jwk = jwk.ok_or(ProofError::NoKey)?.get();
    if jwk::holds(jwk) != Holds::Public {
        return Err(ProofError::PrivateKey);
    }
    let key = jwk::read(jwk, &[header.algorithm]).map_err(ProofError::Key)?;
    // Before the signature, which costs more.
    if thumbprint(jwk)? != jkt {
        return Err(ProofError::OtherKey);
    }
    let signature = token::decode(parts.signature, "signature").map_err(ProofError::Jwt)?;
    let verifier = key.verifier(header.algorithm);
    if verifier.is_some_and(|verifier| verifier.accepts(parts.signed, &signature)) {
        Ok(())
    } else {
        Err(ProofError::Signature)
    }
}

/// RFC 7638 section 3.
fn thumbprint(jwk: &str) -> Result<String, ProofError> {
    let jwk: Jwk = serde_json::from_str(jwk).map_err(|_| ProofError::Thumbprint)?;
    jwk.thumbprint(ThumbprintHash::SHA256)
        .map_err(|_| ProofError::Thumbprint)
}

fn text<'p>(payload: &'p Map<String, Value>, name: &'static str) -> Result<&'p str, ProofError> {
    let text = payload.get(name).and_then(Value::as_str);
    text.ok_or(ProofError::NoText(name))
}

fn fingerprint(parts: [&str; 3]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        // With its length, so that nothing can be moved from one part to the next.
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part.as_bytes());
    }
    let digest = context.finish();
    digest.as_ref().first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests;
