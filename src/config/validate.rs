//! From a `File` to a [`Config`]: what one value cannot tell about itself, and what several must agree on.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::document::{Document, Origin};
use super::errors::{Problem, Problems};
use super::file::{self, File};
use super::key::KeyPath;
use super::notation::{OneOrMany, Text};
use super::{
    Access, Algorithm, App, Auth, Bind, Config, Http, Issuer, KeySource, Log, Process, Reload,
    Rule, Server, Strategy, Workers, bind, decode, rules,
};

/// Checks what was decoded. The configuration is of use only when no problem was noted.
pub(super) fn validate(
    file: &File,
    document: &Document,
    problems: &mut Problems,
) -> (Config, Vec<Problem>) {
    let mut check = Check {
        document,
        problems,
        warnings: Vec::new(),
    };
    let config = Config {
        file: document.file.clone(),
        server: check.server(&file.server),
        workers: check.workers(&file.workers),
        reload: check.reload(&file.reload),
        process: process(&file.process),
        http: check.http(&file.http, &file.workers),
        auth: check.auth(&file.auth),
        app: App {
            kind: file.app.kind,
            faults: file.app.faults,
        },
        log: Log {
            level: file.log.level,
            format: file.log.format,
            file: file.log.file.as_ref().map(path),
            access: file.log.access,
        },
    };
    (config, check.warnings)
}

struct Check<'a> {
    document: &'a Document,
    problems: &'a mut Problems,
    warnings: Vec<Problem>,
}

