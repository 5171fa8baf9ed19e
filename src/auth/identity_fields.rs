//! Claims as fields of the request, for applications that read nothing else: `auth.headers` and `auth.payload_header`.

use std::io;

use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, PercentEncode, utf8_percent_encode};
use serde::Serialize as _;
use serde_json::ser::{Formatter, Serializer};
use serde_json::{Map, Value};

use crate::config::{self, ClaimField, FieldFormat};

/// The most that the fields of one request have, names and values together, in bytes. Servers behind destrier take hardly
/// more in a single field.
const FIELDS_MAX: usize = 8 * 1024;

/// One field, as it is written.
pub(crate) type Field = (HeaderName, HeaderValue);

/// Which fields carry claims.
#[derive(Debug)]
pub(super) struct IdentityFields {
    claims: Vec<ClaimField>,
    payload: Option<HeaderName>,
    names: Vec<HeaderName>,
}

/// Why claims are not written as fields. A part of them would be another identity, so there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FieldsError {
    #[error("the fields that are made of the claims have more than {FIELDS_MAX} bytes")]
    TooLarge,
    /// What is encoded is fit for a field, so nobody gets here.
    #[error("a claim cannot be written as a field")]
    Unwritable,
}

impl IdentityFields {
    pub(super) fn new(auth: &config::Auth) -> Self {
        let claims = auth.headers.iter().map(|field| field.name.clone());
        Self {
            claims: auth.headers.clone(),
            payload: auth.payload_header.clone(),
            names: claims.chain(auth.payload_header.clone()).collect(),
        }
    }

    /// The names of all of them: nobody else may set such a field.
    pub(super) fn names(&self) -> &[HeaderName] {
        &self.names
    }

    /// The fields of a token that was verified. A claim that is absent or null has none.
    pub(super) fn of(
        &self,
        claims: &Map<String, Value>,
        token: &[u8],
    ) -> Result<Vec<Field>, FieldsError> {
        let mut fields = Vec::new();
        let mut length = 0;
        let mut push = |name: &HeaderName, value: &[u8]| {
            length += name.as_str().len() + value.len();
            if length > FIELDS_MAX {
                return Err(FieldsError::TooLarge);
            }
            let value = HeaderValue::from_bytes(value).map_err(|_| FieldsError::Unwritable)?;
            fields.push((name.clone(), value));
            Ok(())
        };
        for field in &self.claims {
            let value = super::claims::at(claims, &field.claim);
            if let Some(value) = value.and_then(|value| written(value, field.format)) {
                push(&field.name, value.as_bytes())?;
            }
        }
        if let Some(name) = &self.payload {
            // It is base64url already: so it stays exactly what was signed.
            let payload = token.split(|byte| *byte == b'.').nth(1);
            push(name, payload.unwrap_or_default())?;
        }
        Ok(fields)
    }
}

/// The claim as the value of a field: visible ASCII, and blanks within.
fn written(value: &Value, format: FieldFormat) -> Option<String> {
    match (format, value) {
        (_, Value::Null) => None,
        (FieldFormat::Json, value) => json(value),
        // An empty value would read as a list of one empty text.
        (FieldFormat::Comma, Value::Array(items)) if items.is_empty() => None,
        (FieldFormat::Comma, Value::Array(items)) => {
            let items: Option<Vec<String>> = items.iter().map(item).collect();
            Some(items?.join(","))
        }
        (FieldFormat::Comma, value) => item(value),
    }
}

/// One item of a list: a text as it is, anything else as JSON, which has numbers, true and false as one writes them.
fn item(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(encoded(text).to_string()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Some(encoded(&json(value)?).to_string())
        }
    }
}

/// What a field must not have (RFC 9110 section 5.5), and what tells items from one another and codes from characters.
const NOT_IN_ITEM: &AsciiSet = &CONTROLS.add(b'%').add(b',');

/// Blanks around a value belong to no value: whoever reads the field drops them.
const NOT_IN_ITEM_WITH_EDGES: &AsciiSet = &NOT_IN_ITEM.add(b' ');

fn encoded(text: &str) -> PercentEncode<'_> {
    let has_edges = text.starts_with(' ') || text.ends_with(' ');
    let set = if has_edges {
        NOT_IN_ITEM_WITH_EDGES
    } else {
        NOT_IN_ITEM
    };
    utf8_percent_encode(text, set)
}

/// JSON in visible ASCII, which any parser of JSON reads as it is (RFC 8259 section 7).
fn json(value: &Value) -> Option<String> {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, Ascii);
    value.serialize(&mut serializer).ok()?;
    String::from_utf8(bytes).ok()
}

