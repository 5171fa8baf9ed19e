//! The place of a value in the configuration, as in `auth.rule[2].path`.

use std::fmt;

/// The steps from the root of the configuration to a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyPath(Vec<Step>);

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// Into a table.
    Key(String),
    /// Into an array, counted from 0.
    Index(usize),
}

impl KeyPath {
    pub(super) fn child(&self, key: &str) -> Self {
        self.then(Step::Key(key.to_owned()))
    }

    pub(super) fn item(&self, index: usize) -> Self {
        self.then(Step::Index(index))
    }

    fn then(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    pub(super) fn parent(&self) -> Option<Self> {
        let (_, parents) = self.0.split_last()?;
        Some(Self(parents.to_vec()))
    }

    /// This path without the steps into arrays at its end.
    pub(super) fn nearest_key(&self) -> Self {
        let mut steps = self.0.clone();
        while let Some(Step::Index(_)) = steps.last() {
            steps.pop();
        }
        Self(steps)
    }

    pub(super) fn starts_with(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The names of the keys on the way, without the places in arrays.
    pub(super) fn names(&self) -> Vec<&str> {
        let steps = self.0.iter();
        steps
            .filter_map(|step| match step {
                Step::Key(key) => Some(key.as_str()),
                Step::Index(_) => None,
            })
            .collect()
    }
}

impl From<&str> for KeyPath {
    /// From names joined by dots.
    fn from(dotted: &str) -> Self {
        let keys = dotted.split('.').map(|key| Step::Key(key.to_owned()));
        Self(keys.collect())
    }
}

impl FromIterator<Step> for KeyPath {
    fn from_iter<I: IntoIterator<Item = Step>>(steps: I) -> Self {
        Self(steps.into_iter().collect())
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(formatter, "[{index}]")?,
                Step::Key(key) => {
                    if number > 0 {
                        formatter.write_str(".")?;
                    }
                    formatter.write_str(&written_key(key))?;
                }
            }
        }
        Ok(())
    }
}

/// A key as TOML has it: bare, or in quotes where it must be.
pub(super) fn written_key(key: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !key.is_empty() && key.bytes().all(is_bare) {
        key.to_owned()
    } else {
        toml::Value::from(key).to_string()
    }
}
