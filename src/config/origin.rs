//! Where each value was given.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::key::KeyPath;

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nowhere: the default.
    Default,
    /// In the file.
    File {
        /// As it was named.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// In characters, from 1.
        column: usize,
    },
    /// In this environment variable.
    Variable(String),
    /// By this flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File { file, line, column } => {
                write!(formatter, "{}:{line}:{column}", file.display())
            }
            Self::Variable(name) => formatter.write_str(name),
            Self::Flag(flag) => formatter.write_str(flag),
        }
    }
}

/// Where a key and its value stand.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) key: Origin,
    pub(super) value: Origin,
}

/// Finds lines and columns in the text of a file.
pub(super) struct Lines<'a> {
    name: &'a Path,
    text: &'a str,
    /// Where each line begins.
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(name: &'a Path, text: &'a str) -> Self {
        let breaks = text.match_indices('\n');
        let starts = std::iter::once(0).chain(breaks.map(|(at, _)| at + 1));
        Self {
            name,
            text,
            starts: starts.collect(),
        }
    }

    pub(super) fn origin(&self, span: &Range<usize>) -> Origin {
        let line = self.starts.partition_point(|start| *start <= span.start);
        let start = self.starts.get(line - 1).copied().unwrap_or_default();
        let before = self.text.get(start..span.start).unwrap_or_default();
        Origin::File {
            file: self.name.to_owned(),
            line,
            column: before.chars().count() + 1,
        }
    }

    /// Where a syntax error is, and what.
    pub(super) fn syntax_error(&self, error: &toml::de::Error) -> (Range<usize>, String) {
        let span = error.span().unwrap_or_default();
        let message = error.message();
        let message = message
            .strip_suffix(", expected nothing")
            .unwrap_or(message);
        let text = self.text.get(span.clone()).unwrap_or_default();
        let message = match message {
            "duplicate key" => format!("duplicate key `{text}`"),
            // The parser takes a word that begins like `inf` or `nan` for a number.
            "string values must be quoted, expected literal string"
            | "invalid float, expected `inf`"
            | "invalid float, expected `nan`" => "a string must stand in quotes".to_owned(),
            other => other.to_owned(),
        };
        (span, message)
    }

    /// Notes where everything in the table stands.
    pub(super) fn locate_table(
        &self,
        table: &DeTable<'_>,
        path: &KeyPath,
        places: &mut BTreeMap<KeyPath, Place>,
    ) {
        for (key, value) in table {
            let path = path.child(key.get_ref());
            self.locate(key.span(), value, &path, places);
        }
    }

    fn locate(
        &self,
        key: Range<usize>,
        value: &Spanned<DeValue<'_>>,
        path: &KeyPath,
        places: &mut BTreeMap<KeyPath, Place>,
    ) {
        let place = Place {
            key: self.origin(&key),
            value: self.origin(&value.span()),
        };
        places.insert(path.clone(), place);
        match value.get_ref() {
            DeValue::Table(table) => self.locate_table(table, path, places),
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.locate(item.span(), item, &path.item(index), places);
                }
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
    }
}
