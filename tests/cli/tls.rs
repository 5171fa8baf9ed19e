//! Certificates as `destrier check` judges them, and as `destrier tls self-signed` makes them.

use std::time::Duration;

use insta::assert_snapshot;
use rcgen::{CertificateParams, CustomExtension, ExtendedKeyUsagePurpose};
use x509_cert::der::asn1::GeneralizedTime;
use x509_ocsp::{CertStatus, OcspGeneralizedTime, RevokedInfo};

use crate::place::{Place, masked};
use crate::support::tls::Authority;

const RULE: &str = "[[auth.rule]]\npath = \"/**\"\naccess = \"public\"\n";
const TLS: &str =
    "[tls]\nbind = \"127.0.0.1:8443\"\ncertificate_file = \"web.crt\"\nkey_file = \"web.key\"\n";

/// As `openssl ca -gencrl` makes it by default.
const CRL_OF_VERSION_1: &str = include_str!("../data/crl_of_version_1.pem");

/// A place with a configuration that names `web.crt` and `web.key`.
fn place() -> Place {
    let place = Place::new();
    place.write("app.toml", format!("{TLS}{RULE}"));
    place
}

fn put(place: &Place, certificate: &str, key: &str) {
    place.write("web.crt", certificate);
    place.write_as(0o600, "web.key", key);
}

