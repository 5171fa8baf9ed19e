//! `[auth]`: issuers and rules.

use std::collections::BTreeMap;

use super::{Check, path, text, texts, unless_zero};
use crate::config::key::KeyPath;
use crate::config::notation::{OneOrMany, Text};
use crate::config::{
    Access, Algorithm, Auth, ClaimTest, DoubleSubmit, Issuer, KeySource, Rule, TokenSource, file,
    rules, token_source,
};

const ADDRESS: &str =
    "must be an address without query and fragment, such as `https://api.example.com`";

impl Check<'_> {
    pub(super) fn auth(&mut self, auth: &file::Auth, http: &file::Http) -> Auth {
        let mut issuers = self.issuers(&auth.issuer);
        let tokens = self.tokens(&auth.tokens, &mut issuers);
        let rules = self.rules(&auth.rule, http);
        let first_needy = rules.iter().position(|rule| rule.access == Access::Token);
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
            resource: self.resource(auth.resource.as_ref()),
            authorization_servers: self.authorization_servers(auth),
            token_from: self.token_from(&auth.token_from),
            trusted_origins: self.each(
                &"auth.trusted_origins".into(),
                &auth.trusted_origins,
                token_source::origin,
                "must be an origin, such as `https://app.example.com`",
            ),
            double_submit: self.double_submit(auth),
            tokens,
            issuers,
            rules,
        }
    }

    fn resource(&mut self, written: Option<&Text>) -> Option<String> {
        let Text(address) = written?;
        if !token_source::is_address(address) {
            self.refuse(&"auth.resource".into(), ADDRESS, None);
        }
        Some(address.clone())
    }

    fn authorization_servers(&mut self, auth: &file::Auth) -> Vec<String> {
        let key = KeyPath::from("auth.authorization_servers");
        let address = |text: &str| token_source::is_address(text).then(|| text.to_owned());
        if !auth.authorization_servers.0.is_empty() {
            return self.each(&key, &auth.authorization_servers, address, ADDRESS);
        }
        let names = auth
            .issuer
            .iter()
            .filter_map(|issuer| issuer.issuer.as_ref());
        names.filter_map(|Text(name)| address(name)).collect()
    }

    /// What each of the texts means; one that means nothing is refused with `reason`.
    fn each<T>(
        &mut self,
        key: &KeyPath,
        written: &OneOrMany<Text>,
        meaning: impl Fn(&str) -> Option<T>,
        reason: &str,
    ) -> Vec<T> {
        let mut meanings = Vec::new();
        for (index, Text(text)) in written.0.iter().enumerate() {
            if let Some(meant) = meaning(text) {
                meanings.push(meant);
            } else {
                self.refuse(&self.document.item(key, index), reason, None);
            }
        }
        meanings
    }

    fn token_from(&mut self, written: &OneOrMany<Text>) -> Vec<TokenSource> {
        let key = KeyPath::from("auth.token_from");
        if written.0.is_empty() {
            self.refuse(&key, "must have at least one place", None);
        }
        let mut sources = Vec::new();
        for (index, Text(text)) in written.0.iter().enumerate() {
            let item = self.document.item(&key, index);
            match token_source::parse(text) {
                Ok(source) if sources.contains(&source) => {
                    self.refuse_with(&item, format!("`{item}` repeats `{text}`"), None);
                }
                Ok(source) => sources.push(source),
                Err(reason) => self.refuse(&item, reason, None),
            }
        }
        sources
    }

    fn double_submit(&mut self, auth: &file::Auth) -> Option<DoubleSubmit> {
        let (cookie, header) = match (&auth.csrf_cookie, &auth.csrf_header) {
            (Some(Text(cookie)), Some(Text(header))) => (cookie, header),
            (None, None) => return None,
            (Some(_), None) | (None, Some(_)) => {
                let key = self.given(&["auth.csrf_cookie", "auth.csrf_header"]);
                let message = "`auth.csrf_cookie` and `auth.csrf_header` must be set together";
                self.refuse_with(&key, message.to_owned(), None);
                return None;
            }
        };
        for (key, name) in [("auth.csrf_cookie", cookie), ("auth.csrf_header", header)] {
            if !token_source::is_name(name) {
                let reason = "must be a name of letters, digits and `-`, `_`, `.`";
                self.refuse(&key.into(), reason, None);
            }
        }
        Some(DoubleSubmit {
            cookie: cookie.clone(),
            header: header.to_ascii_lowercase(),
        })
    }

    fn issuers(&mut self, written: &[file::Issuer]) -> Vec<Issuer> {
        let mut issuers: Vec<Issuer> = Vec::new();
        for (index, issuer) in written.iter().enumerate() {
            let key = KeyPath::from("auth.issuer").item(index);
            let keys = self.key_source(&key, issuer);
            self.algorithms(&key, issuer);
            if issuer.leeway.0.subsec_nanos() != 0 {
                // Tokens are judged by the second, so that a fraction would be forgotten without a word.
                self.refuse(&key.child("leeway"), "must be whole seconds", None);
            }
            let name = issuer.name.as_ref().or(issuer.issuer.as_ref());
            let name = name.map_or_else(|| key.to_string(), text);
            if issuers.iter().any(|other| other.name == name) {
                let message = format!("`{key}` is called `{name}`, as is one before it");
                let hint = "give each issuer a `name` of its own".to_owned();
                self.refuse_with(
                    &self.document.nearest(&key.child("name")),
                    message,
                    Some(hint),
                );
            }
            let claims = self.claims(&key.child("claims"), &issuer.claims);
            issuers.extend(keys.map(|keys| Issuer {
                name,
                keys,
                issuer: issuer.issuer.as_ref().map(text),
                audience: texts(&issuer.audience),
                algorithms: issuer.algorithms.0.clone(),
                leeway: issuer.leeway.0,
                require: texts(&issuer.require),
                claims,
                typ: texts(&issuer.typ),
                signs_refresh_tokens: false,
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
            self.refuse_with(&key.child("create_missing"), message, None);
        }
        let mut sources = [secret, public_key, jwks].into_iter().flatten();
        let names = ["secret_file", "public_key_file", "jwks_file"];
        match (sources.next(), sources.next()) {
            (Some(source), None) => return Some(source),
            (Some(_), Some(_)) => {
                let message = format!(
                    "`{key}` must have only one of `secret_file`, `public_key_file` and `jwks_file`"
                );
                self.refuse_with(key, message, None);
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
                    self.refuse_with(key, message, None);
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

    fn rules(&mut self, written: &[file::Rule], http: &file::Http) -> Vec<Rule> {
        let mut rules: Vec<(KeyPath, Rule)> = Vec::new();
        for (index, rule) in written.iter().enumerate() {
            let key = KeyPath::from("auth.rule").item(index);
            let Some(rule) = self.rule(&key, rule, http) else {
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
                self.refuse_with(&key, message, Some(hint));
            }
            rules.push((key, rule));
        }
        rules.into_iter().map(|(_, rule)| rule).collect()
    }

    fn rule(&mut self, key: &KeyPath, written: &file::Rule, http: &file::Http) -> Option<Rule> {
        let at = key.child("path");
        let Some(Text(pattern)) = &written.path else {
            if !self.problems.concern(&at) {
                self.refuse_with(key, format!("`{key}` must have a `path`"), None);
            }
            return None;
        };
        if let Some(reason) = rules::refuse_pattern(pattern) {
            let hint =
                (pattern == "**" || pattern == "*").then(|| "every path is `/**`".to_owned());
            self.refuse(&at, reason, hint);
            return None;
        }
        if written.max_age.0.subsec_nanos() != 0 {
            self.refuse(&key.child("max_age"), "must be whole seconds", None);
        }
        let rule = Rule {
            path: pattern.clone(),
            methods: self.each(
                &key.child("methods"),
                &written.methods,
                |method| rules::is_method(method).then(|| method.to_owned()),
                "must be a method in capitals, such as \"GET\"",
            ),
            hosts: self.each(
                &key.child("hosts"),
                &written.hosts,
                rules::host,
                "must be a host without port, such as `api.example.com` or `*.example.com`",
            ),
            access: written.access,
            scopes: self.scopes(&key.child("scopes"), &written.scopes),
            any_scopes: self.scopes(&key.child("any_scopes"), &written.any_scopes),
            roles: texts(&written.roles),
            claims: self.claims(&key.child("claims"), &written.claims),
            max_age: unless_zero(written.max_age.0),
            audit: written.audit,
            request_timeout: unless_zero(
                written
                    .request_timeout
                    .as_ref()
                    .map_or(http.request_timeout.0, |time| time.0),
            ),
            query_token: written.query_token.as_ref().map(text),
        };
        if let Some(name) = &rule.query_token
            && (rule.access == Access::Public || !token_source::is_name(name))
        {
            let reason = "must be the name of a parameter, of a rule that looks at a token";
            self.refuse(&key.child("query_token"), reason, None);
        }
        if rule.audit && rule.access == Access::Public {
            let message =
                format!("`{key}` is public, so it refuses nothing that `audit` could let pass");
            self.refuse_with(&key.child("audit"), message, None);
        }
        let access = match rule.access {
            Access::Public => Some("public"),
            Access::Optional => Some("optional"),
            Access::Token => None,
        };
        // A request without a token would be let through, whatever is asked of those with one.
        if let Some(access) = access.filter(|_| rules::has_needs(&rule)) {
            let message = format!(
                "`{key}` is {access}, so it cannot have `scopes`, `any_scopes`, `roles`, `claims` or `max_age`"
            );
            let hint = "leave `access` out: the default needs a token".to_owned();
            self.refuse_with(key, message, Some(hint));
        }
        Some(rule)
    }

    fn scopes(&mut self, key: &KeyPath, written: &OneOrMany<Text>) -> Vec<String> {
        let reason = "must be names of printable ASCII without `\"` and `\\`, separated by blanks";
        self.each(key, written, rules::scopes, reason).concat()
    }

    fn claims(
        &mut self,
        key: &KeyPath,
        written: &BTreeMap<String, toml::Value>,
    ) -> BTreeMap<String, ClaimTest> {
        let mut claims = BTreeMap::new();
        for name in written.keys() {
            let key = key.child(name);
            // As it was in the file: on the way through serde a date turns into a table.
            match self.document.value(&key).and_then(json) {
                Some(value) => match claim_test(value) {
                    Ok(test) => drop(claims.insert(name.clone(), test)),
                    Err(reason) => self.refuse(&key, reason, None),
                },
                None => self.refuse(&key, "must be a value that JSON has", None),
            }
        }
        claims
    }
}

/// A table says how the claim is compared; any other value is what it must be.
fn claim_test(value: serde_json::Value) -> Result<ClaimTest, &'static str> {
    const FORMS: &str =
        "must be a value, or one of `{ equals = … }`, `{ contains = … }` and `{ one_of = […] }`";
    let serde_json::Value::Object(table) = value else {
        return Ok(ClaimTest::Equals(value));
    };
    let mut entries = table.into_iter();
    match (entries.next(), entries.next()) {
        (Some((form, value)), None) => match (form.as_str(), value) {
            ("equals", value) => Ok(ClaimTest::Equals(value)),
            ("contains", value) => Ok(ClaimTest::Contains(value)),
            ("one_of", serde_json::Value::Array(values)) if !values.is_empty() => {
                Ok(ClaimTest::OneOf(values))
            }
            _ => Err(FORMS),
        },
        _ => Err(FORMS),
    }
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
