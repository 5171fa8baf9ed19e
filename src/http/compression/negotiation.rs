//! Which algorithm a client wants, by its `Accept-Encoding` (RFC 9110 section 12.5.3).

use http::HeaderMap;
use http::header::ACCEPT_ENCODING;
use sfv::{BareItem, Item, List, ListEntry, Parser};

use crate::config::CompressionAlgorithm;

/// The algorithm that a client likes best of `offered`, of several the first; none where it likes content as it is better, or says
/// nothing that can be understood. The field is read as a list of structured fields (RFC 9651), which its values are but for blanks before
/// a `;` that nobody writes.
pub(in crate::http) fn accepted(
    headers: &HeaderMap,
    offered: &[CompressionAlgorithm],
) -> Option<CompressionAlgorithm> {
    let mut wishes: Vec<(String, i64)> = Vec::new();
    for line in headers.get_all(ACCEPT_ENCODING) {
        let list: List = Parser::new(line.as_bytes()).parse().ok()?;
        for entry in list {
            let ListEntry::Item(item) = entry else {
                return None;
            };
            wishes.push(wish(&item)?);
        }
    }
    let quality = |name: &str| {
        let named = |wanted: &str| wishes.iter().find(|(name, _)| name == wanted);
        let quality = named(name)
            .or_else(|| (name == "gzip").then(|| named("x-gzip")).flatten())
            .or_else(|| named("*"));
        quality.map(|(_, quality)| *quality)
    };
    // As it is, content may be sent unless that is ruled out; only who says so prefers it.
    let named_identity = wishes.iter().find(|(name, _)| name == "identity");
    let identity = named_identity.map_or(0, |(_, quality)| *quality);
    let mut best = None;
    for algorithm in offered {
        let quality = quality(name_of(*algorithm)).unwrap_or(0);
        let (_, most) = best.unwrap_or((*algorithm, 0));
        if quality > most && quality >= identity {
            best = Some((*algorithm, quality));
        }
    }
    best.map(|(algorithm, _)| algorithm)
}

/// The name of a coding in lower case, and how much it is wanted, in thousandths.
fn wish(item: &Item) -> Option<(String, i64)> {
    let BareItem::Token(name) = &item.bare_item else {
        return None;
    };
    let quality = match item.params.get("q") {
        None => 1000,
        Some(BareItem::Integer(quality)) => i64::from(*quality).checked_mul(1000)?,
        Some(BareItem::Decimal(quality)) => quality.as_integer_scaled_1000().into(),
        Some(_) => return None,
    };
    (0..=1000)
        .contains(&quality)
        .then(|| (name.as_str().to_ascii_lowercase(), quality))
}

/// The name of the algorithm in header fields.
pub(super) const fn name_of(algorithm: CompressionAlgorithm) -> &'static str {
    match algorithm {
        CompressionAlgorithm::Zstd => "zstd",
        CompressionAlgorithm::Br => "br",
        CompressionAlgorithm::Gzip => "gzip",
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use CompressionAlgorithm::{Br, Gzip, Zstd};

    fn of(
        lines: &[&'static str],
        offered: &[CompressionAlgorithm],
    ) -> Option<CompressionAlgorithm> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT_ENCODING, HeaderValue::from_static(line));
        }
        accepted(&headers, offered)
    }

    #[test]
    fn the_algorithm_is_the_one_that_the_client_likes_best_and_of_several_the_first() {
        for (line, expected) in [
            ("gzip, deflate, br, zstd", Some(Zstd)),
            ("gzip, deflate, br", Some(Br)),
            ("gzip", Some(Gzip)),
            ("GZIP", Some(Gzip)),
            ("x-gzip", Some(Gzip)),
            ("*", Some(Zstd)),
            ("zstd;q=0, *", Some(Br)),
            ("zstd;q=0.5, br;q=0.8, gzip;q=0.8", Some(Br)),
            ("zstd;q=0.001", Some(Zstd)),
            ("gzip;q=1.0, *;q=0.5", Some(Gzip)),
            ("gzip; q=0.5", Some(Gzip)),
            ("identity;q=0.5, gzip;q=1", Some(Gzip)),
            ("identity, gzip", Some(Gzip)),
            ("identity;q=1, gzip;q=0.5", None),
            ("identity", None),
            ("identity;q=0", None),
            ("gzip;q=0", None),
            ("*;q=0", None),
            ("deflate", None),
            ("", None),
            ("gzip;q=2", None),
            ("gzip;q=-1", None),
            ("gzip;q=nan", None),
            ("gzip;q=\"1\"", None),
            ("gzip,,br", None),
            ("(gzip br)", None),
        ] {
            assert_eq!(of(&[line], &[Zstd, Br, Gzip]), expected, "{line}");
        }
        assert_eq!(of(&[], &[Zstd]), None);
        assert_eq!(of(&["br", "gzip"], &[Gzip, Br]), Some(Gzip));
        assert_eq!(of(&["br;q=0.9", "gzip;q=0.1"], &[Gzip, Br]), Some(Br));
        assert_eq!(of(&["br"], &[Gzip]), None);
        assert_eq!(of(&["gzip"], &[]), None);
    }
}
