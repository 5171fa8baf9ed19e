//! The extension module that a Python interpreter loads to become a worker of destrier.

mod application;
mod exit;
mod fork;
mod package;
mod template;
mod witness;
mod worker;
mod wsgi;

use pyo3::prelude::*;

#[pymodule(name = "destrier_python")]
mod module {
    #[pymodule_export]
    use super::worker::serve;
}
