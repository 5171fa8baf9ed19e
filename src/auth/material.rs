//! What a key is made of, the algorithms it can serve, and its parsed form that verifies.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaPublicKeyComponents};
use jsonwebtoken::DecodingKey;

use super::keys::KeyError;
use super::{algorithm, certificate, secret};
use crate::config::Algorithm;

/// A key that was parsed for one algorithm. aws-lc-rs is used without jsonwebtoken around it, because that
/// copies and parses the key again for every token: 6 times the cost for HS256, and up to a quarter more for the others.
#[derive(Debug)]
pub(super) enum Verifier {
    Secret(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

impl Verifier {
    /// Whether the signature is by this key; a MAC is compared in constant time.
    pub(super) fn accepts(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Secret(key) => hmac::verify(key, message, signature).is_ok(),
            Self::Public(key) => key.verify_sig(message, signature).is_ok(),
        }
    }
}

/// What a key is made of, before it is known what it will be used for.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Material {
    /// Made by [`Material::secret`] only.
    Secret(Vec<u8>),
    /// Big-endian without leading zeros.
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// Uncompressed points (SEC 1 section 2.3.3).
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl fmt::Debug for Material {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.kind())
    }
}

impl Material {
    /// A shared secret, which must not be a key in disguise.
    pub(super) fn secret(secret: Vec<u8>) -> Result<Self, KeyError> {
        if secret::is_key(&secret) {
            return Err(KeyError::SecretIsKey);
        }
        Ok(Self::Secret(secret))
    }

    /// A public key (SPKI or PKCS#1) or a certificate in PEM; of a chain, the first certificate.
    pub(super) fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let blocks = pem::parse_many(pem).map_err(|_| KeyError::Pem)?;
        let tags = || blocks.iter().map(pem::Pem::tag);
        if tags().any(|tag| tag.ends_with("PRIVATE KEY")) {
            return Err(KeyError::Private);
        }
        // A chain of certificates stands for one key, that of its first.
        let keys = tags().filter(|tag| tag.ends_with("PUBLIC KEY")).count();
        let chains = usize::from(blocks.iter().any(certificate::is_certificate));
        if keys + chains > 1 {
            return Err(KeyError::SeveralPem(keys + chains));
        }
        // jsonwebtoken takes the first bit string, which is the key, but of a certificate it may take the
        // algorithm of the signature for that of the key. So what the octets are decides, not who found them.
        let key = DecodingKey::from_rsa_pem(pem)
            .or_else(|_| DecodingKey::from_ec_pem(pem))
            .or_else(|_| DecodingKey::from_ed_pem(pem))
            .map_err(|_| KeyError::Pem)?;
        let octets = key.try_get_as_bytes().map_err(|_| KeyError::Pem)?;
        if let Ok(key) = aws_lc_rs::rsa::PublicKey::from_der(octets) {
            let RsaPublicKeyComponents { n, e } = RsaPublicKeyComponents::<Vec<u8>>::from(&key);
            return Ok(Self::Rsa { n, e });
        }
        // A point of another curve of the same size is found out when it is parsed.
        match octets.len() {
            P256_POINT => Ok(Self::P256(octets.to_vec())),
            P384_POINT => Ok(Self::P384(octets.to_vec())),
            ED25519_KEY => Ok(Self::Ed25519(octets.to_vec())),
            _ => Err(KeyError::Pem),
        }
    }

    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Secret(_) => "a secret",
            Self::Rsa { .. } => "an RSA key",
            Self::P256(_) => "a P-256 key",
            Self::P384(_) => "a P-384 key",
            Self::Ed25519(_) => "an Ed25519 key",
        }
    }

    /// Whether the algorithm is one for this kind and size of key.
    pub(super) fn serves(&self, algorithm: Algorithm) -> Result<(), KeyError> {
        if let (Self::Secret(secret), Some(needed)) = (self, algorithm::least_secret(algorithm)) {
            let found = secret.len();
            return if found < needed {
                Err(KeyError::SecretTooShort {
                    algorithm,
                    needed,
                    found,
                })
            } else {
                Ok(())
            };
        }
        let serves = match algorithm {
            Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => false,
            Algorithm::Rs256
            | Algorithm::Rs384
            | Algorithm::Rs512
            | Algorithm::Ps256
            | Algorithm::Ps384
            | Algorithm::Ps512 => matches!(self, Self::Rsa { .. }),
            Algorithm::Es256 => matches!(self, Self::P256(_)),
            Algorithm::Es384 => matches!(self, Self::P384(_)),
            Algorithm::EdDsa => matches!(self, Self::Ed25519(_)),
        };
        if serves {
            Ok(())
        } else {
            let kind = self.kind();
            Err(KeyError::WrongKind { algorithm, kind })
        }
    }

    pub(super) fn verifier(&self, algorithm: Algorithm) -> Result<Verifier, KeyError> {
        let wrong = || KeyError::WrongKind {
            algorithm,
            kind: self.kind(),
        };
        let key = match self {
            Self::Secret(secret) => {
                let hash = algorithm::hmac(algorithm).ok_or_else(wrong)?;
                return Ok(Verifier::Secret(Box::new(hmac::Key::new(hash, secret))));
            }
            Self::Rsa { n, e } => {
                judge_rsa(n, e)?;
                let parameters = rsa_parameters(algorithm).ok_or_else(wrong)?;
                RsaPublicKeyComponents { n, e }.to_parsed_public_key(parameters)
            }
            Self::P256(point) if point.len() == P256_POINT => {
                ParsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
            }
            Self::P384(point) if point.len() == P384_POINT => {
                ParsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point)
            }
            Self::Ed25519(octets) if octets.len() == ED25519_KEY => {
                judge_ed25519(octets)?;
                ParsedPublicKey::new(&signature::ED25519, octets)
            }
            Self::P256(_) | Self::P384(_) | Self::Ed25519(_) => {
                return Err(KeyError::Invalid(self.bare_kind()));
            }
        };
        key.map(Verifier::Public)
            .map_err(|_| KeyError::Invalid(self.bare_kind()))
    }

    const fn bare_kind(&self) -> &'static str {
        match self {
            Self::Secret(_) => "secret",
            Self::Rsa { .. } => "RSA key",
            Self::P256(_) => "P-256 key",
            Self::P384(_) => "P-384 key",
            Self::Ed25519(_) => "Ed25519 key",
        }
    }
}

