//! `[auth]`: issuers and rules.

use super::*;

#[test]
fn an_issuer_has_exactly_one_kind_of_key() {
    assert_snapshot!(refused(r#"
[[auth.issuer]]
issuer = "a"
[[auth.issuer]]
secret_file = "a"
jwks_file = "b"
[[auth.issuer]]
public_key_file = "a"
create_missing = true
algorithms = "HS256"
[[auth.issuer]]
secret_file = "a"
algorithms = ["HS512", "RS256", "none"]
[[auth.issuer]]
secret_file = "a"
algorithms = ["HS512", "RS256"]
[[auth.issuer]]
secret_file = 3
"#), @r#"
    config: /srv/app.toml:2:1: `auth.issuer[0]` must have one of `secret_file`, `public_key_file`, `jwks_file`, `jwks_url` and `discovery`
    config: /srv/app.toml:4:1: `auth.issuer[1]` must have only one of `secret_file`, `public_key_file`, `jwks_file`, `jwks_url` and `discovery`
    config: /srv/app.toml:9:18: `auth.issuer[2].create_missing` is for `secret_file` only: other keys cannot be made up
    config: /srv/app.toml:10:14: `auth.issuer[2].algorithms` must not be an HS algorithm for a `public_key_file`, found `"HS256"`
    config: /srv/app.toml:13:33: `auth.issuer[3].algorithms[2]` must be one of `HS256`, `HS384`, `HS512`, `RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512`, `ES256`, `ES384`, `Ed25519`, `EdDSA`, found `"none"`
    config: /srv/app.toml:16:24: `auth.issuer[4].algorithms[1]` must be HS256, HS384 or HS512 for a `secret_file`, found `"RS256"`
    config: /srv/app.toml:18:15: `auth.issuer[5].secret_file` must be a string, found `3`
    "#);
}

#[test]
fn ed25519_is_eddsa() {
    let text = "[[auth.issuer]]\njwks_file = 'a'\nalgorithms = ['Ed25519', 'EdDSA']";
    let algorithms = &accepted(text).auth.issuers[0].algorithms;
    assert_eq!(algorithms, &[Algorithm::EdDsa, Algorithm::EdDsa]);
}

#[test]
fn leeway_is_whole_seconds() {
    let issuer = |leeway| format!("[[auth.issuer]]\nsecret_file = 'a'\nleeway = {leeway}");
    assert_snapshot!(refused(&issuer("'500ms'")), @r#"config: /srv/app.toml:3:10: `auth.issuer[0].leeway` must be whole seconds, found `"500ms"`"#);
    assert_snapshot!(refused(&issuer("1.5")), @"config: /srv/app.toml:3:10: `auth.issuer[0].leeway` must be whole seconds, found `1.5`");
    for leeway in ["0", "'1s 0ms'", "2.0", "'10m'"] {
        accepted(&issuer(leeway));
    }
}

#[test]
fn issuers_have_names_of_their_own() {
    assert_snapshot!(refused(r#"
[[auth.issuer]]
secret_file = "a"
issuer = "x"
[[auth.issuer]]
secret_file = "b"
name = "x"
[[auth.issuer]]
secret_file = "b"
issuer = "x"
"#), @r#"
    config: /srv/app.toml:7:8: `auth.issuer[1]` is called `x`, as is one before it
    hint: give each issuer a `name` of its own
    config: /srv/app.toml:8:1: `auth.issuer[2]` is called `x`, as is one before it
    hint: give each issuer a `name` of its own
    "#);
    let issuers = accepted(
        "[[auth.issuer]]\nsecret_file = 'a'\n[[auth.issuer]]\nsecret_file = 'a'\nissuer = 'y'",
    )
    .auth
    .issuers;
    assert_eq!(issuers[0].name, "auth.issuer[0]");
    assert_eq!(issuers[1].name, "y");
}

#[test]
fn patterns_are_paths() {
    let patterns = [
        "a", "**", "/**/a", "/a*", "/*", "/{}", "/a{id}", "/{a}{b}", "/a//b", "/a/../b", "/a?b",
        "/a b",
    ];
    let rules: Vec<String> = patterns
        .map(|path| format!("[[auth.rule]]\npath = {path:?}\n"))
        .into();
    assert_snapshot!(refused(&rules.concat()), @r#"
    config: /srv/app.toml:2:8: `auth.rule[0].path` must begin with `/`, found `"a"`
    config: /srv/app.toml:4:8: `auth.rule[1].path` must begin with `/`, found `"**"`
    hint: every path is `/**`
    config: /srv/app.toml:6:8: `auth.rule[2].path` may have `**` at its end only, found `"/**/a"`
    config: /srv/app.toml:8:8: `auth.rule[3].path` may have `**` as a whole segment only, found `"/a*"`
    config: /srv/app.toml:10:8: `auth.rule[4].path` may have `**` as a whole segment only, found `"/*"`
    config: /srv/app.toml:12:8: `auth.rule[5].path` must have a name in its braces, as in `/users/{id}`, found `"/{}"`
    config: /srv/app.toml:14:8: `auth.rule[6].path` may have `{name}` as a whole segment only, found `"/a{id}"`
    config: /srv/app.toml:16:8: `auth.rule[7].path` must have a name in its braces, as in `/users/{id}`, found `"/{a}{b}"`
    config: /srv/app.toml:18:8: `auth.rule[8].path` must not have empty segments, found `"/a//b"`
    config: /srv/app.toml:20:8: `auth.rule[9].path` must not have `.` or `..` as a segment, found `"/a/../b"`
    config: /srv/app.toml:22:8: `auth.rule[10].path` must be a path, without query, fragment or white space, found `"/a?b"`
    config: /srv/app.toml:24:8: `auth.rule[11].path` must be a path, without query, fragment or white space, found `"/a b"`
    "#);
    for path in ["/", "/**", "/a/", "/a/**", "/users/{id}/posts", "/%C3%A9"] {
        accepted(&format!("[[auth.rule]]\npath = {path:?}"));
    }
}

#[test]
fn methods_are_in_capitals() {
    assert_snapshot!(refused("[[auth.rule]]\npath = '/'\nmethods = ['GET', 'post', 'A B']"), @r#"
    config: /srv/app.toml:3:19: `auth.rule[0].methods[1]` must be a method in capitals, such as "GET", found `"post"`
    config: /srv/app.toml:3:27: `auth.rule[0].methods[2]` must be a method in capitals, such as "GET", found `"A B"`
    "#);
    assert_snapshot!(refused("[[auth.rule]]\npath = '/'\nmethods = 'get'"), @r#"
    config: /srv/app.toml:3:11: `auth.rule[0].methods` must be a method in capitals, such as "GET", found `"get"`
    "#);
}

/// Whether a rule on `later` that stands after one on `earlier` is refused.
fn is_covered(earlier: &str, later: &str) -> bool {
    read_text(
        &format!("auth.rule = [{{ {earlier} }}, {{ {later} }}]"),
        &Sources::default(),
    )
    .is_err()
}

#[test]
fn a_rule_that_can_never_decide_is_refused() {
    assert!(is_covered("path = '/a'", "path = '/a'"));
    assert!(is_covered("path = '/**'", "path = '/'"));
    assert!(is_covered("path = '/a/**'", "path = '/a/b/{c}'"));
    assert!(is_covered(
        "path = '/a/**'",
        "path = '/a/**', methods = 'GET'"
    ));
    assert!(is_covered("path = '/{x}/b'", "path = '/a/b'"));
    assert!(is_covered("path = '/a/**'", "path = '/a'"));
    assert!(is_covered("path = '/{x}/**'", "path = '/a'"));
    assert!(is_covered(
        "path = '/a', methods = 'GET'",
        "path = '/a', methods = ['HEAD', 'GET']"
    ));
    assert!(is_covered(
        "path = '/a', methods = ['GET', 'PUT']",
        "path = '/a', methods = 'PUT'"
    ));
    assert!(is_covered("path = '/a'", "path = '/a', hosts = 'x.y'"));
    assert!(is_covered(
        "path = '/a', hosts = ['*.y', 'z']",
        "path = '/a', hosts = ['z', 'x.y', '*.x.y']"
    ));
    assert_snapshot!(refused("[[auth.rule]]\npath = '/**'\n[[auth.rule]]\npath = '/a'"), @r#"
    config: /srv/app.toml:3:1: `auth.rule[1]` can never decide: `auth.rule[0]` matches all its requests first
    hint: the first rule that matches decides: put the narrower one first
    "#);
}

#[test]
fn a_rule_that_can_decide_is_accepted() {
    assert!(!is_covered("path = '/a/**'", "path = '/ab'"));
    assert!(!is_covered("path = '/a/b/**'", "path = '/a'"));
    assert!(!is_covered(
        "path = '/a', methods = 'HEAD'",
        "path = '/a', methods = 'GET'"
    ));
    assert!(!is_covered("path = '/a/b'", "path = '/a/{x}'"));
    assert!(!is_covered("path = '/{x}'", "path = '/a/'"));
    assert!(!is_covered("path = '/{x}'", "path = '/'"));
    assert!(!is_covered("path = '/a/{x}'", "path = '/a/**'"));
    assert!(!is_covered("path = '/a', hosts = 'x.y'", "path = '/a'"));
    assert!(!is_covered(
        "path = '/a', hosts = '*.y'",
        "path = '/a', hosts = 'y'"
    ));
    assert!(!is_covered("path = '/a', methods = 'GET'", "path = '/a'"));
    assert!(!is_covered(
        "path = '/a', methods = 'GET'",
        "path = '/a', methods = ['GET', 'PUT']"
    ));
}

#[test]
fn scopes_are_names_that_a_token_can_carry() {
    let scopes = |scopes: &str| {
        let rule = format!("[[auth.rule]]\npath = '/'\nscopes = {scopes}");
        accepted(&rule).auth.rules[0].scopes.clone()
    };
    assert_eq!(scopes("'read write'"), ["read", "write"]);
    assert_eq!(scopes("['a:b  c', 'd']"), ["a:b", "c", "d"]);
    assert_snapshot!(refused("[[auth.rule]]\npath = '/'\nscopes = ['a', 'é', 'a\"b', ' ', 'a\\b']"), @r#"
    config: /srv/app.toml:3:16: `auth.rule[0].scopes[1]` must be names of printable ASCII without `"` and `\`, separated by blanks, found `"é"`
    config: /srv/app.toml:3:21: `auth.rule[0].scopes[2]` must be names of printable ASCII without `"` and `\`, separated by blanks, found `'a"b'`
    config: /srv/app.toml:3:28: `auth.rule[0].scopes[3]` must be names of printable ASCII without `"` and `\`, separated by blanks, found `" "`
    config: /srv/app.toml:3:33: `auth.rule[0].scopes[4]` must be names of printable ASCII without `"` and `\`, separated by blanks, found `'a\b'`
    "#);
}

#[test]
fn an_optional_rule_asks_nothing_either() {
    for needs in [
        "roles = 'a'",
        "scopes = 'a'",
        "any_scopes = 'a'",
        "claims.a = 1",
        "max_age = '1m'",
    ] {
        let rule = format!("[[auth.rule]]\npath = '/'\naccess = 'optional'\n{needs}");
        let message = "`auth.rule[0]` is optional, so it cannot have";
        assert!(refused(&rule).contains(message), "{rule}");
    }
}

#[test]
fn a_public_rule_asks_nothing() {
    assert_snapshot!(refused("[[auth.rule]]\npath = '/'\naccess = 'public'\nroles = 'a'"), @r#"
    config: /srv/app.toml:1:1: `auth.rule[0]` is public, so it cannot have `scopes`, `any_scopes`, `roles`, `claims` or `max_age`
    hint: leave `access` out: the default needs a token
    "#);
}

#[test]
fn a_claim_has_a_value_that_a_token_can_have() {
    assert_snapshot!(refused("[[auth.rule]]\npath = '/'\nclaims = { a = 1, b = inf, 'c.d' = [2020-01-01] }"), @r#"
    config: /srv/app.toml:3:23: `auth.rule[0].claims.b` must be a value that JSON has, found `inf`
    config: /srv/app.toml:3:36: `auth.rule[0].claims."c.d"` must be a value that JSON has, found `[2020-01-01]`
    "#);
}

#[test]
fn a_claim_is_compared_as_its_table_says() {
    use serde_json::json;
    let rule = "[[auth.rule]]\npath = '/'\n[auth.rule.claims]\na = [1, 'x']\nb = { equals = { c = 1 } }\n'd.e' = { contains = 'x' }\nf = { one_of = [1, 2] }";
    let claims = accepted(rule).auth.rules[0].claims.clone();
    assert_eq!(claims["a"], ClaimTest::Equals(json!([1, "x"])));
    assert_eq!(claims["b"], ClaimTest::Equals(json!({ "c": 1 })));
    assert_eq!(claims["d.e"], ClaimTest::Contains(json!("x")));
    assert_eq!(claims["f"], ClaimTest::OneOf(vec![json!(1), json!(2)]));
    assert_snapshot!(refused("[[auth.rule]]\npath = '/'\n[auth.rule.claims]\na = {}\nb = { is = 1 }\nc = { one_of = [] }\nd = { contains = 1, equals = 2 }"), @r#"
    config: /srv/app.toml:4:5: `auth.rule[0].claims.a` must be a value, or one of `{ equals = … }`, `{ contains = … }` and `{ one_of = […] }`, found `{}`
    config: /srv/app.toml:5:5: `auth.rule[0].claims.b` must be a value, or one of `{ equals = … }`, `{ contains = … }` and `{ one_of = […] }`, found `{ is = 1 }`
    config: /srv/app.toml:6:5: `auth.rule[0].claims.c` must be a value, or one of `{ equals = … }`, `{ contains = … }` and `{ one_of = […] }`, found `{ one_of = [] }`
    config: /srv/app.toml:7:5: `auth.rule[0].claims.d` must be a value, or one of `{ equals = … }`, `{ contains = … }` and `{ one_of = […] }`, found `{ contains = 1, equals = 2 }`
    "#);
}

#[test]
fn hosts_are_names_without_port() {
    let rule = "[[auth.rule]]\npath = '/'\nhosts = ['API.Example.com.', '*.example.com', '[::1]', '127.0.0.1', 'localhost']";
    let hosts = &accepted(rule).auth.rules[0].hosts;
    let expected = [
        "api.example.com",
        "*.example.com",
        "[::1]",
        "127.0.0.1",
        "localhost",
    ];
    assert_eq!(hosts, &expected);
    for host in [
        "a:80", "a b", "*", "*.", "a.*.b", "http://a", "a..b", "[::x]", "::1", "é",
    ] {
        let rule = format!("[[auth.rule]]\npath = '/'\nhosts = {host:?}");
        assert!(
            refused(&rule).contains("must be a host without port"),
            "{host}"
        );
    }
}

#[test]
fn a_rule_is_audited_only_where_it_could_refuse() {
    accepted("[[auth.rule]]\npath = '/'\naudit = true");
    assert_snapshot!(refused("[[auth.rule]]\npath = '/'\naccess = 'public'\naudit = true"), @"config: /srv/app.toml:4:9: `auth.rule[0]` is public, so it refuses nothing that `audit` could let pass");
}

#[test]
fn a_rule_has_the_time_out_of_http_unless_it_has_its_own() {
    let text = "http.request_timeout = '7s'\n[[auth.rule]]\npath = '/a'\nrequest_timeout = '5m'\n[[auth.rule]]\npath = '/b'\nrequest_timeout = 0\n[[auth.rule]]\npath = '/c'";
    let rules = accepted(text).auth.rules;
    let times: Vec<_> = rules.iter().map(|rule| rule.request_timeout).collect();
    let seconds = Duration::from_secs;
    assert_eq!(times, [Some(seconds(300)), None, Some(seconds(7))]);
    let never = accepted("http.request_timeout = 0\n[[auth.rule]]\npath = '/a'");
    assert_eq!(never.auth.rules[0].request_timeout, None);
}

#[test]
fn a_rule_has_the_largest_body_of_http_unless_it_has_its_own() {
    let text = "http.max_body = '2MiB'\n[[auth.rule]]\npath = '/a'\nmax_body = '5GiB'\n[[auth.rule]]\npath = '/b'\nmax_body = 0\n[[auth.rule]]\npath = '/c'";
    let rules = accepted(text).auth.rules;
    let sizes: Vec<_> = rules.iter().map(|rule| rule.max_body).collect();
    assert_eq!(sizes, [5 << 30, u64::MAX, 2 << 20]);
    let any = accepted("http.max_body = 0\n[[auth.rule]]\npath = '/a'");
    assert_eq!(any.auth.rules[0].max_body, u64::MAX);
    assert_eq!(any.http.max_body, u64::MAX);
}

#[test]
fn a_request_has_a_first_line_of_some_length() {
    let told = refused("http.max_target = 0\nhttp.max_head = '0B'\n[[auth.rule]]\npath = '/a'");
    for (key, most) in [("http.max_target", "32KiB"), ("http.max_head", "256KiB")] {
        let range = format!("`{key}` must be a size of 1KiB to {most}, such as \"{most}\"");
        assert!(told.contains(&range), "{told}");
    }
    for wrong in [
        "max_target = '1MiB'",
        "max_head = '1B'",
        "max_headers = 0",
        "max_body = -1",
    ] {
        let told = refused(&format!("http.{wrong}\n[[auth.rule]]\npath = '/a'"));
        assert!(told.contains("`http.max_"), "{told}");
    }
}

#[test]
fn a_token_stands_in_places_that_have_names() {
    let text = "[auth]\ntoken_from = ['authorization', 'cookie:at', 'header:X-Token', 'protocol:bearer']\ntrusted_origins = 'HTTPS://app.example:8443'\ncsrf_cookie = 'csrftoken'\ncsrf_header = 'X-CSRFToken'";
    let auth = accepted(text).auth;
    assert_eq!(
        auth.token_from,
        [
            TokenSource::Authorization,
            TokenSource::Cookie("at".to_owned()),
            TokenSource::Header("x-token".to_owned()),
            TokenSource::Protocol("bearer".to_owned()),
        ]
    );
    assert_eq!(auth.trusted_origins, ["https://app.example:8443"]);
    assert_eq!(auth.double_submit.unwrap().header, "x-csrftoken");
    assert_snapshot!(refused("[auth]\ntoken_from = ['bearer', 'cookie', 'cookie:', 'header:a b', 'header:Cookie', 'cookie:a', 'cookie:a']\ntrusted_origins = ['app.example', 'https://a/', 'https://*.a', 'ftp://a', 'https://a:0']\ncsrf_cookie = 'a'"), @r#"
    config: /srv/app.toml:2:15: `auth.token_from[0]` must be `authorization`, `cookie:NAME`, `header:NAME` or `protocol:NAME`, found `"bearer"`
    config: /srv/app.toml:2:25: `auth.token_from[1]` must have a name of letters, digits and `-`, `_`, `.` after the colon, found `"cookie"`
    config: /srv/app.toml:2:35: `auth.token_from[2]` must have a name of letters, digits and `-`, `_`, `.` after the colon, found `"cookie:"`
    config: /srv/app.toml:2:46: `auth.token_from[3]` must have a name of letters, digits and `-`, `_`, `.` after the colon, found `"header:a b"`
    config: /srv/app.toml:2:60: `auth.token_from[4]` must not be a field that has a meaning of its own, found `"header:Cookie"`
    config: /srv/app.toml:2:89: `auth.token_from[6]` repeats `cookie:a`
    config: /srv/app.toml:3:20: `auth.trusted_origins[0]` must be an origin, such as `https://app.example.com`, found `"app.example"`
    config: /srv/app.toml:3:35: `auth.trusted_origins[1]` must be an origin, such as `https://app.example.com`, found `"https://a/"`
    config: /srv/app.toml:3:49: `auth.trusted_origins[2]` must be an origin, such as `https://app.example.com`, found `"https://*.a"`
    config: /srv/app.toml:3:64: `auth.trusted_origins[3]` must be an origin, such as `https://app.example.com`, found `"ftp://a"`
    config: /srv/app.toml:3:75: `auth.trusted_origins[4]` must be an origin, such as `https://app.example.com`, found `"https://a:0"`
    config: /srv/app.toml:4:15: `auth.csrf_cookie` and `auth.csrf_header` must be set together
    "#);
    assert_snapshot!(refused("[auth]\ntoken_from = []\n[[auth.rule]]\npath = '/'\naccess = 'public'\nquery_token = 'x'"), @r#"
    config: /srv/app.toml:2:14: `auth.token_from` must have at least one place, found `[]`
    config: /srv/app.toml:6:15: `auth.rule[0].query_token` must be the name of a parameter, of a rule that looks at a token, found `"x"`
    "#);
}

#[test]
fn a_token_service_that_cannot_work_is_refused() {
    let service = "[auth.tokens]\ndatabase = 'sqlite:a.db'\n";
    let issuer = "[[auth.issuer]]\nname = 'own'\npublic_key_file = 'a.pem'\n[[auth.issuer]]\nname = 'other'\nsecret_file = 'b'\n";
    for (keys, issuers, problem) in [
        (
            "",
            "",
            "`auth.tokens` needs an `[[auth.issuer]]` that signs",
        ),
        (
            "",
            issuer,
            "`auth.tokens.issuer` must name the issuer that signs: `own`, `other`",
        ),
        (
            "issuer = 'x'\n",
            issuer,
            "`auth.tokens.issuer` must name the issuer that signs: `own`, `other`",
        ),
        (
            "issuer = 'own'\n",
            issuer,
            "`auth.tokens` must have a `signing_key_file`: issuer `own` has public keys only",
        ),
        (
            "issuer = 'other'\nsigning_key_file = 'k'\n",
            issuer,
            "`auth.tokens.signing_key_file` is for issuers with public keys, but `other` signs with its secret",
        ),
        (
            "issuer = 'other'\nblacklist_after_rotation = true\n",
            issuer,
            "`auth.tokens.blacklist_after_rotation` needs `rotate_refresh_tokens = true`",
        ),
        (
            "issuer = 'other'\nprefix = '/a/../b'\n",
            issuer,
            "`auth.tokens.prefix` must be a path of plain segments, such as \"/api/token\"",
        ),
        (
            "issuer = 'other'\naccess_lifetime = '1500ms'\n",
            issuer,
            "`auth.tokens.access_lifetime` must be whole seconds",
        ),
        (
            "issuer = 'other'\ndatabase = 'mysql:a'\n",
            issuer,
            "`auth.tokens.database` must be `sqlite:PATH` or `postgresql://USER@HOST:PORT/NAME`",
        ),
        (
            "issuer = 'other'\ndatabase_password_file = 'p'\n",
            issuer,
            "`auth.tokens.database_password_file` is for a database on a server, `SQLite` has no password",
        ),
    ] {
        let service = if keys.contains("database =") {
            "[auth.tokens]\n"
        } else {
            service
        };
        let said = refused(&format!("{service}{keys}{issuers}"));
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(problem), "{said}");
    }
    assert_snapshot!(warned("[auth.tokens]\nissuer = 'a'\n[[auth.rule]]\npath = '/'\naccess = 'public'"), @r#"
    config: /srv/app.toml:1:1: `auth.tokens` has no `database`, so there is no token service
    hint: such as `database = "sqlite:/var/lib/destrier/tokens.db"`
    "#);
}

#[test]
fn a_resource_is_an_address() {
    let text = "[auth]\nresource = 'https://api.example:8443/v1'\n[[auth.issuer]]\nsecret_file = 'a'\nissuer = 'https://login.example/'\n[[auth.issuer]]\nsecret_file = 'b'\nissuer = 'internal'";
    let auth = accepted(text).auth;
    assert_eq!(
        auth.resource.as_deref(),
        Some("https://api.example:8443/v1")
    );
    assert_eq!(auth.authorization_servers, ["https://login.example/"]);
    for address in [
        "api.example",
        "https://",
        "https://a?b",
        "https://a/#b",
        "https://a b",
        "https://u@a",
        "/a",
    ] {
        let refused = refused(&format!(
            "[auth]\nresource = {address:?}\nauthorization_servers = {address:?}"
        ));
        let told = refused.matches("must be an address without query and fragment");
        assert_eq!(told.count(), 2, "{address}: {refused}");
    }
}

#[test]
fn a_binding_that_nobody_could_prove_is_refused() {
    let mtls = "[[auth.issuer]]\njwks_file = 'a'\nbinding = 'mtls'";
    assert_snapshot!(refused(mtls), @r#"
    config: /srv/app.toml:3:11: `auth.issuer[0].binding` is `mtls`, but `server.trusted_proxies` is empty: nobody may say which certificate a client has
    hint: name the proxy that ends TLS, by its address or as `unix`, or set `tls.client_auth`
    "#);
    for proxies in ["'unix'", "['10.0.0.0/8', '::1']"] {
        let config = accepted(&format!("server.trusted_proxies = {proxies}\n{mtls}"));
        assert!(config.auth.has_binding(Binding::Mtls));
        assert!(!config.server.trusted_proxies.is_empty());
    }
    let service = "auth.tokens.database = 'sqlite:a'\n[[auth.issuer]]\nsecret_file = 'a'\nname = 'own'\nbinding = 'dpop'";
    assert_snapshot!(refused(service), @"config: /srv/app.toml:1:6: `auth.tokens` issues tokens that are bound to nothing, but issuer `own` has a `binding`");
}

#[test]
fn what_proofs_and_certificates_need_is_checked() {
    assert_snapshot!(refused(r#"
[server]
trusted_proxies = ["10.0.0.0/33", "unix", "proxy.example"]
[auth]
dpop_origin = "https://api.example/v1"
dpop_window = "1500ms"
client_cert_header = "Authorization"
client_cert_format = "pem"
[[auth.issuer]]
jwks_file = "a"
binding = "tls"
"#), @r#"
    config: /srv/app.toml:3:20: `server.trusted_proxies[0]` must be an address, a network such as `10.0.0.0/8`, or `unix`, found `"10.0.0.0/33"`
    config: /srv/app.toml:3:43: `server.trusted_proxies[2]` must be an address, a network such as `10.0.0.0/8`, or `unix`, found `"proxy.example"`
    config: /srv/app.toml:5:15: `auth.dpop_origin` must be an origin, such as `https://api.example.com`, found `"https://api.example/v1"`
    config: /srv/app.toml:6:15: `auth.dpop_window` must be whole seconds, found `"1500ms"`
    config: /srv/app.toml:7:22: `auth.client_cert_header` must be the name of a field that has no other meaning, found `"Authorization"`
    config: /srv/app.toml:8:22: `auth.client_cert_format` must be `rfc9440` or `nginx`, found `"pem"`
    config: /srv/app.toml:11:11: `auth.issuer[0].binding` must be one of `none`, `dpop`, `mtls`, found `"tls"`
    "#);
    let auth = accepted("[auth]\ndpop_origin = 'HTTPS://API.example:8443'\nclient_cert_header = 'X-SSL-Client-Cert'\nclient_cert_format = 'nginx'").auth;
    assert_eq!(
        auth.dpop_origin.as_deref(),
        Some("https://api.example:8443")
    );
    assert_eq!(auth.client_cert_header, "x-ssl-client-cert");
    assert_eq!(auth.client_cert_format, ClientCertFormat::Nginx);
}
