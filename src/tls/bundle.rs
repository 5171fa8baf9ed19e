//! How a certificate travels with what belongs to it, and a list of authorities with what they have revoked: as one text of PEM
//! blocks (RFC 7468), of which each reader takes what it knows.

use pem::{EncodeConfig, LineEnding, Pem};

/// The tag of an OCSP response, which is binary in its file.
pub const OCSP_RESPONSE: &str = "OCSP RESPONSE";

/// The tag of a revocation list (RFC 7468 section 7).
pub const CLIENT_LIST: &str = "X509 CRL";

pub(super) const CERTIFICATE: &str = "CERTIFICATE";

/// These blocks as one text.
pub fn bundle(blocks: &[Pem]) -> Vec<u8> {
    pem::encode_many_config(blocks, lines()).into_bytes()
}

/// A certificate in DER as PEM.
pub(crate) fn armoured_certificate(der: &[u8]) -> String {
    pem::encode_config(&Pem::new(CERTIFICATE, der), lines())
}

/// A private key in PKCS #8 as PEM.
pub(crate) fn armoured_key(pkcs8: &[u8]) -> String {
    pem::encode_config(&Pem::new("PRIVATE KEY", pkcs8), lines())
}

fn lines() -> EncodeConfig {
    EncodeConfig::new().set_line_ending(LineEnding::LF)
}

/// The blocks of a text, among which other text may stand.
pub(super) fn blocks(text: &[u8]) -> Result<Vec<Pem>, String> {
    let blocks = pem::parse_many(text).map_err(|error| format!("it is not PEM: {error}"))?;
    if blocks.is_empty() {
        return Err("it is not PEM: no line `-----BEGIN …-----` is in it".to_owned());
    }
    Ok(blocks)
}