impl Check<'_> {
    /// Notes that the value at `path` is wrong.
    fn refuse(&mut self, path: &KeyPath, reason: &str, hint: Option<String>) {
        let found = self.document.value(path).map(decode::found);
        let message = format!("`{path}` {reason}{}", found.unwrap_or_default());
        let origin = self.document.origin(path);
        self.problems.note_at(path, origin, message, hint);
    }

    /// Notes that something about `path` is wrong that its value alone does not show.
    fn refuse_all(&mut self, path: &KeyPath, message: String, hint: Option<String>) {
        let origin = self.document.origin(path);
        self.problems.note_at(path, origin, message, hint);
    }

    fn warn(&mut self, path: &KeyPath, message: String, hint: Option<&str>) {
        let origin = self.document.origin(path);
        self.warnings.push(Problem {
            origin: (origin != Origin::Default).then_some(origin),
            message,
            hint: hint.map(str::to_owned),
        });
    }

    fn server(&mut self, server: &file::Server) -> Server {
        Server {
            bind: self.bind(&server.bind),
            backlog: server.backlog.0,
            balance: server.balance,
            unix_mode: server.unix_mode.0,
            unix_owner: server.unix_owner.as_ref().map(text),
            unix_group: server.unix_group.as_ref().map(text),
        }
    }

    fn bind(&mut self, written: &OneOrMany<Text>) -> Vec<Bind> {
        let key = KeyPath::from("server.bind");
        if written.0.is_empty() {
            self.refuse(&key, "must have at least one address", None);
        }
        let mut binds = Vec::new();
        for (index, Text(address)) in written.0.iter().enumerate() {
            let key = self.document.item(&key, index);
            match bind::parse(address) {
                Ok(bind) if binds.contains(&bind) => {
                    self.refuse_all(&key, format!("`{key}` repeats `{bind}`"), None);
                }
                Ok(bind) => binds.push(bind),
                Err(error) => self.refuse(&key, error.reason, error.hint),
            }
        }
        binds
    }

    fn workers(&mut self, workers: &file::Workers) -> Workers {
        if workers.backoff_initial.0 > workers.backoff_max.0 {
            let message = format!(
                "`workers.backoff_initial` must not be more than `workers.backoff_max`, {}, found `{}`",
                humantime::format_duration(workers.backoff_max.0),
                humantime::format_duration(workers.backoff_initial.0),
            );
            let key = self.given(&["workers.backoff_initial", "workers.backoff_max"]);
            self.refuse_all(&key, message, None);
        }
        Workers {
            count: workers.count,
            boot_timeout: workers.boot_timeout.0,
            graceful_timeout: workers.graceful_timeout.0,
            backoff_initial: workers.backoff_initial.0,
            backoff_max: workers.backoff_max.0,
            backoff_reset: workers.backoff_reset.0,
        }
    }

    fn reload(&mut self, reload: &file::Reload) -> Reload {
        let (surge, unavailable) = (reload.max_surge.0, reload.max_unavailable.0);
        if surge == 0 && unavailable == 0 {
            let key = self.given(&["reload.max_surge", "reload.max_unavailable"]);
            let message = "`reload.max_surge` and `reload.max_unavailable` must not both be 0";
            let hint = "no worker could be replaced; `max_surge = 1` starts the new one first";
            self.refuse_all(&key, message.to_owned(), Some(hint.to_owned()));
        }
        let is_rolling = reload.strategy == Strategy::Rolling;
        for key in ["reload.max_surge", "reload.max_unavailable"].map(KeyPath::from) {
            if !is_rolling && self.document.value(&key).is_some() {
                let message =
                    format!("`{key}` has no force: it is for `reload.strategy = \"rolling\"`");
                self.warn(&key, message, None);
            }
        }
        Reload {
            strategy: reload.strategy,
            max_surge: small(surge),
            max_unavailable: small(unavailable),
        }
    }

    fn http(&mut self, http: &file::Http, workers: &file::Workers) -> Http {
        let key = KeyPath::from("http.drain_linger");
        if http.drain_linger.0 > workers.graceful_timeout.0 {
            let message =
                "`http.drain_linger` is longer than `workers.graceful_timeout`, which ends it";
            self.warn(&key, message.to_owned(), None);
        }
        Http {
            header_timeout: http.header_timeout.0,
            keep_alive: http.keep_alive.0,
            drain_linger: http.drain_linger.0,
        }
    }

    fn auth(&mut self, auth: &file::Auth) -> Auth {
        let issuers = self.issuers(&auth.issuer);
        let rules = self.rules(&auth.rule);
        let first_needy = rules.iter().position(rules::needs_token);
        if rules.is_empty() {
            let message = "there is no `[[auth.rule]]`: every request will be refused";
            self.warn(&"auth.rule".into(), message.to_owned(), None);
        } else if let Some(index) = first_needy.filter(|_| auth.issuer.is_empty()) {
            let key = KeyPath::from("auth.rule").item(index);
            let message = format!(
                "`{key}` needs a token, but there is no `[[auth.issuer]]` that could sign one"
            );
            self.warn(&key, message, None);
        }
        Auth {
            realm: text(&auth.realm),
            issuers,
            rules,
        }
    }

    fn issuers(&mut self, written: &[file::Issuer]) -> Vec<Issuer> {
        let mut issuers: Vec<Issuer> = Vec::new();
        for (index, issuer) in written.iter().enumerate() {
            let key = KeyPath::from("auth.issuer").item(index);
            let keys = self.key_source(&key, issuer);
            self.algorithms(&key, issuer);
            let name = issuer.name.as_ref().or(issuer.issuer.as_ref());
            let name = name.map_or_else(|| key.to_string(), text);
            if issuers.iter().any(|other| other.name == name) {
                let message = format!("`{key}` is called `{name}`, as is one before it");
                let hint = "give each issuer a `name` of its own".to_owned();
                self.refuse_all(
                    &self.document.nearest(&key.child("name")),
                    message,
                    Some(hint),
                );
            }
            issuers.extend(keys.map(|keys| Issuer {
                name,
                keys,
                issuer: issuer.issuer.as_ref().map(text),
                audience: texts(&issuer.audience),
                algorithms: issuer.algorithms.0.clone(),
                leeway: issuer.leeway.0,
                require: texts(&issuer.require),
                typ: texts(&issuer.typ),
            }));
        }
        issuers
    }

    fn key_source(&mut self, key: &KeyPath, issuer: &file::Issuer) -> Option<KeySource> {
        let secret = issuer.secret_file.as_ref().map(|file| KeySource::Secret {
            file: path(file),
            create_missing: issuer.create_missing,
        });
        let public_key = issuer
            .public_key_file
            .as_ref()
            .map(path)
            .map(KeySource::PublicKey);
        let jwks = issuer.jwks_file.as_ref().map(path).map(KeySource::Jwks);
        if issuer.create_missing
            && secret.is_none()
            && !self.problems.concern(&key.child("secret_file"))
        {
            let message = format!(
                "`{key}.create_missing` is for `secret_file` only: other keys cannot be made up"
            );
            self.refuse_all(&key.child("create_missing"), message, None);
        }
        let mut sources = [secret, public_key, jwks].into_iter().flatten();
        let names = ["secret_file", "public_key_file", "jwks_file"];
        match (sources.next(), sources.next()) {
            (Some(source), None) => return Some(source),
            (Some(_), Some(_)) => {
                let message = format!(
                    "`{key}` must have only one of `secret_file`, `public_key_file` and `jwks_file`"
                );
                self.refuse_all(key, message, None);
            }
            (None, _) => {
                // One that was given, but is no path, has been noted already.
                if !names
                    .iter()
                    .any(|name| self.problems.concern(&key.child(name)))
                {
                    let message = format!(
                        "`{key}` must have one of `secret_file`, `public_key_file` and `jwks_file`"
                    );
                    self.refuse_all(key, message, None);
                }
            }
        }
        None
    }

    /// A secret signs with HMAC, a public key never does (RFC 8725 section 3.1).
    fn algorithms(&mut self, key: &KeyPath, issuer: &file::Issuer) {
        let is_hmac = |algorithm: &Algorithm| {
            matches!(
                algorithm,
                Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512
            )
        };
        let list = key.child("algorithms");
        for (index, algorithm) in issuer.algorithms.0.iter().enumerate() {
            let reason = if issuer.secret_file.is_some() && !is_hmac(algorithm) {
                "must be HS256, HS384 or HS512 for a `secret_file`"
            } else if issuer.public_key_file.is_some() && is_hmac(algorithm) {
                "must not be an HS algorithm for a `public_key_file`"
            } else {
                continue;
            };
            self.refuse(&self.document.item(&list, index), reason, None);
        }
    }

    fn rules(&mut self, written: &[file::Rule]) -> Vec<Rule> {
        let mut rules: Vec<(KeyPath, Rule)> = Vec::new();
        for (index, rule) in written.iter().enumerate() {
            let key = KeyPath::from("auth.rule").item(index);
            let Some(rule) = self.rule(&key, rule) else {
                continue;
            };
            if let Some((earlier, _)) = rules
                .iter()
                .find(|(_, earlier)| rules::covers(earlier, &rule))
            {
                let message =
                    format!("`{key}` can never decide: `{earlier}` matches all its requests first");
                let hint =
                    "the first rule that matches decides: put the narrower one first".to_owned();
                self.refuse_all(&key, message, Some(hint));
            }
            rules.push((key, rule));
        }
        rules.into_iter().map(|(_, rule)| rule).collect()
    }

    fn rule(&mut self, key: &KeyPath, written: &file::Rule) -> Option<Rule> {
        let at = key.child("path");
        let Some(Text(pattern)) = &written.path else {
            if !self.problems.concern(&at) {
                self.refuse_all(key, format!("`{key}` must have a `path`"), None);
            }
            return None;
        };
        if let Some(reason) = rules::refuse_pattern(pattern) {
            let hint =
                (pattern == "**" || pattern == "*").then(|| "every path is `/**`".to_owned());
            self.refuse(&at, reason, hint);
            return None;
        }
        let methods = key.child("methods");
        for (index, Text(method)) in written.methods.0.iter().enumerate() {
            if !rules::is_method(method) {
                let item = self.document.item(&methods, index);
                self.refuse(&item, "must be a method in capitals, such as \"GET\"", None);
            }
        }
        let rule = Rule {
            path: pattern.clone(),
            methods: texts(&written.methods),
            access: written.access,
            scopes: texts(&written.scopes),
            roles: texts(&written.roles),
            claims: self.claims(&key.child("claims"), &written.claims),
        };
        if rules::has_needs(&rule) {
            match rule.access {
                Access::Public => {
                    let message = format!(
                        "`{key}` is public, so it cannot have `scopes`, `roles` or `claims`"
                    );
                    let hint = "leave `access` out: the default needs a token".to_owned();
                    self.refuse_all(key, message, Some(hint));
                }
                Access::Optional => {
                    let message = format!(
                        "`{key}` lets requests without a token through, whatever it asks of those with one"
                    );
                    self.warn(key, message, None);
                }
                Access::Token => {}
            }
        }
        Some(rule)
    }

    fn claims(
        &mut self,
        key: &KeyPath,
        written: &BTreeMap<String, toml::Value>,
    ) -> BTreeMap<String, serde_json::Value> {
        let mut claims = BTreeMap::new();
        for name in written.keys() {
            let key = key.child(name);
            // As it was in the file: on the way through serde a date turns into a table.
            match self.document.value(&key).and_then(json) {
                Some(value) => {
                    claims.insert(name.clone(), value);
                }
                None => self.refuse(&key, "must be a value that JSON has", None),
            }
        }
        claims
    }

    /// The first of these keys that was given.
    fn given(&self, keys: &[&str]) -> KeyPath {
        let paths = keys.iter().map(|key| KeyPath::from(*key));
        paths
            .clone()
            .find(|path| self.document.value(path).is_some())
            .or_else(|| paths.clone().next())
            .unwrap_or_default()
    }
}

