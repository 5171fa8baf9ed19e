//! `faulthandler`: tells what the threads did when the process dies of a fault, and when it is asked to.

use std::fs::File;
use std::os::fd::AsRawFd as _;

use destrier::sys::fault_dump;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Turns it on, unless the application's environment has done so (`PYTHONFAULTHANDLER`). Where the application turns it on itself,
/// later, only the place changes where it writes: its handlers stay below those of destrier, which see the signal as it came. Returns
/// where it writes.
pub(super) fn watch(py: Python<'_>) -> PyResult<File> {
    let file = fault_dump::file()?;
    let handler = py.import("faulthandler")?;
    let options = PyDict::new(py);
    options.set_item("file", file.as_raw_fd())?;
    options.set_item("all_threads", true)?;
    if !handler.call_method0("is_enabled")?.is_truthy()? {
        handler.call_method("enable", (), Some(&options))?;
    }
    let signal = fault_dump::SIGNAL as i32;
    handler.call_method("register", (signal,), Some(&options))?;
    Ok(file)
}
