//! What a request needs: the first rule whose host, path and method fit decides.

mod host;
mod pattern;
mod requirements;

use std::time::Duration;

use pattern::Pattern;
pub(super) use requirements::{Requirements, Unmet};

use super::RequestView;
use super::path::PathError;
use crate::config::{self, ClientCert};

/// Why a rule cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// It could never match, since paths are judged decoded.
    #[error("write the path decoded, without `%`")]
    Encoded,
    /// It could never match.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Only as the last segment.
    #[error("`**` stands at the end, after a `/`")]
    Rest,
    /// A wildcard of another dialect.
    #[error("`*` has no meaning here; `{{name}}` is one segment, `/**` at the end is any number")]
    Star,
    /// A name is a whole segment.
    #[error("`{{name}}` is a whole segment with a name")]
    Name,
    /// They would never be looked at.
    #[error("`scopes`, `any_scopes`, `roles`, `claims` and `max_age` need `access = \"token\"`")]
    NeedsToken,
}

/// A checked rule.
#[derive(Debug)]
pub(super) struct Rule {
    pattern: Pattern,
    methods: Vec<String>,
    hosts: Vec<String>,
    pub(super) need: Need,
    /// What it would refuse passes.
    pub(super) is_audit: bool,
    pub(super) request_timeout: Option<Duration>,
    pub(super) max_body: u64,
    /// The parameter of the query that may hold the token.
    pub(super) query_token: Option<String>,
    client_cert: Option<ClientCert>,
}

/// Why the certificate of a client does not do; fit for a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ClientCertError {
    #[error("the client has shown no certificate")]
    Absent,
    #[error("the certificate of the client has none of the names of `client_cert_san`")]
    Name,
}

/// What a rule asks for.
#[derive(Debug)]
pub(super) enum Need {
    Nothing,
    TokenIfPresent,
    Token(Requirements),
}

impl Rule {
    pub(super) fn new(rule: &config::Rule) -> Result<Self, RuleError> {
        let requirements = Requirements::new(rule);
        let need = match rule.access {
            config::Access::Token => Need::Token(requirements),
            config::Access::Public | config::Access::Optional if !requirements.is_empty() => {
                return Err(RuleError::NeedsToken);
            }
            config::Access::Public => Need::Nothing,
            config::Access::Optional => Need::TokenIfPresent,
        };
        Ok(Self {
            pattern: Pattern::new(&rule.path)?,
            methods: rule.methods.clone(),
            hosts: rule.hosts.clone(),
            need,
            is_audit: rule.audit,
            request_timeout: rule.request_timeout,
            max_body: rule.max_body,
            query_token: rule.query_token.clone(),
            client_cert: rule.client_cert.clone(),
        })
    }

    /// Whether the client has shown the certificate that is needed.
    pub(super) fn check_client(&self, request: &RequestView<'_>) -> Result<(), ClientCertError> {
        let Some(ClientCert { names }) = &self.client_cert else {
            return Ok(());
        };
        if request.client_certificate.is_none() {
            return Err(ClientCertError::Absent);
        }
        let is_named = names.iter().any(|name| request.client_names.contains(name));
        if names.is_empty() || is_named {
            Ok(())
        } else {
            Err(ClientCertError::Name)
        }
    }

    fn is_for<'h>(&self, method: &str, path: &str, host: impl FnOnce() -> Option<&'h str>) -> bool {
        // RFC 9110 section 9.3.2: HEAD is GET without the content, so whoever may GET may HEAD.
        let fits = |each: &String| each == method || (method == "HEAD" && each == "GET");
        (self.methods.is_empty() || self.methods.iter().any(fits))
            && self.pattern.fits(path)
            && self.is_for_host(host)
    }

    fn is_for_host<'h>(&self, host: impl FnOnce() -> Option<&'h str>) -> bool {
        let fits = |field: &str| self.hosts.iter().any(|pattern| host::fits(pattern, field));
        self.hosts.is_empty() || host().is_some_and(fits)
    }
}

/// The first fitting rule with its place, from 0; `None` when there is none. The path must be normalised, `host` is what the
/// Host field says, which few rules ask for.
pub(super) fn find<'a, 'h>(
    rules: &'a [Rule],
    method: &str,
    path: &str,
    host: impl Fn() -> Option<&'h str>,
) -> Option<(usize, &'a Rule)> {
    let mut numbered = rules.iter().enumerate();
    numbered.find(|(_, rule)| rule.is_for(method, path, &host))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::rule;
    use super::*;
    use crate::config::Access;

    #[test]
    fn get_covers_head_and_nothing_else() {
        let get = Rule::new(&rule("/a", &["GET"], Access::Public)).unwrap();
        assert!(get.is_for("GET", "/a", || None) && get.is_for("HEAD", "/a", || None));
        for method in ["POST", "get", "OPTIONS", "CONNECT", ""] {
            assert!(!get.is_for(method, "/a", || None), "{method}");
        }
        let head = Rule::new(&rule("/a", &["HEAD"], Access::Public)).unwrap();
        assert!(!head.is_for("GET", "/a", || None));
        let any = Rule::new(&rule("/a", &[], Access::Public)).unwrap();
        assert!(any.is_for("BREW", "/a", || None));
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules = [
            Rule::new(&rule("/a/b", &["GET"], Access::Public)).unwrap(),
            Rule::new(&rule("/a/**", &[], Access::Optional)).unwrap(),
            Rule::new(&rule("/a/b", &[], Access::Token)).unwrap(),
        ];
        let decides = |method, path| find(&rules, method, path, || None).map(|(index, _)| index);
        assert_eq!(decides("GET", "/a/b"), Some(0));
        assert_eq!(decides("POST", "/a/b"), Some(1));
        assert_eq!(decides("GET", "/b"), None);
    }

    #[test]
    fn requirements_that_would_not_be_looked_at_are_refused() {
        for access in [Access::Public, Access::Optional] {
            let mut rule = rule("/a", &[], access);
            rule.roles.push("admin".to_owned());
            assert_eq!(Rule::new(&rule).unwrap_err(), RuleError::NeedsToken);
        }
    }

    #[test]
    fn a_rule_for_a_host_is_for_no_other() {
        let mut api = rule("/a", &[], Access::Public);
        api.hosts = vec!["api.example".to_owned(), "*.int.example".to_owned()];
        let api = Rule::new(&api).unwrap();
        for host in ["api.example", "API.example:8000", "x.int.example"] {
            assert!(api.is_for("GET", "/a", || Some(host)), "{host}");
        }
        for host in [None, Some(""), Some("int.example"), Some("example")] {
            assert!(!api.is_for("GET", "/a", || host), "{host:?}");
        }
    }
}
