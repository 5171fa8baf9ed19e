//! `[tls]`.

use super::*;

const PAIR: &str = "certificate_file = 'a.crt'\nkey_file = 'a.key'\n";

fn tls(keys: &str) -> Config {
    accepted(&format!("[tls]\nbind = '0.0.0.0:443'\n{PAIR}{keys}"))
}

#[test]
fn where_only_tls_is_bound_nothing_is_plain() {
    let config = tls("");
    let of_tls = config.tls.unwrap();
    assert_eq!(of_tls.bind, ["0.0.0.0:443".parse().map(Bind::Tcp).unwrap()]);
    assert_eq!(config.server.bind, of_tls.bind);
    assert_eq!(of_tls.handshake_timeout, Duration::from_secs(10));
    assert_eq!(of_tls.min_version, TlsVersion::V1_2);
    assert_eq!(of_tls.client_auth, None);
    let both = accepted(&format!(
        "server.bind = '[::1]:80'\n[tls]\nbind = 'unix:a.sock'\n{PAIR}"
    ));
    let names: Vec<_> = both.server.bind.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["[::1]:80", "unix:/srv/a.sock"]);
    assert_eq!(accepted("").tls, None);
}

#[test]
fn files_are_relative_to_the_configuration_and_the_first_certificate_is_that_of_the_section() {
    let config = tls(
        "ocsp_file = 'a.ocsp'\nclient_auth = 'optional'\nclient_ca_file = 'ca'\nclient_crl_file = 'crl'\n[[tls.certificate]]\ncertificate_file = '/b.crt'\nkey_file = 'b.key'",
    );
    let files: Vec<_> = config
        .feeds()
        .iter()
        .flat_map(|feed| feed.source.files())
        .map(|file| file.display().to_string())
        .collect();
    let wanted = [
        "/srv/a.crt",
        "/srv/a.key",
        "/srv/a.ocsp",
        "/b.crt",
        "/srv/b.key",
        "/srv/ca",
        "/srv/crl",
    ];
    assert_eq!(files, wanted);
    assert!(!config.tls.unwrap().client_auth.unwrap().is_required);
}

#[test]
fn what_belongs_together_is_asked_for() {
    assert_snapshot!(refused("[tls]\nbind = '0.0.0.0:443'"), @r#"
    config: /srv/app.toml:2:8: `tls.bind` needs `tls.certificate_file` and `tls.key_file`
    hint: for development, `destrier tls self-signed` makes both
    "#);
    assert_snapshot!(refused("[tls]\ncertificate_file = 'a'\nkey_file = 'b'"), @r#"
    config: /srv/app.toml:2:20: `tls.bind` must have at least one address
    hint: `server.bind` has the addresses that do not speak TLS
    "#);
    assert_snapshot!(refused("[tls]\nbind = '0.0.0.0:443'\ncertificate_file = 'a'\n[[tls.certificate]]\nkey_file = 'b'"), @r#"
    config: /srv/app.toml:1:1: `tls.key_file` is missing: a certificate and its key stand together
    config: /srv/app.toml:4:1: `tls.certificate[0].certificate_file` is missing: a certificate and its key stand together
    "#);
    assert_snapshot!(refused(&format!("[tls]\nbind = '0.0.0.0:443'\n{PAIR}client_auth = 'require'")), @r#"config: /srv/app.toml:5:15: `tls.client_auth` needs `tls.client_ca_file`: the authorities that clients' certificates may come from"#);
    assert_snapshot!(refused(&format!("[tls]\nbind = '0.0.0.0:443'\n{PAIR}client_ca_file = 'ca'")), @r#"
    config: /srv/app.toml:5:18: `tls.client_ca_file` is for `tls.client_auth`, which is not set
    hint: clients are asked for a certificate with "optional" or "require"
    "#);
    assert_snapshot!(refused(&format!("server.bind = '0.0.0.0:443'\n[tls]\nbind = ['0.0.0.0:443', 'localhost:1']\n{PAIR}min_version = '1.1'\nclient_auth = 'maybe'")), @r#"
    config: /srv/app.toml:3:9: `tls.bind[0]` repeats `0.0.0.0:443`
    config: /srv/app.toml:3:24: `tls.bind[1]` must be HOST:PORT, [V6]:PORT, unix:PATH, fd:N or systemd:NAME, found `"localhost:1"`
    hint: names are not looked up: write a literal address, such as `127.0.0.1:1`
    config: /srv/app.toml:6:15: `tls.min_version` must be `1.2` or `1.3`, found `"1.1"`
    config: /srv/app.toml:7:15: `tls.client_auth` must be one of `none`, `optional`, `require`, found `"maybe"`
    "#);
    assert_snapshot!(refused("server.bind = []"), @r#"config: /srv/app.toml:1:15: `server.bind` must have at least one address, found `[]`"#);
}

#[test]
fn tokens_can_be_bound_to_the_certificates_of_clients_of_our_own() {
    let issuer =
        "\n[[auth.issuer]]\nsecret_file = 's'\nbinding = 'mtls'\n[[auth.rule]]\npath = '/**'";
    tls(&format!(
        "client_auth = 'require'\nclient_ca_file = 'ca'{issuer}"
    ));
    assert_snapshot!(refused(&format!("[tls]\nbind = '0.0.0.0:443'\n{PAIR}{issuer}")), @r#"
    config: /srv/app.toml:8:11: `auth.issuer[0].binding` is `mtls`, but `server.trusted_proxies` is empty: nobody may say which certificate a client has
    hint: name the proxy that ends TLS, by its address or as `unix`, or set `tls.client_auth`
    "#);
}
