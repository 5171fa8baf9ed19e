//! One call of the application, and what it returns.

use bytes::{Bytes, BytesMut};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use super::exchange::{Exchange, Flow};
use super::start_response::StartResponse;
use crate::failure::{Failure, kind_of};
use crate::fork;

/// Calls the application, and sends what it returns through `start_response`'s exchange. Whatever goes wrong becomes part of
/// that.
pub(super) fn call(
    py: Python<'_>,
    app: &Bound<'_, PyAny>,
    environ: Bound<'_, PyDict>,
    start_response: &Bound<'_, StartResponse>,
) {
    let exchange = start_response.get().exchange();
    let content = match app.call1((environ, start_response)) {
        Ok(content) => content,
        Err(exception) => {
            fork::leave_if_child_after(py, || exchange.request(), &exception);
            return exchange.fail(Failure::of_exception(py, &exception));
        }
    };
    fork::leave_if_child(|| exchange.request());
    let sent = send_all(py, &content, exchange);
    // `close` is called however it went (PEP 3333, "Specification Details").
    let closed = close(&content);
    for outcome in [sent, closed] {
        if let Err(failure) = outcome {
            exchange.fail(failure);
        }
    }
}

fn send_all(
    py: Python<'_>,
    content: &Bound<'_, PyAny>,
    exchange: &Exchange,
) -> Result<(), Failure> {
    // After `write` what is returned follows what was written.
    if !exchange.has_sent() {
        if let Ok(list) = content.cast_exact::<PyList>() {
            return send_known(list.len(), list.iter(), exchange);
        }
        if let Ok(tuple) = content.cast_exact::<PyTuple>() {
            return send_known(tuple.len(), tuple.iter(), exchange);
        }
    }
    if content.is_instance_of::<PyBytes>() {
        return Err(Failure::new(
            "the application returned bytes: return a list of them, as in [content]",
        ));
    }
    let of_exception = |exception: PyErr| {
        fork::leave_if_child_after(py, || exchange.request(), &exception);
        Failure::of_exception(py, &exception)
    };
    let mut pieces = content.try_iter().map_err(|_| {
        let kind = kind_of(content);
        Failure::new(format!(
            "the application returned {kind}, which is not an iterable of bytes"
        ))
    })?;
    loop {
        let Some(piece) = pieces.next() else {
            fork::leave_if_child(|| exchange.request());
            return exchange.finish();
        };
        let piece = piece.map_err(of_exception)?;
        fork::leave_if_child(|| exchange.request());
        let bytes = bytes_of(&piece)?;
        match exchange.send(py, bytes)? {
            Flow::Go => {}
            Flow::Stop => {
                exchange.abandon();
                return Ok(());
            }
        }
    }
}

/// A list or a tuple: everything is there, so that its length is known.
fn send_known<'py>(
    length: usize,
    mut pieces: impl Iterator<Item = Bound<'py, PyAny>>,
    exchange: &Exchange,
) -> Result<(), Failure> {
    let content = if length == 1
        && let Some(piece) = pieces.next()
    {
        Bytes::copy_from_slice(bytes_of(&piece)?)
    } else {
        let mut content = BytesMut::new();
        for piece in pieces {
            content.extend_from_slice(bytes_of(&piece)?);
        }
        content.freeze()
    };
    exchange.send_whole(content)
}

fn bytes_of<'a>(piece: &'a Bound<'_, PyAny>) -> Result<&'a [u8], Failure> {
    let bytes = piece.cast::<PyBytes>();
    bytes.map(PyBytesMethods::as_bytes).map_err(|_| {
        let kind = kind_of(piece);
        Failure::new(format!(
            "the application's answer must be made of bytes, not {kind}"
        ))
    })
}

fn close(content: &Bound<'_, PyAny>) -> Result<(), Failure> {
    let py = content.py();
    if content.is_exact_instance_of::<PyList>() || content.is_exact_instance_of::<PyTuple>() {
        return Ok(());
    }
    let close = content.getattr_opt(intern!(py, "close"));
    let closed = close.and_then(|close| close.map(|close| close.call0()).transpose());
    closed
        .map(drop)
        .map_err(|exception| Failure::of_exception(py, &exception))
}
