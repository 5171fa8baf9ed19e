//! Whether a client takes what the token service can answer, which is JSON: as Django REST Framework negotiates it.

use http::StatusCode;
use http::header::ACCEPT;
use http::request::Parts;
use mime::Mime;

use super::answer::Answer;

/// Refuses a client that takes no JSON, by its Accept field or by `?format=`.
pub(super) fn check(head: &Parts) -> Result<(), Answer> {
    let query = head.uri.query().unwrap_or_default();
    let format = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "format");
    if format
        .last()
        .is_some_and(|(_, format)| !format.is_empty() && format != "json")
    {
        return Err(Answer::detail(StatusCode::NOT_FOUND, "Not found."));
    }
    let mut fields = head.headers.get_all(ACCEPT).iter().peekable();
    let is_accepted = fields.peek().is_none()
        || fields
            .filter_map(|field| field.to_str().ok())
            .flat_map(|field| field.split(','))
            .any(takes_json);
    if is_accepted {
        Ok(())
    } else {
        let detail = "Could not satisfy the request Accept header.";
        Err(Answer::detail(StatusCode::NOT_ACCEPTABLE, detail))
    }
}

fn takes_json(range: &str) -> bool {
    let range = range.trim();
    let range: Mime = match range.parse() {
        Ok(range) => range,
        Err(_) => return range.is_empty(),
    };
    let is = |name: mime::Name<'_>, wanted| name == wanted || name == mime::STAR;
    is(range.type_(), mime::APPLICATION) && is(range.subtype(), mime::JSON)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn status(uri: &str, accept: &[&str]) -> u16 {
        let mut request = Request::get(uri);
        for field in accept {
            request = request.header(ACCEPT, *field);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        check(&head).map_or_else(|answer| answer.status.as_u16(), |()| 200)
    }

    #[test]
    fn whoever_takes_json_is_answered() {
        for accept in [
            &[][..],
            &["*/*"],
            &["application/*"],
            &["text/html, application/json; q=0.5"],
            &["text/html", "*/*"],
        ] {
            assert_eq!(status("/", accept), 200, "{accept:?}");
        }
        for accept in [&["text/html"][..], &["application/xml"], &["text/json"]] {
            assert_eq!(status("/", accept), 406, "{accept:?}");
        }
        assert_eq!(status("/?format=json", &[]), 200);
        assert_eq!(status("/?format=xml", &["*/*"]), 404);
    }
}
