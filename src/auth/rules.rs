//! What a request needs: the first rule whose pattern and method fit decides.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::claims::Claims;
use super::path::{self, PathError};
use super::shown;
use crate::config;

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
    #[error("`scopes`, `roles` and `claims` need `access = \"token\"`")]
    NeedsToken,
}

/// A checked rule.
#[derive(Debug)]
pub(super) struct Rule {
    pattern: Pattern,
    methods: Vec<String>,
    pub(super) need: Need,
    pub(super) request_timeout: Option<Duration>,
}

/// What a rule asks for.
#[derive(Debug)]
pub(super) enum Need {
    Nothing,
    TokenIfPresent,
    Token(Requirements),
}

/// What a token must hold.
#[derive(Debug)]
pub(super) struct Requirements {
    scopes: Vec<String>,
    roles: Vec<String>,
    claims: BTreeMap<String, Value>,
}

/// What of it a token does not hold. Fit for a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unmet<'a> {
    #[error("scope {} is not granted", shown(.missing))]
    Scopes {
        missing: &'a str,
        needed: &'a [String],
    },
    #[error("none of the roles {} is held", .0.join(", "))]
    Roles(&'a [String]),
    #[error("claim {} does not have the value that is needed", shown(.0))]
    Claim(&'a str),
}

impl Rule {
    pub(super) fn new(rule: &config::Rule) -> Result<Self, RuleError> {
        let requirements = Requirements {
            scopes: rule.scopes.clone(),
            roles: rule.roles.clone(),
            claims: rule.claims.clone(),
        };
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
            need,
            request_timeout: rule.request_timeout,
        })
    }

    fn is_for(&self, method: &str, path: &str) -> bool {
        // RFC 9110 section 9.3.2: HEAD is GET without the content, so whoever may GET may HEAD.
        let fits = |each: &String| each == method || (method == "HEAD" && each == "GET");
        (self.methods.is_empty() || self.methods.iter().any(fits)) && self.pattern.fits(path)
    }
}

/// The first rule that fits; `None` when there is none. The path must be normalised.
pub(super) fn find<'a>(rules: &'a [Rule], method: &str, path: &str) -> Option<&'a Rule> {
    rules.iter().find(|rule| rule.is_for(method, path))
}

impl Requirements {
    fn is_empty(&self) -> bool {
        self.scopes.is_empty() && self.roles.is_empty() && self.claims.is_empty()
    }

    /// All scopes, one of the roles, all claims.
    pub(super) fn check(&self, claims: &Claims) -> Result<(), Unmet<'_>> {
        for needed in &self.scopes {
            if !claims.scopes().any(|scope| scope == needed) {
                return Err(Unmet::Scopes {
                    missing: needed,
                    needed: &self.scopes,
                });
            }
        }
        let is_needed = |role: &str| self.roles.iter().any(|needed| needed == role);
        if !self.roles.is_empty() && !claims.roles().any(is_needed) {
            return Err(Unmet::Roles(&self.roles));
        }
        for (name, value) in &self.claims {
            if claims.get(name) != Some(value) {
                return Err(Unmet::Claim(name));
            }
        }
        Ok(())
    }
}

/// A pattern on the path, segment by segment.
#[derive(Debug, PartialEq, Eq)]
struct Pattern {
    segments: Vec<Segment>,
    /// Ends with `**`: whatever follows, nothing included, so that `/admin/**` guards `/admin` too.
    is_open: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    /// Any, but not an empty one.
    Any,
}

