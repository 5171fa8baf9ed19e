//! `wsgi.input`: the content of a request as a stream (PEP 3333, "Input and Error Streams").

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Buf as _, Bytes, BytesMut};
use pyo3::exceptions::{PyConnectionError, PyStopIteration, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::body::Source;
use crate::fork;

/// The content of a request. A read waits for what has not arrived, without the interpreter; at the end it returns nothing.
#[pyclass(frozen, name = "Input", module = "destrier_python")]
#[derive(Debug)]
pub(super) struct Input {
    /// None while a thread waits for more, and once the request is over.
    reader: Mutex<Option<Reader>>,
}

#[derive(Debug)]
struct Reader {
    /// What has arrived and was not read.
    here: Bytes,
    /// Where more comes from.
    source: Option<tokio::sync::mpsc::Receiver<Result<Bytes, destrier::BoxError>>>,
}

impl Input {
    pub(super) fn new(source: Source) -> Self {
        let reader = match source {
            Source::Whole(here) => Reader { here, source: None },
            Source::Arriving(source) => Reader {
                here: Bytes::new(),
                source: Some(source),
            },
        };
        Self {
            reader: Mutex::new(Some(reader)),
        }
    }

    /// The request is over: what has not been read will not be.
    pub(super) fn close(&self) {
        drop(self.reader().take());
    }

    fn reader(&self) -> MutexGuard<'_, Option<Reader>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads with the reader to itself, so that no lock is held while it waits.
    fn with_reader<T>(&self, read: impl FnOnce(&mut Reader) -> PyResult<T>) -> PyResult<T> {
        let reader = self.reader().take();
        let mut reader = reader.ok_or_else(|| {
            PyValueError::new_err(
                "wsgi.input: the request is over, or another thread reads it at this moment",
            )
        })?;
        let outcome = read(&mut reader);
        *self.reader() = Some(reader);
        outcome
    }
}

impl Reader {
    /// Waits until something is here; false at the end.
    fn fill(&mut self, py: Python<'_>) -> PyResult<bool> {
        while self.here.is_empty() {
            let Some(source) = &mut self.source else {
                return Ok(false);
            };
            // Nothing more arrives there.
            fork::leave_if_child(|| None);
            let piece = py.detach(|| source.blocking_recv());
            match piece.unwrap_or_else(|| Err("the worker exits".into())) {
                Ok(piece) if piece.is_empty() => self.source = None,
                Ok(piece) => self.here = piece,
                Err(error) => {
                    self.source = None;
                    return Err(PyConnectionError::new_err(format!(
                        "the content of the request did not arrive: {error}"
                    )));
                }
            }
        }
        Ok(true)
    }

    /// So many bytes, fewer only at the end.
    fn read(&mut self, py: Python<'_>, limit: usize) -> PyResult<Bytes> {
        if limit == 0 || !self.fill(py)? {
            return Ok(Bytes::new());
        }
        let first = self.take(limit);
        if first.len() == limit || (self.here.is_empty() && self.source.is_none()) {
            return Ok(first);
        }
        let mut all = BytesMut::from(first);
        while all.len() < limit && self.fill(py)? {
            let piece = self.take(limit - all.len());
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }

    /// A line with its end, at most `limit` bytes of it.
    fn read_line(&mut self, py: Python<'_>, limit: usize) -> PyResult<Bytes> {
        let mut line = BytesMut::new();
        while line.len() < limit && self.fill(py)? {
            let end = memchr::memchr(b'\n', &self.here).map(|place| place + 1);
            let length = end.unwrap_or(self.here.len()).min(limit - line.len());
            let piece = self.here.split_to(length);
            let is_end = piece.last() == Some(&b'\n');
            line.extend_from_slice(&piece);
            if is_end {
                break;
            }
        }
        Ok(line.freeze())
    }

    fn take(&mut self, limit: usize) -> Bytes {
        let length = limit.min(self.here.remaining());
        self.here.split_to(length)
    }
}

/// How much to read: all, where nothing or a negative number is given.
fn limit(size: Option<isize>) -> usize {
    size.and_then(|size| usize::try_from(size).ok())
        .unwrap_or(usize::MAX)
}

#[pymethods]
impl Input {
    #[pyo3(signature = (size = None, /))]
    fn read<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = self.with_reader(|reader| reader.read(py, limit(size)))?;
        Ok(PyBytes::new(py, &bytes))
    }

    #[pyo3(signature = (size = None, /))]
    fn readline<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = self.with_reader(|reader| reader.read_line(py, limit(size)))?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// All lines, or so many that they have about `hint` bytes.
    #[pyo3(signature = (hint = None, /))]
    fn readlines<'py>(&self, py: Python<'py>, hint: Option<isize>) -> PyResult<Bound<'py, PyList>> {
        let hint = hint.and_then(|hint| usize::try_from(hint).ok());
        let hint = hint.filter(|hint| *hint > 0).unwrap_or(usize::MAX);
        let lines = PyList::empty(py);
        let mut length = 0_usize;
        while length < hint {
            let line = self.with_reader(|reader| reader.read_line(py, usize::MAX))?;
            if line.is_empty() {
                break;
            }
            length += line.len();
            lines.append(PyBytes::new(py, &line))?;
        }
        Ok(lines)
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let line = self.readline(py, None)?;
        if line.as_bytes().is_empty() {
            return Err(PyStopIteration::new_err(()));
        }
        Ok(line)
    }
}
