//! Every key with its value in force and where that came from: what `destrier config show` prints.

use toml::{Table, Value};

use super::document::Document;
use super::file::File;
use super::key::KeyPath;
use super::known::{self, Kind};
use super::origin::Origin;

/// Assignments up to this length are padded, so that the origins stand in a column.
const WIDTH_MAX: usize = 60;

/// One key, and its value in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The array of tables that it stands in and the place of its table, as in `auth.rule` and 2; absent for most.
    pub item: Option<(String, usize)>,
    /// Its name: `workers.count`; in a table of an array only the last part, `path`.
    pub key: String,
    /// Its value, as TOML; absent when it has none.
    pub value: Option<String>,
    /// Where that came from.
    pub origin: Origin,
}

/// A key of the file whose value is not in force, for a variable or a flag overrides it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overridden {
    /// Its name: `workers.count`.
    pub key: String,
    /// What the file says, as TOML.
    pub written: String,
    /// Where it says so.
    pub origin: Origin,
    /// What overrides it.
    pub by: Origin,
}

/// The keys of the sections in the order of the schema, then the tables of arrays.
pub(super) fn settings(file: &File, document: &Document) -> Vec<Setting> {
    let values = Value::try_from(file).unwrap_or_else(|_| Value::Table(Table::new()));
    let known = known::all();
    let mut of_sections = Vec::new();
    let mut of_arrays = Vec::new();
    for key in &known {
        let path = KeyPath::from(key.names.join(".").as_str());
        let value = key
            .names
            .iter()
            .try_fold(&values, |value, name| value.get(name));
        match key.kind {
            Kind::OfSection => of_sections.push(Setting {
                item: None,
                key: path.to_string(),
                value: value.map(Value::to_string),
                origin: document.origin_in_force(&path),
            }),
            Kind::ArrayOfTables => {
                let tables = value.and_then(Value::as_array);
                for (index, table) in tables.into_iter().flatten().enumerate() {
                    let keys = known.iter().filter_map(|other| other.name_in(key));
                    of_arrays.extend(keys.map(|name| Setting {
                        item: Some((path.to_string(), index)),
                        key: name.to_owned(),
                        value: table.get(name).map(Value::to_string),
                        origin: document.origin_in_force(&path.item(index).child(name)),
                    }));
                }
            }
            Kind::OfItem => {}
        }
    }
    of_sections.extend(of_arrays);
    of_sections
}

/// The settings as a file that says the same, with the origin of each value beside it.
pub fn shown(settings: &[Setting]) -> String {
    let assigned = |setting: &Setting| match &setting.value {
        Some(value) => format!("{} = {value}", setting.key),
        None => format!("# {} is not set", setting.key),
    };
    let assigned: Vec<String> = settings.iter().map(assigned).collect();
    let widths = assigned.iter().map(|text| text.chars().count());
    // One long list shall not push every origin off the screen.
    let width = widths
        .filter(|width| *width <= WIDTH_MAX)
        .max()
        .unwrap_or(0);
    let mut lines = Vec::new();
    let mut item = &None;
    for (setting, assigned) in settings.iter().zip(assigned) {
        if let Some((array, _)) = setting.item.as_ref().filter(|_| setting.item != *item) {
            lines.push(format!("\n[[{array}]]"));
        }
        item = &setting.item;
        lines.push(match setting.value {
            Some(_) => format!("{assigned:width$}  # {}", setting.origin),
            None => assigned,
        });
    }
    lines.join("\n") + "\n"
}
