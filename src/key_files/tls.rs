//! The files of `[tls]`: what belongs together is read together and judged as a whole.

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use pem::Pem;

use super::{Digest, Files, KeyFile, Secrecy};
use crate::config::{self, ClientAuth, Config, FeedContent, TlsCertificate};
use crate::sys::clock;
use crate::tls::{
    CLIENT_LIST, Clients, Identity, OCSP_RESPONSE, TicketSecret, Tls, bundle, end_of_list,
};

/// The largest file with revocation lists that is read, in bytes: each worker holds them.
const LISTS_MAX: u64 = 8 * 1024 * 1024;

const MAKE_PAIR: &str =
    "for development, `destrier tls self-signed` makes a certificate and its key";

/// What `[tls]` has come to.
#[derive(Debug)]
pub(crate) struct LoadedTls {
    pub(crate) tls: Tls,
    /// Of each feed of `[tls]`, in their order.
    pub(crate) digests: Vec<Option<Digest>>,
    /// When each of these ends, in seconds since 1970, where it is a certificate.
    pub(crate) not_after: Vec<Option<u64>>,
    /// What the operator should know.
    pub(crate) warnings: Vec<String>,
    /// For people: each certificate with its names and its end.
    pub(crate) certificates: Vec<String>,
}

/// Reads the files that `[tls]` names; nothing where no address speaks it. With `tickets` of another process of the generation
/// its sessions go on here.
///
/// # Errors
/// All that is wrong with them, each naming the file, the problem and what helps.
pub(crate) fn load_tls(
    files: &Files,
    config: &Config,
    tickets: Option<TicketSecret>,
) -> Result<Option<LoadedTls>, Vec<String>> {
    let tls = config.tls.as_ref();
    tls.map(|tls| load(files, tls, config.http.http2, tickets))
        .transpose()
}

