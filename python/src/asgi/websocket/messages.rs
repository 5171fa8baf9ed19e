//! Messages of a WebSocket: those of the application, from dictionaries to what they say, and those it gets.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

use super::super::messages;
use super::state::{Accept, Frame, Received, Said};
use crate::failure::kind_of;
use crate::head::Head;

/// What it is closed with where the application does not say.
const NORMAL: u16 = 1000;

/// The longest reason of a Close frame, in bytes: 125 of a control frame without the code (RFC 6455 section 5.5).
const REASON_MAX: usize = 123;

/// Reads a message of the application.
///
/// # Errors
/// What is wrong with it, as the application shall see it.
pub(super) fn said(message: &Bound<'_, PyAny>) -> PyResult<Said> {
    let message = messages::dict(message)?;
    match &*messages::kind(message)?.to_cow()? {
        "websocket.accept" => accept(message).map(Said::Accept),
        "websocket.send" => frame(message).map(Said::Frame),
        "websocket.close" => close(message).map(Said::Frame),
        "websocket.http.response.start" => messages::head(message).map(Said::Start),
        "websocket.http.response.body" => {
            let (content, more) = messages::body(message)?;
            Ok(Said::Body(content, more))
        }
        other => Err(PyValueError::new_err(format!(
            "`{other}` is no message for a WebSocket: websocket.accept is, websocket.send and websocket.close"
        ))),
    }
}

fn accept(message: &Bound<'_, PyDict>) -> PyResult<Accept> {
    let py = message.py();
    let subprotocol = match message.get_item(intern!(py, "subprotocol"))? {
        Some(chosen) if !chosen.is_none() => Some(text_of(&chosen, "subprotocol")?),
        Some(_) | None => None,
    };
    // The status is another one, and not for the application to give.
    let mut head = Head::of_code(200).map_err(|error| PyValueError::new_err(error.to_string()))?;
    if let Some(headers) = message.get_item(intern!(py, "headers"))? {
        messages::add_headers(&headers, |name, value| {
            if name.to_ascii_lowercase().starts_with(b"sec-websocket-") {
                return Err(PyValueError::new_err(format!(
                    "the header {:?} of the handshake is the server's to set; `subprotocol` names one",
                    String::from_utf8_lossy(name)
                )));
            }
            let added = head.add_bytes(name, value);
            added
                .map(drop)
                .map_err(|error| PyValueError::new_err(error.to_string()))
        })?;
    }
    Ok(Accept { subprotocol, head })
}

fn frame(message: &Bound<'_, PyDict>) -> PyResult<Frame> {
    let py = message.py();
    if let Some(text) = message.get_item(intern!(py, "text"))?
        && !text.is_none()
    {
        return text_of(&text, "text").map(Frame::Text);
    }
    match message.get_item(intern!(py, "bytes"))? {
        Some(bytes) if !bytes.is_none() => messages::content_of(&bytes, "bytes").map(Frame::Binary),
        Some(_) | None => Err(PyValueError::new_err(
            "websocket.send has neither `text` nor `bytes`",
        )),
    }
}

fn close(message: &Bound<'_, PyDict>) -> PyResult<Frame> {
    let py = message.py();
    let code = match message.get_item(intern!(py, "code"))? {
        Some(code) if !code.is_none() => code.extract::<u16>().ok(),
        Some(_) | None => Some(NORMAL),
    };
    let code = code.filter(|code| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999));
    let code = code.ok_or_else(|| {
        PyValueError::new_err(
            "`code` of websocket.close must be one that may be sent (RFC 6455 section 7.4): 1000 to 1003, 1007 to 1014, 3000 to 4999",
        )
    })?;
    let reason = match message.get_item(intern!(py, "reason"))? {
        Some(reason) if !reason.is_none() => text_of(&reason, "reason")?,
        Some(_) | None => String::new(),
    };
    if reason.len() > REASON_MAX {
        return Err(PyValueError::new_err(format!(
            "`reason` of websocket.close has more than {REASON_MAX} bytes"
        )));
    }
    Ok(Frame::Close(code, reason))
}

fn text_of(value: &Bound<'_, PyAny>, name: &str) -> PyResult<String> {
    let text = value.cast::<PyString>().map_err(|_| {
        PyTypeError::new_err(format!("`{name}` must be str, not {}", kind_of(value)))
    })?;
    Ok(text.to_cow()?.into_owned())
}

/// What the application gets.
pub(super) fn message(py: Python<'_>, received: Received) -> PyResult<Py<PyAny>> {
    let message = PyDict::new(py);
    let kind = intern!(py, "type");
    match received {
        Received::Connect => message.set_item(kind, intern!(py, "websocket.connect"))?,
        Received::Frame(Frame::Text(text)) => {
            message.set_item(kind, intern!(py, "websocket.receive"))?;
            message.set_item(intern!(py, "text"), text)?;
        }
        Received::Frame(Frame::Binary(bytes)) => {
            message.set_item(kind, intern!(py, "websocket.receive"))?;
            message.set_item(intern!(py, "bytes"), PyBytes::new(py, &bytes))?;
        }
        Received::Frame(Frame::Close(code, reason)) => {
            message.set_item(kind, intern!(py, "websocket.disconnect"))?;
            message.set_item(intern!(py, "code"), code)?;
            message.set_item(intern!(py, "reason"), reason)?;
        }
    }
    Ok(message.into_any().unbind())
}
