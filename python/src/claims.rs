//! The verified claims as Python objects.

use destrier::Claims;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString};
use serde_json::Value;

/// A dictionary of the application's own: what it does to it nobody else sees.
pub(crate) fn to_dict<'py>(py: Python<'py>, claims: &Claims) -> PyResult<Bound<'py, PyDict>> {
    let members = claims.as_map();
    // Made once for a token, and shown to nobody: in the order of the token, and with nothing that can be changed.
    let kept = claims.derived(|| {
        let constants = members.iter().map(|(name, value)| {
            let constant = if can_change(value) {
                &Value::Null
            } else {
                value
            };
            (name, constant)
        });
        dict_of(py, constants).map(Bound::unbind)
    });
    let Ok(kept) = &*kept else {
        return dict_of(py, members);
    };
    let dict = kept.bind(py).copy()?;
    for (name, value) in members.iter().filter(|(_, value)| can_change(value)) {
        dict.set_item(name, to_object(py, value)?)?;
    }
    Ok(dict)
}

fn can_change(value: &Value) -> bool {
    value.is_array() || value.is_object()
}

fn dict_of<'py, 'a>(
    py: Python<'py>,
    members: impl IntoIterator<Item = (&'a String, &'a Value)>,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (name, value) in members {
        dict.set_item(name, to_object(py, value)?)?;
    }
    Ok(dict)
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
        Value::Object(members) => dict_of(py, members)?.into_any(),
    })
}
