//! A line as text: Apache's "combined", fields with their names, a template.

use std::io::Write as _;

use super::bounds::{LINE_MAX, fit};
use super::entry::{Entry, Value, local, rfc3339};
use crate::config::{AccessField, AccessFormat, TemplatePart};

/// Where a value stands decides what would end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Between quotation marks.
    Quoted,
    /// Between blanks.
    Bare,
}

/// What is said of a request where its fields are told besides.
pub(super) fn summary() -> AccessFormat {
    let field = |field| TemplatePart::Field {
        field,
        is_quoted: false,
    };
    AccessFormat::Template(vec![
        field(AccessField::Method),
        TemplatePart::Text(" ".to_owned()),
        field(AccessField::Path),
        TemplatePart::Text(" ".to_owned()),
        field(AccessField::Status),
    ])
}

/// `%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i"` of Apache's `mod_log_config`.
pub(super) fn append_combined(entry: &Entry<'_>, buffer: &mut Vec<u8>) {
    append_field(entry, AccessField::Client, Place::Bare, buffer);
    let Entry { status, bytes, .. } = entry;
    buffer.extend_from_slice(b" - ");
    append_field(entry, AccessField::Subject, Place::Bare, buffer);
    let _ok = write!(buffer, " [{}] \"", local(entry.time));
    append_field(entry, AccessField::RequestLine, Place::Quoted, buffer);
    let _ok = write!(buffer, "\" {status} ");
    if *bytes == 0 {
        buffer.push(b'-');
    } else {
        let _ok = write!(buffer, "{bytes}");
    }
    for field in [AccessField::Referer, AccessField::UserAgent] {
        buffer.extend_from_slice(b" \"");
        append_field(entry, field, Place::Quoted, buffer);
        buffer.push(b'"');
    }
}

/// `time  INFO request name=value …`, as the lines of the log are for reading; what is absent is left out.
pub(super) fn append_text(entry: &Entry<'_>, whose: (u64, u64), buffer: &mut Vec<u8>) {
    let _ok = write!(buffer, "{}  INFO request", rfc3339(entry.time));
    for field in AccessField::ALL {
        if field == AccessField::Time || field.is_composed() {
            continue;
        }
        let value = entry.value(field, whose);
        if matches!(value, Value::Absent | Value::Flag(false)) {
            continue;
        }
        let _ok = write!(buffer, " {}=", field.name());
        let is_text = matches!(value, Value::Text(_));
        if is_text {
            buffer.push(b'"');
        }
        append(value, entry, Place::Quoted, buffer);
        if is_text {
            buffer.push(b'"');
        }
    }
}

/// As the operator wrote it.
pub(super) fn append_template(
    parts: &[TemplatePart],
    entry: &Entry<'_>,
    whose: (u64, u64),
    buffer: &mut Vec<u8>,
) {
    let start = buffer.len();
    for part in parts {
        match part {
            TemplatePart::Text(text) => buffer.extend_from_slice(text.as_bytes()),
            TemplatePart::Field { field, is_quoted } => {
                let place = if *is_quoted {
                    Place::Quoted
                } else {
                    Place::Bare
                };
                append(entry.value(*field, whose), entry, place, buffer);
            }
        }
    }
    // Nobody can say how long a template becomes; room for the line break.
    buffer.truncate(start + (buffer.len() - start).min(LINE_MAX - 1));
}

/// Of a field that is not about the worker.
fn append_field(entry: &Entry<'_>, field: AccessField, place: Place, buffer: &mut Vec<u8>) {
    append(entry.value(field, (0, 0)), entry, place, buffer);
}

/// Appends a value; `-` is one that is absent.
pub(super) fn append(value: Value<'_>, entry: &Entry<'_>, place: Place, buffer: &mut Vec<u8>) {
    let start = buffer.len();
    match value {
        Value::Absent => {}
        Value::Number(number) => drop(write!(buffer, "{number}")),
        Value::Flag(flag) => drop(write!(buffer, "{flag}")),
        Value::Text(text) => append_escaped(text, place, buffer),
        Value::Safe(value) => drop(write!(buffer, "{value}")),
        Value::Time(time) => drop(write!(buffer, "{}", rfc3339(time))),
        Value::TimeLocal(time) => drop(write!(buffer, "{}", local(time))),
        Value::RequestLine => append_request_line(entry, buffer),
    }
    if buffer.len() == start {
        buffer.push(b'-');
    }
}

/// `GET /path?query HTTP/1.1`, as far as it is known. A blank in one of its parts ends none.
fn append_request_line(entry: &Entry<'_>, buffer: &mut Vec<u8>) {
    append_escaped(fit(AccessField::Method, entry.method), Place::Bare, buffer);
    if !entry.path.is_empty() {
        buffer.push(b' ');
        append_escaped(fit(AccessField::Path, entry.path), Place::Bare, buffer);
        if let Some(query) = entry.query {
            buffer.push(b'?');
            append_escaped(fit(AccessField::Query, query), Place::Bare, buffer);
        }
    }
    if let Some(protocol) = entry.protocol_of_line() {
        let _ok = write!(buffer, " {protocol}");
    }
}

/// As Apache escapes what comes from outside (`ap_escape_logitem`): nothing but printable ASCII is left. Where no quotation mark ends
/// the value, blanks do, and are escaped too.
pub(super) fn append_escaped(text: &[u8], place: Place, buffer: &mut Vec<u8>) {
    for byte in text {
        match byte {
            b'"' | b'\\' => buffer.extend_from_slice(&[b'\\', *byte]),
            b' ' if place == Place::Bare => buffer.extend_from_slice(b"\\x20"),
            b' '..=b'~' => buffer.push(*byte),
            0x08 => buffer.extend_from_slice(b"\\b"),
            b'\n' => buffer.extend_from_slice(b"\\n"),
            b'\r' => buffer.extend_from_slice(b"\\r"),
            b'\t' => buffer.extend_from_slice(b"\\t"),
            0x0b => buffer.extend_from_slice(b"\\v"),
            byte => drop(write!(buffer, "\\x{byte:02x}")),
        }
    }
}
