//! The Python package `destrier`, which applications can import in every worker.

use std::collections::BTreeMap;
use std::ffi::CStr;

use destrier::config::Auth;
use pyo3::ffi::c_str;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

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

/// Says whose tokens are believed, by their names in the configuration, and which of them is the token service's: the package asks whose
/// claims may name a user of the application's own.
///
/// # Errors
/// As [`offer`].
pub(crate) fn tell_issuers(py: Python<'_>, auth: &Auth) -> PyResult<()> {
    let extension = py.import("destrier_python")?;
    let names = auth.issuers.iter().map(|issuer| issuer.name.as_str());
    extension.setattr("issuers", PyTuple::new(py, names.collect::<Vec<_>>())?)?;
    let own = auth.token_issuer().map(|issuer| issuer.name.as_str());
    extension.setattr("token_issuer", own)
}
