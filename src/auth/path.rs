//! The path that rules judge: decoded once, and refused when two readers could take it for two different paths.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Why a path has more than one reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each says in its message what it is")]
pub enum PathError {
    #[error("the path does not begin with `/`")]
    NotAbsolute,
    #[error("the path has a `%` that is not followed by two hexadecimal digits")]
    InvalidPercent,
    #[error("the path is encoded twice")]
    EncodedTwice,
    #[error("the path is not UTF-8")]
    NotUtf8,
    #[error("the path has an encoded `/`")]
    EncodedSlash,
    #[error("the path has a backslash")]
    Backslash,
    #[error("the path has a `;`")]
    Semicolon,
    #[error("the path has a control character")]
    Control,
    #[error("the path has an empty segment (`//`)")]
    EmptySegment,
    #[error("the path has a `.` or `..` segment")]
    DotSegment,
}

/// The path with its percent-encoding decoded (RFC 3986 section 2.1). What would need more than that
/// to be compared (section 6.2.2) is refused rather than repaired, for the application might not repair it the same way.
pub(super) fn normalise(path: &str) -> Result<Cow<'_, str>, PathError> {
    if !path.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let (Some(high), Some(low)) = (digit(bytes.next()), digit(bytes.next())) else {
                return Err(PathError::InvalidPercent);
            };
            let decoded = high << 4 | low;
            if decoded == b'/' {
                return Err(PathError::EncodedSlash);
            }
            plain(decoded)?;
        } else {
            plain(byte)?;
        }
    }
    let decoded = percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| PathError::NotUtf8)?;
    segments(&decoded)?;
    Ok(decoded)
}

fn digit(byte: Option<u8>) -> Option<u8> {
    let digit = char::from(byte?).to_digit(16)?;
    u8::try_from(digit).ok()
}

fn plain(byte: u8) -> Result<(), PathError> {
    match byte {
        b'\\' => Err(PathError::Backslash),
        b';' => Err(PathError::Semicolon),
        0..=0x1f | 0x7f => Err(PathError::Control),
        _ => Ok(()),
    }
}

fn segments(decoded: &str) -> Result<(), PathError> {
    let mut segments = decoded.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "" if segments.peek().is_some() => return Err(PathError::EmptySegment),
            "." | ".." => return Err(PathError::DotSegment),
            _ => {}
        }
    }
    // A `%` that was itself encoded is a plain sign, unless decoding again would make something of it.
    let again = |rest: &str| {
        let mut bytes = rest.bytes();
        digit(bytes.next()).is_some() && digit(bytes.next()).is_some()
    };
    if decoded.split('%').skip(1).any(again) {
        return Err(PathError::EncodedTwice);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/');

    #[test]
    fn a_plain_path_is_not_copied() {
        assert!(matches!(
            normalise("/a/b.c/~d/"),
            Ok(Cow::Borrowed("/a/b.c/~d/"))
        ));
    }

    #[test]
    fn percent_encoding_is_decoded_once() {
        assert_eq!(normalise("/%61dmin").as_deref(), Ok("/admin"));
        assert_eq!(normalise("/caf%C3%A9/100%25").as_deref(), Ok("/café/100%"));
        assert_eq!(normalise("/a%20b%3Fc%23").as_deref(), Ok("/a b?c#"));
    }

    #[test]
    fn a_path_with_two_readings_is_refused() {
        for (path, error) in [
            ("", PathError::NotAbsolute),
            ("*", PathError::NotAbsolute),
            ("admin", PathError::NotAbsolute),
            ("/a/../admin", PathError::DotSegment),
            ("/a/./b", PathError::DotSegment),
            ("/..", PathError::DotSegment),
            ("/a/%2e%2E/admin", PathError::DotSegment),
            ("/a/.%2e", PathError::DotSegment),
            ("//admin", PathError::EmptySegment),
            ("/a//b", PathError::EmptySegment),
            ("/a//", PathError::EmptySegment),
            ("/a%2Fb", PathError::EncodedSlash),
            ("/a%2fb", PathError::EncodedSlash),
            ("/a%5Cb", PathError::Backslash),
            ("/a\\b", PathError::Backslash),
            ("/a;v=1/b", PathError::Semicolon),
            ("/a%3Bb", PathError::Semicolon),
            ("/a%00", PathError::Control),
            ("/a%0d%0ab", PathError::Control),
            ("/a%7f", PathError::Control),
            ("/a%", PathError::InvalidPercent),
            ("/a%2", PathError::InvalidPercent),
            ("/a%zz", PathError::InvalidPercent),
            ("/a%u002e", PathError::InvalidPercent),
            ("/a%+1", PathError::InvalidPercent),
            ("/%252e%252e/admin", PathError::EncodedTwice),
            ("/%25%32%65/admin", PathError::EncodedTwice),
            ("/%ff", PathError::NotUtf8),
            ("/%c0%ae%c0%ae/admin", PathError::NotUtf8),
        ] {
            assert_eq!(normalise(path), Err(error), "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_path_makes_it_panic_and_none_that_passes_has_a_second_reading(path in "/(\\PC|[%/.;\\\\0-9a-fA-F]){0,24}") {
            if let Ok(once) = normalise(&path) {
                prop_assert!(once.split('/').all(|segment| segment != ".." && segment != "."));
                prop_assert!(!once.contains("//") && !once.contains('\\') && !once.contains(';'));
                let encoded = utf8_percent_encode(&once, IN_PATH).to_string();
                prop_assert_eq!(normalise(&encoded), Ok(once));
            }
        }

        #[test]
        fn a_path_without_special_characters_is_itself(path in "(/[a-zA-Z0-9_~-]{1,8}){1,6}/?") {
            prop_assert_eq!(normalise(&path), Ok(Cow::Borrowed(path.as_str())));
        }
    }
}
