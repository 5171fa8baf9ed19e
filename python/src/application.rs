//! Imports the application, on the main thread of the interpreter.

use std::ffi::CStr;

use destrier::config;
use pyo3::ffi::c_str;
use pyo3::prelude::*;

use crate::failure::LoadFailure;
use crate::package;

/// The part that is easier to say in Python.
const SOURCE: &CStr = c_str!(include_str!("application.py"));

/// Imports what `python` names.
///
/// # Errors
/// Why that is no application; where its own code failed, the traceback is in the log too.
pub(crate) fn load(
    py: Python<'_>,
    worker: Option<u64>,
    python: &config::Python,
) -> Result<Py<PyAny>, LoadFailure> {
    package::offer(py)?;
    let module = PyModule::from_code(py, SOURCE, c"<destrier>", c"destrier_application")?;
    let folder = python.chdir.as_os_str();
    let (key, entry) = (python.interface.key(), &python.application);
    let loaded = module
        .getattr("load")?
        .call1((key, &entry.module, &entry.attribute, folder))?;
    let (application, reason, traceback): (Py<PyAny>, Option<String>, Option<String>) =
        loaded.extract()?;
    let Some(reason) = reason else {
        return Ok(application);
    };
    if let Some(traceback) = &traceback {
        let traceback = traceback.trim_end();
        tracing::error!(worker, "the application failed to load\n{traceback}");
    }
    Err(LoadFailure { reason, traceback })
}
