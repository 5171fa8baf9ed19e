//! Text as WSGI has it: each character is a byte (PEP 3333, "A Note on String Types").

use std::borrow::Cow;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

/// The string whose characters are these bytes.
pub(crate) fn of_bytes<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyString> {
    match str::from_utf8(bytes) {
        Ok(text) if bytes.is_ascii() => PyString::new(py, text),
        Ok(_) | Err(_) => {
            let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
            PyString::new(py, &text)
        }
    }
}

/// What `PyString::encode_utf8` has made. One copy less than with `to_cow`, which knows no other way before Python 3.10.
pub(crate) fn utf8<'a>(encoded: &'a Bound<'_, PyBytes>) -> PyResult<&'a str> {
    str::from_utf8(encoded.as_bytes()).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// The bytes that are the characters of a string; none where a character is no byte.
pub(crate) fn to_bytes(text: &str) -> Option<Cow<'_, [u8]>> {
    if text.is_ascii() {
        return Some(Cow::Borrowed(text.as_bytes()));
    }
    let bytes: Result<Vec<u8>, _> = text.chars().map(u8::try_from).collect();
    bytes.ok().map(Cow::Owned)
}
