//! What was written, from the file, the environment and the flags, laid over one another; with the place of each value.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{self, Path, PathBuf};

use serde::Deserialize;
use toml::de::{DeTable, Deserializer, ValueDeserializer};
use toml::{Table, Value};

use super::app::{Interface, NamedApplication};
use super::errors::{Problem, Problems};
use super::key::{KeyPath, Step};
use super::known;
use super::origin::{Lines, Origin, Place};
use super::show::Overridden;
use super::sources::{Sources, Text};

/// The values as written, and where each of them was.
#[derive(Debug)]
pub(super) struct Document {
    /// Absolute.
    pub(super) file: PathBuf,
    /// What paths that are not in the file are relative to; empty: the current directory.
    folder: PathBuf,
    pub(super) values: Table,
    places: BTreeMap<KeyPath, Place>,
    /// What variables and flags said, before it was read as TOML.
    texts: BTreeMap<KeyPath, String>,
    /// What the file says of keys that something else overrides, and where.
    overridden: BTreeMap<KeyPath, (Value, Origin)>,
}

/// Reads `text` as TOML; its name is for messages and for the paths in it. What is relative elsewhere is so to `folder`.
pub(super) fn parse(
    Text { file, text }: &Text,
    folder: &Path,
    problems: &mut Problems,
) -> Option<Document> {
    let lines = Lines::new(file, text);
    // What was recovered after an error is a guess, and so is every error that reading on would find.
    let (document, errors) = recover((file, text), folder, &lines);
    for (span, message) in &errors {
        problems.note(Some(lines.origin(span)), message, None);
    }
    errors.is_empty().then_some(document)
}

/// What `text` may mean, whatever is wrong with it.
pub(super) fn guess(Text { file, text }: &Text, folder: &Path) -> Document {
    recover((file, text), folder, &Lines::new(file, text)).0
}

fn recover(
    (name, text): (&Path, &str),
    folder: &Path,
    lines: &Lines<'_>,
) -> (Document, Vec<(Range<usize>, String)>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut places = BTreeMap::new();
    lines.locate_table(table.get_ref(), &KeyPath::default(), &mut places);
    let values = Table::deserialize(Deserializer::from(table));
    let errors = match (&values, errors.as_slice()) {
        (Ok(_), []) => Vec::new(),
        // A number is the only thing that TOML's grammar allows and its values have no room for.
        (Err(error), []) => {
            let span = error.span().unwrap_or_default();
            let message = out_of_range(&lines.origin(&span), &places);
            vec![(span, message)]
        }
        (_, errors) => errors
            .iter()
            .map(|error| lines.syntax_error(error))
            .collect(),
    };
    let document = Document {
        file: path::absolute(folder.join(name)).unwrap_or_else(|_| name.to_owned()),
        folder: folder.to_owned(),
        values: values.unwrap_or_default(),
        places,
        texts: BTreeMap::new(),
        overridden: BTreeMap::new(),
    };
    (document, errors)
}

/// The number at `origin` is one for which TOML's values have no room.
fn out_of_range(origin: &Origin, places: &BTreeMap<KeyPath, Place>) -> String {
    let mut at = places.iter().filter(|(_, place)| place.value == *origin);
    let key = at.next_back().map(|(path, _)| format!("`{path}` has a "));
    let key = key.unwrap_or_default();
    format!(
        "{key}number out of range, which is {} to {}",
        i64::MIN,
        i64::MAX
    )
}

