//! A line as a JSON object. Its fields are always there, always in the same order; what is absent is null.

use std::io;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::ser::{CompactFormatter, Formatter};

use super::entry::{Entry, Value, rfc3339};
use crate::config::AccessField;

/// Appends the object. Among the lines of the log it begins as those do.
pub(super) fn append(entry: &Entry<'_>, whose: (u64, u64), in_log: bool, buffer: &mut Vec<u8>) {
    let start = buffer.len();
    let line = Line {
        entry,
        whose,
        in_log,
    };
    let mut serializer = serde_json::Serializer::with_formatter(&mut *buffer, OneLine);
    // Nothing that is written there can fail.
    if line.serialize(&mut serializer).is_err() {
        buffer.truncate(start);
    }
}

struct Line<'a> {
    entry: &'a Entry<'a>,
    whose: (u64, u64),
    in_log: bool,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for field in AccessField::ALL {
            if field.is_composed() {
                continue;
            }
            if field == AccessField::Time && self.in_log {
                map.serialize_entry("timestamp", &Shown(self.entry.value(field, self.whose)))?;
                map.serialize_entry("level", "INFO")?;
                map.serialize_entry("message", "request")?;
                map.serialize_entry("target", "access")?;
                continue;
            }
            map.serialize_entry(field.name(), &Shown(self.entry.value(field, self.whose)))?;
        }
        map.end()
    }
}

struct Shown<'a>(Value<'a>);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Absent | Value::RequestLine | Value::TimeLocal(_) => serializer.serialize_none(),
            Value::Number(number) => serializer.serialize_u64(number),
            Value::Flag(flag) => serializer.serialize_bool(flag),
            Value::Text(text) => serializer.serialize_str(&String::from_utf8_lossy(text)),
            Value::Safe(value) => serializer.collect_str(&value),
            Value::Time(time) => serializer.collect_str(&rfc3339(time)),
        }
    }
}

/// Escapes, beside what JSON must, whatever a terminal or an editor could take for the end of a line or for an order.
#[derive(Debug)]
struct OneLine;

impl Formatter for OneLine {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut written = 0;
        for (place, character) in fragment.char_indices().filter(|(_, it)| is_unsafe(*it)) {
            let before = fragment.get(written..place).unwrap_or_default();
            CompactFormatter.write_string_fragment(writer, before)?;
            // None of them is beyond U+FFFF.
            write!(writer, "\\u{:04x}", u32::from(character))?;
            written = place + character.len_utf8();
        }
        CompactFormatter.write_string_fragment(writer, fragment.get(written..).unwrap_or_default())
    }
}

/// Control characters, ends of lines and of paragraphs, and what turns the direction of text.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
