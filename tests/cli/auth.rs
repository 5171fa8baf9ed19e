//! `destrier auth explain`: what a rule would do, said without a request.

use insta::assert_snapshot;

use crate::place::Place;

const CONFIG: &str = r#"
[[auth.issuer]]
secret_file = "secret"
[[auth.rule]]
path = "/health"
access = "public"
[[auth.rule]]
path = "/orders/**"
methods = ["GET"]
hosts = "*.shop.example"
scopes = "orders:read"
max_age = "15m"
claims = { tier = "gold", "realm.roles" = { contains = "buyer" } }
[[auth.rule]]
path = "/new/{name}"
any_scopes = "a b"
audit = true
"#;

fn place() -> Place {
    let place = Place::new();
    place.write("destrier.toml", CONFIG);
    place.write_as(0o600, "secret", "a secret of thirty-two octets!!!");
    place
}

#[test]
fn the_rule_that_decides_is_named_and_the_exit_code_says_what_comes_of_it() {
    let place = place();
    let public = place.run("auth explain GET /health?verbose=1");
    assert_eq!(public.code, Some(0), "{public:?}");
    assert_snapshot!(public.stdout, @"
    path      /health
    rule      auth.rule[0]: /health, public
    verdict   passes, without claims
    ");
    let refused = place.run("auth explain GET /orders/7 --host www.shop.example:8443");
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert_snapshot!(refused.stdout, @r#"
    path      /orders/7
    rule      auth.rule[1]: /orders/**, methods GET, hosts *.shop.example, needs a token, all scopes of orders:read, `realm.roles` containing "buyer", `tier` = "gold", logged in 15m ago at most
    verdict   refused with 401: no bearer token
    client    code `not_authenticated`, detail `Authentication credentials were not provided.`
    challenge Bearer realm="destrier"
    "#);
    for request in [
        "POST /orders/7",
        "GET /orders/7",
        "GET /orders/7 --host shop.example",
    ] {
        let none = place.run(&format!("auth explain {request}"));
        assert_eq!(none.code, Some(1), "{none:?}");
        assert!(none.stdout.contains("none is for this request"), "{none:?}");
    }
    let ambiguous = place.run("auth explain GET /health/../orders");
    assert_eq!(ambiguous.code, Some(1), "{ambiguous:?}");
    assert_snapshot!(ambiguous.stdout, @"
    path      has more than one reading
    rule      none was asked
    verdict   refused with 400: the path has a `.` or `..` segment
    client    code `invalid_request`, detail `The path of the request is ambiguous.`
    ");
}

#[test]
fn a_token_is_judged_as_a_worker_would() {
    let place = place();
    let token = place.run("token issue --sub alice --scope a");
    let passes = place.run_on(token.data(), "auth explain GET /new/x --token-file -");
    assert_eq!(passes.code, Some(0), "{passes:?}");
    assert!(
        passes
            .stdout
            .contains(r#"passes, with the claims {"sub":"alice""#),
        "{passes:?}"
    );
    let audited = place.run_on("a.b.c", "auth explain GET /new/x --token-file -");
    assert_eq!(audited.code, Some(0), "{audited:?}");
    assert!(
        audited
            .stdout
            .contains("audit     would be refused with 401: "),
        "{audited:?}"
    );
    let token = place.run("token issue --sub alice --scope orders:read");
    let lacks = "auth explain GET /orders/7 --host a.shop.example --token-file -";
    let lacks = place.run_on(token.data(), lacks);
    assert_eq!(lacks.code, Some(1), "{lacks:?}");
    let reason = "refused with 403: claim `realm.roles` does not have a value that is needed";
    assert!(lacks.stdout.contains(reason), "{lacks:?}");
}

#[test]
fn nothing_is_explained_by_a_configuration_that_is_wrong() {
    let place = Place::new();
    place.write("destrier.toml", CONFIG);
    let outcome = place.run("auth explain GET /");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""));
    assert!(outcome.stderr.contains("secret"), "{outcome:?}");
}

#[test]
fn what_a_bound_token_needs_besides_is_named_and_not_looked_at() {
    let place = place();
    let config = |binding: &str| {
        let bound = format!("secret_file = \"secret\"\nbinding = \"{binding}\"");
        let config = CONFIG.replace("secret_file = \"secret\"", &bound);
        place.write("destrier.toml", config);
    };
    let claim = r#"cnf={"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}"#;
    let mut issue = place.command("token issue --key secret --sub a --scope a");
    issue.args(["--claim", claim]);
    place.write("token", place.outcome(issue).data());
    config("dpop");
    let explained = place.run("auth explain GET /new/x --token-file token");
    assert_eq!(explained.code, Some(0), "{explained:?}");
    let lines: Vec<&str> = explained.stdout.lines().collect();
    assert_eq!(
        lines[2],
        "binding   a DPoP proof is needed besides, and was not looked at"
    );
    assert!(
        lines[3].starts_with("verdict   passes, with the claims"),
        "{lines:?}"
    );
    config("none");
    let explained = place.run("auth explain GET /new/x --token-file token");
    assert!(
        explained
            .stdout
            .contains("the token is bound to a key; set `auth.issuer.binding` to `dpop`"),
        "{explained:?}"
    );
}
