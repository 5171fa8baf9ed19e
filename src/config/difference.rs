//! What differs between two configurations, key by key.

use std::collections::BTreeSet;

use similar::{Algorithm, DiffOp, capture_diff_slices};

use super::origin::Origin;
use super::show::Setting;

/// A key whose value differs, or a whole table of an array that only one of the two has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// `workers.count`, `auth.rule[2].path`, `auth.rule[2]`; the place in an array is that after, for a table that is gone
    /// that before.
    pub key: String,
    /// Its value before, as TOML; absent when it had none.
    pub before: Option<String>,
    /// Its value after, as TOML; absent when it has none.
    pub after: Option<String>,
    /// Where the value after came from; absent for a table that is gone.
    pub origin: Option<Origin>,
}

/// The settings of the sections, or of one table of an array.
type Table<'a> = Vec<&'a Setting>;

/// What differs, in the order of the configuration. Tables of an array are found again where they moved, so that a rule
/// that is put before others is one difference.
pub fn differences(before: &[Setting], after: &[Setting]) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", &of_sections(before), &of_sections(after), &mut found);
    let array = |setting: &Setting| setting.item.as_ref().map(|(array, _)| array.clone());
    let arrays: BTreeSet<String> = before.iter().chain(after).filter_map(array).collect();
    for array in arrays {
        compare_arrays(
            &array,
            &tables(before, &array),
            &tables(after, &array),
            &mut found,
        );
    }
    found
}

/// Two tables that stand in one another's place; the keys of both begin with `prefix`.
fn compare(prefix: &str, before: &Table<'_>, after: &Table<'_>, found: &mut Vec<Difference>) {
    for setting in after {
        let of_before = before.iter().find(|other| other.key == setting.key);
        let value_before = of_before.and_then(|other| other.value.clone());
        if value_before != setting.value {
            found.push(Difference {
                key: format!("{prefix}{}", setting.key),
                before: value_before,
                after: setting.value.clone(),
                origin: Some(setting.origin.clone()),
            });
        }
    }
}

fn compare_arrays(
    array: &str,
    before: &[Table<'_>],
    after: &[Table<'_>],
    found: &mut Vec<Difference>,
) {
    let steps = capture_diff_slices(Algorithm::Myers, &contents(before), &contents(after));
    for step in steps {
        if matches!(step, DiffOp::Equal { .. }) {
            continue;
        }
        let (olds, news) = (step.old_range(), step.new_range());
        let pairs = olds.len().min(news.len());
        for (old, new) in olds.clone().zip(news.clone()) {
            if let (Some(old), Some(table)) = (before.get(old), after.get(new)) {
                compare(&format!("{array}[{new}]."), old, table, found);
            }
        }
        for old in olds.skip(pairs) {
            found.push(Difference {
                key: format!("{array}[{old}]"),
                before: before.get(old).map(written),
                after: None,
                origin: None,
            });
        }
        for new in news.skip(pairs) {
            let table = after.get(new);
            let origins = table.into_iter().flatten().map(|setting| &setting.origin);
            found.push(Difference {
                key: format!("{array}[{new}]"),
                before: None,
                after: table.map(written),
                origin: origins.min_by_key(|origin| !is_given(origin)).cloned(),
            });
        }
    }
}

fn of_sections(settings: &[Setting]) -> Table<'_> {
    let settings = settings.iter();
    settings.filter(|setting| setting.item.is_none()).collect()
}

fn tables<'a>(settings: &'a [Setting], array: &str) -> Vec<Table<'a>> {
    let in_it = |setting: &&Setting| matches!(&setting.item, Some((name, _)) if name == array);
    let settings: Table<'a> = settings.iter().filter(in_it).collect();
    let tables = settings.chunk_by(|one, next| one.item == next.item);
    tables.map(<[_]>::to_vec).collect()
}

/// What makes a table the same as another one: what it says, wherever it says so.
fn contents<'a>(tables: &[Table<'a>]) -> Vec<Vec<(&'a str, Option<&'a str>)>> {
    let said = |setting: &&'a Setting| (setting.key.as_str(), setting.value.as_deref());
    let tables = tables.iter();
    tables
        .map(|table| table.iter().map(said).collect())
        .collect()
}

/// A table as one would write it in a line: without the defaults.
fn written(table: &Table<'_>) -> String {
    let given = table.iter().filter(|setting| is_given(&setting.origin));
    let given = given.filter_map(|setting| {
        let value = setting.value.as_ref()?;
        Some(format!("{} = {value}", setting.key))
    });
    format!("{{ {} }}", given.collect::<Vec<_>>().join(", "))
}

fn is_given(origin: &Origin) -> bool {
    match origin {
        Origin::Default => false,
        Origin::File { .. } | Origin::Variable(_) | Origin::Flag(_) => true,
    }
}
