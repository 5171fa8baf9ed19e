//! `destrier key generate`: a secret, or a private key with its public half.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
};
use pem::{EncodeConfig, LineEnding, Pem};

use serde_json::json;

use super::super::{CommandError, tell};
use crate::auth::SigningKey;
use crate::cli::KeyAlgorithm;
use crate::config::Algorithm;
use crate::key_files;

const PRIVATE_MODE: u32 = 0o600;
const PUBLIC_MODE: u32 = 0o644;

/// How the public half is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PublicForm {
    Pem,
    /// A JWK set, in which the key has a name, so that others can follow it there.
    KeySet,
}

/// What was made, as text.
enum Made {
    Secret(String),
    Pair { private: String, public: String },
}

/// A new private key in PEM.
pub(super) fn private_key(algorithm: KeyAlgorithm) -> Result<String, CommandError> {
    match make(algorithm) {
        Ok(Made::Pair { private, .. }) => Ok(private),
        Ok(Made::Secret(_)) => Err(CommandError::usage(
            "key rotate: a shared secret has no public half that could be known before it signs",
        )),
        Err(error) => Err(CommandError::failure(format!(
            "key rotate: the key could not be made: {error}"
        ))),
    }
}

pub(super) fn run(
    algorithm: KeyAlgorithm,
    out: &Path,
    public_out: Option<&Path>,
    form: PublicForm,
) -> Result<(), CommandError> {
    if [Some(out), public_out].contains(&Some(Path::new("-"))) {
        return Err(CommandError::usage(
            "key generate: a key goes to a file, which nobody else can read, not to standard output",
        ));
    }
    let made = make(algorithm).map_err(|error| {
        CommandError::failure(format!("key generate: the key could not be made: {error}"))
    })?;
    match made {
        Made::Secret(_) if public_out.is_some() => Err(CommandError::usage(
            "key generate: a shared secret has no public half, leave out `--public-out`",
        )),
        Made::Secret(secret) => {
            write(out, &secret, PRIVATE_MODE)?;
            tell(&format!("secret in `{}`", out.display()));
            Ok(())
        }
        Made::Pair { private, public } => {
            let public_out = public_out.map_or_else(|| beside(out), Path::to_owned);
            if public_out == out {
                return Err(CommandError::usage(
                    "key generate: `--out` and `--public-out` are the same file",
                ));
            }
            let public = match form {
                PublicForm::Pem => public,
                PublicForm::KeySet => key_set(algorithm, &private)?,
            };
            write(out, &private, PRIVATE_MODE)?;
            if let Err(error) = write(&public_out, &public, PUBLIC_MODE) {
                // Half a pair would only be in the way of the next attempt.
                drop(fs::remove_file(out));
                return Err(error);
            }
            let (private, public) = (out.display(), public_out.display());
            tell(&format!(
                "private key in `{private}`, public key in `{public}`"
            ));
            Ok(())
        }
    }
}

/// A set with the public half of this key, called by its thumbprint.
fn key_set(algorithm: KeyAlgorithm, private: &str) -> Result<String, CommandError> {
    let made_for = match algorithm {
        KeyAlgorithm::Es256 => Some(Algorithm::Es256),
        KeyAlgorithm::Es384 => Some(Algorithm::Es384),
        KeyAlgorithm::EdDsa => Some(Algorithm::EdDsa),
        // It serves several, all of which may be meant.
        KeyAlgorithm::Rs256 | KeyAlgorithm::Hs256 | KeyAlgorithm::Hs384 | KeyAlgorithm::Hs512 => {
            None
        }
    };
    let key = SigningKey::from_pem(private.as_bytes()).ok();
    key.and_then(|key| key.public_jwk_by_thumbprint(made_for))
        .map(|(jwk, _)| format!("{:#}\n", json!({ "keys": [jwk] })))
        .ok_or_else(|| CommandError::failure("key generate: the key set could not be made"))
}

fn make(algorithm: KeyAlgorithm) -> io::Result<Made> {
    let failed = |Unspecified| io::Error::other("aws-lc failed");
    match algorithm {
        KeyAlgorithm::Hs256 => secret::<32>(),
        KeyAlgorithm::Hs384 => secret::<48>(),
        KeyAlgorithm::Hs512 => secret::<64>(),
        KeyAlgorithm::Rs256 => rsa().map_err(failed),
        KeyAlgorithm::Es256 => ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed),
        KeyAlgorithm::Es384 => ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING).map_err(failed),
        KeyAlgorithm::EdDsa => ed25519().map_err(failed),
    }
}

fn secret<const BYTES: usize>() -> io::Result<Made> {
    let text = key_files::random_secret::<BYTES>()?;
    Ok(Made::Secret(format!("{text}\n")))
}

fn rsa() -> Result<Made, Unspecified> {
    // 3072 bits equal the 128 bits of security of P-256 and Ed25519 (NIST SP 800-57 part 1, table 2).
    let key = RsaKeyPair::generate(KeySize::Rsa3072)?;
    Ok(pair(
        key.as_der()?.as_ref(),
        key.public_key().as_der()?.as_ref(),
    ))
}

fn ecdsa(algorithm: &'static EcdsaSigningAlgorithm) -> Result<Made, Unspecified> {
    let key = EcdsaKeyPair::generate(algorithm)?;
    Ok(pair(
        key.to_pkcs8v1()?.as_ref(),
        key.public_key().as_der()?.as_ref(),
    ))
}

fn ed25519() -> Result<Made, Unspecified> {
    let key = Ed25519KeyPair::generate()?;
    // Version 1 (RFC 8410 section 7), because OpenSSL does not read version 2.
    Ok(pair(
        key.to_pkcs8v1()?.as_ref(),
        key.public_key().as_der()?.as_ref(),
    ))
}

fn pair(pkcs8: &[u8], spki: &[u8]) -> Made {
    let armour = |tag: &str, der: &[u8]| {
        let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
        pem::encode_config(&Pem::new(tag, der), config)
    };
    Made::Pair {
        private: armour("PRIVATE KEY", pkcs8),
        public: armour("PUBLIC KEY", spki),
    }
}

/// `FILE.pub`.
fn beside(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), CommandError> {
    key_files::create(path, text.as_bytes(), mode).map_err(|error| {
        let path = path.display();
        CommandError::failure(if error.kind() == io::ErrorKind::AlreadyExists {
            format!("key generate: `{path}` exists and is not overwritten; remove it or choose another name")
        } else {
            format!("key generate: cannot write `{path}`: {error}")
        })
    })
}
