//! Signature algorithms: their names in tokens and keys, and what their keys must be.

use aws_lc_rs::hmac;

use crate::config::Algorithm;

/// Every algorithm there is; `none` is not among them.
pub const ALL: [Algorithm; 12] = [
    Algorithm::Hs256,
    Algorithm::Hs384,
    Algorithm::Hs512,
    Algorithm::Rs256,
    Algorithm::Rs384,
    Algorithm::Rs512,
    Algorithm::Ps256,
    Algorithm::Ps384,
    Algorithm::Ps512,
    Algorithm::Es256,
    Algorithm::Es384,
    Algorithm::EdDsa,
];

/// The name in `alg` (RFC 7518 section 3.1, RFC 8037 section 3.1).
pub const fn name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Hs256 => "HS256",
        Algorithm::Hs384 => "HS384",
        Algorithm::Hs512 => "HS512",
        Algorithm::Rs256 => "RS256",
        Algorithm::Rs384 => "RS384",
        Algorithm::Rs512 => "RS512",
        Algorithm::Ps256 => "PS256",
        Algorithm::Ps384 => "PS384",
        Algorithm::Ps512 => "PS512",
        Algorithm::Es256 => "ES256",
        Algorithm::Es384 => "ES384",
        Algorithm::EdDsa => "EdDSA",
    }
}

/// The algorithm of this name, exactly as RFC 7518 and RFC 8037 write it. RFC 9864 section 2.2 calls the one kind of
/// `EdDSA` that there is here `Ed25519`.
pub fn by_name(text: &str) -> Option<Algorithm> {
    if text == "Ed25519" {
        return Some(Algorithm::EdDsa);
    }
    ALL.into_iter().find(|algorithm| name(*algorithm) == text)
}

/// The least bytes of a shared secret: the size of the hash (RFC 7518 section 3.2). `None` for signatures.
pub const fn least_secret(algorithm: Algorithm) -> Option<usize> {
    match algorithm {
        Algorithm::Hs256 => Some(32),
        Algorithm::Hs384 => Some(48),
        Algorithm::Hs512 => Some(64),
        Algorithm::Rs256
        | Algorithm::Rs384
        | Algorithm::Rs512
        | Algorithm::Ps256
        | Algorithm::Ps384
        | Algorithm::Ps512
        | Algorithm::Es256
        | Algorithm::Es384
        | Algorithm::EdDsa => None,
    }
}

/// The MAC of an HS algorithm.
pub(super) const fn hmac(algorithm: Algorithm) -> Option<hmac::Algorithm> {
    match algorithm {
        Algorithm::Hs256 => Some(hmac::HMAC_SHA256),
        Algorithm::Hs384 => Some(hmac::HMAC_SHA384),
        Algorithm::Hs512 => Some(hmac::HMAC_SHA512),
        Algorithm::Rs256
        | Algorithm::Rs384
        | Algorithm::Rs512
        | Algorithm::Ps256
        | Algorithm::Ps384
        | Algorithm::Ps512
        | Algorithm::Es256
        | Algorithm::Es384
        | Algorithm::EdDsa => None,
    }
}

/// `HS256, HS384`: for messages.
pub fn list(algorithms: &[Algorithm]) -> String {
    let names: Vec<_> = algorithms.iter().map(|each| name(*each)).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_stands_for_its_algorithm() {
        for algorithm in ALL {
            assert_eq!(by_name(name(algorithm)), Some(algorithm));
        }
    }

    #[test]
    fn ed25519_is_the_new_name_of_eddsa() {
        assert_eq!(by_name("Ed25519"), Some(Algorithm::EdDsa));
        assert_eq!(by_name("Ed448"), None);
    }

    #[test]
    fn none_is_unknown_in_any_case() {
        for text in ["none", "None", "NONE", "nOnE", "", "hs256", "ES512"] {
            assert_eq!(by_name(text), None);
        }
    }
}
