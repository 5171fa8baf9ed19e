//! How long an answer is fresh, as its server says (RFC 9111 section 4.2).

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, Request, Response};
use http_cache_semantics::{CacheOptions, CachePolicy};

/// What the fields of an answer that came at `now`, since 1970, say. `None` where they say nothing, and also where they want nothing
/// kept at all: that is meant for browsers, and every client of key sets has to keep them.
pub(super) fn lifetime(fields: &HeaderMap, now: Duration) -> Option<Duration> {
    let now = UNIX_EPOCH + now;
    let mut answer = Response::new(());
    fields.clone_into(answer.headers_mut());
    let options = CacheOptions {
        // Nobody else is served from here.
        shared: false,
        // No guesses from Last-Modified.
        cache_heuristic: 0.0,
        ..CacheOptions::default()
    };
    let policy = CachePolicy::new_options(&Request::new(()), &answer, now, options);
    Some(policy.time_to_live(now)).filter(|time| !time.is_zero())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::lifetime;

    #[test]
    fn an_answer_is_fresh_for_as_long_as_it_says() {
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        let now = Duration::from_secs(784_111_777);
        for (fields, seconds) in [
            (vec![], None),
            (vec![("cache-control", "public, max-age=600")], Some(600)),
            (vec![("cache-control", "private, max-age=600")], Some(600)),
            (
                vec![("cache-control", "max-age=600"), ("age", "100")],
                Some(500),
            ),
            (
                vec![date, ("expires", "Sun, 06 Nov 1994 08:59:37 GMT")],
                Some(600),
            ),
            (
                vec![
                    date,
                    ("expires", "Sun, 06 Nov 1994 09:59:37 GMT"),
                    ("cache-control", "max-age=60"),
                ],
                Some(60),
            ),
            (vec![date, ("expires", "0")], None),
            (
                vec![date, ("last-modified", "Sun, 06 Nov 1983 08:49:37 GMT")],
                None,
            ),
            (vec![("cache-control", "no-store")], None),
            (vec![("cache-control", "no-cache, max-age=600")], None),
            (vec![("cache-control", "max-age=0")], None),
            (vec![("cache-control", "max-age=600"), ("age", "601")], None),
            (
                vec![("cache-control", "max-age=99999999999999999999999")],
                None,
            ),
            (
                vec![("cache-control", "max-age=18446744073709551615")],
                Some(u64::MAX),
            ),
            (vec![("cache-control", "=,;\"max-age\"")], None),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in &fields {
                map.insert(
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                );
            }
            assert_eq!(
                lifetime(&map, now),
                seconds.map(Duration::from_secs),
                "{fields:?}"
            );
        }
    }
}
