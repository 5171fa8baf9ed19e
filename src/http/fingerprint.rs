//! By what a request is known when it comes again.

use aws_lc_rs::digest::{Context, SHA256};
use http::request::Parts;

use crate::auth::Claims;

/// Of two requests alike in method, path, query and in whose they are; never 0. The path is the one that was judged, so another
/// spelling of it is no other request, and a client can choose everything but the issuer and the subject of its token.
pub(super) fn of(head: &Parts, claims: Option<&Claims>) -> u64 {
    let claim = |name| claims.and_then(|claims| claims.get(name)?.as_str());
    of_parts([
        Some(head.method.as_str()),
        Some(head.uri.path()),
        head.uri.query(),
        claim("iss"),
        claim("sub"),
    ])
}

fn of_parts(parts: [Option<&str>; 5]) -> u64 {
    let mut digest = Context::new(&SHA256);
    for part in parts {
        // With its length, so that nothing can be moved from one part to the next; one that is missing is not an empty one.
        let length = part.map_or(u64::MAX, |part| part.len() as u64);
        digest.update(&length.to_le_bytes());
        digest.update(part.unwrap_or_default().as_bytes());
    }
    let digest = digest.finish();
    let start = digest.as_ref().first_chunk().copied().unwrap_or_default();
    u64::from_le_bytes(start).max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use http::Request;

    use super::*;

    #[test]
    fn requests_differ_by_method_path_query_issuer_and_subject() {
        let all = [
            [Some("GET"), Some("/a"), None, None, None],
            [Some("HEAD"), Some("/a"), None, None, None],
            [Some("GET"), Some("/b"), None, None, None],
            [Some("GET"), Some("/a"), Some(""), None, None],
            [Some("GET"), Some("/a"), Some("x=1"), None, None],
            [Some("GET"), Some("/a"), Some("x=2"), None, None],
            [Some("GET"), Some("/a"), None, Some("one"), None],
            [Some("GET"), Some("/a"), None, None, Some("one")],
            [Some("GET"), Some("/a"), None, Some("one"), Some("alice")],
            [Some("GET"), Some("/a"), None, Some("two"), Some("alice")],
            [Some("GET"), Some("/a"), None, Some("one"), Some("bob")],
            [Some("GET/"), Some("a"), None, None, None],
        ];
        let prints: BTreeSet<_> = all.iter().map(|parts| of_parts(*parts)).collect();
        assert_eq!(prints.len(), all.len());
    }

    #[test]
    fn a_request_is_known_again_whatever_its_fields_say() {
        let head = |field: &str| {
            let request = Request::get("/a?x=1").header("user-agent", field).body(());
            request.unwrap().into_parts().0
        };
        let print = of(&head("one"), None);
        assert_eq!(print, of(&head("two"), None));
        let parts = [Some("GET"), Some("/a"), Some("x=1"), None, None];
        assert_eq!(print, of_parts(parts));
    }
}
