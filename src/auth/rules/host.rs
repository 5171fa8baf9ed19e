//! Patterns on the host: `api.example.com`, `*.example.com`.

/// Whether `pattern`, checked and in lower case, is for the Host field `field` (RFC 9110 section 7.2). The port is not
/// looked at; `*.` stands for one label or more.
pub(super) fn fits(pattern: &str, field: &str) -> bool {
    let host = without_port(field);
    let host = host.strip_suffix('.').unwrap_or(host);
    match pattern.strip_prefix('*') {
        Some(suffix) => {
            let labels = host.len().checked_sub(suffix.len());
            labels
                .and_then(|labels| host.split_at_checked(labels))
                .is_some_and(|(labels, rest)| {
                    !labels.is_empty() && rest.eq_ignore_ascii_case(suffix)
                })
        }
        None => host.eq_ignore_ascii_case(pattern),
    }
}

fn without_port(field: &str) -> &str {
    // An address of IPv6 has colons of its own, in brackets.
    let host_end = field.rfind(']').map_or(0, |bracket| bracket + 1);
    match field.get(host_end..).and_then(|rest| rest.find(':')) {
        Some(colon) => field.get(..host_end + colon).unwrap_or(field),
        None => field,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::fits;

    #[test]
    fn a_name_is_compared_without_case_port_and_last_dot() {
        for field in [
            "a.example",
            "A.Example",
            "a.example:8443",
            "a.example.",
            "a.example.:80",
        ] {
            assert!(fits("a.example", field), "{field}");
        }
        for field in [
            "",
            "b.a.example",
            "a.example.org",
            "a.example..",
            "xa.example",
            ":80",
        ] {
            assert!(!fits("a.example", field), "{field}");
        }
    }

    #[test]
    fn a_star_is_one_label_or_more() {
        assert!(fits("*.example", "a.example:1") && fits("*.example", "b.A.example"));
        for field in ["example", ".example", "aexample", "a.example.org", ""] {
            assert!(!fits("*.example", field), "{field}");
        }
    }

    #[test]
    fn an_address_keeps_its_colons() {
        assert!(fits("[::1]", "[::1]:8000") && fits("[::1]", "[::1]"));
        assert!(!fits("[::1]", "[::2]:8000") && !fits("[::1]", "::1"));
        assert!(fits("127.0.0.1", "127.0.0.1:80"));
    }

    proptest! {
        #[test]
        fn no_field_makes_it_panic(field in "\\PC{0,12}|[a-z.:\\[\\]*]{0,12}") {
            fits("*.example", &field);
            fits("é.example", &field);
        }
    }
}
