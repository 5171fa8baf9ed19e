//! Why a request to the token service gets no good answer.

use super::answer::Answer;
use super::claims::KindError;
use super::store::StoreError;
use crate::auth::{ClaimError, TokenError};

/// Why a request gets no good answer: said to the client, or to the log.
pub(super) enum Failure {
    Refused(Answer),
    Store(StoreError),
    /// The kernel or aws-lc failed.
    Internal(String),
}

impl From<Answer> for Failure {
    fn from(answer: Answer) -> Self {
        Self::Refused(answer)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<KindError> for Failure {
    fn from(error: KindError) -> Self {
        Self::Refused(Answer::token(&error.to_string()))
    }
}

pub(super) const BLACKLISTED: &str = "Token is blacklisted";

/// The answer to a token that is not believed, or that cannot be judged for now.
pub(super) fn not_believed(error: &TokenError) -> Answer {
    if error.is_ours() {
        return Answer::unavailable();
    }
    Answer::token(words(error))
}

/// What `SimpleJWT` says of it.
fn words(error: &TokenError) -> &'static str {
    match error {
        TokenError::Claims {
            error: ClaimError::Expired { .. },
            ..
        } => "Token is expired",
        TokenError::Claims {
            error: ClaimError::Missing(name),
            ..
        } if name == "exp" => "Token has no 'exp' claim",
        TokenError::Revoked(_) => BLACKLISTED,
        TokenError::TooLong(_)
        | TokenError::NoDenyList(_)
        | TokenError::NoKeys { .. }
        | TokenError::Parts
        | TokenError::Base64(_)
        | TokenError::Header(_)
        | TokenError::Payload(_)
        | TokenError::UnknownIssuer(_)
        | TokenError::UnknownKey { .. }
        | TokenError::Algorithm { .. }
        | TokenError::Type { .. }
        | TokenError::Signature { .. }
        | TokenError::Claims { .. } => "Token is invalid",
    }
}
