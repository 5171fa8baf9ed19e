//! The fields of a request's body, as the serializers of Django REST Framework take them: JSON, a form, or a form in parts.

use std::collections::BTreeMap;

use http::StatusCode;
use mime::Mime;
use serde::de::{self, Deserializer as _, Visitor};
use serde_json::value::RawValue;

use super::answer::Answer;
use super::json_error;

/// What stands in a field.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Given {
    Null,
    /// Text; a lone surrogate of JSON is written as UTF-8 would be, were that allowed (WTF-8).
    Text(Vec<u8>),
    /// A number, as it is written.
    Number(String),
    /// Something that is no text.
    Other,
}

type Body = BTreeMap<String, Given>;

/// The values of `fields`, in their order, or why the body has none.
pub(super) async fn read(
    fields: &'static [&'static str],
    content_type: &str,
    body: &[u8],
) -> Result<Vec<String>, Answer> {
    let mut given = if body.is_empty() {
        Body::new()
    } else {
        parse(content_type, body).await?
    };
    let mut values = Vec::with_capacity(fields.len());
    let mut errors = Vec::new();
    for field in fields {
        match text(given.remove(*field)) {
            Ok(value) => values.push(value),
            Err(of_field) => errors.push((*field, of_field)),
        }
    }
    if errors.is_empty() {
        Ok(values)
    } else {
        Err(Answer::fields(errors))
    }
}

async fn parse(content_type: &str, body: &[u8]) -> Result<Body, Answer> {
    let unsupported = || {
        let detail = format!("Unsupported media type \"{content_type}\" in request.");
        Answer::detail(StatusCode::UNSUPPORTED_MEDIA_TYPE, &detail)
    };
    let media_type: Mime = content_type.parse().map_err(|_| unsupported())?;
    match media_type.essence_str() {
        "application/json" => of_json(body),
        "application/x-www-form-urlencoded" => {
            let pairs = form_urlencoded::parse(body).into_owned();
            Ok(pairs
                .map(|(name, value)| (name, Given::Text(value.into_bytes())))
                .collect())
        }
        "multipart/form-data" => of_parts(&media_type, body).await,
        _ => Err(unsupported()),
    }
}

fn of_json(body: &[u8]) -> Result<Body, Answer> {
    let malformed = |reason: String| {
        let detail = format!("JSON parse error - {reason}");
        Answer::detail(StatusCode::BAD_REQUEST, &detail)
    };
    let text =
        std::str::from_utf8(body).map_err(|error| malformed(json_error::of_utf8(body, error)))?;
    if text.starts_with('\u{feff}') {
        return Err(malformed(json_error::of_byte_order_mark()));
    }
    let wrong = |error: serde_json::Error| malformed(json_error::of_json(text, &error));
    let whole: &RawValue = serde_json::from_str(text).map_err(wrong)?;
    let kind = match Given::of(whole) {
        Given::Other if whole.get().starts_with('{') => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(wrong)?;
            let members = members.into_iter();
            return Ok(members
                .map(|(name, value)| (name, Given::of(value)))
                .collect());
        }
        Given::Null => return Err(no_object("No data provided")),
        Given::Text(_) => "str",
        Given::Number(number) if number.contains(['.', 'e', 'E']) => "float",
        Given::Number(_) => "int",
        Given::Other if whole.get().starts_with('[') => "list",
        Given::Other => "bool",
    };
    let reason = format!("Invalid data. Expected a dictionary, but got {kind}.");
    Err(no_object(&reason))
}

fn no_object(reason: &str) -> Answer {
    Answer::fields(vec![("non_field_errors", vec![reason.to_owned()])])
}

async fn of_parts(media_type: &Mime, body: &[u8]) -> Result<Body, Answer> {
    let malformed = |reason: &str| {
        let detail = format!("Multipart form parse error - {reason}");
        Answer::detail(StatusCode::BAD_REQUEST, &detail)
    };
    let Some(boundary) = media_type.get_param(mime::BOUNDARY) else {
        return Err(malformed("Invalid boundary in multipart: None"));
    };
    let mut parts = multer::Multipart::with_reader(body, boundary.as_str());
    let mut fields = Body::new();
    let broken = |_: multer::Error| malformed("the parts cannot be read");
    while let Some(part) = parts.next_field().await.map_err(broken)? {
        let name = part.name().unwrap_or_default().to_owned();
        let is_file = part.file_name().is_some();
        let text = part.text().await.map_err(broken)?;
        let given = if is_file {
            Given::Other
        } else {
            Given::Text(text.into_bytes())
        };
        fields.insert(name, given);
    }
    Ok(fields)
}

impl Given {
    fn of(value: &RawValue) -> Self {
        let text = value.get();
        match text.as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b'"') => {
                let mut reader = serde_json::Deserializer::from_str(text);
                reader
                    .deserialize_bytes(Bytes)
                    .map_or(Self::Other, Self::Text)
            }
            Some(b'-' | b'0'..=b'9') => Self::Number(text.to_owned()),
            Some(_) | None => Self::Other,
        }
    }
}

/// Takes a string of JSON whatever it holds.
struct Bytes;

impl Visitor<'_> for Bytes {
    type Value = Vec<u8>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }
}