/// Escapes what no field may hold; `serde_json` itself escapes only the control characters below the blank.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        for character in fragment.chars() {
            if matches!(character, ' '..='~') {
                write!(writer, "{character}")?;
            } else {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::fixtures::{auth, base64url};
    use super::*;

    fn fields(entries: &[(&str, &str, FieldFormat)], payload: Option<&str>) -> IdentityFields {
        let name = |name: &str| HeaderName::from_bytes(name.as_bytes()).unwrap();
        IdentityFields::new(&config::Auth {
            headers: entries
                .iter()
                .map(|(field, claim, format)| ClaimField {
                    name: name(field),
                    claim: (*claim).to_owned(),
                    format: *format,
                })
                .collect(),
            payload_header: payload.map(name),
            ..auth()
        })
    }

    /// The value of the field that is made of the claim.
    fn field(claim: &Value, format: FieldFormat) -> Option<String> {
        let claims = json!({ "a": claim });
        let fields = fields(&[("x-a", "a", format)], None);
        let made = fields.of(claims.as_object().unwrap(), b"a.b.c").unwrap();
        made.first()
            .map(|(_, value)| value.to_str().unwrap().to_owned())
    }

    fn comma(claim: &Value) -> Option<String> {
        field(claim, FieldFormat::Comma)
    }

    #[test]
    fn a_claim_is_written_so_that_nothing_breaks_the_field() {
        for (claim, value) in [
            (json!("alice"), "alice"),
            (json!("a b;c=\"d\"/é"), "a b;c=\"d\"/%C3%A9"),
            (json!("100%, really"), "100%25%2C really"),
            (
                json!("x\r\nX-Auth-Role: admin\0\t\u{7f}"),
                "x%0D%0AX-Auth-Role: admin%00%09%7F",
            ),
            (json!(" a b"), "%20a%20b"),
            (json!("a "), "a%20"),
            (json!(""), ""),
            (json!(7), "7"),
            (json!(-1.5), "-1.5"),
            (json!(true), "true"),
            (json!(["a", "b c"]), "a,b c"),
            (json!(["a,b", "", 1, null, " "]), "a%2Cb,,1,null,%20"),
            (json!([["a", "b"], {"c": 1}]), r#"["a"%2C"b"],{"c":1}"#),
            (json!({"c": "é"}), r#"{"c":"\u00e9"}"#),
        ] {
            assert_eq!(comma(&claim).as_deref(), Some(value), "{claim}");
        }
    }

    #[test]
    fn json_keeps_the_types_and_needs_no_other_decoding() {
        for (claim, value) in [
            (json!("a,b%"), r#""a,b%""#),
            (
                json!(["é", "😀\u{7f}\n", 1]),
                r#"["\u00e9","\ud83d\ude00\u007f\n",1]"#,
            ),
            (json!({"a": {"b": [true]}}), r#"{"a":{"b":[true]}}"#),
            (json!([]), "[]"),
        ] {
            assert_eq!(
                field(&claim, FieldFormat::Json).as_deref(),
                Some(value),
                "{claim}"
            );
        }
    }

    #[test]
    fn a_claim_that_is_absent_has_no_field() {
        for format in [FieldFormat::Comma, FieldFormat::Json] {
            assert_eq!(field(&json!(null), format), None);
            let fields = fields(&[("x-a", "b", format)], None);
            assert_eq!(fields.of(&Map::new(), b"a.b.c"), Ok(Vec::new()));
        }
        assert_eq!(comma(&json!([])), None);
    }

    #[test]
    fn a_dotted_path_leads_into_a_nested_claim() {
        let fields = fields(&[("x-roles", "realm.roles", FieldFormat::Comma)], None);
        let claims = json!({"realm": {"roles": ["a", "b"]}});
        let made = fields.of(claims.as_object().unwrap(), b"a.b.c").unwrap();
        assert_eq!(made.len(), 1);
        assert_eq!(
            (made[0].0.as_str(), made[0].1.as_bytes()),
            ("x-roles", &b"a,b"[..])
        );
    }

    #[test]
    fn the_payload_is_the_one_of_the_token() {
        let payload = base64url(r#"{ "sub" :"u" }"#);
        let token = format!("{}.{payload}.AAAA", base64url("{}"));
        let made = fields(&[], Some("x-auth-payload")).of(&Map::new(), token.as_bytes());
        assert_eq!(made.unwrap()[0].1.as_bytes(), payload.as_bytes());
    }

    #[test]
    fn what_is_too_large_makes_no_field_at_all() {
        let entries = [
            ("x-a", "a", FieldFormat::Comma),
            ("x-b", "b", FieldFormat::Comma),
        ];
        let fields = fields(&entries, None);
        let of = |length: usize| {
            let claims = json!({"a": "u", "b": "x".repeat(length)});
            fields.of(claims.as_object().unwrap(), b"a.b.c")
        };
        let most = FIELDS_MAX - "x-aux-b".len();
        assert_eq!(of(most).unwrap().len(), 2);
        assert_eq!(of(most + 1), Err(FieldsError::TooLarge));
    }

    fn values() -> impl Strategy<Value = Value> {
        let value = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[ ,%\\x00-\\x7f]{0,6}".prop_map(Value::from),
        ];
        value.prop_recursive(2, 8, 3, |value| {
            let members = proptest::collection::btree_map(any::<String>(), value.clone(), 0..3);
            prop_oneof![
                proptest::collection::vec(value, 0..4).prop_map(Value::from),
                members.prop_map(|members| members.into_iter().collect::<Map<_, _>>().into()),
            ]
        })
    }

    fn is_plain(value: &str) -> bool {
        value.bytes().all(|byte| matches!(byte, b' '..=b'~')) && value.trim() == value
    }

    proptest! {
        #[test]
        fn json_reads_as_what_the_token_said(claim in values()) {
            let value = field(&claim, FieldFormat::Json).unwrap();
            prop_assert!(is_plain(&value), "{:?}", value);
            prop_assert_eq!(serde_json::from_str::<Value>(&value).unwrap(), claim);
        }

        #[test]
        fn a_list_reads_as_its_items(items in proptest::collection::vec(prop_oneof![any::<String>(), "[ ,%\\x00-\\x7f]{0,6}"], 1..5)) {
            let value = comma(&json!(items)).unwrap();
            prop_assert!(is_plain(&value), "{:?}", value);
            let read: Vec<String> = value.split(',').map(|item| percent_decode_str(item).decode_utf8().unwrap().into_owned()).collect();
            prop_assert_eq!(read, items);
        }

        #[test]
        fn every_claim_is_fit_for_a_field(claim in values()) {
            let value = comma(&claim).unwrap_or_default();
            prop_assert!(is_plain(&value), "{:?}", value);
        }
    }
}
