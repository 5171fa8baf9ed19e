//! `destrier token issue`: signs a token.

use std::path::Path;

use serde_json::{Map, Value};

use super::{now, parse_algorithm, parse_claim, parse_duration};
use crate::auth::{KeyError, SigningKey, UnixTime};
use crate::cli::TokenIssueArgs;
use crate::commands::{CommandError, load_config, print};
use crate::config::{Algorithm, Issuer, KeySource};
use crate::key_files::{self, Secrecy};

/// Prints the token, and nothing else, on standard output.
pub(super) fn run(args: &TokenIssueArgs) -> Result<(), CommandError> {
    let (key, issuer) = match &args.key {
        Some(file) => (read_key(file)?, None),
        None => configured(args)?,
    };
    let algorithm = algorithm(args, &key, issuer.as_ref())?;
    let claims = claims(args, issuer.as_ref(), now())?;
    let typ = issuer.as_ref().and_then(|issuer| issuer.typ.first());
    let typ = typ.map_or("JWT", String::as_str);
    let token = key
        .sign(algorithm, typ, args.kid.as_deref(), &claims)
        .map_err(|error| CommandError::usage(format!("token issue: {error}")))?;
    print(&format!("{token}\n"))
}

/// A key file of any kind: PEM, JWK or secret, told apart by how it begins.
fn read_key(file: &Path) -> Result<SigningKey, CommandError> {
    let failed = |error: KeyError| wrong(&format!("`{}`: {error}", file.display()));
    let bytes = key_files::read(file, Secrecy::Secret).map_err(|error| wrong(&error))?;
    let start = bytes.trim_ascii_start();
    if start.starts_with(b"-----BEGIN ") {
        return SigningKey::from_pem(&bytes).map_err(failed);
    }
    if start.starts_with(b"{") {
        return SigningKey::from_jwk(&bytes).map_err(failed);
    }
    read_secret(file)
}

fn read_secret(file: &Path) -> Result<SigningKey, CommandError> {
    let secret = key_files::read_secret(file).map_err(|error| wrong(&error))?;
    SigningKey::from_secret(&secret)
        .map_err(|error| wrong(&format!("`{}`: {error}", file.display())))
}

/// The secret of the issuer that is named, else of the first that has one: the others have public keys only.
fn configured(args: &TokenIssueArgs) -> Result<(SigningKey, Option<Issuer>), CommandError> {
    let config = load_config(&args.config)?;
    let is_meant = |issuer: &&Issuer| match &args.issuer {
        Some(name) => issuer.name == *name,
        None => matches!(issuer.keys, KeySource::Secret { .. }),
    };
    let shown = config.file.display();
    let issuer = config.auth.issuers.iter().find(is_meant);
    let issuer = issuer.ok_or_else(|| match &args.issuer {
        Some(name) => wrong(&format!("`{shown}` has no [[auth.issuer]] named `{name}`")),
        None => wrong(&format!(
            "no [[auth.issuer]] of `{shown}` has a secret; name a key with `--key`"
        )),
    })?;
    let key = match &issuer.keys {
        KeySource::Secret {
            file,
            create_missing,
        } => {
            if *create_missing {
                key_files::create_secret(file).map_err(|error| wrong(&error))?;
            }
            read_secret(file)?
        }
        KeySource::PublicKey(_) | KeySource::Jwks(_) => {
            return Err(wrong(&format!(
                "issuer `{}` has public keys only, which cannot sign; name its private key with `--key`",
                issuer.name
            )));
        }
    };
    Ok((key, Some(issuer.clone())))
}

/// What was asked for, else the first that the issuer accepts and the key can do.
fn algorithm(
    args: &TokenIssueArgs,
    key: &SigningKey,
    issuer: Option<&Issuer>,
) -> Result<Algorithm, CommandError> {
    if let Some(text) = &args.alg {
        return parse_algorithm(text);
    }
    let accepted = issuer.map_or(&[][..], |issuer| &issuer.algorithms);
    let mut usable = accepted.iter().chain(key.algorithms());
    usable
        .find(|algorithm| key.algorithms().contains(algorithm))
        .copied()
        .ok_or_else(|| wrong("the key serves no algorithm"))
}

fn claims(
    args: &TokenIssueArgs,
    issuer: Option<&Issuer>,
    now: UnixTime,
) -> Result<Map<String, Value>, CommandError> {
    let ttl = parse_duration("--ttl", &args.ttl)?.as_secs();
    if ttl == 0 {
        return Err(wrong(&format!(
            "`--ttl` must be at least 1s, found `{}`",
            args.ttl
        )));
    }
    let UnixTime(now) = now;
    let jti = key_files::random_secret::<16>();
    let jti = jti.map_err(|error| CommandError::failure(format!("token issue: {error}")))?;
    let audience = match issuer {
        Some(issuer) if args.audience.is_empty() => &issuer.audience,
        Some(_) | None => &args.audience,
    };

    let mut claims = Map::new();
    let mut claim = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    if let Some(iss) = issuer.and_then(|issuer| issuer.issuer.clone()) {
        claim("iss", iss.into());
    }
    claim("sub", args.sub.clone().into());
    match audience.as_slice() {
        [] => {}
        [one] => drop(claim("aud", one.clone().into())),
        several => drop(claim("aud", several.into())),
    }
    claim("iat", now.into());
    claim("exp", now.saturating_add(ttl).into());
    claim("jti", jti.into());
    if !args.scope.is_empty() {
        claim("scope", args.scope.join(" ").into());
    }
    // Last, so that a test can ask for any value of any claim.
    for text in &args.claim {
        let (name, value) = parse_claim(text)?;
        claim(name, value);
    }
    Ok(claims)
}

fn wrong(problem: &str) -> CommandError {
    CommandError::usage(format!("token issue: {problem}"))
}
