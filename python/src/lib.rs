//! The extension module that a Python interpreter loads to become a worker of destrier.

mod answer;
mod application;
mod asgi;
mod beside;
mod claims;
mod completions;
mod exit;
mod failure;
mod fork;
mod head;
mod package;
mod service;
mod template;
mod text;
mod witness;
mod worker;
mod wsgi;

use pyo3::prelude::*;

#[pymodule(name = "destrier_python")]
mod module {
    #[pymodule_export]
    use super::worker::serve;
}