impl Pattern {
    fn new(text: &str) -> Result<Self, RuleError> {
        if text.contains('%') {
            return Err(RuleError::Encoded);
        }
        let (fixed, is_open) = match text.strip_suffix("**") {
            Some("") => ("/", true),
            Some(prefix) if prefix.ends_with('/') => (prefix, true),
            Some(_) => return Err(RuleError::Rest),
            None => (text, false),
        };
        if fixed.contains("**") {
            return Err(RuleError::Rest);
        }
        if fixed.contains('*') {
            return Err(RuleError::Star);
        }
        path::normalise(fixed)?;
        let mut names: Vec<_> = fixed.split('/').skip(1).collect();
        if is_open {
            names.pop();
        }
        let segments = names
            .into_iter()
            .map(Segment::new)
            .collect::<Result<_, _>>()?;
        Ok(Self { segments, is_open })
    }

    fn fits(&self, path: &str) -> bool {
        let mut names = path.split('/').skip(1);
        for segment in &self.segments {
            let fits = match (segment, names.next()) {
                (_, None) => false,
                (Segment::Literal(literal), Some(name)) => literal == name,
                (Segment::Any, Some(name)) => !name.is_empty(),
            };
            if !fits {
                return false;
            }
        }
        self.is_open || names.next().is_none()
    }
}

