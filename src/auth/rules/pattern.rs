//! Patterns on the path: `/exact`, `/users/{id}`, `/prefix/**`.

use super::RuleError;
use crate::auth::path::normalise;

/// A pattern on the path, segment by segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pattern {
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
    pub(super) fn new(text: &str) -> Result<Self, RuleError> {
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
        normalise(fixed)?;
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

    pub(super) fn fits(&self, path: &str) -> bool {
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

    use super::*;
    use crate::auth::PathError;

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

    proptest! {
        #[test]
        fn no_pattern_makes_it_panic(pattern in "(/?(\\PC{0,3}|\\*{1,2}|\\{[a-z]?\\})){0,5}", path in "(/[a-z]{0,2}){0,4}") {
            if let Ok(pattern) = Pattern::new(&pattern) {
                pattern.fits(&path);
            }
        }
    }
}
