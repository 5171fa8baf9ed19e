//! What claims must hold, of an issuer's tokens and of those that a rule lets pass.

use std::collections::BTreeMap;

use super::Check;
use crate::config::ClaimTest;
use crate::config::key::KeyPath;

impl Check<'_> {
    pub(super) fn claims(
        &mut self,
        key: &KeyPath,
        written: &BTreeMap<String, toml::Value>,
    ) -> BTreeMap<String, ClaimTest> {
        let mut claims = BTreeMap::new();
        for name in written.keys() {
            let key = key.child(name);
            // As it was in the file: on the way through serde a date turns into a table.
            match self.document.value(&key).and_then(json) {
                Some(value) => match claim_test(value) {
                    Ok(test) => drop(claims.insert(name.clone(), test)),
                    Err(reason) => self.refuse(&key, reason, None),
                },
                None => self.refuse(&key, "must be a value that JSON has", None),
            }
        }
        claims
    }
}

/// A table says how the claim is compared; any other value is what it must be.
fn claim_test(value: serde_json::Value) -> Result<ClaimTest, &'static str> {
    const FORMS: &str =
        "must be a value, or one of `{ equals = … }`, `{ contains = … }` and `{ one_of = […] }`";
    let serde_json::Value::Object(table) = value else {
        return Ok(ClaimTest::Equals(value));
    };
    let mut entries = table.into_iter();
    match (entries.next(), entries.next()) {
        (Some((form, value)), None) => match (form.as_str(), value) {
            ("equals", value) => Ok(ClaimTest::Equals(value)),
            ("contains", value) => Ok(ClaimTest::Contains(value)),
            ("one_of", serde_json::Value::Array(values)) if !values.is_empty() => {
                Ok(ClaimTest::OneOf(values))
            }
            _ => Err(FORMS),
        },
        _ => Err(FORMS),
    }
}

/// The value as a token would carry it; JSON has no dates and no infinite numbers.
fn json(value: &toml::Value) -> Option<serde_json::Value> {
    use toml::Value;
    Some(match value {
        Value::String(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => serde_json::Number::from_f64(*number)?.into(),
        Value::Boolean(is_true) => (*is_true).into(),
        Value::Datetime(_) => return None,
        Value::Array(items) => items.iter().map(json).collect::<Option<Vec<_>>>()?.into(),
        Value::Table(table) => {
            let entry = |(key, value): (&String, &Value)| Some((key.clone(), json(value)?));
            let entries: Option<serde_json::Map<_, _>> = table.iter().map(entry).collect();
            entries?.into()
        }
    })
}
