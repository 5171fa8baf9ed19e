//! What clients and the log are told of a request that may not pass. The words are those of Django REST Framework, where it has
//! some.

use std::fmt;

use super::Refusal;
use super::bearer::Scheme;
use super::binding::BindingError;
use super::challenge::Challenges;
use super::claims::ClaimError;
use super::credentials::CredentialsError;
use super::csrf::CsrfError;
use super::dpop::ProofError;
use super::identity_fields::FieldsError;
use super::path::PathError;
use super::rules::{ClientCertError, Unmet};
use super::token::TokenError;
use crate::config::{self, Binding};
use crate::refusal_class::RefusalClass;

/// Those that come with a challenge.
#[derive(Debug)]
pub(super) struct Refusals {
    challenges: Challenges,
}

impl Refusals {
    /// `metadata` is the address at which a client learns where it gets a token.
    pub(super) fn new(config: &config::Auth, metadata: Option<&str>) -> Self {
        Self {
            challenges: Challenges::new(&config.realm, metadata, &schemes(config)),
        }
    }

    /// The token is believed, but does not suffice.
    pub(super) fn insufficient(&self, scheme: Option<Scheme>, unmet: &Unmet<'_>) -> Refusal {
        match unmet {
            Unmet::Scopes { needed, .. } => self.forbidden(scheme, needed, unmet),
            // Which of them the client shall ask for is not ours to say: a challenge names scopes that are all needed.
            Unmet::AnyScope(_) | Unmet::Roles(_) | Unmet::Claim(_) => {
                self.forbidden(scheme, &[], unmet)
            }
            Unmet::LoginTooOld { max_age } => Refusal {
                status: 401,
                challenge: Some(
                    self.challenges
                        .insufficient_user_authentication(scheme, *max_age),
                ),
                detail: "A more recent login is needed.",
                code: "login_too_old",
                class: RefusalClass::Permission,
                reason: unmet.to_string(),
            },
        }
    }

    /// The credentials are not one token.
    pub(super) fn unreadable(&self, error: &CredentialsError) -> Refusal {
        match error {
            CredentialsError::SeveralFields => Refusal {
                class: RefusalClass::Unreadable,
                ..bad_request("The request has more than one Authorization header.", error)
            },
            CredentialsError::Several => Refusal {
                challenge: Some(self.challenges.invalid_request()),
                class: RefusalClass::Unreadable,
                ..bad_request("The request has more than one token.", error)
            },
            // RFC 6750 section 3.1: a malformed request is not a token that is not believed.
            CredentialsError::Malformed => Refusal {
                status: 400,
                challenge: Some(self.challenges.invalid_request()),
                detail: "Authorization header must contain two space-delimited values",
                code: "bad_authorization_header",
                class: RefusalClass::Unreadable,
                reason: error.to_string(),
            },
        }
    }

    /// There is no token.
    pub(super) fn not_authenticated(&self) -> Refusal {
        Refusal {
            status: 401,
            challenge: Some(self.challenges.missing()),
            detail: "Authentication credentials were not provided.",
            code: "not_authenticated",
            class: RefusalClass::NoToken,
            reason: "no bearer token".to_owned(),
        }
    }

    /// No issuer accepts the token, or what it is judged by is lacking.
    pub(super) fn not_believed(&self, scheme: Option<Scheme>, error: &TokenError) -> Refusal {
        if error.is_ours() {
            return Refusal {
                status: 503,
                challenge: None,
                detail: "The token cannot be checked for now.",
                code: "token_not_checked",
                class: RefusalClass::Unavailable,
                reason: error.to_string(),
            };
        }
        Refusal {
            class: class_of(error),
            ..self.invalid(scheme, error.to_string())
        }
    }

    /// The token is not for whoever shows it.
    pub(super) fn not_bound(&self, error: &BindingError, scheme: Option<Scheme>) -> Refusal {
        let reason = error.to_string();
        let refusal = match error {
            // Another proof would not help (RFC 9449 section 7.1).
            BindingError::ShownAsBearer | BindingError::Proof(ProofError::OtherKey) => {
                self.invalid(Some(Scheme::Dpop), reason)
            }
            BindingError::Proof(_) => self.invalid_proof(reason),
            BindingError::KeyUnproven
            | BindingError::CertificateUnproven
            | BindingError::ShownAsDpop
            | BindingError::NoCertificate
            | BindingError::OtherCertificate => self.invalid(scheme, reason),
        };
        Refusal {
            class: RefusalClass::Binding,
            ..refusal
        }
    }

    /// The proof was shown before.
    pub(super) fn replayed(&self) -> Refusal {
        self.invalid_proof("DPoP proof: it was shown before".to_owned())
    }

