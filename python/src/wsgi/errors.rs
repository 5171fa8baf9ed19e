//! `wsgi.errors`: what an application writes there becomes lines of the log.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;

/// A line that is not ended is logged when it has so many bytes.
const LINE_MAX: usize = 8 << 10;

/// A text stream for what goes wrong (PEP 3333, "Input and Error Streams").
#[pyclass(frozen, name = "ErrorStream", module = "destrier_python")]
#[derive(Debug, Default)]
pub(super) struct Errors {
    /// The line that was begun.
    line: Mutex<String>,
}

#[pymethods]
impl Errors {
    /// Writes some text. A line is logged when it is complete.
    #[expect(clippy::needless_pass_by_value, reason = "what Python hands over")]
    fn write(&self, py: Python<'_>, text: String) -> usize {
        let characters = text.chars().count();
        let lines = {
            let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
            line.push_str(&text);
            let end = line.rfind('\n').map(|place| place + 1);
            let end = end.or_else(|| (line.len() > LINE_MAX).then_some(line.len()));
            let rest = line.split_off(end.unwrap_or_default());
            std::mem::replace(&mut *line, rest)
        };
        py.detach(|| log(&lines));
        characters
    }

    /// Writes several texts.
    fn writelines(&self, py: Python<'_>, texts: &Bound<'_, PyAny>) -> PyResult<()> {
        for text in texts.try_iter()? {
            self.write(py, text?.extract()?);
        }
        Ok(())
    }

    /// Logs the line that was begun.
    fn flush(&self, py: Python<'_>) {
        let line = {
            let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *line)
        };
        py.detach(|| log(&line));
    }
}

fn log(lines: &str) {
    for line in lines.lines().filter(|line| !line.trim().is_empty()) {
        tracing::error!(target: "wsgi.errors", "{line}");
    }
}
