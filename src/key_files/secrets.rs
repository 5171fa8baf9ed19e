//! All that a generation has from key files.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use super::tls::LoadedTls;
use super::{Digest, Files, MissingSecret, Secrecy};
use crate::auth::{Guard, UnixTime};
use crate::config::{Config, Database};
use crate::sys::clock;
use crate::telemetry::{CollectorAccess, CollectorFields};
use crate::tls::{self, TicketSecret, Tls};
use crate::tokens::{Password, Signer};

/// What its workers need of it.
#[derive(Debug, Clone)]
pub(crate) struct Secrets {
    /// Keys and rules.
    pub(crate) guard: Arc<Guard>,
    /// What the token service signs with; absent when there is none.
    pub(crate) signer: Option<Arc<Signer>>,
    /// What TLS is spoken with; absent when no address does.
    pub(crate) tls: Option<Arc<Tls>>,
    /// What the token database asks for; absent when it asks for nothing.
    pub(crate) database_password: Option<Password>,
    /// What files say of the way to a collector of traces.
    pub(crate) collector: CollectorAccess,
}

/// What the master wants to know besides.
#[derive(Debug)]
pub(crate) struct Account {
    /// Of the file of each feed of the configuration, in their order.
    pub(crate) digests: Vec<Option<Digest>>,
    /// When each of these ends, in seconds since 1970, where it is a certificate.
    pub(crate) not_after: Vec<Option<u64>>,
    /// What the operator should look at.
    pub(crate) warnings: Vec<String>,
}

impl Secrets {
    /// Reads them out of `files`. With `tickets` of another process of the generation its TLS sessions go on here.
    ///
    /// # Errors
    /// Something of it cannot be used: a line for each file.
    pub(crate) fn load(
        files: &Files,
        config: &Config,
        missing: MissingSecret,
        tickets: Option<TicketSecret>,
    ) -> Result<(Self, Account), Vec<String>> {
        let (guard, mut digests) = super::load_with_digests(files, &config.auth, missing)?;
        let mut not_after = vec![None; digests.len()];
        let mut warnings = guard.warnings().to_vec();
        let tls = super::load_tls(files, config, tickets)?.map(|loaded: LoadedTls| {
            digests.extend(loaded.digests);
            not_after.extend(loaded.not_after);
            warnings.extend(loaded.warnings);
            Arc::new(loaded.tls)
        });
        let signer = load_signer(files, config, &guard).map_err(|error| vec![error])?;
        let password = load_database_password(files, config).map_err(|error| vec![error])?;
        let collector = load_collector_access(files, config).map_err(|error| vec![error])?;
        let secrets = Self {
            guard: Arc::new(guard),
            signer: signer.map(Arc::new),
            tls,
            database_password: password,
            collector,
        };
        let account = Account {
            digests,
            not_after,
            warnings,
        };
        Ok((secrets, account))
    }
}

/// What the token service of `config` signs with; absent when there is no service, or while the secret of its issuer is still
/// to be made.
pub(crate) fn load_signer(
    files: &Files,
    config: &Config,
    guard: &Guard,
) -> Result<Option<Signer>, String> {
    let (Some(tokens), Some(issuer)) = (&config.auth.tokens, config.auth.token_issuer()) else {
        return Ok(None);
    };
    let is_to_be_made = |file| files.is_missing(file);
    if super::made_when_missing(issuer).is_some_and(is_to_be_made) {
        return Ok(None);
    }
    let now = UnixTime(clock::unix().as_secs());
    super::load_signing_key(files, tokens, issuer)
        .and_then(|key| Signer::new(tokens, issuer, key, guard, now))
        .map(Some)
        .map_err(|error| format!("auth.tokens: {error}"))
}

/// The password of the token database; absent when none is configured.
pub(crate) fn load_database_password(
    files: &Files,
    config: &Config,
) -> Result<Option<Password>, String> {
    let tokens = config.auth.tokens.as_ref();
    let Some(Database::Postgres {
        password_file: Some(file),
        ..
    }) = tokens.map(|tokens| &tokens.database)
    else {
        return Ok(None);
    };
    if files.is_missing(file) {
        let shown = file.display();
        return Err(format!(
            "auth.tokens.database_password_file: `{shown}` does not exist; put the password into it, as a file that only its owner can read (`chmod 600 {shown}`), or leave the key out where the server asks for none"
        ));
    }
    super::read_secret(files, file)
        .and_then(|secret| {
            Password::new(secret).map_err(|error| format!("`{}`: {error}", file.display()))
        })
        .map(Some)
        .map_err(|error| format!("auth.tokens.database_password_file: {error}"))
}

/// What the files of `[telemetry]` hold.
pub(crate) fn load_collector_access(
    files: &Files,
    config: &Config,
) -> Result<CollectorAccess, String> {
    let Some(telemetry) = &config.telemetry else {
        return Ok(CollectorAccess::default());
    };
    let fields = telemetry.headers_file.as_ref().map(|file| {
        load_collector_fields(files, file)
            .map_err(|error| format!("telemetry.otlp_headers_file: {error}"))
    });
    let authorities = telemetry.ca_file.as_ref().map(|file| {
        load_authorities(files, file).map_err(|error| format!("telemetry.otlp_ca_file: {error}"))
    });
    Ok(CollectorAccess {
        fields: fields.transpose()?.unwrap_or_default(),
        authorities: authorities.transpose()?.unwrap_or_default(),
    })
}

fn load_collector_fields(files: &Files, file: &Path) -> Result<CollectorFields, String> {
    let shown = file.display();
    if files.is_missing(file) {
        return Err(format!(
            "`{shown}` does not exist; put fields for the collector into it, one a line, as a file that only its owner can read (`chmod 600 {shown}`)"
        ));
    }
    let secret = super::read_secret(files, file)?;
    CollectorFields::read(&secret).map_err(|error| format!("`{shown}`: {error}"))
}

fn load_authorities(files: &Files, file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = file.display();
    if files.is_missing(file) {
        return Err(format!(
            "`{shown}` does not exist; correct the path, or leave the key out where the authorities of the system will do"
        ));
    }
    let read = files.read(file)?;
    read.judge(Secrecy::Public)?;
    tls::authorities(read.bytes()).map_err(|error| format!("`{shown}`: {error}"))
}
