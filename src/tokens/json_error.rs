//! What is wrong with a text that is no JSON, in the words of Python, which clients of Django REST Framework know.

/// As `json.JSONDecodeError` says it: what, and where, counted in characters.
pub(super) fn of_json(text: &str, error: &serde_json::Error) -> String {
    let end = text.len();
    let at = offset(text, error.line(), error.column());
    let said = error.to_string();
    let said = said.split(" at line ").next().unwrap_or_default();
    let (words, place) = match said {
        "EOF while parsing a value" => ("Expecting value", end),
        "EOF while parsing a string" => (
            "Unterminated string starting at",
            open_string(text).unwrap_or(end),
        ),
        "EOF while parsing an object" | "EOF while parsing a list" => (expected_at_end(text), end),
        "expected `:`" => ("Expecting ':' delimiter", at),
        "expected `,` or `}`" | "expected `,` or `]`" => ("Expecting ',' delimiter", at),
        "key must be a string" => ("Expecting property name enclosed in double quotes", at),
        "trailing comma" if text.as_bytes().get(at) == Some(&b'}') => {
            ("Expecting property name enclosed in double quotes", at)
        }
        "trailing characters" => ("Extra data", at),
        "invalid escape" => match text.get(..=at).and_then(|text| text.rfind("\\u")) {
            Some(start) if at.saturating_sub(start) < 6 => {
                (concat!("Invalid \\uXX", "XX escape"), start + 1)
            }
            Some(_) | None => ("Invalid \\escape", at.saturating_sub(1)),
        },
        "control character (\\u0000-\\u001F) found while parsing a string" => {
            // The character itself, which has not been counted yet.
            ("Invalid control character at", at + 1)
        }
        "expected ident" => ("Expecting value", word_start(text, at)),
        _ => ("Expecting value", at),
    };
    format!("{words}: {}", position(text, place))
}

/// As Python says it of bytes that are not UTF-8.
pub(super) fn of_utf8(bytes: &[u8], error: std::str::Utf8Error) -> String {
    let at = error.valid_up_to();
    let byte = bytes.get(at).copied().unwrap_or_default();
    let reason = match (error.error_len(), byte) {
        (None, _) => "unexpected end of data",
        (Some(_), 0xc2..=0xf4) => "invalid continuation byte",
        (Some(_), _) => "invalid start byte",
    };
    format!("'utf-8' codec can't decode byte {byte:#04x} in position {at}: {reason}")
}

/// A byte order mark, which Python refuses by name.
pub(super) fn of_byte_order_mark() -> String {
    "Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column 1 (char 0)".to_owned()
}

/// The byte that `serde_json` names: lines and bytes of a line counted from 1.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    (before + column).saturating_sub(1).min(text.len())
}

/// `line 1 column 2 (char 1)`.
fn position(text: &str, byte: usize) -> String {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    format!(
        "line {line} column {column} (char {})",
        before.chars().count()
    )
}

/// What is missing where an object or a list just ends.
fn expected_at_end(text: &str) -> &'static str {
    let text = text.trim_end();
    if text.ends_with(['{']) {
        return "Expecting property name enclosed in double quotes";
    }
    let Some(before) = text.strip_suffix(',') else {
        let last = text
            .rfind(['{', ',', ':', '['])
            .and_then(|at| text.as_bytes().get(at));
        let is_name = matches!(last, Some(b'{' | b',')) && is_in_object(text);
        return match (text.ends_with('['), is_name) {
            (true, _) => "Expecting value",
            (false, true) => "Expecting ':' delimiter",
            (false, false) => "Expecting ',' delimiter",
        };
    };
    if is_in_object(before) {
        "Expecting property name enclosed in double quotes"
    } else {
        "Expecting value"
    }
}

/// Whether what is open at the end is an object.
fn is_in_object(text: &str) -> bool {
    let mut open = Vec::new();
    let mut is_string = false;
    let mut is_escaped = false;
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_string => is_escaped = true,
            b'"' => is_string = !is_string,
            b'{' | b'[' if !is_string => open.push(byte),
            b'}' | b']' if !is_string => drop(open.pop()),
            _ => {}
        }
    }
    open.last() == Some(&b'{')
}

/// Where the string begins that never ends.
fn open_string(text: &str) -> Option<usize> {
    let mut start = None;
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if start.is_some() => is_escaped = true,
            b'"' => start = if start.is_some() { None } else { Some(at) },
            _ => {}
        }
    }
    start
}

/// Where a word begins that is none of `true`, `false`, `null`.
fn word_start(text: &str, at: usize) -> usize {
    let before = text.get(..at).unwrap_or(text);
    before
        .trim_end_matches(|c: char| c.is_ascii_alphabetic())
        .len()
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn it_is_said_as_python_says_it() {
        // Recorded with Python 3.13 and Django REST Framework 3.18.
        for (text, said) in [
            (
                "{",
                "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
            ),
            (
                "{\"a\"",
                "Expecting ':' delimiter: line 1 column 5 (char 4)",
            ),
            ("{\"a\":", "Expecting value: line 1 column 6 (char 5)"),
            (
                "{\"a\":1",
                "Expecting ',' delimiter: line 1 column 7 (char 6)",
            ),
            (
                "{\"a\":1,",
                "Expecting property name enclosed in double quotes: line 1 column 8 (char 7)",
            ),
            (
                "{\"a\" 1}",
                "Expecting ':' delimiter: line 1 column 6 (char 5)",
            ),
            (
                "{a:1}",
                "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
            ),
            ("x", "Expecting value: line 1 column 1 (char 0)"),
            ("{} x", "Extra data: line 1 column 4 (char 3)"),
            (
                "{\"a\":\"b",
                "Unterminated string starting at: line 1 column 6 (char 5)",
            ),
            (
                "{\"a\":\"\\x\"}",
                "Invalid \\escape: line 1 column 7 (char 6)",
            ),
            ("[1 2]", "Expecting ',' delimiter: line 1 column 4 (char 3)"),
            ("{\"a\":truth}", "Expecting value: line 1 column 6 (char 5)"),
            (
                "{\"a\":\n\n \"x\ny\"}",
                "Invalid control character at: line 3 column 4 (char 10)",
            ),
        ] {
            let error = serde_json::from_str::<&RawValue>(text).unwrap_err();
            assert_eq!(of_json(text, &error), said, "{text}: {error}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_named() {
        let bytes = [b"{\"a\":\"".as_slice(), &[0xff], b"\"}"].concat();
        let error = std::str::from_utf8(&bytes).unwrap_err();
        let said = "'utf-8' codec can't decode byte 0xff in position 6: invalid start byte";
        assert_eq!(of_utf8(&bytes, error), said);
    }
}
