//! Fields that only destrier or a trusted proxy may set: those that a client sends are removed.

use http::HeaderMap;

/// Removes the fields whose name `is_reserved`. Names are in lower case here.
pub(super) fn remove(fields: &mut HeaderMap, is_reserved: impl Fn(&str) -> bool) {
    // Almost every request has none of these.
    if !fields.keys().any(|name| is_reserved(name.as_str())) {
        return;
    }
    let forged: Vec<_> = fields
        .keys()
        .filter(|name| is_reserved(name.as_str()))
        .cloned()
        .collect();
    for name in forged {
        fields.remove(name);
    }
}

/// Whether two names may be the same to whoever the application is behind: gateways of the CGI kind make variables of fields
/// and write `_` for `-` (RFC 3875 section 4.1.18), and some for every character that is neither a letter nor a digit.
pub(super) fn is_same(name: &str, other: &str) -> bool {
    name.len() == other.len() && begins(name, other)
}

/// Whether a name begins with the other one, to such a gateway.
pub(super) fn begins(name: &str, other: &str) -> bool {
    let plain = |byte: &u8| match byte.to_ascii_lowercase() {
        byte if byte.is_ascii_alphanumeric() => byte,
        _ => b'-',
    };
    let start = name.as_bytes().get(..other.len());
    start.is_some_and(|start| {
        start
            .iter()
            .map(plain)
            .eq(other.as_bytes().iter().map(plain))
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::header::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::{begins, is_same, remove};

    /// What a name becomes where every character that is neither a letter nor a digit is the same.
    fn variable(name: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        name.to_ascii_uppercase().chars().map(plain).collect()
    }

    proptest! {
        #[test]
        fn names_are_the_same_when_they_become_the_same_variable(name in "[a-c0-1.!_~-]{1,4}", other in "[a-c0-1.!_~-]{1,4}") {
            prop_assert_eq!(is_same(&name, &other), variable(&name) == variable(&other));
            prop_assert_eq!(begins(&name, &other), variable(&name).starts_with(&variable(&other)));
        }
    }

    /// PHP writes `_` for `.` too, and others for more.
    #[test]
    fn no_character_that_a_name_may_have_makes_another_field_of_it() {
        // RFC 9110 section 5.6.2: all of a token that is neither letter nor digit.
        for character in "!#$%&'*+-.^_`|~".chars() {
            let name = format!("x{character}org");
            let mut fields = HeaderMap::new();
            let parsed = HeaderName::from_bytes(name.as_bytes()).unwrap();
            fields.insert(parsed, HeaderValue::from_static("forged"));
            remove(&mut fields, |name| is_same(name, "x-org"));
            assert!(fields.is_empty(), "{name}");
        }
        // A gateway writes `HTTP_` before each, so that this becomes HTTP_HTTP_X_ORG.
        assert!(!is_same("http_x_org", "x-org"));
    }
}