const P256_POINT: usize = 1 + 2 * 32;
const P384_POINT: usize = 1 + 2 * 48;
const ED25519_KEY: usize = 32;

/// aws-lc-rs checks the size only when a signature is verified, which is too late to tell the operator.
fn judge_rsa(n: &[u8], e: &[u8]) -> Result<(), KeyError> {
    let bits = n.len() * 8 - n.first().map_or(0, |byte| byte.leading_zeros() as usize);
    if !(2048..=8192).contains(&bits) {
        return Err(KeyError::RsaSize(bits));
    }
    if n.last().is_none_or(|byte| byte % 2 == 0) {
        return Err(KeyError::Invalid("RSA key"));
    }
    let is_long = e.len() > 5 || (e.len() == 5 && e.first() > Some(&1));
    if is_long || e == [1] || e.last().is_none_or(|byte| byte % 2 == 0) {
        return Err(KeyError::RsaExponent);
    }
    Ok(())
}

/// For a point of small order a signature can be made without a key, and a point that is written in two ways is two keys;
/// aws-lc-rs takes both (RFC 8032 section 5.1.3).
fn judge_ed25519(octets: &[u8]) -> Result<(), KeyError> {
    /// The y of the four points of order 8, little-endian; those of order 1, 2 and 4 have y = 1, -1 and 0.
    const ORDER_8: [[u8; 32]; 2] = [
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef,
            0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88,
            0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10,
            0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77,
            0x92, 0xac, 0x03, 0x7a,
        ],
    ];
    let mut y = octets.to_vec();
    // The highest bit is the sign of x.
    if let Some(last) = y.last_mut() {
        *last &= 0x7f;
    }
    let is_weak = match y.as_slice() {
        [low, middle @ .., high] => {
            // p = 2²⁵⁵ - 19 ends in 0xed: -1 is just below it, and what is not below it has a shorter form.
            let is_high = *low >= 0xec && *high == 0x7f && middle.iter().all(|byte| *byte == 0xff);
            let is_low = *low <= 1 && *high == 0 && middle.iter().all(|byte| *byte == 0);
            is_high || is_low || ORDER_8.iter().any(|each| *each == *y)
        }
        [] | [_] => true,
    };
    if is_weak {
        return Err(KeyError::WeakEd25519);
    }
    Ok(())
}

const fn rsa_parameters(algorithm: Algorithm) -> Option<&'static signature::RsaParameters> {
    match algorithm {
        Algorithm::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        Algorithm::Hs256
        | Algorithm::Hs384
        | Algorithm::Hs512
        | Algorithm::Es256
        | Algorithm::Es384
        | Algorithm::EdDsa => None,
    }
}
