//! What a request needs: the first rule whose pattern and method fit decides.

use std::collections::BTreeMap;

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
    need: Need,
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
        })
    }

    fn is_for(&self, method: &str, path: &str) -> bool {
        // RFC 9110 section 9.3.2: HEAD is GET without the content, so whoever may GET may HEAD.
        let fits = |each: &String| each == method || (method == "HEAD" && each == "GET");
        (self.methods.is_empty() || self.methods.iter().any(fits)) && self.pattern.fits(path)
    }
}

/// What the first fitting rule asks for; `None` when there is none. The path must be normalised.
pub(super) fn find<'a>(rules: &'a [Rule], method: &str, path: &str) -> Option<&'a Need> {
    let rule = rules.iter().find(|rule| rule.is_for(method, path));
    rule.map(|rule| &rule.need)
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
