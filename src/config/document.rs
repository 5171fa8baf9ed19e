//! What was written, from the file, the environment and the flags, laid over one another; with the place of each value.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{self, Path, PathBuf};

use serde::Deserialize;
use toml::de::{DeTable, DeValue, Deserializer, ValueDeserializer};
use toml::{Spanned, Table, Value};

use super::errors::Problems;
use super::key::{KeyPath, Step};
use super::known;

const FILE_HERE: &str = "destrier.toml";
const FILE_OF_SYSTEM: &str = "/etc/destrier/destrier.toml";
const FILE_SIZE_MAX: u64 = 1024 * 1024;

/// Where a configuration comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// The file that was named.
    pub file: Option<PathBuf>,
    /// `--bind`, in place of `server.bind`.
    pub bind: Vec<String>,
    /// `--workers`, in place of `workers.count`.
    pub workers: Option<String>,
    /// `--log-level`, in place of `log.level`.
    pub log_level: Option<String>,
    /// Environment variables; those that are not named `DESTRIER_SECTION__KEY` are not looked at.
    pub env: Vec<(String, String)>,
}

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

/// The values as written, and where each of them was.
#[derive(Debug)]
pub(super) struct Document {
    /// Absolute.
    pub(super) file: PathBuf,
    pub(super) values: Table,
    places: BTreeMap<KeyPath, Place>,
    /// What variables and flags said, before it was read as TOML.
    texts: BTreeMap<KeyPath, String>,
}

#[derive(Debug, Clone)]
struct Place {
    key: Origin,
    value: Origin,
}

/// Reads the file. Without a file, or with one that is no TOML, there is no document.
pub(super) fn read(sources: &Sources, problems: &mut Problems) -> Option<Document> {
    let (name, text) = match &sources.file {
        Some(name) => (name.clone(), read_file(name)),
        None => {
            let here_or_system = [FILE_HERE, FILE_OF_SYSTEM].map(PathBuf::from);
            let tried = here_or_system.map(|name| (read_file(&name), name));
            let is_there = |text: &io::Result<String>| !matches!(text, Err(error) if error.kind() == io::ErrorKind::NotFound);
            let Some((text, name)) = tried.into_iter().find(|(text, _)| is_there(text)) else {
                problems.note(
                    None,
                    format!("there is neither `{FILE_HERE}` here nor `{FILE_OF_SYSTEM}`"),
                    Some("name the file with `--config FILE`".to_owned()),
                );
                return None;
            };
            (name, text)
        }
    };
    let text = match text {
        Ok(text) => text,
        Err(error) => {
            let reason = match error.kind() {
                io::ErrorKind::NotFound => "no such file".to_owned(),
                io::ErrorKind::Other => error.to_string(),
                kind => kind.to_string(),
            };
            problems.note(
                None,
                format!("cannot read `{}`: {reason}", name.display()),
                None,
            );
            return None;
        }
    };
    parse(&name, &text, problems)
}

