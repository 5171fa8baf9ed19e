//! `[[auth.rule]]`: whether a pattern is well formed, and whether a rule can ever decide.

use std::net::{IpAddr, Ipv6Addr};

use super::Rule;

/// Why `path` is no pattern; `None` when it is one.
///
/// A pattern is segments after slashes: literal text, `{name}` for any one segment, and `**` at the end for the rest.
pub(super) fn refuse_pattern(path: &str) -> Option<&'static str> {
    let Some(rest) = path.strip_prefix('/') else {
        return Some("must begin with `/`");
    };
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        if segment == "**" {
            if !is_last {
                return Some("may have `**` at its end only");
            }
        } else if segment.contains('*') {
            return Some("may have `**` as a whole segment only");
        } else if let Some(name) = segment
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
        {
            if name.is_empty() || name.contains(['{', '}']) {
                return Some("must have a name in its braces, as in `/users/{id}`");
            }
        } else if segment.contains(['{', '}']) {
            return Some("may have `{name}` as a whole segment only");
        } else if segment == "." || segment == ".." {
            return Some("must not have `.` or `..` as a segment");
        } else if segment.is_empty() && !is_last {
            return Some("must not have empty segments");
        } else if segment.contains(['?', '#']) || segment.contains(char::is_whitespace) {
            return Some("must be a path, without query, fragment or white space");
        }
    }
    None
}

/// Whether `method` is a method (RFC 9110 section 9.1) as they are in use: a token, in capitals.
pub(super) fn is_method(method: &str) -> bool {
    let is_token = |byte: u8| {
        byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
    };
    !method.is_empty() && method.bytes().all(is_token)
}

/// The host pattern as it is compared, in lower case and without the dot at its end; `None` when it is none. An address of
/// IPv6 stands in brackets, as in the Host field.
pub(super) fn host(text: &str) -> Option<String> {
    let host = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let name = host.strip_prefix("*.").unwrap_or(&host);
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let is_address = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    (is_address || name.split('.').all(is_label)).then_some(host)
}

/// Whether every host that `later` names is one of `earlier`.
fn covers_hosts(earlier: &Rule, later: &Rule) -> bool {
    let is_covered = |host: &String| {
        earlier.hosts.iter().any(|pattern| {
            pattern == host
                || pattern
                    .strip_prefix('*')
                    .is_some_and(|suffix| host.ends_with(suffix))
        })
    };
    earlier.hosts.is_empty() || (!later.hosts.is_empty() && later.hosts.iter().all(is_covered))
}

/// The scopes in a text: names separated by blanks, as a token carries them (RFC 6749 section 3.3). `None` when it holds
/// none, or something that no token can carry.
pub(super) fn scopes(text: &str) -> Option<Vec<String>> {
    let is_allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    let scopes: Vec<String> = text
        .split(' ')
        .filter(|scope| !scope.is_empty())
        .map(str::to_owned)
        .collect();
    let all_allowed = scopes.iter().all(|scope| scope.bytes().all(is_allowed));
    (all_allowed && !scopes.is_empty()).then_some(scopes)
}

/// Whether every request that `later` matches is decided by `earlier`.
pub(super) fn covers(earlier: &Rule, later: &Rule) -> bool {
    // A rule for GET is one for HEAD too (RFC 9110 section 9.3.2).
    let is_covered = |method: &String| {
        let is_for = |name: &str| earlier.methods.iter().any(|each| each == name);
        is_for(method) || (method == "HEAD" && is_for("GET"))
    };
    let methods = earlier.methods.is_empty()
        || (!later.methods.is_empty() && later.methods.iter().all(is_covered));
    methods && covers_hosts(earlier, later) && covers_path(&earlier.path, &later.path)
}

fn covers_path(earlier: &str, later: &str) -> bool {
    let mut theirs = later.split('/');
    for segment in earlier.split('/') {
        // Nothing is part of the rest: `/admin/**` is for `/admin` too.
        if segment == "**" {
            return true;
        }
        let Some(other) = theirs.next() else {
            return false;
        };
        let is_covered = if segment.starts_with('{') {
            // An empty segment, as after the slash of `/a/`, is none that a name could stand for.
            !other.is_empty() && other != "**"
        } else {
            segment == other
        };
        if !is_covered {
            return false;
        }
    }
    theirs.next().is_none()
}

/// Whether the rule lets anybody GET something under `prefix`, which ends with `/`.
pub(super) fn reaches_under(rule: &Rule, prefix: &str) -> bool {
    let is_read = |method: &String| method == "GET" || method == "HEAD";
    if !rule.methods.is_empty() && !rule.methods.iter().any(is_read) {
        return false;
    }
    let mut segments = rule.path.split('/');
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    for name in prefix.split('/') {
        match segments.next() {
            Some("**") => return true,
            Some(segment) if segment.starts_with('{') || segment == name => {}
            Some(_) | None => return false,
        }
    }
    segments.next().is_some()
}

/// What a rule asks of a token.
pub(super) fn has_needs(rule: &Rule) -> bool {
    !(rule.scopes.is_empty()
        && rule.any_scopes.is_empty()
        && rule.roles.is_empty()
        && rule.claims.is_empty()
        && rule.max_age.is_none())
}

/// The alternative name of a certificate that is meant, as [`crate::tls::ClientCertificate`] writes it.
pub(super) fn alternative_name(text: &str) -> Option<String> {
    let (kind, name) = text.split_once(':').filter(|(_, name)| !name.is_empty())?;
    match kind {
        "DNS" => Some(format!("DNS:{}", name.to_ascii_lowercase())),
        "IP" => name
            .parse::<IpAddr>()
            .ok()
            .map(|address| format!("IP:{address}")),
        "URI" | "email" => Some(text.to_owned()),
        _ => None,
    }
}
