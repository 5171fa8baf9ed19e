//! What must never be a shared secret: a key in disguise. A public key is known to everyone, so that everyone could sign
//! with it (RFC 8725 section 2.1), in whatever form it was put into the file.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Whether these bytes are a public or private key: PEM wherever it begins, DER, a JWK or JWK set, a key of OpenSSH, or
/// one of them in base64. A random secret is taken for one less than once in a million.
pub(super) fn is_key(secret: &[u8]) -> bool {
    has_mark_of_key(secret) || in_base64(secret).is_some_and(|decoded| has_mark_of_key(&decoded))
}

fn has_mark_of_key(bytes: &[u8]) -> bool {
    // PEM (RFC 7468), RFC 4716, RFC 7517.
    const MARKS: [&str; 3] = ["-----BEGIN ", "---- BEGIN ", "\"kty\""];
    // Without the zeros of UTF-16, in which some shells write.
    let text: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
    MARKS.iter().any(|mark| holds(&text, mark.as_bytes()))
        || text.split(u8::is_ascii_whitespace).any(is_name_in_openssh)
        || is_blob_of_openssh(bytes)
        || is_der(bytes)
}

fn holds(text: &[u8], mark: &[u8]) -> bool {
    text.windows(mark.len()).any(|window| window == mark)
}

/// The first word of a public key as OpenSSH writes it, in `authorized_keys` after options.
fn is_name_in_openssh(word: &[u8]) -> bool {
    const NAMES: [&str; 6] = [
        "ssh-rsa",
        "ssh-dss",
        "ssh-ed25519",
        "ecdsa-sha2-",
        "sk-ssh-ed25519@",
        "sk-ecdsa-sha2-",
    ];
    NAMES.iter().any(|name| word.starts_with(name.as_bytes()))
}

/// RFC 4253 section 6.6: the name with its length before it.
fn is_blob_of_openssh(bytes: &[u8]) -> bool {
    matches!(bytes, [0, 0, 0, _, name @ ..] if is_name_in_openssh(name))
}

/// One DER sequence from the first byte to the last, which begins with a sequence or a number: SPKI, PKCS#1, PKCS#8,
/// SEC 1, a certificate.
fn is_der(bytes: &[u8]) -> bool {
    let Some((content, after)) = sequence(bytes) else {
        return false;
    };
    let is_begun = match content {
        [0x30, ..] => sequence(content).is_some(),
        [0x02, length, rest @ ..] => *length >= 0x80 || usize::from(*length) <= rest.len(),
        _ => false,
    };
    is_begun && after.iter().all(u8::is_ascii_whitespace)
}

/// The content of a sequence (X.690 section 8.1), and what follows it.
fn sequence(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match bytes {
        [0x30, length @ 0..=0x7f, rest @ ..] => (usize::from(*length), rest),
        [0x30, 0x81, length, rest @ ..] => (usize::from(*length), rest),
        [0x30, 0x82, high, low, rest @ ..] => {
            (usize::from(u16::from_be_bytes([*high, *low])), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// What a text in base64 says, of either alphabet, padded or not, in lines or not.
fn in_base64(text: &[u8]) -> Option<Vec<u8>> {
    const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let is_text = |byte: &u8| !byte.is_ascii_whitespace();
    let text: Vec<u8> = text.iter().copied().filter(is_text).collect();
    [STANDARD, URL_SAFE]
        .iter()
        .find_map(|alphabet| GeneralPurpose::new(alphabet, CONFIG).decode(&text).ok())
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
    use proptest::prelude::*;

    use super::*;
    use crate::auth::fixtures::{ED25519, P256, P384, RSA, SECRET, base64url};

    /// The public key in every form that a file may have it.
    fn forms(public_pem: &str) -> Vec<Vec<u8>> {
        let der = pem::parse(public_pem).unwrap().into_contents();
        let utf16: Vec<u8> = public_pem
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let lines = pem::encode(&pem::Pem::new("X", der.clone()));
        let lines: Vec<&str> = lines
            .lines()
            .filter(|line| !line.starts_with('-'))
            .collect();
        vec![
            public_pem.as_bytes().to_vec(),
            format!("\u{feff}{public_pem}").into_bytes(),
            format!("# my key\n{public_pem}").into_bytes(),
            format!("Bag Attributes\n    friendlyName: x\n{public_pem}").into_bytes(),
            utf16,
            STANDARD.encode(public_pem).into_bytes(),
            STANDARD.encode(&der).into_bytes(),
            STANDARD_NO_PAD.encode(&der).into_bytes(),
            URL_SAFE.encode(&der).into_bytes(),
            lines.join("\n").into_bytes(),
            lines.join("\r\n").into_bytes(),
            [der.as_slice(), b"\n"].concat(),
            der,
        ]
    }

    #[test]
    fn a_key_is_recognised_in_every_form() {
        for key in [&RSA, &P256, &P384, &ED25519] {
            for text in [&key.public_pem, &key.private_pem] {
                for form in forms(text) {
                    assert!(is_key(&form), "{}", String::from_utf8_lossy(&form));
                }
            }
            let jwk = key.public_jwk.to_string();
            for form in [
                jwk.clone(),
                format!("\u{feff} {{\"keys\": [{jwk}]}}"),
                base64url(&jwk),
            ] {
                assert!(is_key(form.as_bytes()), "{form}");
            }
        }
        let pkcs1 =
            aws_lc_rs::rsa::PublicKey::from_der(pem::parse(&RSA.public_pem).unwrap().contents());
        let pkcs1 = pkcs1.unwrap().as_ref().to_vec();
        assert!(is_key(&pkcs1) && is_key(STANDARD.encode(&pkcs1).as_bytes()));
        for text in [
            "ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB me@host",
            "# laptop\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA",
            "no-pty ecdsa-sha2-nistp256 AAAAE2VjZHNh",
            "AAAAB3NzaC1yc2EAAAADAQABAAAB",
            "---- BEGIN SSH2 PUBLIC KEY ----",
        ] {
            assert!(is_key(text.as_bytes()), "{text}");
        }
        assert!(is_key(include_bytes!("fixtures/p256.crt")));
    }

    #[test]
    fn a_secret_is_not_taken_for_a_key() {
        for secret in [
            SECRET,
            b"",
            b"0",
            &[0x30; 64],
            &[0; 64],
            b"a long sentence that nobody would ever guess, with ssh keys in it",
            b"3e8f1c5d9a7b2e4f6c8d0a1b3c5d7e9f",
        ] {
            assert!(!is_key(secret), "{secret:?}");
        }
    }

    proptest! {
        #[test]
        fn random_secrets_are_secrets(secret in any::<[u8; 32]>(), longer in any::<[u8; 64]>()) {
            prop_assert!(!is_key(&secret) && !is_key(&longer));
            prop_assert!(!is_key(base64url(secret).as_bytes()));
        }
    }
}
