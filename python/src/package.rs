//! The Python package `destrier`, which applications can import in every worker.

use std::collections::BTreeMap;
use std::ffi::CStr;

use pyo3::ffi::c_str;
use pyo3::prelude::*;

/// Its modules. They are also those of the wheel.
const MODULES: [(&str, &str); 2] = [
    ("destrier", include_str!("../destrier/__init__.py")),
    ("destrier.django", include_str!("../destrier/django.py")),
];

const SOURCE: &CStr = c_str!(include_str!("package.py"));

/// Makes it importable, unless an application has one of this name.
///
/// # Errors
/// The extension was loaded by somebody else than the loader of a worker.
pub(crate) fn offer(py: Python<'_>) -> PyResult<()> {
    let module = PyModule::from_code(py, SOURCE, c"<destrier>", c"destrier_package")?;
    let modules = BTreeMap::from(MODULES);
    module.getattr("offer")?.call1((modules,))?;
    Ok(())
}
