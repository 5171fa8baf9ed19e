//! One key of a JWK set (RFC 7517), each judged on its own. jsonwebtoken's types are not used: they leave `alg`,
//! `use`, `key_ops` and `crv` unchecked and reject a whole set for one bad member.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::keys::{Key, KeyError};
use super::material::Material;
use super::{algorithm, json, shown};
use crate::config::Algorithm;

/// More keys than any issuer has; a token without `kid` is tried against each.
pub(super) const MAX_KEYS: usize = 100;

/// The members of a key as written (RFC 7517 section 4, RFC 7518 section 6, RFC 8037 section 2).
#[derive(Deserialize)]
pub(super) struct Jwk {
    pub(super) kty: String,
    #[serde(rename = "use")]
    pub(super) usage: Option<String>,
    pub(super) key_ops: Option<Vec<String>>,
    pub(super) alg: Option<String>,
    pub(super) kid: Option<String>,
    pub(super) crv: Option<String>,
    pub(super) x: Option<String>,
    pub(super) y: Option<String>,
    pub(super) n: Option<String>,
    pub(super) e: Option<String>,
    pub(super) k: Option<String>,
    pub(super) d: Option<String>,
    pub(super) p: Option<String>,
    pub(super) q: Option<String>,
    pub(super) dp: Option<String>,
    pub(super) dq: Option<String>,
    pub(super) qi: Option<String>,
}

/// A JWK set (RFC 7517 section 5), its keys unread: one that cannot be read is no reason to lose the others.
#[derive(Deserialize)]
struct Set<'a> {
    #[serde(borrow)]
    keys: Option<Vec<&'a RawValue>>,
}

/// The keys of a set, or the one key, each as it is written.
pub(super) fn members(text: &[u8]) -> Result<Vec<&str>, KeyError> {
    json::begins_object(text).map_err(KeyError::Jwks)?;
    let set: Set<'_> = serde_json::from_slice(text).map_err(|error| match error.classify() {
        // What serde says would repeat what stands there.
        Category::Data => KeyError::Jwks("`keys` is not an array, or occurs twice".to_owned()),
        Category::Io | Category::Syntax | Category::Eof => KeyError::Jwks(error.to_string()),
    })?;
    if let Some(keys) = set.keys {
        return Ok(keys.into_iter().map(RawValue::get).collect());
    }
    let one = std::str::from_utf8(text).map_err(|error| KeyError::Jwks(error.to_string()))?;
    Ok(vec![one])
}

/// What a key holds that only its owner may know (RFC 7518 section 6, RFC 8037 section 2), whether it can be used or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// What anyone may know.
    Public,
    /// What can sign besides.
    Private,
    /// What verifies and signs.
    Secret,
}

/// What stands in a key, by the names of its members.
pub(super) fn holds(member: &str) -> Holds {
    const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "priv"];
    // Of a key that cannot be read so far, nothing can be said, and nobody can use it.
    let names: BTreeMap<String, &RawValue> = serde_json::from_str(member).unwrap_or_default();
    if names.contains_key("k") {
        Holds::Secret
    } else if PRIVATE.iter().any(|name| names.contains_key(*name)) {
        Holds::Private
    } else {
        Holds::Public
    }
}

/// The key, when it may verify tokens with one of the allowed algorithms (all, when `allowed` is empty).
pub(super) fn read(member: &str, allowed: &[Algorithm]) -> Result<Key, KeyError> {
    let jwk = Jwk::read(member)?;
    jwk.may("verify")?;
    let material = jwk.material()?;
    let Some(made_for) = jwk.algorithm()? else {
        return Key::new(jwk.kid, &material, allowed);
    };
    material.serves(made_for)?;
    if !allowed.is_empty() && !allowed.contains(&made_for) {
        return Err(KeyError::Jwk(format!(
            "it is made for {}, which is not allowed",
            algorithm::name(made_for)
        )));
    }
    Key::new(jwk.kid, &material, &[made_for])
}