fn read_file(name: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    fs::File::open(name)?
        .take(FILE_SIZE_MAX + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_SIZE_MAX {
        return Err(io::Error::other("larger than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = 1 + error
            .as_bytes()
            .iter()
            .take(valid)
            .filter(|byte| **byte == b'\n')
            .count();
        io::Error::other(format!("line {line} is not UTF-8"))
    })
}

/// Reads `text` as TOML; the name is for messages and for the paths in it.
pub(super) fn parse(name: &Path, text: &str, problems: &mut Problems) -> Option<Document> {
    let lines = Lines { name, text };
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut places = BTreeMap::new();
    lines.locate_table(table.get_ref(), &KeyPath::default(), &mut places);
    let values = Table::deserialize(Deserializer::from(table));
    // What was recovered after an error is a guess, and so is every error that reading on would find.
    let errors: Vec<(Range<usize>, String)> = match (&values, errors.as_slice()) {
        (Ok(_), []) => Vec::new(),
        // A number is the only thing that TOML's grammar allows and its values have no room for.
        (Err(error), []) => vec![(
            error.span().unwrap_or_default(),
            "number out of range".to_owned(),
        )],
        (_, errors) => errors
            .iter()
            .map(|error| lines.syntax_error(error))
            .collect(),
    };
    for (span, message) in &errors {
        problems.note(Some(lines.origin(span.clone())), message, None);
    }
    let file = path::absolute(name).unwrap_or_else(|_| name.to_owned());
    let values = values.ok().filter(|_| errors.is_empty())?;
    Some(Document {
        file,
        values,
        places,
        texts: BTreeMap::new(),
    })
}

impl Document {
    /// Lays environment variables over the file, and flags over both.
    pub(super) fn override_with(&mut self, sources: &Sources, problems: &mut Problems) {
        for (name, text) in &sources.env {
            let Some((section, key)) = name
                .strip_prefix("DESTRIER_")
                .and_then(|name| name.split_once("__"))
            else {
                continue;
            };
            let path = KeyPath::default()
                .child(&section.to_lowercase())
                .child(&key.to_lowercase());
            let origin = Origin::Variable(name.clone());
            if known::is_section_key(&path) && *name == known::variable_name(section, key) {
                self.put(&path, origin, text);
            } else {
                let hint = known::nearest_variable(name);
                let hint = hint.map(|hint| format!("did you mean `{hint}`?"));
                problems.note(Some(origin), format!("unknown key `{path}`"), hint);
            }
        }
        if !sources.bind.is_empty() {
            let path = KeyPath::from("server.bind");
            let addresses = sources.bind.iter().map(|text| Value::from(text.as_str()));
            self.replace(
                &path,
                Origin::Flag("--bind"),
                Value::Array(addresses.collect()),
            );
        }
        if let Some(text) = &sources.workers {
            self.put(
                &KeyPath::from("workers.count"),
                Origin::Flag("--workers"),
                text,
            );
        }
        if let Some(text) = &sources.log_level {
            self.put(
                &KeyPath::from("log.level"),
                Origin::Flag("--log-level"),
                text,
            );
        }
    }

    /// Puts a value that was given as text: a TOML value (number, true, array) or else a string.
    fn put(&mut self, path: &KeyPath, origin: Origin, text: &str) {
        let value = ValueDeserializer::parse(text)
            .and_then(Value::deserialize)
            .unwrap_or_else(|_| Value::from(text));
        self.replace(path, origin, value);
        self.texts.insert(path.clone(), text.to_owned());
    }

    fn replace(&mut self, path: &KeyPath, origin: Origin, value: Value) {
        let [section, key] = path.names()[..] else {
            return;
        };
        let section = self
            .values
            .entry(section)
            .or_insert_with(|| Value::Table(Table::new()));
        // A section that is no table stays as it is: the file is wrong, and `decode` says so.
        if let Value::Table(section) = section {
            section.insert(key.to_owned(), value);
            self.texts.remove(path);
            self.places.retain(|place, _| !place.starts_with(path));
            let place = Place {
                key: origin.clone(),
                value: origin,
            };
            self.places.insert(path.clone(), place);
        }
    }

    /// Takes a value at its word: `DESTRIER_AUTH__REALM=1` means the text when a number will not do.
    pub(super) fn take_as_text(&mut self, path: &KeyPath) -> bool {
        let Some(text) = self.texts.remove(path) else {
            return false;
        };
        let text = Value::from(text);
        match self.value_mut(path) {
            Some(value) if *value != text => {
                *value = text;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Takes a value out, so that the rest can be read.
    pub(super) fn remove(&mut self, path: &KeyPath) -> Option<Value> {
        let (last, parents) = path.steps().split_last()?;
        let Step::Key(key) = last else {
            return None;
        };
        if parents.is_empty() {
            return self.values.remove(key);
        }
        let table = self.value_mut(&path.parent()?)?;
        table.as_table_mut()?.remove(key)
    }

    pub(super) fn value(&self, path: &KeyPath) -> Option<&Value> {
        let (first, rest) = path.steps().split_first()?;
        let Step::Key(section) = first else {
            return None;
        };
        rest.iter()
            .try_fold(self.values.get(section)?, |value, step| match step {
                Step::Key(key) => value.get(key),
                Step::Index(index) => value.get(index),
            })
    }

    fn value_mut(&mut self, path: &KeyPath) -> Option<&mut Value> {
        let (first, rest) = path.steps().split_first()?;
        let Step::Key(section) = first else {
            return None;
        };
        rest.iter()
            .try_fold(self.values.get_mut(section)?, |value, step| match step {
                Step::Key(key) => value.get_mut(key),
                Step::Index(index) => value.get_mut(index),
            })
    }

    /// Where the value at `path` was given; for one that was not, where the nearest table around it was.
    pub(super) fn origin(&self, path: &KeyPath) -> Origin {
        self.place_around(path)
            .map_or(Origin::Default, |place| place.value.clone())
    }

    /// Where the key at the end of `path` stands.
    pub(super) fn origin_of_key(&self, path: &KeyPath) -> Origin {
        self.place_around(path)
            .map_or(Origin::Default, |place| place.key.clone())
    }

    /// `path` when it was given, else what is around it.
    pub(super) fn nearest(&self, path: &KeyPath) -> KeyPath {
        match (self.value(path), path.parent()) {
            (None, Some(parent)) => parent,
            (Some(_), _) | (None, None) => path.clone(),
        }
    }

    /// Where exactly this value was given, or that it was not.
    pub(super) fn origin_in_force(&self, path: &KeyPath) -> Origin {
        match self.value(path) {
            Some(_) => self.origin(path),
            None => Origin::Default,
        }
    }

    fn place_around(&self, path: &KeyPath) -> Option<&Place> {
        std::iter::successors(Some(path.clone()), KeyPath::parent)
            .find_map(|path| self.places.get(&path))
    }

    /// The path of an item of a list, or of the list itself when it was written as its only item.
    pub(super) fn item(&self, list: &KeyPath, index: usize) -> KeyPath {
        match self.value(list) {
            Some(Value::Array(_)) => list.item(index),
            Some(_) | None => list.clone(),
        }
    }

    /// Makes a path absolute: in the file it is relative to the file's folder, elsewhere to the current directory.
    pub(super) fn resolve(&self, key: &KeyPath, written: &str) -> String {
        let absolute = match (self.origin(key), self.file.parent()) {
            (Origin::File { .. }, Some(folder)) => folder.join(written),
            (Origin::Variable(_) | Origin::Flag(_) | Origin::Default | Origin::File { .. }, _) => {
                path::absolute(written).unwrap_or_else(|_| PathBuf::from(written))
            }
        };
        absolute.to_string_lossy().into_owned()
    }
}

/// Finds lines and columns in the text of a file.
struct Lines<'a> {
    name: &'a Path,
    text: &'a str,
}

impl Lines<'_> {
    fn origin(&self, span: Range<usize>) -> Origin {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before.chars().count() - before[..line_start].chars().count();
        Origin::File {
            file: self.name.to_owned(),
            line: before.matches('\n').count() + 1,
            column: column + 1,
        }
    }

    fn syntax_error(&self, error: &toml::de::Error) -> (Range<usize>, String) {
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

    fn locate_table(
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
            key: self.origin(key),
            value: self.origin(value.span()),
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
