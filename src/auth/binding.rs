//! Whether whoever shows a token may: it may be bound to a key or to a certificate (RFC 7800), and then the token alone opens
//! nothing.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::bearer::Scheme;
use super::dpop::{Dpop, ProofError};
use super::{Claims, Proof, RequestView, UnixTime};
use crate::config::Binding;

/// A token that an issuer signed and accepts. Whoever shows it may still have something to prove, with each request anew.
#[derive(Debug)]
pub(super) struct Believed {
    pub(super) claims: Arc<Claims>,
    pub(super) binding: Binding,
}

/// Why a token is not for whoever shows it; fit for a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BindingError {
    /// Let through, it would be worth no more than a token that is bound to nothing.
    #[error(
        "the token is bound to a key; set `auth.issuer.binding` to `dpop`, else anybody could use it"
    )]
    KeyUnproven,
    #[error(
        "the token is bound to a certificate; set `auth.issuer.binding` to `mtls`, else anybody could use it"
    )]
    CertificateUnproven,
    /// RFC 9449 section 7.2: it must not be taken for a bearer token.
    #[error("the token is bound to a key, but it was shown as a bearer token")]
    ShownAsBearer,
    #[error(
        "the token was shown with the scheme DPoP, but it is not one of an issuer whose `binding` is `dpop`"
    )]
    ShownAsDpop,
    #[error("the token is bound to a certificate, but the client has shown none")]
    NoCertificate,
    #[error("the certificate of the client is not the one that the token is bound to")]
    OtherCertificate,
    #[error("DPoP proof: {0}")]
    Proof(ProofError),
}

/// Whether a token is bound to nothing that nobody would check.
pub(super) fn check_token(Believed { claims, binding }: &Believed) -> Result<(), BindingError> {
    if claims.bound_key().is_some() && *binding != Binding::Dpop {
        return Err(BindingError::KeyUnproven);
    }
    if claims.bound_certificate().is_some() && *binding != Binding::Mtls {
        return Err(BindingError::CertificateUnproven);
    }
    Ok(())
}

/// Whether the request proves that the token is for its client, which `scheme` may say something of too. The proof, where one
/// is needed, must not have been shown before.
pub(super) fn check(
    believed: &Believed,
    (token, scheme): (&[u8], Option<Scheme>),
    request: &RequestView<'_>,
    dpop: &Dpop,
    now: UnixTime,
) -> Result<Option<Proof>, BindingError> {
    check_token(believed)?;
    let claims = &*believed.claims;
    match (believed.binding, scheme) {
        (Binding::Dpop, Some(Scheme::Bearer)) => Err(BindingError::ShownAsBearer),
        (Binding::Dpop, Some(Scheme::Dpop) | None) => {
            // `token` has seen that it is there.
            let jkt = claims.bound_key().unwrap_or_default();
            let proof = dpop.check(request, token, jkt, now);
            proof.map(Some).map_err(BindingError::Proof)
        }
        (Binding::None | Binding::Mtls, Some(Scheme::Dpop)) => Err(BindingError::ShownAsDpop),
        (Binding::None, Some(Scheme::Bearer) | None) => Ok(None),
        (Binding::Mtls, Some(Scheme::Bearer) | None) => {
            check_certificate(claims, request.client_certificate).map(|()| None)
        }
    }
}

/// RFC 8705 section 3.1.
fn check_certificate(claims: &Claims, certificate: Option<&[u8]>) -> Result<(), BindingError> {
    let der = certificate.ok_or(BindingError::NoCertificate)?;
    let thumbprint = URL_SAFE_NO_PAD.encode(digest(&SHA256, der));
    if claims.bound_certificate() == Some(thumbprint.as_str()) {
        Ok(())
    } else {
        Err(BindingError::OtherCertificate)
    }
}

#[cfg(test)]
mod tests;