    /// The request is not one that any rule is for.
    pub(super) fn no_rule(&self, scheme: Option<Scheme>) -> Refusal {
        self.forbidden(scheme, &[], &"no rule is for this method and path")
    }

    /// The token is one that needs a DPoP proof, and has none that counts.
    fn invalid_proof(&self, reason: String) -> Refusal {
        Refusal {
            challenge: Some(self.challenges.invalid_proof()),
            detail: "The DPoP proof is missing or not valid.",
            code: "invalid_dpop_proof",
            class: RefusalClass::Binding,
            ..self.invalid(Some(Scheme::Dpop), reason)
        }
    }

    fn invalid(&self, scheme: Option<Scheme>, reason: String) -> Refusal {
        Refusal {
            status: 401,
            challenge: Some(self.challenges.invalid_token(scheme)),
            detail: "Given token not valid for any token type",
            code: "token_not_valid",
            class: RefusalClass::Claims,
            reason,
        }
    }

    fn forbidden(
        &self,
        scheme: Option<Scheme>,
        scopes: &[String],
        reason: &dyn fmt::Display,
    ) -> Refusal {
        Refusal {
            status: 403,
            challenge: Some(self.challenges.insufficient_scope(scheme, scopes)),
            detail: "You do not have permission to perform this action.",
            code: "permission_denied",
            class: RefusalClass::Permission,
            reason: reason.to_string(),
        }
    }
}

/// What tokens may be shown with: bearer tokens where no issuer has others.
fn schemes(config: &config::Auth) -> Vec<Scheme> {
    let bearer = (!config.has_only_binding(Binding::Dpop)).then_some(Scheme::Bearer);
    let dpop = config.has_binding(Binding::Dpop).then_some(Scheme::Dpop);
    bearer.into_iter().chain(dpop).collect()
}

/// The path has two readings.
pub(super) fn ambiguous(error: PathError) -> Refusal {
    bad_request("The path of the request is ambiguous.", &error)
}

/// The words are those of Django REST Framework.
pub(super) fn forged(error: CsrfError) -> Refusal {
    Refusal {
        status: 403,
        challenge: None,
        detail: "CSRF Failed: the request was not made by this site.",
        code: "permission_denied",
        class: RefusalClass::Request,
        reason: error.to_string(),
    }
}

/// RFC 6585 section 5. The application would take a part of its claims for all of them.
pub(super) fn unwritable(error: FieldsError) -> Refusal {
    Refusal {
        status: 431,
        challenge: None,
        detail: "The token says more than can be passed on.",
        code: "claims_too_large",
        class: RefusalClass::Claims,
        reason: error.to_string(),
    }
}

/// The client has not shown the certificate that is needed. No challenge asks for one: it belongs to the connection.
pub(super) fn without_certificate(error: ClientCertError) -> Refusal {
    let (detail, code) = match error {
        ClientCertError::Absent => (
            "A client certificate is needed.",
            "client_certificate_required",
        ),
        ClientCertError::Name => (
            "You do not have permission to perform this action.",
            "permission_denied",
        ),
    };
    Refusal {
        status: 403,
        challenge: None,
        detail,
        code,
        class: RefusalClass::Permission,
        reason: error.to_string(),
    }
}

/// Whether the proof was shown before cannot be told, so it may not pass; another proof has a place of its own.
pub(super) fn unremembered() -> Refusal {
    Refusal {
        status: 503,
        challenge: None,
        detail: "The DPoP proof cannot be checked for now.",
        code: "proof_not_checked",
        class: RefusalClass::Unavailable,
        reason: "the replay cache has no room for the DPoP proof: too many were shown within `auth.dpop_window`".to_owned(),
    }
}

fn bad_request(detail: &'static str, reason: &dyn fmt::Display) -> Refusal {
    Refusal {
        status: 400,
        challenge: None,
        detail,
        code: "invalid_request",
        class: RefusalClass::Request,
        reason: reason.to_string(),
    }
}

/// What is counted of a token that nobody believes.
fn class_of(error: &TokenError) -> RefusalClass {
    match error {
        TokenError::TooLong(_)
        | TokenError::Parts
        | TokenError::Base64(_)
        | TokenError::Header(_)
        | TokenError::Payload(_) => RefusalClass::Unreadable,
        TokenError::UnknownIssuer(_) | TokenError::UnknownKey { .. } => RefusalClass::UnknownKey,
        TokenError::Signature { .. } | TokenError::Algorithm { .. } => RefusalClass::Signature,
        TokenError::Claims {
            error: ClaimError::Expired { .. },
            ..
        } => RefusalClass::Expired,
        TokenError::Claims { .. } | TokenError::Type { .. } => RefusalClass::Claims,
        TokenError::Revoked(_) => RefusalClass::Revoked,
        TokenError::NoKeys { .. } | TokenError::NoDenyList(_) => RefusalClass::Unavailable,
    }
}
