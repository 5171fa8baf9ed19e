//! `jwks_url` and `discovery`: keys that are fetched.

use super::*;

#[test]
fn a_key_set_is_fetched_as_its_keys_say() {
    let config = accepted(
        r#"
[[auth.issuer]]
jwks_url = "https://login.example.com/jwks.json"
algorithms = "ES256"
ca_file = "ca.pem"
allow_link_local = true
refresh_interval = "1m"
stale_max = "1h"
[[auth.issuer]]
discovery = "https://login.example.com/tenant/"
"#,
    );
    let [first, second] = &config.auth.issuers[..] else {
        panic!("{:?}", config.auth.issuers);
    };
    let fetch = Fetch {
        url: "https://login.example.com/jwks.json".to_owned(),
        kind: FetchKind::Jwks,
        algorithms: vec![Algorithm::Es256],
        ca_file: Some("/srv/ca.pem".into()),
        allow_link_local: true,
        refresh: Duration::from_mins(1),
        stale_max: Duration::from_hours(1),
    };
    assert_eq!(first.keys, KeySource::Remote(fetch));
    assert_eq!(
        (first.name.as_str(), &first.issuer),
        ("auth.issuer[0]", &None)
    );
    let address = "https://login.example.com/tenant/".to_owned();
    let fetch = Fetch {
        url: address.clone(),
        kind: FetchKind::Discovery {
            issuer: address.clone(),
        },
        algorithms: Vec::new(),
        ca_file: None,
        allow_link_local: false,
        refresh: Duration::from_mins(15),
        stale_max: Duration::from_hours(24),
    };
    assert_eq!(second.keys, KeySource::Remote(fetch));
    // Another issuer with the same keys does not pass for this one.
    assert_eq!(
        (&second.name, &second.issuer),
        (&address, &Some(address.clone()))
    );
    assert_eq!(config.auth.authorization_servers, [address]);
}

#[test]
fn discovery_may_be_told_another_issuer() {
    let text = "[[auth.issuer]]\ndiscovery = 'https://a.example'\nissuer = 'https://b.example'";
    let KeySource::Remote(fetch) = &accepted(text).auth.issuers[0].keys else {
        panic!("not fetched");
    };
    let issuer = "https://b.example".to_owned();
    assert_eq!(fetch.kind, FetchKind::Discovery { issuer });
}

#[test]
fn what_is_fetched_is_fetched_safely_or_not_at_all() {
    assert_snapshot!(refused(r#"
[[auth.issuer]]
jwks_url = "http://login.example.com/jwks.json"
algorithms = ["ES256", "HS256"]
[[auth.issuer]]
jwks_url = "https://user:password@login.example.com/jwks.json"
[[auth.issuer]]
discovery = "https://login.example.com/.well-known/openid-configuration"
algorithms = "HS256"
stale_max = "5m"
[[auth.issuer]]
discovery = "https://login.example.com/?tenant=a"
refresh_interval = "500ms"
[[auth.issuer]]
jwks_file = "a"
ca_file = "ca.pem"
refresh_interval = "1m"
[[auth.issuer]]
name = "both"
jwks_url = "https://a.example/"
discovery = "https://b.example/"
"#), @r#"
    config: /srv/app.toml:3:12: `auth.issuer[0].jwks_url` must begin with `https://`, or be `http://` of this machine
    config: /srv/app.toml:4:24: `auth.issuer[0].algorithms[1]` must not be an HS algorithm for a `jwks_url`: a secret is not fetched, found `"HS256"`
    config: /srv/app.toml:6:12: `auth.issuer[1].jwks_url` must not hold a user name or password
    config: /srv/app.toml:8:13: `auth.issuer[2].discovery` must be the address of the issuer, not that of its metadata, found `"https://login.example.com/.well-known/openid-configuration"`
    hint: `discovery = "https://login.example.com"`
    config: /srv/app.toml:9:14: `auth.issuer[2].algorithms` must not be an HS algorithm with `discovery`: a secret is not fetched, found `"HS256"`
    config: /srv/app.toml:10:13: `auth.issuer[2].stale_max` must not be less than `auth.issuer[2].refresh_interval`, 15m, found `5m`
    config: /srv/app.toml:12:13: `auth.issuer[3].discovery` must not have a query, found `"https://login.example.com/?tenant=a"`
    config: /srv/app.toml:13:20: `auth.issuer[3].refresh_interval` must be a time of 1s to 1day, such as "10s" or "500ms", found `"500ms"`
    config: /srv/app.toml:16:11: `auth.issuer[4].ca_file` is for `jwks_url` and `discovery` only: no other keys are fetched
    config: /srv/app.toml:17:20: `auth.issuer[4].refresh_interval` is for `jwks_url` and `discovery` only: no other keys are fetched
    config: /srv/app.toml:18:1: `auth.issuer[5]` must have only one of `secret_file`, `public_key_file`, `jwks_file`, `jwks_url` and `discovery`
    "#);
    assert_snapshot!(refused(r#"
auth.tokens.database = "sqlite:a.db"
[[auth.issuer]]
name = "login"
jwks_url = "https://login.example.com/jwks.json"
"#), @"config: /srv/app.toml:2:6: `auth.tokens` cannot sign for issuer `login`, whose keys are fetched");
}