/// What a `CharField` makes of it.
fn text(given: Option<Given>) -> Result<String, Vec<String>> {
    let refuse = |reason: &str| Err(vec![reason.to_owned()]);
    let bytes = match given {
        None => return refuse("This field is required."),
        Some(Given::Null) => return refuse("This field may not be null."),
        Some(Given::Other) => return refuse("Not a valid string."),
        Some(Given::Number(number)) => number.into_bytes(),
        Some(Given::Text(bytes)) => bytes,
    };
    let mut errors = Vec::new();
    if bytes.contains(&0) {
        errors.push("Null characters are not allowed.".to_owned());
    }
    match String::from_utf8(bytes) {
        Ok(text) if errors.is_empty() => {
            let text = text.trim_matches(is_space);
            if text.is_empty() {
                refuse("This field may not be blank.")
            } else {
                Ok(text.to_owned())
            }
        }
        Ok(_) => Err(errors),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            errors.push(match error.as_bytes().get(at..) {
                Some([0xed, high @ 0xa0..=0xbf, low @ 0x80..=0xbf, ..]) => {
                    let unit = 0xd000 | (u32::from(high & 0x3f) << 6) | u32::from(low & 0x3f);
                    format!("Surrogate characters are not allowed: U+{unit:X}.")
                }
                Some(_) | None => "Not a valid string.".to_owned(),
            });
            Err(errors)
        }
    }
}

/// What Python's `str.strip` takes away.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGIN: &[&str] = &["username", "password"];

    fn read_as(content_type: &str, body: &[u8]) -> Result<Vec<String>, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let read = runtime.block_on(read(LOGIN, content_type, body));
        read.map_err(|answer| format!("{} {}", answer.status.as_u16(), answer.body))
    }

    fn json(body: &str) -> Result<Vec<String>, String> {
        read_as("application/json", body.as_bytes())
    }

    #[test]
    fn what_is_wrong_with_a_field_is_said_as_django_rest_framework_says_it() {
        // Recorded with Django REST Framework 3.18.
        for (body, said) in [
            (
                "",
                r#"400 {"username":["This field is required."],"password":["This field is required."]}"#,
            ),
            ("null", r#"400 {"non_field_errors":["No data provided"]}"#),
            (
                "[]",
                r#"400 {"non_field_errors":["Invalid data. Expected a dictionary, but got list."]}"#,
            ),
            (
                "\"x\"",
                r#"400 {"non_field_errors":["Invalid data. Expected a dictionary, but got str."]}"#,
            ),
            (
                "1",
                r#"400 {"non_field_errors":["Invalid data. Expected a dictionary, but got int."]}"#,
            ),
            (
                "1.5",
                r#"400 {"non_field_errors":["Invalid data. Expected a dictionary, but got float."]}"#,
            ),
            (
                "true",
                r#"400 {"non_field_errors":["Invalid data. Expected a dictionary, but got bool."]}"#,
            ),
            (
                r#"{"username":null,"password":true}"#,
                r#"400 {"username":["This field may not be null."],"password":["Not a valid string."]}"#,
            ),
            (
                r#"{"username":"","password":"  "}"#,
                r#"400 {"username":["This field may not be blank."],"password":["This field may not be blank."]}"#,
            ),
            (
                r#"{"username":[],"password":{}}"#,
                r#"400 {"username":["Not a valid string."],"password":["Not a valid string."]}"#,
            ),
            (
                r#"{"username":"a\u0000","password":"\ud800x\u0000"}"#,
                r#"400 {"username":["Null characters are not allowed."],"password":["Null characters are not allowed.","Surrogate characters are not allowed: U+D800."]}"#,
            ),
            (
                "{",
                r#"400 {"detail":"JSON parse error - Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"}"#,
            ),
            (
                "\u{feff}{}",
                r#"400 {"detail":"JSON parse error - Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column 1 (char 0)"}"#,
            ),
        ] {
            assert_eq!(json(body).unwrap_err(), said, "{body}");
        }
    }

    #[test]
    fn values_are_trimmed_and_numbers_are_text() {
        let read = json(r#"{"username":" alice\u001f ","password":12,"username":"  bob "}"#);
        assert_eq!(read.unwrap(), ["bob", "12"]);
    }

    #[test]
    fn forms_are_taken_too() {
        let read = read_as(
            "application/x-www-form-urlencoded",
            b"username=a&password=b+c%21&username=d",
        );
        assert_eq!(read.unwrap(), ["d", "b c!"]);
        let body = b"--x\r\nContent-Disposition: form-data; name=\"username\"\r\n\r\nalice\r\n--x\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\np w\r\n--x--\r\n";
        let read = read_as("multipart/form-data; boundary=x", body);
        assert_eq!(read.unwrap(), ["alice", "p w"]);
        let said = read_as("multipart/form-data", body).unwrap_err();
        assert_eq!(
            said,
            r#"400 {"detail":"Multipart form parse error - Invalid boundary in multipart: None"}"#
        );
    }

    #[test]
    fn another_type_is_unsupported() {
        let said = read_as("text/plain; charset=utf-8", b"x").unwrap_err();
        assert_eq!(
            said,
            r#"415 {"detail":"Unsupported media type \"text/plain; charset=utf-8\" in request."}"#
        );
        let said = read_as("", b"x").unwrap_err();
        assert_eq!(
            said,
            r#"415 {"detail":"Unsupported media type \"\" in request."}"#
        );
        assert!(
            read_as(
                "Application/JSON; charset=utf-8",
                b"{\"username\":\"a\",\"password\":\"b\"}"
            )
            .is_ok()
        );
    }
}
