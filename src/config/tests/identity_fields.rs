//! `[auth.headers]` and `auth.payload_header`.

use super::*;

#[test]
fn claims_are_written_to_fields_that_mean_nothing_else() {
    let text = "[auth]\npayload_header = 'X-Auth-Payload'\n[auth.headers]\nX-Auth-Subject = 'sub'\n'Tenant_Id' = { claim = 'https://a.example/tenant', format = 'json' }\nRemote-User = { claim = 'a.b' }";
    let auth = accepted(text).auth;
    let headers: Vec<_> = auth
        .headers
        .iter()
        .map(|field| (field.name.as_str(), field.claim.as_str(), field.format))
        .collect();
    let expected = [
        ("remote-user", "a.b", FieldFormat::Comma),
        ("tenant_id", "https://a.example/tenant", FieldFormat::Json),
        ("x-auth-subject", "sub", FieldFormat::Comma),
    ];
    assert_eq!(headers, expected);
    assert_eq!(auth.payload_header.unwrap(), "x-auth-payload");
    assert_snapshot!(refused("[auth]\npayload_header = 'x_a'\n[auth.headers]\n'a b' = 'sub'\nContent_Length = 'sub'\nX-Forwarded-For = 'sub'\nX-A = 'sub'\nX_A = 'sub'\nX-B = ''\nX-C = 1\nX-D = {}\nX-E = { claim = 'a', format = 'csv' }\nX-F = { claim = 'a', type = 'json' }"), @r#"
    config: /srv/app.toml:2:18: `auth.payload_header` is the same field as another one: applications may not tell `_` from `-`, found `x_a`
    config: /srv/app.toml:4:1: `auth.headers."a b"` must be a field with a name of letters, digits and `-`, `_`, `.`, found `a b`
    config: /srv/app.toml:5:1: `auth.headers.Content_Length` must not be a field that has a meaning of its own, found `Content_Length`
    config: /srv/app.toml:6:1: `auth.headers.X-Forwarded-For` must not be a field that has a meaning of its own, found `X-Forwarded-For`
    config: /srv/app.toml:8:1: `auth.headers.X_A` is the same field as another one: applications may not tell `_` from `-`, found `X_A`
    config: /srv/app.toml:9:7: `auth.headers.X-B` must be the name of a claim, or `{ claim = "…", format = "…" }` with the format `comma` or `json`, found `""`
    config: /srv/app.toml:10:7: `auth.headers.X-C` must be the name of a claim, or `{ claim = "…", format = "…" }` with the format `comma` or `json`, found `1`
    config: /srv/app.toml:11:7: `auth.headers.X-D` must be the name of a claim, or `{ claim = "…", format = "…" }` with the format `comma` or `json`, found `{}`
    config: /srv/app.toml:12:7: `auth.headers.X-E` must be the name of a claim, or `{ claim = "…", format = "…" }` with the format `comma` or `json`, found `{ claim = "a", format = "csv" }`
    config: /srv/app.toml:13:7: `auth.headers.X-F` must be the name of a claim, or `{ claim = "…", format = "…" }` with the format `comma` or `json`, found `{ claim = "a", type = "json" }`
    "#);
}
