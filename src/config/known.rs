//! The keys that exist, from the schema, and the nearest of them to one that does not.

use std::collections::BTreeMap;

use serde_json::Value;

use super::file;
use super::key::KeyPath;

/// From here on two names are alike enough to be worth a hint.
const LIKENESS_MIN: f64 = 0.58;
/// The likeness of a key that exists, but in another section.
const SAME_KEY_ELSEWHERE: f64 = 0.7;
/// What a sibling's likeness is lowered by: single words are alike by chance more often than whole paths.
const SIBLING_MALUS: f64 = 0.2;

/// A key that may be written, without the places in arrays.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Known {
    /// The names on the way: `["auth", "rule", "path"]`, `["auth", "tokens", "prefix"]`.
    pub(super) names: Vec<String>,
    pub(super) kind: Kind,
    /// Its default; absent when it has none.
    pub(super) default: Option<Value>,
}

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A value of a section, or of a table in it: `workers.count`, `auth.tokens.prefix`.
    OfSection,
    /// An array of tables: `auth.rule`.
    ArrayOfTables,
    /// A value of such a table: `auth.rule[].path`.
    OfItem,
}

impl Known {
    /// With dots, and `[]` where a place in an array belongs.
    pub(super) fn dotted(&self) -> String {
        match self.names.as_slice() {
            [parents @ .., key] if self.kind == Kind::OfItem => {
                format!("{}[].{key}", parents.join("."))
            }
            names => names.join("."),
        }
    }

    /// Its last name, when it belongs to the tables of `array`.
    pub(super) fn name_in(&self, array: &Self) -> Option<&str> {
        let (name, parents) = self.names.split_last()?;
        (parents == array.names).then_some(name)
    }

    /// The variable that overrides it; none for a key of a table in an array.
    pub(super) fn variable(&self) -> Option<String> {
        let is_settable = self.kind != Kind::OfItem;
        is_settable.then(|| format!("DESTRIER_{}", self.names.join("__")).to_uppercase())
    }
}

/// Every key, in the order of the schema.
pub(super) fn all() -> Vec<Known> {
    let mut found = Vec::new();
    for (section, schema) in properties(&file::schema()) {
        for (key, schema) in properties(schema) {
            let names = vec![section.clone(), key.clone()];
            let within = properties(schema);
            if !within.is_empty() {
                found.extend(within.into_iter().map(|(key, schema)| Known {
                    names: [names.as_slice(), std::slice::from_ref(key)].concat(),
                    kind: Kind::OfSection,
                    default: schema.get("default").cloned(),
                }));
                continue;
            }
            let items = schema.get("items").map(properties).unwrap_or_default();
            found.push(Known {
                names: names.clone(),
                kind: if items.is_empty() {
                    Kind::OfSection
                } else {
                    Kind::ArrayOfTables
                },
                default: schema.get("default").cloned(),
            });
            found.extend(items.into_iter().map(|(key, schema)| Known {
                names: [names.as_slice(), std::slice::from_ref(key)].concat(),
                kind: Kind::OfItem,
                default: schema.get("default").cloned(),
            }));
        }
    }
    found
}

fn properties(schema: &Value) -> Vec<(&String, &Value)> {
    let keys = schema.get("properties").and_then(Value::as_object);
    keys.into_iter().flatten().collect()
}

/// The key that was probably meant, as it would be written where `unknown` is.
pub(super) fn nearest(unknown: &KeyPath, known: &[Known]) -> Option<String> {
    let names = unknown.names();
    let (_, best) = known
        .iter()
        // Of those that are as near, the first.
        .rev()
        .map(|known| (likeness(&names, known), known))
        .filter(|(likeness, _)| *likeness > LIKENESS_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    let (key, parents) = best.names.split_last()?;
    match unknown.parent() {
        Some(parent) if parent.names() == parents => Some(parent.child(key).to_string()),
        _ => Some(best.dotted()),
    }
}

/// From 0, nothing in common, to 1.
fn likeness(names: &[&str], known: &Known) -> f64 {
    let (Some((key, parents)), Some((known_key, known_parents))) =
        (names.split_last(), known.names.split_last())
    else {
        return 0.0;
    };
    // The array that a key stands in begins like it, but is not what was meant.
    if parents == known.names {
        return 0.0;
    }
    let whole = strsim::sorensen_dice(&names.join("."), &known.names.join("."));
    let of_key = if parents == known_parents {
        strsim::jaro_winkler(key, known_key) - SIBLING_MALUS
    } else if key == known_key && known.kind == Kind::OfSection {
        SAME_KEY_ELSEWHERE
    } else {
        0.0
    };
    whole.max(of_key)
}

/// Every variable that overrides a key, with the names of that key.
pub(super) fn variables() -> BTreeMap<String, Vec<String>> {
    let named = |known: Known| Some((known.variable()?, known.names));
    all().into_iter().filter_map(named).collect()
}

/// The variable that was probably meant.
pub(super) fn nearest_variable(name: &str) -> Option<String> {
    let likeness = |variable: &String| strsim::sorensen_dice(&name.to_uppercase(), variable);
    variables()
        .into_keys()
        .filter(|variable| likeness(variable) > LIKENESS_MIN)
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}
