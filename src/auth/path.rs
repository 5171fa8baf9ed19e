//! The path that rules judge: decoded once, and refused when two readers could take it for two different paths.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

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
    if is_plain(path) {
        return Ok(Cow::Borrowed(path));
    }
    decode(path)
}

/// Whether a path that begins with `/` is what it seems, which nearly all are: told by one look at each byte.
fn is_plain(path: &str) -> bool {
    let mut before = 0;
    path.bytes().all(|byte| {
        let is_plain = match byte {
            // A segment that is empty, or may be `.` or `..`.
            b'/' | b'.' => before != b'/',
            b'-' | b'_' | b'~' => true,
            _ => byte.is_ascii_alphanumeric(),
        };
        before = byte;
        is_plain
    })
}

fn decode(path: &str) -> Result<Cow<'_, str>, PathError> {
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

/// What stands in a path as it is: `pchar` and `/` (RFC 3986 section 3.3).
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@')
    .remove(b'/');

/// The one way to write the path that was judged, when it was written otherwise. An application that routes on the
/// path as it is written would else serve another route than the one whose rule decided. Beyond RFC 3986 section 6.2.2
/// it takes `%21` for `!` too: rules, which are written decoded, cannot tell them apart.
pub fn canonical(path: &str) -> Option<String> {
    let is_plain =
        |byte: u8| byte == b'/' || byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if path.bytes().all(is_plain) {
        return None;
    }
    let decoded: Cow<'_, [u8]> = percent_decode_str(path).into();
    let canonical = percent_encode(&decoded, IN_PATH).to_string();
    (canonical != path).then_some(canonical)
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
    use percent_encoding::utf8_percent_encode;
    use proptest::prelude::*;

    use super::*;

    const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/');

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

    #[test]
    fn a_path_is_written_in_one_way() {
        for (path, written) in [
            ("/status/%32%30%30", Some("/status/200")),
            ("/a%2db%7e", Some("/a-b~")),
            ("/caf%c3%a9", Some("/caf%C3%A9")),
            ("/café", Some("/caf%C3%A9")),
            ("/a%21%40", Some("/a!@")),
            ("/{x}[1]", Some("/%7Bx%7D%5B1%5D")),
            ("/a%3f%23%25", Some("/a%3F%23%25")),
            ("/a-b_c.d~e/", None),
            ("/a!$&'()*+,=:@", None),
            ("/caf%C3%A9/100%25", None),
            ("/a%20b%3Fc", None),
        ] {
            assert_eq!(canonical(path).as_deref(), written, "{path}");
        }
    }

    proptest! {
        #[test]
        fn a_path_that_is_plain_at_a_glance_is_so_at_a_closer_look(path in "/[a-zA-Z0-9/._~%;-]{0,12}") {
            if is_plain(&path) {
                prop_assert_eq!(decode(&path), Ok(Cow::Borrowed(path.as_str())));
            }
        }

        #[test]
        fn paths_that_are_judged_alike_are_written_alike(path in "/(\\PC|[%/.0-9a-fA-F]){0,24}") {
            if let Ok(judged) = normalise(&path) {
                let written = canonical(&path).unwrap_or_else(|| path.clone());
                prop_assert_eq!(normalise(&written), Ok(judged.clone()));
                prop_assert_eq!(canonical(&written), None);
                let encoded = utf8_percent_encode(&judged, ENCODED).to_string();
                prop_assert_eq!(canonical(&encoded).unwrap_or(encoded), written.as_str());
                prop_assert!(written.parse::<http::uri::PathAndQuery>().is_ok());
            }
        }

        #[test]
        fn no_path_makes_it_panic_and_none_that_passes_has_a_second_reading(path in "/(\\PC|[%/.;\\\\0-9a-fA-F]){0,24}") {
            if let Ok(once) = normalise(&path) {
                prop_assert!(once.split('/').all(|segment| segment != ".." && segment != "."));
                prop_assert!(!once.contains("//") && !once.contains('\\') && !once.contains(';'));
                let encoded = utf8_percent_encode(&once, ENCODED).to_string();
                prop_assert_eq!(normalise(&encoded), Ok(once));
            }
        }

        #[test]
        fn a_path_without_special_characters_is_itself(path in "(/[a-zA-Z0-9_~-]{1,8}){1,6}/?") {
            prop_assert_eq!(normalise(&path), Ok(Cow::Borrowed(path.as_str())));
        }
    }
}
