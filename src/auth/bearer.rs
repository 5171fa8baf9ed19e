//! The `Authorization` field (RFC 9110 section 11.4, RFC 6750 section 2.1, RFC 9449 section 7.1).

/// The scheme that a token was shown with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    /// Who has the token may use it.
    Bearer,
    /// With a proof in the `DPoP` field.
    Dpop,
}

/// The field is not `Bearer` or `DPoP` and one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// The token of an `Authorization` field; `None` when it is one of another scheme, which is none of our business.
pub(super) fn token(field: &[u8]) -> Result<Option<(Scheme, &[u8])>, Malformed> {
    let field = field.trim_ascii();
    // The scheme is a token (RFC 9110 section 11.1): what follows it is told from it by the first other character.
    let end = field.iter().position(|byte| !is_token(*byte));
    let (scheme, rest) = field.split_at(end.unwrap_or(field.len()));
    let scheme = match scheme {
        scheme if scheme.eq_ignore_ascii_case(b"Bearer") => Scheme::Bearer,
        scheme if scheme.eq_ignore_ascii_case(b"DPoP") => Scheme::Dpop,
        _ => return Ok(None),
    };
    let blanks = rest.iter().take_while(|byte| **byte == b' ').count();
    let (blanks, token) = rest.split_at(blanks);
    // Looked through to its end, which the compiler does for many bytes at once: tokens are long, and blanks in them rare.
    let has_blank = |found, byte: &u8| found | byte.is_ascii_whitespace();
    // Which other characters a token may have is for whoever decodes it to say.
    if blanks.is_empty() || token.is_empty() || token.iter().fold(false, has_blank) {
        Err(Malformed)
    } else {
        Ok(Some((scheme, token)))
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_scheme_is_read_without_case() {
        for field in ["Bearer a.b.c", "bearer a.b.c", "BEARER  a.b.c"] {
            let bearer = (Scheme::Bearer, &b"a.b.c"[..]);
            assert_eq!(token(field.as_bytes()), Ok(Some(bearer)));
        }
        for field in ["DPoP a.b.c", "dpop a.b.c"] {
            let dpop = (Scheme::Dpop, &b"a.b.c"[..]);
            assert_eq!(token(field.as_bytes()), Ok(Some(dpop)));
        }
    }

    #[test]
    fn another_scheme_is_as_good_as_none() {
        for field in ["Basic dTpw", "", "BearerX a", "DPoPs a", "Digest a=b, c=d"] {
            assert_eq!(token(field.as_bytes()), Ok(None), "{field}");
        }
    }

    #[test]
    fn bearer_takes_exactly_one_token() {
        for field in [
            "Bearer",
            "Bearer ",
            "Bearer a b",
            "Bearer a  b",
            "bearer a b c",
            "Bearer\ta",
            "Bearer \ta",
            "Bearer a\tb",
            "Bearer,a",
            "Bearer=a",
            "Bearer\"a\"",
            "Bearer, Basic dTpw",
            "DPoP",
            "DPoP a b",
        ] {
            assert_eq!(token(field.as_bytes()), Err(Malformed), "{field}");
        }
    }

    proptest! {
        #[test]
        fn no_field_makes_it_panic(field in any::<Vec<u8>>(), text in "[Bb]earer {0,2}\\PC{0,20}") {
            let _read = (token(&field), token(text.as_bytes()));
        }
    }
}
