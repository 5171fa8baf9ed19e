//! The target of a request as the application gets it: the path as the rules read it.

use http::Uri;
use http::uri::PathAndQuery;

use crate::auth::{self, Refusal};
use crate::refusal_class::RefusalClass;

/// The target with its path written in the one way that [`auth::canonical_path`] knows; `None` when it is already. An
/// application that routes on the path as written would else serve another route than the one whose rule decided.
pub(super) fn canonical(uri: &Uri) -> Result<Option<Uri>, Refusal> {
    let Some(path) = auth::canonical_path(uri.path()) else {
        return Ok(None);
    };
    let target = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let mut parts = uri.clone().into_parts();
    // Nothing but its length can be wrong: some characters became three.
    let target = PathAndQuery::try_from(target).map_err(|_| too_long())?;
    parts.path_and_query = Some(target);
    Uri::from_parts(parts).map(Some).map_err(|_| too_long())
}

fn too_long() -> Refusal {
    Refusal {
        status: 414,
        challenge: None,
        detail: "The path of the request is too long.",
        code: "uri_too_long",
        class: RefusalClass::Request,
        reason: "the path is too long when it is written as the rules read it".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(target: &str) -> Option<String> {
        let uri: Uri = target.parse().unwrap();
        canonical(&uri).unwrap().map(|uri| uri.to_string())
    }

    #[test]
    fn the_path_is_written_as_it_was_judged_and_all_else_stays() {
        assert_eq!(rewritten("/hello?a=%61&b=é"), None);
        assert_eq!(rewritten("/%68ello").as_deref(), Some("/hello"));
        assert_eq!(
            rewritten("/%68ello?a=%61&%2F?").as_deref(),
            Some("/hello?a=%61&%2F?")
        );
        assert_eq!(
            rewritten("http://a.example:80/%7ex?").as_deref(),
            Some("http://a.example:80/~x?")
        );
    }

    #[test]
    fn a_path_that_grows_too_long_is_refused() {
        let uri: Uri = format!("/{}", "[".repeat(60_000)).parse().unwrap();
        assert_eq!(canonical(&uri).unwrap_err().status, 414);
    }
}
