//! Of which kind a refusal is: `auth` tells it, `scoreboard` counts it, monitoring names it.

/// What kind of refusal it is, for whoever counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalClass {
    /// The request itself is wrong, or asks for too much, whatever its token.
    Request,
    /// There is no token.
    NoToken,
    /// What is shown is no token, or more than one.
    Unreadable,
    /// The token is of nobody whose keys are known.
    UnknownKey,
    /// The signature is not valid.
    Signature,
    /// The token has expired.
    Expired,
    /// The token says something else that is not accepted.
    Claims,
    /// The token was revoked.
    Revoked,
    /// Whoever shows the token has not proved that it is theirs.
    Binding,
    /// The token, or the client's certificate, does not suffice.
    Permission,
    /// It cannot be told for now: keys, a list or memory are lacking.
    Unavailable,
}

impl RefusalClass {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Request,
        Self::NoToken,
        Self::Unreadable,
        Self::UnknownKey,
        Self::Signature,
        Self::Expired,
        Self::Claims,
        Self::Revoked,
        Self::Binding,
        Self::Permission,
        Self::Unavailable,
    ];

    /// What monitoring calls it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::NoToken => "no_token",
            Self::Unreadable => "unreadable_token",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::Claims => "claims",
            Self::Revoked => "revoked",
            Self::Binding => "binding",
            Self::Permission => "permission",
            Self::Unavailable => "unavailable",
        }
    }
}
