//! The `Authorization` field (RFC 9110 section 11.4, RFC 6750 section 2.1).

/// What a request presents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Credentials<'a> {
    /// No field, or one of another scheme, which is none of our business.
    Absent,
    /// `Bearer` and one token.
    Bearer(&'a [u8]),
}

/// Why the field cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum CredentialsError {
    /// Two readers could take different ones.
    #[error("more than one Authorization field")]
    Several,
    /// Not `Bearer` and one token.
    #[error("the Authorization field is not `Bearer` and one token")]
    Malformed,
}

pub(super) fn read<'a>(fields: &[&'a [u8]]) -> Result<Credentials<'a>, CredentialsError> {
    let field = match fields {
        [] => return Ok(Credentials::Absent),
        [field] => field.trim_ascii(),
        [_, _, ..] => return Err(CredentialsError::Several),
    };
    // The scheme is a token (RFC 9110 section 11.1): what follows it is told from it by the first other character.
    let end = field.iter().position(|byte| !is_token(*byte));
    let (scheme, rest) = field.split_at(end.unwrap_or(field.len()));
    if !scheme.eq_ignore_ascii_case(b"Bearer") {
        return Ok(Credentials::Absent);
    }
    let blanks = rest.iter().take_while(|byte| **byte == b' ').count();
    let (blanks, token) = rest.split_at(blanks);
    // Which other characters a token may have is for whoever decodes it to say.
    if blanks.is_empty() || token.is_empty() || token.iter().any(u8::is_ascii_whitespace) {
        Err(CredentialsError::Malformed)
    } else {
        Ok(Credentials::Bearer(token))
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_scheme_is_read_without_case() {
        for field in ["Bearer a.b.c", "bearer a.b.c", "BEARER  a.b.c"] {
            assert_eq!(read(&[field.as_bytes()]), Ok(Credentials::Bearer(b"a.b.c")));
        }
    }

    #[test]
    fn two_authorization_fields_are_refused() {
        assert_eq!(
            read(&[b"Bearer a", b"Bearer a"]),
            Err(CredentialsError::Several)
        );
        assert_eq!(read(&[b"Basic a", b""]), Err(CredentialsError::Several));
    }

    #[test]
    fn another_scheme_is_as_good_as_none() {
        for field in ["Basic dTpw", "", "BearerX a", "Digest a=b, c=d"] {
            assert_eq!(
                read(&[field.as_bytes()]),
                Ok(Credentials::Absent),
                "{field}"
            );
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
        ] {
            let result = read(&[field.as_bytes()]);
            assert_eq!(result, Err(CredentialsError::Malformed), "{field}");
        }
    }

    proptest! {
        #[test]
        fn no_field_makes_it_panic(field in any::<Vec<u8>>(), text in "[Bb]earer {0,2}\\PC{0,20}") {
            prop_assert_ne!(read(&[&field]), Err(CredentialsError::Several));
            prop_assert_ne!(read(&[text.as_bytes()]), Err(CredentialsError::Several));
        }
    }
}
