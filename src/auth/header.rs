//! The JOSE header of a token (RFC 7515 section 4): what of it is used, and what makes it refused.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, MapAccess, Visitor};

use super::json::{self, Unique};
use super::{algorithm, shown};
use crate::config::Algorithm;

/// What a header may say. `jku`, `jwk`, `x5u` and `x5c` are never used: a token does not bring its own key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<Cow<'a, str>>,
    pub(super) typ: Option<Cow<'a, str>>,
}

impl<'a> Header<'a> {
    /// Reads the decoded header. The error is fit for a log.
    pub(super) fn read(json: &'a [u8]) -> Result<Self, String> {
        json::begins_object(json)?;
        let written: Written<'a> =
            serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let Some(name) = written.alg else {
            return Err("`alg` is missing".to_owned());
        };
        let Some(algorithm) = algorithm::by_name(&name) else {
            return Err(format!("`alg` {} is not known", shown(&name)));
        };
        Ok(Self {
            algorithm,
            kid: written.kid,
            typ: written.typ,
        })
    }
}

#[derive(Default)]
struct Written<'a> {
    alg: Option<Cow<'a, str>>,
    kid: Option<Cow<'a, str>>,
    typ: Option<Cow<'a, str>>,
}

/// A string that is borrowed when it has no escapes, which `Cow` alone would copy.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Written<'a> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Written<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut written = Written::default();
        let mut others = BTreeSet::new();
        while let Some(Text(name)) = access.next_key()? {
            let place = match name.as_ref() {
                "alg" => &mut written.alg,
                "kid" => &mut written.kid,
                "typ" => &mut written.typ,
                // RFC 7515 section 4.1.11: what is critical and not understood must be refused, and
                // there is no extension that is understood here.
                "crit" => return Err(de::Error::custom("`crit` is not supported")),
                // RFC 7797: it would change which bytes are signed.
                "b64" => return Err(de::Error::custom("`b64` is not supported")),
                _ => {
                    // Nobody looks at it, but whoever did must not be able to read it in two ways.
                    access.next_value_seed(Unique)?;
                    if let Some(twice) = others.replace(name) {
                        return Err(de::Error::custom(format_args!(
                            "member {} occurs twice",
                            shown(&twice)
                        )));
                    }
                    continue;
                }
            };
            let Ok(Text(text)) = access.next_value::<Text<'de>>() else {
                return Err(de::Error::custom(format_args!("`{name}` is not a string")));
            };
            if place.replace(text).is_some() {
                return Err(de::Error::custom(format_args!(
                    "member `{name}` occurs twice"
                )));
            }
        }
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(json: &str) -> String {
        Header::read(json.as_bytes()).unwrap_err()
    }

    #[test]
    fn the_three_members_that_matter_are_read() {
        let header = Header::read(br#"{"typ":"JWT","alg":"ES256","kid":"a\u0062","x":{"y":[1]}}"#);
        assert_eq!(
            header,
            Ok(Header {
                algorithm: Algorithm::Es256,
                kid: Some("ab".into()),
                typ: Some("JWT".into()),
            })
        );
    }

    #[test]
    fn alg_none_is_refused() {
        for alg in ["none", "None", "NONE", "nonE", ""] {
            let reason = refused(&format!(r#"{{"alg":"{alg}"}}"#));
            assert!(reason.contains("is not known"), "{reason}");
        }
        assert_eq!(refused("{}"), "`alg` is missing");
    }

    #[test]
    fn crit_is_refused_whatever_it_holds() {
        for crit in [r#"["exp"]"#, "[]", r#"["b64"]"#, "null", "1"] {
            let reason = refused(&format!(r#"{{"alg":"HS256","crit":{crit}}}"#));
            assert!(reason.contains("`crit` is not supported"), "{reason}");
        }
    }

    #[test]
    fn b64_is_refused() {
        assert!(refused(r#"{"alg":"HS256","b64":false}"#).contains("`b64` is not supported"));
    }

    #[test]
    fn a_member_that_occurs_twice_is_refused() {
        for json in [
            r#"{"alg":"HS256","alg":"HS256"}"#,
            r#"{"alg":"HS256","kid":"a","kid":"b"}"#,
            r#"{"alg":"HS256","x":1,"\u0078":2}"#,
        ] {
            assert!(refused(json).contains("occurs twice"), "{json}");
        }
    }

    #[test]
    fn members_that_nobody_looks_at_are_judged_as_strictly_as_the_payload() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        for value in [
            r#"{"a":1,"a":2}"#,
            r#"[{"a":1,"\u0061":2}]"#,
            r#""\ud800""#,
            r#"{"\udc00":1}"#,
            "1e400",
            "-1e400",
            "01",
            &deep,
        ] {
            refused(&format!(r#"{{"alg":"HS256","x":{value}}}"#));
        }
        for value in [&b"\"\xff\""[..], b"\"\xed\xa0\x80\"", b"{\"\xc0\xae\":1}"] {
            let header = [&b"{\"alg\":\"HS256\",\"x\":"[..], value, b"}"].concat();
            assert!(Header::read(&header).is_err(), "{value:?}");
        }
        refused("{\"alg\":\"HS256\",\"\\ud800\":1}");
    }

    #[test]
    fn alg_kid_and_typ_are_strings() {
        for json in [
            r#"{"alg":1}"#,
            r#"{"alg":["HS256"]}"#,
            r#"{"alg":"HS256","kid":7}"#,
            r#"{"alg":"HS256","kid":null}"#,
            r#"{"alg":"HS256","typ":{}}"#,
        ] {
            assert!(refused(json).contains("is not a string"), "{json}");
        }
    }

    #[test]
    fn only_an_object_is_a_header() {
        for json in [
            "",
            "[]",
            "1",
            "null",
            "\"HS256\"",
            "{\"alg\":\"HS256\"} {}",
            "{",
        ] {
            assert!(Header::read(json.as_bytes()).is_err(), "{json}");
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(json in any::<Vec<u8>>(), text in "\\{[\"a-z:,0-9{}\\[\\]]{0,40}\\}") {
            drop(Header::read(&json));
            drop(Header::read(text.as_bytes()));
        }
    }
}
