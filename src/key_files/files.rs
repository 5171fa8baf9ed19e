//! The key files of a generation, each read once: whoever needs one later, in whatever process, sees what was judged.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::KeyFile;
use crate::config::KEYS_MAX;

/// What was read of one file.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Held {
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub(super) bytes: Vec<u8>,
    /// Permission bits, as [`KeyFile`] has them.
    pub(super) mode: Option<u32>,
}

/// Files by their paths. It is written down only to be handed to a worker that becomes another program, in memory that only
/// that worker can read.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Files {
    held: RefCell<BTreeMap<PathBuf, Held>>,
    /// Whether there are no others: the disk is not asked.
    are_all: bool,
}

impl Files {
    /// Reads what is asked for on disk, and remembers it.
    pub(crate) fn on_disk() -> Self {
        Self::default()
    }

    /// Those that were read until now, and no others.
    pub(crate) fn pinned(&self) -> Self {
        Self {
            held: self.held.clone(),
            are_all: true,
        }
    }

    /// As [`KeyFile::read`].
    pub(super) fn read<'a>(&self, path: &'a Path) -> Result<KeyFile<'a>, String> {
        self.read_up_to(KEYS_MAX, path)
    }

    /// As [`KeyFile::read_up_to`].
    pub(super) fn read_up_to<'a>(&self, most: u64, path: &'a Path) -> Result<KeyFile<'a>, String> {
        if let Some(held) = self.held.borrow().get(path) {
            return Ok(KeyFile::of(path, held.clone()));
        }
        if self.are_all {
            return Err(format!(
                "`{}` was not handed to this process",
                path.display()
            ));
        }
        let file = KeyFile::read_up_to(most, path)?;
        self.held.borrow_mut().insert(path.to_owned(), file.held());
        Ok(file)
    }

    /// Whether nothing is there, not even a link that leads nowhere.
    pub(crate) fn is_missing(&self, path: &Path) -> bool {
        !self.held.borrow().contains_key(path) && (self.are_all || super::is_missing(path))
    }
}

/// Nothing shows what is in them.
impl fmt::Debug for Files {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_set()
            .entries(self.held.borrow().keys())
            .finish()
    }
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD
        .decode(text)
        .map_err(|_| serde::de::Error::custom("it is not base64"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_was_read_once_stays_whatever_becomes_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let [known, other] = ["known", "other"].map(|name| folder.path().join(name));
        fs::write(&known, "before").unwrap();
        let files = Files::on_disk();
        assert!(files.is_missing(&other));
        assert_eq!(files.read(&known).unwrap().bytes(), b"before");
        fs::write(&other, "other").unwrap();
        fs::remove_file(&known).unwrap();
        let text = serde_json::to_string(&files.pinned()).unwrap();
        let pinned: Files = serde_json::from_str(&text).unwrap();
        for files in [&files, &pinned] {
            assert!(!files.is_missing(&known));
            assert_eq!(files.read(&known).unwrap().bytes(), b"before");
        }
        assert!(!files.is_missing(&other) && pinned.is_missing(&other));
        assert!(files.read(&other).is_ok() && pinned.read(&other).is_err());
        assert!(!format!("{files:?}").contains("before"));
    }
}
