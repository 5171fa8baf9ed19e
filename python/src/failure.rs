//! Why an application gave no answer, as the log says it.

use destrier::{BoxError, Overloaded};
use pyo3::intern;
use pyo3::prelude::*;

/// So many bytes of a traceback are told: its end, which says what went wrong.
const TRACEBACK_MAX: usize = 16 << 10;

/// The application gave no answer, or not all of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// Of the application; what went wrong.
    #[error("{0}")]
    Application(String),
    /// It was not called.
    #[error("{0}")]
    Overloaded(Overloaded),
}

/// Why an application cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct LoadFailure {
    /// In one line.
    pub(crate) reason: String,
    /// Where its own code failed.
    pub(crate) traceback: Option<String>,
}

impl LoadFailure {
    /// Where its own code failed, as whoever waits for the outcome is told.
    pub(crate) fn told_traceback(&self) -> Option<String> {
        let text = self.traceback.as_deref()?;
        Some(end_of(text).to_owned())
    }
}

impl From<String> for LoadFailure {
    fn from(reason: String) -> Self {
        Self {
            reason,
            traceback: None,
        }
    }
}

impl From<PyErr> for LoadFailure {
    fn from(error: PyErr) -> Self {
        error.to_string().into()
    }
}

impl Failure {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self::Application(reason.into())
    }

    /// Of an exception, with where it came from. `SystemExit` and `KeyboardInterrupt` are exceptions like any other here: a
    /// request does not end the process.
    pub(crate) fn of_exception(py: Python<'_>, exception: &PyErr) -> Self {
        let text = traceback(py, exception).unwrap_or_else(|_| exception.to_string());
        Self::Application(end_of(&text).to_owned())
    }

    /// As whoever called the service is told.
    pub(crate) fn into_error(self) -> BoxError {
        match self {
            Self::Overloaded(overloaded) => overloaded.into(),
            Self::Application(_) => self.into(),
        }
    }
}

/// What is told of a traceback.
fn end_of(text: &str) -> &str {
    let text = text.trim_end();
    let start = text.len().saturating_sub(TRACEBACK_MAX);
    let start = text.ceil_char_boundary(start);
    text.get(start..).unwrap_or_default()
}

fn traceback(py: Python<'_>, exception: &PyErr) -> PyResult<String> {
    let lines = py.import(intern!(py, "traceback"))?.call_method1(
        intern!(py, "format_exception"),
        (
            exception.get_type(py),
            exception.value(py),
            exception.traceback(py),
        ),
    )?;
    let lines: Vec<String> = lines.extract()?;
    Ok(lines.concat())
}

/// What a value is, for an error.
pub(crate) fn kind_of(value: &Bound<'_, PyAny>) -> String {
    let name = value.get_type().name();
    name.map_or_else(|_| "something else".to_owned(), |name| name.to_string())
}
