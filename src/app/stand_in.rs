//! For development: what answers in the place of an application that cannot be loaded.

use bytes::Bytes;
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use mime::Mime;

/// So many bytes of an error are shown: its end, which says what went wrong.
const TEXT_MAX: usize = 64 << 10;

const TITLE: &str = "The application cannot be loaded";

/// Shows whoever asks why the application cannot be loaded, as a page or as text. It is for those who write the application: what it shows
/// is none of a client's business.
#[derive(Debug, Clone)]
pub struct StandIn {
    page: Bytes,
    text: Bytes,
}

impl StandIn {
    /// `reason` is one line; `traceback` says where the application's own code failed, where that is known.
    pub fn new(reason: &str, traceback: Option<&str>) -> Self {
        let told = traceback.unwrap_or(reason).trim_end();
        let start = told.ceil_char_boundary(told.len().saturating_sub(TEXT_MAX));
        let told = told.get(start..).unwrap_or_default();
        Self {
            page: page(reason, told).into(),
            text: format!("{TITLE}\n\n{told}\n").into(),
        }
    }

    /// The answer to a request with these fields: 500, a page for who takes one, text for others.
    pub fn answer(&self, asked: &HeaderMap) -> Response<Bytes> {
        let (kind, body) = if takes_html(asked) {
            ("text/html; charset=utf-8", self.page.clone())
        } else {
            ("text/plain; charset=utf-8", self.text.clone())
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        for (name, value) in [
            (CONTENT_TYPE, kind),
            (VARY, "accept"),
            (CACHE_CONTROL, "no-store"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            // Should anything of what is shown be taken for markup, it does nothing.
            (
                CONTENT_SECURITY_POLICY,
                "sandbox; script-src 'none'; connect-src 'none'; img-src 'none'; form-action 'none'",
            ),
        ] {
            let value = HeaderValue::from_static(value);
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// Who names HTML among what it takes, as browsers do; who takes anything, as curl, wants to read it in a terminal.
fn takes_html(asked: &HeaderMap) -> bool {
    let fields = asked.get_all(ACCEPT).iter();
    let mut ranges = fields
        .filter_map(|field| field.to_str().ok())
        .flat_map(|field| field.split(','))
        .filter_map(|range| range.trim().parse::<Mime>().ok());
    ranges.any(|range| {
        let quality = range.get_param("q");
        let quality = quality.and_then(|quality| quality.as_str().parse::<f32>().ok());
        range.essence_str() == mime::TEXT_HTML.essence_str() && quality.is_none_or(|it| it > 0.0)
    })
}

fn page(reason: &str, told: &str) -> String {
    let reason = html_escape::encode_text(reason);
    let told = html_escape::encode_text(told);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{TITLE}</title>\n\
         <style>body{{font:16px/1.5 system-ui,sans-serif;margin:2rem;color:#222;background:#fff}}h1{{font-size:1.3rem;color:#a00}}\
         pre{{font-size:14px;background:#f4f4f4;padding:1rem;overflow:auto;white-space:pre-wrap}}</style>\n\
         <h1>{TITLE}</h1>\n<p>{reason}</p>\n<pre>{told}</pre>\n\
         <p>It is loaded again when one of its source files is saved. <code>app.reload_on_change</code> is for development.</p>\n"
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(stand_in: &StandIn, accept: &[&'static str]) -> (String, String) {
        let fields = accept
            .iter()
            .map(|it| (ACCEPT, HeaderValue::from_static(it)));
        let response = stand_in.answer(&fields.collect());
        assert_eq!(response.status(), 500);
        let kind = response.headers()[CONTENT_TYPE]
            .to_str()
            .unwrap()
            .to_owned();
        let body = String::from_utf8(response.into_body().to_vec()).unwrap();
        (kind, body)
    }

    #[test]
    fn whoever_takes_html_gets_a_page_and_others_get_text() {
        let stand_in = StandIn::new("cannot load", Some("in <module>\n"));
        for accept in [
            &["text/html,application/xhtml+xml,*/*;q=0.8"][..],
            &["application/json", "TEXT/HTML;q=0.1"],
        ] {
            let (kind, body) = answer(&stand_in, accept);
            assert_eq!(kind, "text/html; charset=utf-8");
            assert!(body.contains("<p>cannot load</p>"), "{body}");
            assert!(body.contains("<pre>in &lt;module&gt;</pre>"), "{body}");
        }
        for accept in [&[][..], &["*/*"], &["text/html;q=0"], &["application/json"]] {
            let (kind, body) = answer(&stand_in, accept);
            assert_eq!(kind, "text/plain; charset=utf-8");
            assert_eq!(body, format!("{TITLE}\n\nin <module>\n"));
        }
    }

    #[test]
    fn of_what_is_very_long_the_end_is_shown() {
        let long = format!("{}the end", "\u{e9}".repeat(TEXT_MAX));
        let (_, body) = answer(&StandIn::new("reason", Some(&long)), &[]);
        assert!(body.ends_with("the end\n") && body.len() < TEXT_MAX + 100);
    }

    proptest! {
        #[test]
        fn nothing_of_an_error_is_markup(reason in ".*", told in "[<>&\"'a-z/]*") {
            let (_, body) = answer(&StandIn::new(&reason, Some(&told)), &["text/html"]);
            let (_, plain) = answer(&StandIn::new("", Some("")), &["text/html"]);
            prop_assert_eq!(body.matches('<').count(), plain.matches('<').count());
        }
    }
}