fn load(
    files: &Files,
    config: &config::Tls,
    speaks_http2: bool,
    tickets: Option<TicketSecret>,
) -> Result<LoadedTls, Vec<String>> {
    let mut errors = Vec::new();
    let (mut identities, mut digests, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    let (mut certificates, mut not_after) = (Vec::new(), Vec::new());
    for paths in &config.certificates {
        match read_certificate(files, paths) {
            Ok((content, identity)) => {
                digests.push(content.digest);
                not_after.push(content.not_after);
                warnings.extend(content.warnings);
                certificates.push(described(&paths.certificate_file, &identity));
                identities.push(identity);
            }
            Err(error) => errors.push(error),
        }
    }
    let mut clients = None;
    match config
        .client_auth
        .as_ref()
        .map(|clients| read_clients(files, clients))
    {
        Some(Ok((content, read))) => {
            digests.push(content.digest);
            not_after.push(content.not_after);
            warnings.extend(content.warnings);
            clients = Some(read);
        }
        Some(Err(error)) => errors.push(error),
        None => {}
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let tls = Tls::new(config, identities, clients, speaks_http2, tickets);
    Ok(LoadedTls {
        tls: tls.map_err(|error| vec![format!("tls: {error}")])?,
        digests,
        not_after,
        warnings,
        certificates,
    })
}

/// A certificate, its key and what else belongs to it.
pub(super) fn read_certificate(
    disk: &Files,
    files: &TlsCertificate,
) -> Result<(FeedContent, Identity), String> {
    let certificate = public(disk, &files.certificate_file, None, MAKE_PAIR)?;
    let key = existing(disk, &files.key_file, None, MAKE_PAIR)?;
    // That anybody can read it is not what is wrong with a file without a key, so what it holds is judged first.
    let mut blocks = blocks(&files.certificate_file, &certificate, |tag| {
        tag == "CERTIFICATE"
    })?;
    blocks.extend(self::blocks(&files.key_file, &key, |tag| {
        tag.ends_with("PRIVATE KEY")
    })?);
    if let Some(file) = &files.ocsp_file {
        let response = public(disk, file, None, "correct `ocsp_file`, or leave it out")?;
        blocks.push(Pem::new(OCSP_RESPONSE, response.bytes()));
    }
    let text = bundle(&blocks);
    let (shown, key_shown) = (files.certificate_file.display(), files.key_file.display());
    let identity = Identity::read(&text)
        .map_err(|error| format!("tls: `{shown}` and `{key_shown}`: {error}"))?;
    key.judge(Secrecy::Secret)
        .map_err(|error| format!("tls: a private key: {error}"))?;
    let problems = identity.problems(clock::unix_seconds()).into_iter();
    let problems = problems.map(|problem| format!("tls: the certificate `{shown}` {problem}"));
    let not_after = u64::try_from(identity.validity().end).ok();
    let content = content(text, problems);
    Ok((
        FeedContent {
            not_after,
            ..content
        },
        identity,
    ))
}

/// Authorities, with what they have revoked.
pub(super) fn read_clients(
    disk: &Files,
    clients: &ClientAuth,
) -> Result<(FeedContent, Clients), String> {
    let authorities = public(disk, &clients.ca_file, None, "correct `tls.client_ca_file`")?;
    let mut blocks = blocks(&clients.ca_file, &authorities, |tag| tag == "CERTIFICATE")?;
    if let Some(file) = &clients.crl_file {
        let lists = public(
            disk,
            file,
            Some(LISTS_MAX),
            "correct `tls.client_crl_file`, or leave it out",
        )?;
        let found = self::blocks(file, &lists, |tag| tag == CLIENT_LIST)?;
        if found.is_empty() {
            return Err(format!(
                "tls: `{}`: no revocation list is in it, as `-----BEGIN X509 CRL-----`",
                file.display()
            ));
        }
        for list in &found {
            end_of_list(list.contents())
                .map_err(|error| format!("tls: `{}`: {error}", file.display()))?;
        }
        blocks.extend(found);
    }
    let text = bundle(&blocks);
    let shown = clients.ca_file.display();
    let read = Clients::read(&text, clients.is_required);
    let read = read.map_err(|error| format!("tls: clients of `{shown}`: {error}"))?;
    let problems = read.problems(clock::unix_seconds()).into_iter();
    let problems = problems.map(|problem| format!("tls: clients of `{shown}`: {problem}"));
    Ok((content(text, problems), read))
}

fn content(bytes: Vec<u8>, warnings: impl IntoIterator<Item = String>) -> FeedContent {
    FeedContent {
        entries: None,
        not_after: None,
        digest: digest(&SHA256, &bytes).as_ref().try_into().ok(),
        bytes,
        warnings: warnings.into_iter().collect(),
    }
}

fn public<'a>(
    disk: &Files,
    file: &'a Path,
    most: Option<u64>,
    fix: &str,
) -> Result<KeyFile<'a>, String> {
    let read = existing(disk, file, most, fix)?;
    read.judge(Secrecy::Public)
        .map_err(|error| format!("tls: {error}"))?;
    Ok(read)
}

/// `fix` is what can be done where there is none.
fn existing<'a>(
    disk: &Files,
    file: &'a Path,
    most: Option<u64>,
    fix: &str,
) -> Result<KeyFile<'a>, String> {
    if disk.is_missing(file) {
        return Err(format!("tls: `{}` does not exist; {fix}", file.display()));
    }
    let read = match most {
        Some(most) => disk.read_up_to(most, file),
        None => disk.read(file),
    };
    read.map_err(|error| format!("tls: {error}"))
}

/// The blocks of these kinds in the file.
fn blocks(
    file: &Path,
    read: &KeyFile<'_>,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<Vec<Pem>, String> {
    let blocks = pem::parse_many(read.bytes());
    let blocks =
        blocks.map_err(|error| format!("tls: `{}`: it is not PEM: {error}", file.display()))?;
    let wanted = blocks.into_iter().filter(|block| is_wanted(block.tag()));
    Ok(wanted.collect())
}

/// `` `/etc/tls/web.crt`: example.com, *.example.com; until 2027-02-01T12:00:00Z ``.
fn described(file: &Path, identity: &Identity) -> String {
    let names = match identity.names() {
        [] => "no names".to_owned(),
        names => names.join(", "),
    };
    let end = u64::try_from(identity.validity().end).unwrap_or_default();
    let end = std::time::UNIX_EPOCH + std::time::Duration::from_secs(end);
    format!(
        "certificate `{}`: {names}; until {}",
        file.display(),
        humantime::format_rfc3339_seconds(end)
    )
}
