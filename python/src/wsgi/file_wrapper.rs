//! `wsgi.file_wrapper`: a file as an answer (PEP 3333, "Optional Platform-Specific File Handling").

use pyo3::exceptions::PyStopIteration;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// From a file on disk so much is read at once, whatever the application asked for: fewer calls, the same bytes.
const BLOCK_OF_FILE: usize = 64 << 10;

/// Reads an object that has `read` in blocks.
#[pyclass(frozen, name = "FileWrapper", module = "destrier_python")]
#[derive(Debug)]
pub(super) struct FileWrapper {
    /// What is read.
    #[pyo3(get)]
    filelike: Py<PyAny>,
    /// How many bytes at a time.
    #[pyo3(get)]
    blksize: usize,
}

#[pymethods]
impl FileWrapper {
    #[new]
    #[pyo3(signature = (filelike, blksize = 8192))]
    fn new(py: Python<'_>, filelike: Py<PyAny>, blksize: usize) -> Self {
        let blksize = blksize.max(1);
        let blksize = if is_on_disk(filelike.bind(py)) {
            blksize.max(BLOCK_OF_FILE)
        } else {
            blksize
        };
        Self { filelike, blksize }
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let block = self
            .filelike
            .call_method1(py, intern!(py, "read"), (self.blksize,))?;
        let is_end = block
            .bind(py)
            .cast::<PyBytes>()
            .is_ok_and(|bytes| bytes.as_bytes().is_empty());
        if is_end {
            return Err(PyStopIteration::new_err(()));
        }
        Ok(block)
    }

    /// Closes the file, where it can be closed.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if let Some(close) = self.filelike.bind(py).getattr_opt(intern!(py, "close"))? {
            close.call0()?;
        }
        Ok(())
    }
}

/// Whether it is a regular file: of anything else, such as a pipe, no more is waited for than was asked for.
fn is_on_disk(filelike: &Bound<'_, PyAny>) -> bool {
    let py = filelike.py();
    let mode = || -> PyResult<bool> {
        let descriptor = filelike.call_method0(intern!(py, "fileno"))?;
        let status = py
            .import(intern!(py, "os"))?
            .call_method1(intern!(py, "fstat"), (descriptor,))?;
        let mode = status.getattr(intern!(py, "st_mode"))?;
        py.import(intern!(py, "stat"))?
            .call_method1(intern!(py, "S_ISREG"), (mode,))?
            .is_truthy()
    };
    mode().unwrap_or(false)
}
