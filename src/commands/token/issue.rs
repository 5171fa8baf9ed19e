//! `destrier token issue`: signs a token.

use std::path::Path;

use serde_json::{Map, Value};

use super::{now, parse_algorithm, parse_claim, parse_ttl};
use crate::auth::{SigningKey, UnixTime, algorithm};
use crate::cli::{ConfigArgs, TokenIssueArgs};
use crate::commands::{CommandError, load_config, print};
use crate::config::{Algorithm, Issuer, KeySource};
use crate::key_files;

/// Prints the token, and nothing else, on standard output.
pub(super) fn run(args: &TokenIssueArgs) -> Result<(), CommandError> {
    let (key, issuer) = signer(args)?;
    let algorithm = algorithm(args, &key, issuer.as_ref())?;
    let claims = claims(args, issuer.as_ref(), now())?;
    let typ = issuer.as_ref().and_then(|issuer| issuer.typ.first());
    let typ = typ.map_or("JWT", String::as_str);
    let token = key
        .sign(algorithm, typ, args.kid.as_deref(), &claims)
        .map_err(|error| CommandError::usage(format!("token issue: {error}")))?;
    print(&format!("{token}\n"))
}

/// The key, and the issuer in whose name it signs: none for a key that nothing else is known of.
fn signer(args: &TokenIssueArgs) -> Result<(SigningKey, Option<Issuer>), CommandError> {
    let is_bare = args.config.is_none() && args.issuer.is_none();
    match &args.key {
        Some(file) if is_bare => Ok((read_key(file)?, None)),
        Some(_) if args.issuer.is_none() => Err(wrong(
            "`--issuer` must say in whose name `--key` signs; leave `--config` out to sign in nobody's",
        )),
        Some(file) => Ok((read_key(file)?, Some(configured(args)?))),
        None => {
            let issuer = configured(args)?;
            Ok((own_key(&issuer)?, Some(issuer)))
        }
    }
}

fn read_key(path: &Path) -> Result<SigningKey, CommandError> {
    key_files::read_signing_key(path).map_err(|error| wrong(&error))
}

/// The issuer that is named, else the first that has a secret: the others have public keys only.
fn configured(args: &TokenIssueArgs) -> Result<Issuer, CommandError> {
    let config = load_config(&ConfigArgs {
        file: args.config.clone(),
        ..ConfigArgs::default()
    })?;
    let is_meant = |issuer: &&Issuer| match &args.issuer {
        Some(name) => issuer.name == *name,
        None => matches!(issuer.keys, KeySource::Secret { .. }),
    };
    let issuers = &config.auth.issuers;
    let issuer = issuers.iter().find(is_meant).ok_or_else(|| {
        let shown = config.file.display();
        let known: Vec<String> = issuers
            .iter()
            .map(|each| format!("`{}`", each.name))
            .collect();
        wrong(&match &args.issuer {
            Some(name) if known.is_empty() => {
                format!("`{shown}` has no [[auth.issuer]], so none named `{name}`")
            }
            Some(name) => format!(
                "`{shown}` has no [[auth.issuer]] named `{name}`, only {}",
                known.join(", ")
            ),
            None => {
                format!("no [[auth.issuer]] of `{shown}` has a secret; name a key with `--key`")
            }
        })
    })?;
    Ok(issuer.clone())
}

fn own_key(issuer: &Issuer) -> Result<SigningKey, CommandError> {
    match &issuer.keys {
        KeySource::Secret {
            file,
            create_missing,
        } => {
            if *create_missing {
                key_files::create_secret(file).map_err(|error| wrong(&error))?;
            }
            key_files::read_signing_secret(file).map_err(|error| wrong(&error))
        }
        KeySource::PublicKey(_) | KeySource::Jwks(_) | KeySource::Remote(_) => {
            Err(wrong(&format!(
                "issuer `{}` has public keys only, which cannot sign; name its private key with `--key`",
                issuer.name
            )))
        }
    }
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
    let served = key.algorithms();
    let accepted = issuer.map_or(&[][..], |issuer| &issuer.algorithms);
    let accepted = if accepted.is_empty() {
        served
    } else {
        accepted
    };
    let usable = accepted.iter().find(|each| served.contains(each));
    usable.copied().ok_or_else(|| {
        wrong(&format!(
            "the key serves {}, the issuer accepts {}",
            algorithm::list(served),
            algorithm::list(accepted)
        ))
    })
}

fn claims(
    args: &TokenIssueArgs,
    issuer: Option<&Issuer>,
    now: UnixTime,
) -> Result<Map<String, Value>, CommandError> {
    let ttl = parse_ttl(&args.ttl)?.as_secs();
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
        let (name, value) = parse_claim("token", text)?;
        claim(name, value);
    }
    Ok(claims)
}

fn wrong(problem: &str) -> CommandError {
    CommandError::usage(format!("token issue: {problem}"))
}
