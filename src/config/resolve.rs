//! Paths: in the file they are relative to the file's folder, elsewhere to the one that destrier was started in.

use super::Balance;
use super::access_log;
use super::document::Document;
use super::file::File;
use super::key::KeyPath;
use super::notation::Text;

/// Defaults that depend on other keys. Where only `tls.bind` is written, nothing is served without TLS. Workers that run Python take a
/// connection when they have a thread for it, so that no request waits behind a slow one while another worker is idle.
pub(super) fn settle(file: &mut File, document: &Document) {
    if file.app.is_python() && document.value(&"server.balance".into()).is_none() {
        file.server.balance = Balance::Shared;
    }
    if !file.tls.addresses().is_empty() && document.value(&"server.bind".into()).is_none() {
        file.server.bind.0.clear();
    }
}

/// Makes every path in the configuration absolute.
pub(super) fn make_absolute(file: &mut File, document: &Document) {
    let resolve = |key: &KeyPath, path: &mut Option<Text>| {
        if let Some(Text(path)) = path {
            *path = document.resolve(key, path);
        }
    };
    resolve(&"process.pid_file".into(), &mut file.process.pid_file);
    resolve(
        &"process.control_socket".into(),
        &mut file.process.control_socket,
    );
    resolve(&"log.file".into(), &mut file.log.file);
    if access_log::is_file(&file.access_log.to.0) {
        let Text(path) = &mut file.access_log.to;
        *path = document.resolve(&"access_log.to".into(), path);
    }
    // A name without a slash is looked for on PATH.
    if file.app.python.iter().any(|Text(path)| path.contains('/')) {
        resolve(&"app.python".into(), &mut file.app.python);
    }
    resolve(&"app.chdir".into(), &mut file.app.chdir);
    resolve(&"app.env_file".into(), &mut file.app.env_file);
    resolve(
        &"auth.tokens.signing_key_file".into(),
        &mut file.auth.tokens.signing_key_file,
    );
    resolve(
        &"auth.tokens.database_password_file".into(),
        &mut file.auth.tokens.database_password_file,
    );
    resolve(
        &"auth.revocation.file".into(),
        &mut file.auth.revocation.file,
    );
    resolve(
        &"auth.revocation.ca_file".into(),
        &mut file.auth.revocation.ca_file,
    );
    if let Some(Text(database)) = &mut file.auth.tokens.database
        && let Some(path) = database.strip_prefix("sqlite:")
        && !path.is_empty()
    {
        let path = document.resolve(&"auth.tokens.database".into(), path);
        *database = format!("sqlite:{path}");
    }
    resolve(
        &"telemetry.otlp_headers_file".into(),
        &mut file.telemetry.otlp_headers_file,
    );
    resolve(
        &"telemetry.otlp_ca_file".into(),
        &mut file.telemetry.otlp_ca_file,
    );
    for (index, issuer) in file.auth.issuer.iter_mut().enumerate() {
        let key = KeyPath::from("auth.issuer").item(index);
        resolve(&key.child("secret_file"), &mut issuer.secret_file);
        resolve(&key.child("public_key_file"), &mut issuer.public_key_file);
        resolve(&key.child("jwks_file"), &mut issuer.jwks_file);
        resolve(&key.child("ca_file"), &mut issuer.ca_file);
    }
    for (index, item) in file.http.static_folders.iter_mut().enumerate() {
        let key = KeyPath::from("http.static").item(index);
        resolve(&key.child("folder"), &mut item.folder);
    }
    let tls = KeyPath::from("tls");
    resolve(
        &tls.child("certificate_file"),
        &mut file.tls.certificate_file,
    );
    resolve(&tls.child("key_file"), &mut file.tls.key_file);
    resolve(&tls.child("ocsp_file"), &mut file.tls.ocsp_file);
    resolve(&tls.child("client_ca_file"), &mut file.tls.client_ca_file);
    resolve(&tls.child("client_crl_file"), &mut file.tls.client_crl_file);
    for (index, certificate) in file.tls.certificate.iter_mut().enumerate() {
        let key = tls.child("certificate").item(index);
        resolve(
            &key.child("certificate_file"),
            &mut certificate.certificate_file,
        );
        resolve(&key.child("key_file"), &mut certificate.key_file);
        resolve(&key.child("ocsp_file"), &mut certificate.ocsp_file);
    }
    for (key, binds) in [
        ("server.bind", Some(&mut file.server.bind)),
        ("tls.bind", file.tls.bind.as_mut()),
        ("admin.bind", file.admin.bind.as_mut()),
        (
            "server.proxy_protocol",
            Some(&mut file.server.proxy_protocol),
        ),
    ] {
        let key = KeyPath::from(key);
        for (index, Text(bind)) in binds.into_iter().flat_map(|binds| &mut binds.0).enumerate() {
            // What cannot be a file name stays as it was written, for `bind` to refuse.
            if let Some(path) = bind.strip_prefix("unix:")
                && !path.is_empty()
                && !path.starts_with('@')
            {
                *bind = format!("unix:{}", document.resolve(&key.item(index), path));
            }
        }
    }
}