fn process(process: &file::Process) -> Process {
    Process {
        user: process.user.as_ref().map(text),
        group: process.group.as_ref().map(text),
        groups: process.groups.as_ref().map(texts),
        umask: process.umask.0,
        pid_file: process.pid_file.as_ref().map(path),
        control_socket: process.control_socket.as_ref().map(path),
    }
}

fn text(Text(text): &Text) -> String {
    text.clone()
}

fn path(Text(path): &Text) -> PathBuf {
    PathBuf::from(path)
}

fn texts(texts: &OneOrMany<Text>) -> Vec<String> {
    texts.0.iter().map(text).collect()
}

/// A number that its type in `file` keeps below 513.
fn small(number: u32) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

/// The value as a token would carry it; JSON has no dates and no infinite numbers.
fn json(value: &toml::Value) -> Option<serde_json::Value> {
    use toml::Value;
    Some(match value {
        Value::String(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => serde_json::Number::from_f64(*number)?.into(),
        Value::Boolean(is_true) => (*is_true).into(),
        Value::Datetime(_) => return None,
        Value::Array(items) => items.iter().map(json).collect::<Option<Vec<_>>>()?.into(),
        Value::Table(table) => {
            let entry = |(key, value): (&String, &Value)| Some((key.clone(), json(value)?));
            let entries: Option<serde_json::Map<_, _>> = table.iter().map(entry).collect();
            entries?.into()
        }
    })
}
