//! `destrier tls self-signed`: a certificate and its key, for development.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair};
use rcgen::{KeyUsagePurpose, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::ServerName;

use super::{CommandError, ExitCode, tell};
use crate::cli::{SelfSignedArgs, TlsCommand};
use crate::key_files;
use crate::sys::clock;
use crate::tls::{armoured_certificate, armoured_key};

/// A clock that is a little behind shall accept it too.
const AHEAD: Duration = Duration::from_hours(1);

pub(super) fn run(command: &TlsCommand) -> Result<ExitCode, CommandError> {
    match command {
        TlsCommand::SelfSigned(args) => self_signed(args).map(|()| ExitCode::Success),
    }
}

fn self_signed(args: &SelfSignedArgs) -> Result<(), CommandError> {
    let (cert, key) = (args.out_cert.as_path(), args.out_key.as_path());
    if [cert, key].contains(&Path::new("-")) {
        return Err(failed(
            "the key and the certificate go to files, not to standard output",
        ));
    }
    if cert == key {
        return Err(CommandError::usage(
            "tls self-signed: `--out-cert` and `--out-key` are the same file",
        ));
    }
    if let Some(name) = args.names.iter().find(|name| !is_name(name)) {
        return Err(CommandError::usage(format!(
            "tls self-signed: `{name}` is no name of a server: a host, `*.example.test` for all below one, or an address"
        )));
    }
    let (certificate, private) = make(&args.names, args.days).map_err(|error| {
        CommandError::usage(format!(
            "tls self-signed: the certificate cannot be made: {error}"
        ))
    })?;
    // Before anything is written: half a pair would only be in the way.
    if let Some(there) = [key, cert]
        .into_iter()
        .find(|path| path.exists() && !args.force)
    {
        return Err(exists(there));
    }
    let is_new = !key.exists();
    write(key, &private, 0o600, args.force)?;
    if let Err(error) = write(cert, &certificate, 0o644, args.force) {
        if is_new {
            // What went wrong before is what is told.
            let _gone = fs::remove_file(key);
        }
        return Err(error);
    }
    let (cert, key) = (cert.display(), key.display());
    tell(&format!("certificate in `{cert}`, private key in `{key}`"));
    Ok(())
}

/// Whether a certificate may have it (RFC 5280 section 4.2.1.6, RFC 9525 section 6.3).
fn is_name(name: &str) -> bool {
    let host = name.strip_prefix("*.").unwrap_or(name);
    match ServerName::try_from(host) {
        Ok(ServerName::DnsName(_)) => true,
        Ok(_) => host == name,
        Err(_) => false,
    }
}

fn make(names: &[String], days: u16) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(names.to_vec())?;
    let now = clock::unix();
    params.not_before = (UNIX_EPOCH + now.saturating_sub(AHEAD)).into();
    params.not_after = (UNIX_EPOCH + now + Duration::from_hours(24 * u64::from(days))).into();
    params.distinguished_name = DistinguishedName::new();
    if let Some(name) = names.first() {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.self_signed(&key)?;
    Ok((
        armoured_certificate(certificate.der()),
        armoured_key(key.serialized_der()),
    ))
}

fn write(path: &Path, text: &str, mode: u32, force: bool) -> Result<(), CommandError> {
    let written = if force && path.exists() {
        key_files::replace_with(path, text.as_bytes(), mode)
    } else {
        key_files::create(path, text.as_bytes(), mode)
    };
    written.map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            return exists(path);
        }
        failed(&format!("cannot write `{}`: {error}", path.display()))
    })
}

fn exists(path: &Path) -> CommandError {
    let path = path.display();
    failed(&format!(
        "`{path}` exists and is not overwritten; remove it, choose another name, or say `--force`"
    ))
}

fn failed(reason: &str) -> CommandError {
    CommandError::failure(format!("tls self-signed: {reason}"))
}
