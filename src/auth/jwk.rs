//! One key of a JWK set (RFC 7517), each judged on its own. jsonwebtoken's types are not used: they leave `alg`,
//! `use`, `key_ops` and `crv` unchecked and reject a whole set for one bad member.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use super::keys::{Key, KeyError};
use super::material::Material;
use super::{algorithm, json, shown};
use crate::config::Algorithm;

/// More keys than any issuer has; a token without `kid` is tried against each.
const MAX_KEYS: usize = 100;

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

/// The keys of a set, or the one key.
pub(super) fn members(text: &[u8]) -> Result<Vec<Value>, KeyError> {
    let mut object = json::object(text).map_err(KeyError::Jwks)?;
    match object.remove("keys") {
        Some(Value::Array(keys)) if keys.len() > MAX_KEYS => Err(KeyError::Jwks(format!(
            "it has {} keys, at most {MAX_KEYS} are accepted",
            keys.len()
        ))),
        Some(Value::Array(keys)) => Ok(keys),
        Some(_) => Err(KeyError::Jwks("`keys` is not an array".to_owned())),
        None if object.contains_key("kty") => Ok(vec![Value::Object(object)]),
        None => Err(KeyError::Jwks("it has neither `keys` nor `kty`".to_owned())),
    }
}

/// The key, when it may verify tokens with one of the allowed algorithms (all, when `allowed` is empty).
pub(super) fn read(member: Value, allowed: &[Algorithm]) -> Result<Key, KeyError> {
    let jwk = Jwk::from_value(member)?;
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
    pub(super) fn from_value(member: Value) -> Result<Self, KeyError> {
        // serde would show the value that it did not expect, which may be a private member.
        serde_json::from_value(member)
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