impl Jwk {
    pub(super) fn read(member: &str) -> Result<Self, KeyError> {
        let member = json::object(member.as_bytes()).map_err(KeyError::Jwk)?;
        // serde would show the value that it did not expect, which may be a private member.
        serde_json::from_value(member.into())
            .map_err(|_| KeyError::Jwk("it lacks `kty`, or a member has the wrong type".to_owned()))
    }

    /// Whether `use` and `key_ops` allow it to `verify` or `sign` (RFC 7517 sections 4.2 and 4.3).
    pub(super) fn may(&self, operation: &str) -> Result<(), KeyError> {
        if let Some(usage) = self.usage.as_deref().filter(|usage| *usage != "sig") {
            let usage = shown(usage);
            return Err(KeyError::Jwk(format!("its `use` is {usage}, not `sig`")));
        }
        match &self.key_ops {
            Some(operations) if !operations.iter().any(|each| each == operation) => Err(
                KeyError::Jwk(format!("its `key_ops` does not hold `{operation}`")),
            ),
            Some(_) | None => Ok(()),
        }
    }

    /// The one algorithm it is made for.
    pub(super) fn algorithm(&self) -> Result<Option<Algorithm>, KeyError> {
        let Some(name) = &self.alg else {
            return Ok(None);
        };
        match algorithm::by_name(name) {
            Some(algorithm) => Ok(Some(algorithm)),
            None => Err(KeyError::Jwk(format!(
                "its `alg` {} is not known",
                shown(name)
            ))),
        }
    }

    /// The secret or the public half.
    pub(super) fn material(&self) -> Result<Material, KeyError> {
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("oct", _) => Material::secret(octets("k", self.k.as_ref())?),
            ("RSA", _) => Ok(Material::Rsa {
                n: magnitude("n", self.n.as_ref())?,
                e: magnitude("e", self.e.as_ref())?,
            }),
            ("EC", Some("P-256")) => Ok(Material::P256(self.point(32)?)),
            ("EC", Some("P-384")) => Ok(Material::P384(self.point(48)?)),
            ("OKP", Some("Ed25519")) => Ok(Material::Ed25519(octets("x", self.x.as_ref())?)),
            (kty, Some(crv)) => Err(KeyError::Jwk(format!(
                "its `kty` {} with `crv` {} is not supported",
                shown(kty),
                shown(crv)
            ))),
            (kty, None) => Err(KeyError::Jwk(format!(
                "its `kty` {} without `crv` is not supported",
                shown(kty)
            ))),
        }
    }

    /// RFC 7518 section 6.2.1.2: each coordinate has the full size of the field.
    fn point(&self, size: usize) -> Result<Vec<u8>, KeyError> {
        let mut point = vec![4];
        for (name, text) in [("x", &self.x), ("y", &self.y)] {
            let coordinate = octets(name, text.as_ref())?;
            if coordinate.len() != size {
                return Err(KeyError::Jwk(format!(
                    "its `{name}` has {} bytes, not {size}",
                    coordinate.len()
                )));
            }
            point.extend(coordinate);
        }
        Ok(point)
    }
}

/// A base64url member.
pub(super) fn octets(name: &str, text: Option<&String>) -> Result<Vec<u8>, KeyError> {
    let text = text.ok_or_else(|| KeyError::Jwk(format!("`{name}` is missing")))?;
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| KeyError::Jwk(format!("its `{name}` is not base64url without padding")))
}

/// A base64url number. RFC 7518 section 6.3.1.1 forbids the leading zero that some makers write, aws-lc refuses it.
pub(super) fn magnitude(name: &str, text: Option<&String>) -> Result<Vec<u8>, KeyError> {
    let octets = octets(name, text)?;
    let start = octets.iter().position(|byte| *byte != 0);
    start
        .and_then(|start| octets.get(start..))
        .map(<[u8]>::to_vec)
        .ok_or_else(|| KeyError::Jwk(format!("its `{name}` is zero")))
}
