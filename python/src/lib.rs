//! The extension module through which destrier serves a Python application.

#[expect(
    dead_code,
    reason = "what calls it is the worker, which comes with the process that boots in an interpreter"
)]
mod wsgi;

use pyo3::prelude::*;

#[pymodule(name = "destrier_python")]
mod module {}
