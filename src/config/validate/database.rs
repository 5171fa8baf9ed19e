//! `auth.tokens.database`: where users and refresh tokens are kept.

use std::path::PathBuf;

use url::{ParseError, Url};

use super::{Check, path, text};
use crate::config::file;
use crate::config::key::KeyPath;
use crate::config::notation::{Text, TextOrNone};
use crate::config::{Database, RESERVED_CLAIMS, Schema, SchemaName};

const FORMS: &str = "must be `sqlite:PATH` or `postgresql://USER@HOST:PORT/NAME`";

const PASSWORD_HINT: &str = "put it into a file that only its owner can read, and name that as `auth.tokens.database_password_file`";

/// What may stand after the `?`, beside `options[NAME]`: the words of libpq (`PostgreSQL` documentation, 32.1.2).
const PARAMETERS: [&str; 11] = [
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "application_name",
    "options",
];

const SSL_MODES: [&str; 6] = [
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];

impl Check<'_> {
    /// What is wrong is told without the value, for a password may stand in it.
    pub(super) fn database(
        &mut self,
        Text(written): &Text,
        tokens: &file::Tokens,
    ) -> Option<Database> {
        let key = KeyPath::from("auth.tokens.database");
        let password_file = tokens.database_password_file.as_ref().map(path);
        if let Some(path) = written.strip_prefix("sqlite:") {
            if path.is_empty() || path.starts_with("//") || path.ends_with('/') {
                self.refuse_with(&key, format!("`{key}` {FORMS}"), None);
                return None;
            }
            if password_file.is_some() {
                let key = KeyPath::from("auth.tokens.database_password_file");
                let message =
                    format!("`{key}` is for a database on a server, `SQLite` has no password");
                self.refuse_with(&key, message, None);
            }
            return Some(Database::Sqlite(PathBuf::from(path)));
        }
        match postgres(written) {
            Ok(url) => Some(Database::Postgres { url, password_file }),
            Err(problem) => {
                self.refuse_with(&key, format!("`{key}` {}", problem.message), problem.hint);
                None
            }
        }
    }

    /// Whose tables they are. What is said about Django's must not be said in vain.
    pub(super) fn schema(&mut self, tokens: &file::Tokens) -> Schema {
        let TextOrNone(groups_claim) = &tokens.groups_claim;
        match tokens.schema {
            SchemaName::Django => {
                let is_reserved = groups_claim.as_ref().is_some_and(|claim| {
                    RESERVED_CLAIMS.contains(&claim.0.as_str()) || *claim == tokens.user_id_claim
                });
                if is_reserved {
                    let key = KeyPath::from("auth.tokens.groups_claim");
                    self.refuse(
                        &key,
                        "must be a claim that the token service does not set itself",
                        None,
                    );
                }
                Schema::Django {
                    groups_claim: groups_claim.as_ref().map(text),
                    allow_md5_hashes: tokens.allow_md5_hashes,
                    upgrade_hashes: tokens.upgrade_hashes,
                }
            }
            SchemaName::Destrier => {
                let default = file::Tokens::default();
                for (name, is_set) in [
                    ("groups_claim", tokens.groups_claim != default.groups_claim),
                    ("allow_md5_hashes", tokens.allow_md5_hashes),
                    ("upgrade_hashes", tokens.upgrade_hashes),
                ] {
                    if is_set {
                        let key = KeyPath::from("auth.tokens").child(name);
                        let message = format!("`{key}` needs `schema = \"django\"`");
                        self.refuse_with(&key, message, None);
                    }
                }
                Schema::Destrier
            }
        }
    }
}

struct Problem {
    message: String,
    hint: Option<String>,
}

impl Problem {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
        }
    }
}

/// The address of a server, if its driver will understand it.
fn postgres(written: &str) -> Result<String, Problem> {
    let is_postgres = ["postgresql://", "postgres://"]
        .iter()
        .any(|scheme| written.starts_with(scheme));
    if !is_postgres {
        return Err(Problem::new(FORMS));
    }
    // libpq takes a user without a host, which is found in `?host=` then; addresses in general do not.
    let (text, url) = match Url::parse(written) {
        Err(ParseError::EmptyHost) => {
            let text = written.replacen("@/", "@localhost/", 1);
            let url = Url::parse(&text);
            (text, url)
        }
        parsed => (written.to_owned(), parsed),
    };
    let url = url.map_err(|error| Problem::new(format!("is no address: {error}")))?;
    let has_password =
        url.password().is_some() || url.query_pairs().any(|(name, _)| name == "password");
    if has_password {
        return Err(Problem {
            message: "must not have a password in it".to_owned(),
            hint: Some(PASSWORD_HINT.to_owned()),
        });
    }
    let is_named = url.path().len() > 1 || url.query_pairs().any(|(name, _)| name == "dbname");
    if !is_named || url.fragment().is_some() {
        return Err(Problem::new(FORMS));
    }
    for (name, value) in url.query_pairs() {
        if !PARAMETERS.contains(&&*name) && !name.starts_with("options[") {
            let message = format!(
                "has the parameter `{name}`, but only these are known: {}",
                PARAMETERS.join(", ")
            );
            return Err(Problem::new(message));
        }
        if name == "sslmode" && !SSL_MODES.contains(&&*value) {
            let message = format!(
                "has `sslmode={value}`, which must be one of {}",
                SSL_MODES.join(", ")
            );
            return Err(Problem::new(message));
        }
        if name == "port" && value.parse::<u16>().is_err() {
            return Err(Problem::new(format!(
                "has `port={value}`, which is no port"
            )));
        }
    }
    Ok(text)
}
