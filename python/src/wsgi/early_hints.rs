//! `wsgi.early_hints`: fields that go out ahead of the answer (103, RFC 8297), as gunicorn has it.

use destrier::{EarlyHints, EarlyHintsError};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::text;

/// Called with fields, as `start_response` gets them. Does nothing where the client cannot get any, or the answer has begun.
#[pyclass(frozen, name = "EarlyHints", module = "destrier_python")]
#[derive(Debug)]
pub(super) struct Hints(Option<EarlyHints>);

impl Hints {
    /// Of one request; none for a client that knows no such answers.
    pub(super) fn new(hints: Option<EarlyHints>) -> Self {
        Self(hints)
    }
}

#[pymethods]
impl Hints {
    fn __call__(&self, headers: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut fields = HeaderMap::new();
        for header in headers.try_iter()? {
            let (name, value): (String, String) = header?.extract().map_err(|_| {
                PyTypeError::new_err("a header must be a tuple of a name and a value, both str")
            })?;
            let wrong = || PyValueError::new_err(format!("{name:?} cannot be a header"));
            let field = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
            let value =
                text::to_bytes(&value).and_then(|bytes| HeaderValue::from_bytes(&bytes).ok());
            fields.append(field, value.ok_or_else(wrong)?);
        }
        let Some(hints) = &self.0 else { return Ok(()) };
        match hints.send(&fields) {
            Ok(()) => Ok(()),
            // A hint may be lost; that is no reason to give no answer.
            Err(error @ (EarlyHintsError::TooLate | EarlyHintsError::TooLarge)) => {
                tracing::debug!(%error, "early hints are left out");
                Ok(())
            }
            Err(error @ EarlyHintsError::Field(_)) => Err(PyValueError::new_err(error.to_string())),
        }
    }
}