impl Document {
    /// Lays environment variables over the file, and flags over both. Returns what to warn of.
    pub(super) fn override_with(
        &mut self,
        sources: &Sources,
        problems: &mut Problems,
    ) -> Vec<Problem> {
        let variables = known::variables();
        let mut warnings = Vec::new();
        for (name, text) in &sources.env {
            let Some((section, key)) = name
                .strip_prefix("DESTRIER_")
                .and_then(|name| name.split_once("__"))
            else {
                warnings.extend(misspelt(name, &variables));
                continue;
            };
            let origin = Origin::Variable(name.clone());
            if let Some(names) = variables.get(name) {
                let steps = names.iter().cloned().map(Step::Key);
                self.put(&steps.collect(), origin, text);
            } else {
                let path = KeyPath::default()
                    .child(&section.to_lowercase())
                    .child(&key.to_lowercase());
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
        if let Some(NamedApplication { interface, entry }) = &sources.application {
            let (other, flag) = match interface {
                Interface::Wsgi => (Interface::Asgi, "destrier run wsgi:…"),
                Interface::Asgi => (Interface::Wsgi, "destrier run asgi:…"),
            };
            self.forget(&KeyPath::from(other.key()));
            self.put(&KeyPath::from(interface.key()), Origin::Flag(flag), entry);
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
        if let Some(path) = &sources.control_socket {
            let key = KeyPath::from("process.control_socket");
            self.replace(&key, Origin::Flag("--control"), Value::from(path.as_str()));
        }
        if sources.reload_on_change {
            let key = KeyPath::from("app.reload_on_change");
            self.replace(&key, Origin::Flag("--reload"), Value::Boolean(true));
        }
        warnings
    }

    /// What the file says of keys that something else overrides.
    pub(super) fn overridden(&self) -> Vec<Overridden> {
        let overridden = self.overridden.iter();
        overridden
            .map(|(path, (written, origin))| Overridden {
                key: path.to_string(),
                written: written.to_string(),
                origin: origin.clone(),
                by: self.origin(path),
            })
            .collect()
    }

    /// Puts a value that was given as text: a TOML value (number, true, array) or else a string.
    fn put(&mut self, path: &KeyPath, origin: Origin, text: &str) {
        let value = ValueDeserializer::parse(text)
            .and_then(Value::deserialize)
            .unwrap_or_else(|_| Value::from(text));
        self.replace(path, origin, value);
        self.texts.insert(path.clone(), text.to_owned());
    }

    /// As if it was written nowhere.
    fn forget(&mut self, path: &KeyPath) {
        let names = path.names();
        let Some((key, tables)) = names.split_last() else {
            return;
        };
        let mut table = &mut self.values;
        for name in tables {
            let Some(Value::Table(next)) = table.get_mut(*name) else {
                return;
            };
            table = next;
        }
        table.remove(*key);
        self.texts.remove(path);
        self.places.retain(|place, _| !place.starts_with(path));
    }

    fn replace(&mut self, path: &KeyPath, origin: Origin, value: Value) {
        let names = path.names();
        let Some((key, tables)) = names.split_last() else {
            return;
        };
        let mut table = &mut self.values;
        for name in tables {
            let next = table
                .entry(*name)
                .or_insert_with(|| Value::Table(Table::new()));
            // A section that is no table stays as it is: the file is wrong, and `decode` says so.
            let Value::Table(next) = next else {
                return;
            };
            table = next;
        }
        let written = table.insert((*key).to_owned(), value);
        let place = self.places.get(path).map(|place| place.value.clone());
        if let (Some(written), Some(place @ Origin::File { .. })) = (written, place) {
            self.overridden.insert(path.clone(), (written, place));
        }
        self.texts.remove(path);
        self.places.retain(|place, _| !place.starts_with(path));
        let place = Place {
            key: origin.clone(),
            value: origin,
        };
        self.places.insert(path.clone(), place);
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

    /// Makes a path absolute: in the file it is relative to the file's folder, elsewhere to the directory that destrier was started in.
    pub(super) fn resolve(&self, key: &KeyPath, written: &str) -> String {
        let absolute = match (self.origin(key), self.file.parent()) {
            (Origin::File { .. }, Some(folder)) => folder.join(written),
            (Origin::Variable(_) | Origin::Flag(_) | Origin::Default | Origin::File { .. }, _) => {
                path::absolute(self.folder.join(written)).unwrap_or_else(|_| PathBuf::from(written))
            }
        };
        absolute.to_string_lossy().into_owned()
    }
}

/// What to say about a variable that has no meaning, but would have one with other underscores or in capitals.
fn misspelt(name: &str, variables: &BTreeMap<String, Vec<String>>) -> Option<Problem> {
    let plain = |name: &str| name.to_uppercase().replace("__", "_");
    let meant = variables
        .keys()
        .find(|variable| plain(variable) == plain(name))?;
    Some(Problem {
        origin: Some(Origin::Variable(name.to_owned())),
        message: "this variable is not looked at".to_owned(),
        hint: Some(format!("did you mean `{meant}`?")),
    })
}