#[test]
fn check_names_certificates_with_their_end_and_warns_before_it() {
    let place = place();
    let authority = Authority::new();
    let _masks = masked(&[(r"until \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "until THEN")]);
    let check = |names: &[&str], days| {
        let pair = authority.certify_for(names, days);
        put(&place, &pair.certificate_pem(), &pair.key_pem());
        place.run("check -c app.toml")
    };
    assert_snapshot!(check(&["*.example.com", "127.0.0.1"], 90), @r#"
    exit 0
    --- stdout
    /srv/app.toml is fine: 127.0.0.1:8443 (TLS), a worker for each processor, 0 issuers, 1 rule
    certificate `/srv/web.crt`: *.example.com, 127.0.0.1; until THEN
    "#);
    assert_snapshot!(check(&["a.example"], 11), @r#"
    exit 0
    --- stdout
    /srv/app.toml is fine: 127.0.0.1:8443 (TLS), a worker for each processor, 0 issuers, 1 rule
    certificate `/srv/web.crt`: a.example; until THEN
    --- stderr
    warning: tls: the certificate `/srv/web.crt` expires in 11 days
    "#);
    assert_snapshot!(check(&["a.example"], -3), @r#"
    exit 0
    --- stdout
    /srv/app.toml is fine: 127.0.0.1:8443 (TLS), a worker for each processor, 0 issuers, 1 rule
    certificate `/srv/web.crt`: a.example; until THEN
    --- stderr
    warning: tls: the certificate `/srv/web.crt` EXPIRED 3 days ago: clients refuse it
    "#);
}

#[test]
fn check_finds_what_is_wrong_with_certificates_and_keys() {
    let place = place();
    assert_snapshot!(place.run("check -c app.toml"), @r#"
    exit 2
    --- stderr
    config: tls: `/srv/web.crt` does not exist; for development, `destrier tls self-signed` makes a certificate and its key
    "#);
    let authority = Authority::new();
    let [one, other] = [1, 2].map(|_| authority.certify(&["a.example"]));
    put(&place, &one.certificate_pem(), &other.key_pem());
    assert_snapshot!(place.run("check -c app.toml"), @r#"
    exit 2
    --- stderr
    config: tls: `/srv/web.crt` and `/srv/web.key`: the key is not the one of the certificate
    "#);
    put(&place, &one.key_pem(), &one.certificate_pem());
    assert_snapshot!(place.run("check -c app.toml"), @r#"
    exit 2
    --- stderr
    config: tls: `/srv/web.crt` and `/srv/web.key`: it is not PEM: no line `-----BEGIN …-----` is in it
    "#);
    put(&place, &one.certificate_pem(), "nothing\n");
    assert_snapshot!(place.run("check -c app.toml"), @r#"
    exit 2
    --- stderr
    config: tls: `/srv/web.crt` and `/srv/web.key`: no private key is in it, as `-----BEGIN PRIVATE KEY-----`
    "#);
    let encrypted = one
        .key_pem()
        .replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    put(&place, &one.certificate_pem(), &encrypted);
    assert_snapshot!(place.run("check -c app.toml"), @r#"
    exit 2
    --- stderr
    config: tls: `/srv/web.crt` and `/srv/web.key`: the key is encrypted; write it without a passphrase, with `openssl pkey -in KEY -out KEY.plain`
    "#);
    put(&place, &one.certificate_pem(), &one.key_pem());
    place.write("web.key", one.key_pem());
    assert_snapshot!(place.run("check -c app.toml"), @r#"
    exit 2
    --- stderr
    config: tls: a private key: `/srv/web.key` can be read by everyone (mode 0644); run `chmod 600 /srv/web.key`
    "#);
    // Both in one file is usual, and then the file is as secret as its key.
    place.write(
        "app.toml",
        format!("{}{RULE}", TLS.replace("web.crt", "web.key")),
    );
    place.write_as(0o600, "web.key", one.key_pem() + &one.certificate_pem());
    assert_eq!(place.run("check -c app.toml").code, Some(0));
}

#[test]
fn check_says_which_key_names_a_stapled_response_that_is_not_there() {
    let place = place();
    let pair = Authority::new().certify(&["a.example"]);
    put(&place, &pair.certificate_pem(), &pair.key_pem());
    place.write("app.toml", format!("{TLS}ocsp_file = \"ocsp.der\"\n{RULE}"));
    assert_snapshot!(place.run("check -c app.toml"), @r#"
    exit 2
    --- stderr
    config: tls: `/srv/ocsp.der` does not exist; correct `ocsp_file`, or leave it out
    "#);
}

/// What `destrier check` warns of, each without what is the same in all.
fn warnings(place: &Place) -> Vec<String> {
    let outcome = place.run("check -c app.toml");
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let warnings = outcome.stderr.lines().map(|line| {
        let line = line.strip_prefix("warning: tls: the certificate `/srv/web.crt` ");
        line.unwrap().split_once(':').unwrap().0.to_owned()
    });
    warnings.collect()
}

#[test]
fn check_warns_of_a_certificate_that_clients_refuse() {
    let place = place();
    let authority = Authority::new();
    let of = |change: fn(&mut CertificateParams)| {
        let pair = authority.certify_as(change);
        put(&place, &pair.certificate_pem(), &pair.key_pem());
        warnings(&place)
    };
    assert!(of(|_| ()).is_empty());
    let nameless = of(|params| params.subject_alt_names.clear());
    assert_eq!(nameless, ["is for no name"]);
    let of_client = of(|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let expected = "is not for servers by its extended key usage (RFC 5280 section 4.2.1.12)";
    assert_eq!(of_client, [expected]);
    // TLSFEATURE ::= SEQUENCE of 5 (RFC 7633 section 4).
    let must_staple = of(|params| {
        let oid = [1, 3, 6, 1, 5, 5, 7, 1, 24];
        let extension = CustomExtension::from_oid_content(&oid, vec![0x30, 3, 2, 1, 5]);
        params.custom_extensions.push(extension);
    });
    let expected = "demands an OCSP response (RFC 7633), and `ocsp_file` names none";
    assert_eq!(must_staple, [expected]);
}

#[test]
fn check_warns_of_a_chain_that_is_out_of_order() {
    let place = place();
    let authority = Authority::new();
    let pair = authority.certify(&["a.example"]);
    let stranger = Authority::new();
    let chain = |chain: &[String]| {
        put(&place, &chain.concat(), &pair.key_pem());
        warnings(&place)
    };
    let own = pair.certificate_pem();
    assert!(chain(&[own.clone(), authority.pem()]).is_empty());
    for bad in [
        vec![own.clone(), own.clone()],
        vec![own.clone(), stranger.pem()],
        vec![own.clone(), authority.pem(), stranger.pem()],
    ] {
        assert_eq!(chain(&bad), ["is followed by a chain that is out of order"]);
    }
    put(&place, &(authority.pem() + &own), &pair.key_pem());
    assert_snapshot!(place.run("check -c app.toml"), @r#"
    exit 2
    --- stderr
    config: tls: `/srv/web.crt` and `/srv/web.key`: the key is not the one of the first certificate in the file, but of number 2: the server's own comes first, then those that have signed it
    "#);
}

#[test]
fn check_warns_of_a_stapled_response_that_clients_refuse() {
    let place = place();
    let authority = Authority::new();
    let [pair, other] = [1, 2].map(|_| authority.certify(&["a.example"]));
    put(&place, &pair.certificate_pem(), &pair.key_pem());
    place.write("app.toml", format!("{TLS}ocsp_file = \"ocsp.der\"\n{RULE}"));
    let revoked = RevokedInfo {
        revocation_time: OcspGeneralizedTime(
            GeneralizedTime::from_unix_duration(Duration::from_secs(1)).unwrap(),
        ),
        revocation_reason: None,
    };
    for (pair, status, days, warning) in [
        (&pair, CertStatus::good(), 1, None),
        (
            &pair,
            CertStatus::good(),
            -1,
            Some("has an OCSP response that has expired"),
        ),
        (
            &other,
            CertStatus::good(),
            1,
            Some("has an OCSP response that is about another certificate"),
        ),
        (
            &pair,
            CertStatus::unknown(),
            1,
            Some("is unknown to its authority, as its OCSP response says"),
        ),
        (
            &pair,
            CertStatus::revoked(revoked),
            1,
            Some("is REVOKED, as its OCSP response says"),
        ),
    ] {
        place.write("ocsp.der", pair.ocsp(status, days));
        assert_eq!(warnings(&place), warning.as_slice());
    }
}

#[test]
fn check_finds_what_is_wrong_with_authorities_and_lists() {
    let place = place();
    let authority = Authority::new();
    let pair = authority.certify(&["a.example"]);
    put(&place, &pair.certificate_pem(), &pair.key_pem());
    let clients =
        "client_auth = \"require\"\nclient_ca_file = \"ca.pem\"\nclient_crl_file = \"crl.pem\"\n";
    place.write("app.toml", format!("{TLS}{clients}{RULE}"));
    assert_snapshot!(place.run("check -c app.toml"), @r#"
    exit 2
    --- stderr
    config: tls: `/srv/ca.pem` does not exist; correct `tls.client_ca_file`
    "#);
    place.write("ca.pem", "nothing\n");
    assert_snapshot!(place.run("check -c app.toml"), @r#"
    exit 2
    --- stderr
    config: tls: `/srv/crl.pem` does not exist; correct `tls.client_crl_file`, or leave it out
    "#);
    place.write("crl.pem", authority.pem());
    assert_snapshot!(place.run("check -c app.toml"), @r#"
    exit 2
    --- stderr
    config: tls: `/srv/crl.pem`: no revocation list is in it, as `-----BEGIN X509 CRL-----`
    "#);
    place.write("crl.pem", CRL_OF_VERSION_1);
    assert_snapshot!(place.run("check -c app.toml"), @r#"
    exit 2
    --- stderr
    config: tls: `/srv/crl.pem`: the revocation list is of version 1, and only those of version 2 are read (RFC 5280 section 5.1.2.1): `openssl ca` makes them with `crlnumber` in its configuration
    "#);
    place.write("crl.pem", authority.revoke(&[]));
    assert_snapshot!(place.run("check -c app.toml"), @r#"
    exit 2
    --- stderr
    config: tls: clients of `/srv/ca.pem`: no authority is in it, as `-----BEGIN CERTIFICATE-----`
    "#);
    // The whole chain of a server, say.
    place.write("ca.pem", pair.certificate_pem() + &authority.pem());
    let warned = place.run("check -c app.toml");
    assert_eq!(warned.code, Some(0));
    assert_snapshot!(warned.stderr, @"warning: tls: clients of `/srv/ca.pem`: certificate 1 of the file is not an authority's, but one that an authority has issued: clients whose certificates come from that one are refused unless it is there too");
    place.write("ca.pem", authority.pem());
    let fine = place.run("check -c app.toml");
    assert_eq!((fine.code, &*fine.stderr), (Some(0), ""));
}

#[test]
fn a_self_signed_pair_is_fit_to_be_served_and_overwrites_nothing() {
    let place = place();
    let make =
        "tls self-signed --name localhost --name 127.0.0.1 --out-cert web.crt --out-key web.key";
    assert_snapshot!(place.run(make), @r#"
    exit 0
    --- stderr
    certificate in `web.crt`, private key in `web.key`
    "#);
    assert_eq!(place.mode("web.key"), 0o600);
    assert_eq!(place.mode("web.crt"), 0o644);
    let _masks = masked(&[(r"until \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "until THEN")]);
    assert_snapshot!(place.run("check -c app.toml"), @r#"
    exit 0
    --- stdout
    /srv/app.toml is fine: 127.0.0.1:8443 (TLS), a worker for each processor, 0 issuers, 1 rule
    certificate `/srv/web.crt`: localhost, 127.0.0.1; until THEN
    "#);
    let before = (place.read("web.key"), place.read("web.crt"));
    assert_snapshot!(place.run(make), @r#"
    exit 1
    --- stderr
    tls self-signed: `web.key` exists and is not overwritten; remove it, choose another name, or say `--force`
    "#);
    assert_eq!((place.read("web.key"), place.read("web.crt")), before);
    let forced = place.run(&format!("{make} --force --days 7"));
    assert_eq!(forced.code, Some(0), "{forced:?}");
    assert_ne!(place.read("web.key"), before.0);
    assert_eq!(place.mode("web.key"), 0o600);
    assert_eq!(place.run("check -c app.toml").code, Some(0));
    assert_eq!(place.names(), ["app.toml", "web.crt", "web.key"]);
    for name in ["", "a.*.b", "*.*.b", "*.127.0.0.1"] {
        let outcome = place.run(&format!(
            "tls self-signed --name={name} --out-cert c --out-key k"
        ));
        assert_eq!(outcome.code, Some(2), "{name}: {outcome:?}");
        assert!(
            outcome.stderr.contains("is no name of a server"),
            "{outcome:?}"
        );
    }
    // Where the one cannot be written the other would only be in the way.
    let half = place.run("tls self-signed --name a --out-cert nowhere/c --out-key k");
    assert_eq!(half.code, Some(1), "{half:?}");
    assert_eq!(place.names(), ["app.toml", "web.crt", "web.key"]);
    assert_snapshot!(place.run("tls self-signed --name a --out-cert x --out-key x"), @r#"
    exit 2
    --- stderr
    tls self-signed: `--out-cert` and `--out-key` are the same file
    "#);
}