impl Segment {
    fn new(text: &str) -> Result<Self, RuleError> {
        let name = text
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'));
        match name {
            Some(name) if !name.is_empty() && !name.contains(['{', '}']) => Ok(Self::Any),
            None if !text.contains(['{', '}']) => Ok(Self::Literal(text.to_owned())),
            Some(_) | None => Err(RuleError::Name),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::fixtures::rule;
    use super::*;
    use crate::config::Access;

    fn fits(pattern: &str, path: &str) -> bool {
        Pattern::new(pattern).unwrap().fits(path)
    }

    #[test]
    fn a_literal_pattern_fits_only_itself() {
        assert!(fits("/a/b", "/a/b"));
        for path in ["/a", "/a/b/", "/a/b/c", "/A/b", "/a/bc", "/"] {
            assert!(!fits("/a/b", path), "{path}");
        }
        assert!(fits("/", "/"));
        assert!(fits("/a/", "/a/"));
        assert!(!fits("/a/", "/a"));
        assert!(fits("/café", "/café"));
    }

    #[test]
    fn a_name_is_one_segment_that_is_not_empty() {
        assert!(fits("/users/{id}", "/users/7"));
        assert!(fits("/users/{id}/posts", "/users/7/posts"));
        for path in ["/users", "/users/", "/users/7/", "/users/7/x"] {
            assert!(!fits("/users/{id}", path), "{path}");
        }
    }

    #[test]
    fn an_open_pattern_fits_everything_below_and_itself() {
        for path in ["/a", "/a/", "/a/b", "/a/b/c"] {
            assert!(fits("/a/**", path), "{path}");
        }
        for path in ["/ab", "/", "/b/a"] {
            assert!(!fits("/a/**", path), "{path}");
        }
        for path in ["/", "/a", "/a/b/"] {
            assert!(fits("/**", path) && fits("**", path), "{path}");
        }
    }

    #[test]
    fn a_pattern_that_means_nothing_is_refused() {
        for (pattern, error) in [
            ("a", RuleError::Path(PathError::NotAbsolute)),
            ("", RuleError::Path(PathError::NotAbsolute)),
            ("/a%20b", RuleError::Encoded),
            ("/a**", RuleError::Rest),
            ("/**/a", RuleError::Rest),
            ("/a/*", RuleError::Star),
            ("/a*b", RuleError::Star),
            ("/{}", RuleError::Name),
            ("/a{b}", RuleError::Name),
            ("/{a}b", RuleError::Name),
            ("/{a", RuleError::Name),
            ("/{a}{b}", RuleError::Name),
            ("/../a", RuleError::Path(PathError::DotSegment)),
            ("/a//b", RuleError::Path(PathError::EmptySegment)),
        ] {
            assert_eq!(Pattern::new(pattern), Err(error), "{pattern}");
        }
    }

    #[test]
    fn get_covers_head_and_nothing_else() {
        let get = Rule::new(&rule("/a", &["GET"], Access::Public)).unwrap();
        assert!(get.is_for("GET", "/a") && get.is_for("HEAD", "/a"));
        for method in ["POST", "get", "OPTIONS", "CONNECT", ""] {
            assert!(!get.is_for(method, "/a"), "{method}");
        }
        let head = Rule::new(&rule("/a", &["HEAD"], Access::Public)).unwrap();
        assert!(!head.is_for("GET", "/a"));
        let any = Rule::new(&rule("/a", &[], Access::Public)).unwrap();
        assert!(any.is_for("BREW", "/a"));
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules = [
            Rule::new(&rule("/a/b", &["GET"], Access::Public)).unwrap(),
            Rule::new(&rule("/a/**", &[], Access::Optional)).unwrap(),
            Rule::new(&rule("/a/b", &[], Access::Token)).unwrap(),
        ];
        let need = |method, path| find(&rules, method, path).map(|rule| &rule.need);
        assert!(matches!(need("GET", "/a/b"), Some(Need::Nothing)));
        assert!(matches!(need("POST", "/a/b"), Some(Need::TokenIfPresent)));
        assert!(need("GET", "/b").is_none());
    }

    #[test]
    fn requirements_that_would_not_be_looked_at_are_refused() {
        for access in [Access::Public, Access::Optional] {
            let mut rule = rule("/a", &[], access);
            rule.roles.push("admin".to_owned());
            assert_eq!(Rule::new(&rule).unwrap_err(), RuleError::NeedsToken);
        }
    }

    fn unmet(rule: &config::Rule, claims: &Value) -> Option<String> {
        let Ok(Rule {
            need: Need::Token(requirements),
            ..
        }) = Rule::new(rule)
        else {
            panic!("a rule that needs a token")
        };
        let claims = Claims::new(claims.as_object().unwrap().clone());
        let checked = requirements.check(&claims);
        checked.err().map(|unmet| unmet.to_string())
    }

    #[test]
    fn all_scopes_are_needed() {
        let mut rule = rule("/a", &[], Access::Token);
        rule.scopes = vec!["a:read".to_owned(), "b".to_owned()];
        assert_eq!(unmet(&rule, &json!({"scope": "b a:read c"})), None);
        let reason = unmet(&rule, &json!({"scope": "b a:reader"}));
        assert_eq!(reason.as_deref(), Some("scope `a:read` is not granted"));
        assert!(unmet(&rule, &json!({})).is_some());
    }

    #[test]
    fn one_role_is_enough() {
        let mut rule = rule("/a", &[], Access::Token);
        rule.roles = vec!["admin".to_owned(), "staff".to_owned()];
        assert_eq!(unmet(&rule, &json!({"roles": ["x", "staff"]})), None);
        assert_eq!(unmet(&rule, &json!({"roles": "admin"})), None);
        for claims in [
            json!({}),
            json!({"roles": []}),
            json!({"roles": "admin staff"}),
            json!({"roles": {"admin": true}}),
        ] {
            assert!(unmet(&rule, &claims).is_some(), "{claims}");
        }
    }

    #[test]
    fn claims_must_be_exactly_equal() {
        let mut rule = rule("/a", &[], Access::Token);
        rule.claims.insert("level".to_owned(), json!(2));
        assert_eq!(unmet(&rule, &json!({"level": 2})), None);
        for claims in [
            json!({}),
            json!({"level": 3}),
            json!({"level": "2"}),
            json!({"level": [2]}),
        ] {
            assert!(unmet(&rule, &claims).is_some(), "{claims}");
        }
    }

    proptest! {
        #[test]
        fn no_pattern_makes_it_panic(pattern in "(/?(\\PC{0,3}|\\*{1,2}|\\{[a-z]?\\})){0,5}", path in "(/[a-z]{0,2}){0,4}") {
            if let Ok(pattern) = Pattern::new(&pattern) {
                pattern.fits(&path);
            }
        }
    }
}
