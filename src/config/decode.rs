//! Values to keys: from a `Document` to a `File`, with every unknown key and every value of the wrong kind noted.

use serde_ignored::Path as Ignored;
use serde_path_to_error::{Deserializer, Segment, Track};
use toml::Value;

use super::document::Document;
use super::errors::Problems;
use super::file::File;
use super::key::{KeyPath, Step};
use super::known::{self, Kind, Known};

/// The longest value that a message repeats, in characters.
const FOUND_MAX: usize = 60;

/// Reads the keys. A value that is no good is noted and left out, and its default stands in for it.
pub(super) fn decode(document: &mut Document, problems: &mut Problems) -> File {
    refuse_arrays(document, problems);
    // Serde stops at the first error, so what caused it is taken out and the rest is read again.
    loop {
        let mut unknown = Vec::new();
        let mut track = Track::new();
        let values = Value::Table(document.values.clone());
        let deserializer = Deserializer::new(values, &mut track);
        let file: Result<File, _> =
            serde_ignored::deserialize(deserializer, |path| unknown.push(ignored_path(&path)));
        let error = match file {
            Ok(file) => {
                let known = known::all();
                for path in unknown {
                    note_unknown(&path, &known, document, problems);
                }
                return file;
            }
            Err(error) => error,
        };
        let path: KeyPath = track.path().iter().filter_map(step).collect();
        let key = path.nearest_key();
        if document.take_as_text(&key) {
            continue;
        }
        note_wrong(&path, error.message(), document, problems);
        if document.remove(&key).is_none() {
            return File::default();
        }
    }
}

/// Serde would take an array for a table, its items for the keys in the order in which `file` declares them.
fn refuse_arrays(document: &mut Document, problems: &mut Problems) {
    let in_sections = |known: &Known| known.kind != Kind::OfItem;
    for known in known::all().into_iter().filter(in_sections) {
        let steps = known.names.into_iter().map(Step::Key);
        let key: KeyPath = steps.collect();
        let section = key.parent().unwrap_or_default();
        let mut arrays = Vec::new();
        if let Some(Value::Array(_)) = document.value(&section) {
            arrays.push(section);
        }
        if let (Kind::ArrayOfTables, Some(Value::Array(items))) = (known.kind, document.value(&key))
        {
            let is_array = |(_, item): &(usize, &Value)| item.is_array();
            let found = items.iter().enumerate().filter(is_array);
            arrays.extend(found.map(|(index, _)| key.item(index)));
        }
        for path in &arrays {
            note_wrong(path, ", expected a table", document, problems);
        }
        for path in &arrays {
            document.remove(&path.nearest_key());
        }
    }
}

fn step(segment: &Segment) -> Option<Step> {
    match segment {
        Segment::Seq { index } => Some(Step::Index(*index)),
        Segment::Map { key } => Some(Step::Key(key.clone())),
        Segment::Enum { .. } | Segment::Unknown => None,
    }
}

fn ignored_path(path: &Ignored<'_>) -> KeyPath {
    match path {
        Ignored::Root => KeyPath::default(),
        Ignored::Seq { parent, index } => ignored_path(parent).item(*index),
        Ignored::Map { parent, key } => ignored_path(parent).child(key),
        Ignored::Some { parent }
        | Ignored::NewtypeStruct { parent }
        | Ignored::NewtypeVariant { parent } => ignored_path(parent),
    }
}

fn note_wrong(path: &KeyPath, message: &str, document: &Document, problems: &mut Problems) {
    let requirement = requirement(message);
    let found = document.value(path).map(found).unwrap_or_default();
    let message = format!("`{path}` {requirement}{found}");
    problems.note_at(path, document.origin(path), message, None);
}

/// What a value must be, from serde's sentence about what it is not.
fn requirement(message: &str) -> String {
    match message.rsplit_once(", expected ") {
        Some((_, "a sequence")) => "must be an array".to_owned(),
        Some((_, "a map")) => "must be a table".to_owned(),
        Some((_, "a boolean")) => "must be true or false".to_owned(),
        Some((_, "string only")) => "must be a string".to_owned(),
        Some((_, expected)) => format!("must be {expected}"),
        None => format!("is wrong: {message}"),
    }
}

/// The end of a message that says what is there instead.
pub(super) fn found(value: &Value) -> String {
    let text = value.to_string();
    let short: String = text.chars().take(FOUND_MAX).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!(", found `{}{more}`", short.replace('\n', " "))
}

/// An unknown table is noted by the keys in it: they are what has a nearest known key.
fn note_unknown(path: &KeyPath, known: &[Known], document: &Document, problems: &mut Problems) {
    if let Some(Value::Table(table)) = document.value(path)
        && !table.is_empty()
    {
        for key in table.keys() {
            note_unknown(&path.child(key), known, document, problems);
        }
        return;
    }
    let hint = known::nearest(path, known).map(|key| format!("did you mean `{key}`?"));
    let origin = document.origin_of_key(path);
    problems.note_at(path, origin, format!("unknown key `{path}`"), hint);
}
