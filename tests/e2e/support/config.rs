//! A configuration file as a test writes it: the keys it cares about, and a folder of its own for everything else.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Keys in dotted form with their values. Everybody may do everything: tokens have tests of their own.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    keys: BTreeMap<String, toml::Value>,
    auth: String,
    folder: PathBuf,
}

impl Config {
    /// Two workers on a port of the kernel's choice.
    pub(crate) fn new(folder: &Path) -> Self {
        let mut config = Self {
            keys: BTreeMap::new(),
            auth: "[[auth.rule]]\npath = \"/**\"\naccess = \"public\"\n".to_owned(),
            folder: folder.to_owned(),
        };
        config
            .set("server.bind", "127.0.0.1:0")
            .set("workers.count", 2)
            .set("process.control_socket", "control.sock")
            // Tests of monitoring want it.
            .set("admin.bind", Vec::<String>::new());
        config
    }

    pub(crate) fn set(&mut self, key: &str, value: impl Into<toml::Value>) -> &mut Self {
        self.keys.insert(key.to_owned(), value.into());
        self
    }

    pub(crate) fn unset(&mut self, key: &str) {
        self.keys.remove(key);
    }

    /// Issuers and rules, as tables of TOML.
    pub(crate) fn set_auth(&mut self, tables: &str) {
        tables.clone_into(&mut self.auth);
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.join("destrier.toml")
    }

    pub(crate) fn control_socket(&self) -> PathBuf {
        self.folder.join("control.sock")
    }

    /// Puts it on disk, whole at any moment.
    pub(crate) fn write(&self) {
        self.write_text(&self.to_string());
    }

    /// Puts something else there.
    pub(crate) fn write_text(&self, text: &str) {
        let new = self.folder.join("destrier.toml.new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.file()).unwrap();
    }
}

impl std::fmt::Display for Config {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (key, value) in &self.keys {
            writeln!(formatter, "{key} = {value}")?;
        }
        formatter.write_str(&self.auth)
    }
}
