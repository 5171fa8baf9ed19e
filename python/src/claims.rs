//! The verified claims as Python objects.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString};
use serde_json::{Map, Value};

/// A dictionary of the application's own: what it does to it nobody else sees.
pub(crate) fn to_dict<'py>(
    py: Python<'py>,
    members: &Map<String, Value>,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (name, value) in members {
        dict.set_item(name, to_object(py, value)?)?;
    }
    Ok(dict)
}

/// Another one of the same claims, of which `dict` has just been made.
pub(crate) fn another<'py>(
    dict: &Bound<'py, PyDict>,
    members: &Map<String, Value>,
) -> PyResult<Bound<'py, PyDict>> {
    // What cannot be changed may be in both.
    if members
        .values()
        .any(|value| value.is_array() || value.is_object())
    {
        return to_dict(dict.py(), members);
    }
    dict.copy()
}

fn to_object<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Bool(value) => PyBool::new(py, *value).to_owned().into_any(),
        Value::Number(number) => {
            if let Some(number) = number.as_i64() {
                PyInt::new(py, number).into_any()
            } else if let Some(number) = number.as_u64() {
                PyInt::new(py, number).into_any()
            } else {
                PyFloat::new(py, number.as_f64().unwrap_or(f64::NAN)).into_any()
            }
        }
        Value::String(text) => PyString::new(py, text).into_any(),
        Value::Array(items) => {
            let list = PyList::empty(py);
            for item in items {
                list.append(to_object(py, item)?)?;
            }
            list.into_any()
        }
        Value::Object(members) => to_dict(py, members)?.into_any(),
    })
}
