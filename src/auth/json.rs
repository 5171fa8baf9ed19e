//! JSON objects in which no member has a name twice: two readers could otherwise see two different tokens.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::shown;

/// Reads a JSON object (RFC 8259) and refuses duplicate names at any depth (RFC 7519 section 4).
/// The error is fit for a log: of the text it carries at most the duplicate name.
pub(super) fn object(text: &[u8]) -> Result<Map<String, Value>, String> {
    begins_object(text)?;
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Unique
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| error.to_string())?;
    match value {
        Value::Object(members) => Ok(members),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err("not a JSON object".to_owned())
        }
    }
}

/// Before it is read, for `serde_json` names the value that it did not expect, which is text of the token.
pub(super) fn begins_object(text: &[u8]) -> Result<(), String> {
    match text.trim_ascii_start().first() {
        Some(b'{') => Ok(()),
        Some(_) | None => Err("not a JSON object".to_owned()),
    }
}

/// Reads a value as `serde_json::Value` does, which itself would keep the last of two members.
pub(super) struct Unique;

impl<'de> DeserializeSeed<'de> for Unique {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(Self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            let value = access.next_value_seed(Self)?;
            match members.entry(name) {
                serde_json::map::Entry::Vacant(place) => place.insert(value),
                serde_json::map::Entry::Occupied(place) => {
                    return Err(de::Error::custom(format_args!(
                        "member {} occurs twice",
                        shown(place.key())
                    )));
                }
            };
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_that_occurs_twice_is_refused_at_any_depth() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"a":[{"b":1,"b":2}]}"#,
        ] {
            let error = object(text.as_bytes()).unwrap_err();
            assert!(error.contains("occurs twice"), "{text}: {error}");
        }
    }

    #[test]
    fn only_an_object_and_nothing_after_it_is_accepted() {
        for text in [
            "",
            "[]",
            "1",
            "null",
            "\"{}\"",
            "{} x",
            "{}{}",
            "{",
            "{\"a\":NaN}",
            "\u{feff}{}",
            "{'a':1}",
            "{\"a\":1e400}",
            "{\"a\":\"\\ud800\"}",
        ] {
            assert!(object(text.as_bytes()).is_err(), "{text}");
        }
        assert!(object(b" {\"a\":1} ").is_ok());
        assert!(object(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn depth_is_bounded() {
        let text = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(object(text.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn what_serde_json_reads_without_duplicates_is_read_the_same(
            members in proptest::collection::btree_map(".{0,8}", any::<(i64, f64, bool, String)>(), 0..6)
        ) {
            let text = serde_json::to_string(&members).unwrap();
            let theirs: Map<String, Value> = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(object(text.as_bytes()).unwrap(), theirs);
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<Vec<u8>>()) {
            drop(object(&text));
        }
    }
}
