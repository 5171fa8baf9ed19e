//! Messages of an application, from dictionaries to what they say.

use std::path::PathBuf;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue, LINK};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyList, PyMemoryView, PyString, PyTuple};

use crate::failure::kind_of;
use crate::head::{Head, HeadError};
use crate::text;

/// What an application says of its answer to a request.
#[derive(Debug)]
pub(super) enum Message {
    Start(Head),
    /// Content, and whether more follows.
    Body(Bytes, bool),
    /// The content is that of this file.
    Path(PathBuf),
    EarlyHint(HeaderMap),
}

impl Message {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it, as the application shall see it.
    pub(super) fn of(message: &Bound<'_, PyAny>) -> PyResult<Self> {
        let message = dict(message)?;
        match text::utf8(&kind(message)?.encode_utf8()?)? {
            "http.response.start" => head(message).map(Self::Start),
            "http.response.body" => body(message).map(|(content, more)| Self::Body(content, more)),
            "http.response.pathsend" => {
                let path = required(message, "path")?;
                Ok(Self::Path(path.extract()?))
            }
            "http.response.early_hint" => links(message).map(Self::EarlyHint),
            other => Err(PyValueError::new_err(format!(
                "`{other}` is no message that answers a request: http.response.start is, and http.response.body"
            ))),
        }
    }
}

pub(super) fn dict<'a, 'py>(message: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyDict>> {
    message.cast::<PyDict>().map_err(|_| {
        let kind = kind_of(message);
        PyTypeError::new_err(format!("send takes a dict, not {kind}"))
    })
}

/// `message["type"]`.
pub(super) fn kind<'py>(message: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyString>> {
    let kind = message.get_item(intern!(message.py(), "type"))?;
    let kind = kind.ok_or_else(|| PyValueError::new_err("the message has no `type`"))?;
    kind.cast_into::<PyString>().map_err(|error| {
        let kind = kind_of(&error.into_inner());
        PyTypeError::new_err(format!("the `type` of a message must be str, not {kind}"))
    })
}

/// Status and fields of the message that begins an answer.
pub(super) fn head(message: &Bound<'_, PyDict>) -> PyResult<Head> {
    let py = message.py();
    let status = message.get_item(intern!(py, "status"))?;
    let status = status.ok_or_else(|| missing(message, "status"))?;
    let code = status.extract::<i64>().map_err(|_| {
        let kind = kind_of(&status);
        PyTypeError::new_err(format!("`status` must be int, not {kind}"))
    })?;
    let mut head = Head::of_code(code).map_err(|error| wrong(&error))?;
    if let Some(headers) = message.get_item(intern!(py, "headers"))? {
        add_headers(&headers, |name, value| {
            let is_added = head.add_bytes(name, value).map_err(|error| wrong(&error))?;
            if !is_added {
                let header = &*String::from_utf8_lossy(name);
                tracing::debug!(
                    header,
                    "the application set a header that is the server's to set: it was left out"
                );
            }
            Ok(())
        })?;
    }
    Ok(head)
}

/// Calls `add` with the name and the value of each pair of bytes.
pub(super) fn add_headers(
    headers: &Bound<'_, PyAny>,
    mut add: impl FnMut(&[u8], &[u8]) -> PyResult<()>,
) -> PyResult<()> {
    let not_a_pair = |header: &Bound<'_, PyAny>| {
        let kind = kind_of(header);
        PyTypeError::new_err(format!(
            "a header must be a pair of a name and a value, not {kind}"
        ))
    };
    for header in headers.try_iter()? {
        let header = header?;
        let (name, value) = if let Ok(pair) = header.cast::<PyTuple>() {
            (pair.get_item(0), pair.get_item(1))
        } else if let Ok(pair) = header.cast::<PyList>() {
            (pair.get_item(0), pair.get_item(1))
        } else {
            return Err(not_a_pair(&header));
        };
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(not_a_pair(&header));
        };
        let name = bytes(&name, || "the name of a header".to_owned())?;
        let value = bytes(&value, || {
            format!("the value of header {:?}", String::from_utf8_lossy(name))
        })?;
        add(name, value)?;
    }
    Ok(())
}

/// Content, and whether more follows.
pub(super) fn body(message: &Bound<'_, PyDict>) -> PyResult<(Bytes, bool)> {
    let py = message.py();
    let content = match message.get_item(intern!(py, "body"))? {
        Some(content) => content_of(&content, "body")?,
        None => Bytes::new(),
    };
    let more = message.get_item(intern!(py, "more_body"))?;
    let more = more.map_or(Ok(false), |more| more.is_truthy())?;
    Ok((content, more))
}

/// Bytes, or what is like them.
pub(super) fn content_of(content: &Bound<'_, PyAny>, name: &str) -> PyResult<Bytes> {
    if let Ok(bytes) = content.cast::<PyBytes>() {
        return Ok(Bytes::copy_from_slice(bytes.as_bytes()));
    }
    if content.is_instance_of::<PyByteArray>() || content.is_instance_of::<PyMemoryView>() {
        let bytes = content.py().get_type::<PyBytes>().call1((content,))?;
        return Ok(Bytes::copy_from_slice(bytes.cast::<PyBytes>()?.as_bytes()));
    }
    let kind = kind_of(content);
    Err(PyTypeError::new_err(format!(
        "`{name}` must be bytes, not {kind}"
    )))
}

fn links(message: &Bound<'_, PyDict>) -> PyResult<HeaderMap> {
    let mut fields = HeaderMap::new();
    for link in required(message, "links")?.try_iter()? {
        let link = link?;
        let value = bytes(&link, || "a link".to_owned())?;
        let value = HeaderValue::from_bytes(value).map_err(|_| {
            PyValueError::new_err("a link has a line break or another control character")
        })?;
        fields.append(LINK, value);
    }
    Ok(fields)
}

pub(super) fn required<'py>(
    message: &Bound<'py, PyDict>,
    name: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let value = message.get_item(name)?;
    value.ok_or_else(|| missing(message, name))
}

fn missing(message: &Bound<'_, PyDict>, name: &str) -> PyErr {
    let kind = kind(message).map_or_else(|_| "message".to_owned(), |kind| kind.to_string());
    PyValueError::new_err(format!("`{name}` is missing in {kind}"))
}

fn bytes<'a>(value: &'a Bound<'_, PyAny>, what: impl Fn() -> String) -> PyResult<&'a [u8]> {
    let bytes = value.cast::<PyBytes>().map_err(|_| {
        PyTypeError::new_err(format!("{} must be bytes, not {}", what(), kind_of(value)))
    })?;
    Ok(bytes.as_bytes())
}

fn wrong(error: &HeadError) -> PyErr {
    PyValueError::new_err(error.to_string())
}
