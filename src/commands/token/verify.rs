//! `destrier token verify`: the same check as in a worker.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{now, parse_algorithm, parse_claim, parse_duration, read_token};
use crate::auth::{Claims, Guard};
use crate::cli::{ConfigArgs, TokenVerifyArgs};
use crate::commands::{CommandError, ExitCode, fetched, load_config, misconfigured, print, tell};
use crate::config::{Auth, Binding, Config, Issuer, KeySource, LEEWAY_MAX};
use crate::key_files::{self, LoadError, MissingSecret};

/// Prints the claims of a valid token; one that is not valid is a failure that says why.
pub(super) fn run(args: &TokenVerifyArgs) -> Result<(), CommandError> {
    let wanted = args.claim.iter().map(|text| parse_claim("token", text));
    let wanted: Vec<_> = wanted.collect::<Result<_, _>>()?;
    let (guard, config) = guard(args)?;
    for warning in guard.warnings() {
        tell(&format!("warning: {warning}"));
    }
    let token = read_token(&args.token.token_file)?;
    if let Some(config) = config {
        fetched::put_in_force(&guard, &config, args.offline)?;
    }

    let claims = guard.verify(&token, now()).map_err(|error| {
        if error.is_ours() {
            return CommandError {
                code: ExitCode::Unknown,
                message: format!("token cannot be judged: {error}"),
            };
        }
        not_valid(&error.to_string())
    })?;
    for (name, value) in wanted {
        if claims.get(name) != Some(&value) {
            return Err(not_valid(&format!("claim `{name}` is not {value}")));
        }
    }
    note_binding(&claims);
    print(&format!("{}\n", shown(&claims)))
}

/// A worker wants more than this token, and nobody could tell that from the claims alone.
fn note_binding(claims: &Claims) {
    let bindings = [
        (
            claims.bound_key(),
            "a key (`cnf.jkt`)",
            "a DPoP proof",
            "dpop",
        ),
        (
            claims.bound_certificate(),
            "a certificate (`cnf.x5t#S256`)",
            "the client's certificate",
            "mtls",
        ),
    ];
    for (_, bound_to, proof, binding) in bindings
        .iter()
        .filter(|(thumbprint, ..)| thumbprint.is_some())
    {
        tell(&format!(
            "note: the token is bound to {bound_to}; a worker asks for {proof} besides, and takes it only from an issuer with `binding = \"{binding}\"`"
        ));
    }
}

fn not_valid(reason: &str) -> CommandError {
    CommandError::failure(format!("token is not valid: {reason}"))
}

fn shown(claims: &Claims) -> serde_json::Value {
    claims.as_map().clone().into()
}

/// The issuers of the configuration, which comes along, or one made of the arguments.
fn guard(args: &TokenVerifyArgs) -> Result<(Guard, Option<Config>), CommandError> {
    let (option, keys) = match (&args.secret, &args.public_key, &args.jwks) {
        (Some(file), _, _) => (
            "--secret",
            KeySource::Secret {
                file: file.clone(),
                create_missing: false,
            },
        ),
        (None, Some(file), _) => ("--public-key", KeySource::PublicKey(file.clone())),
        (None, None, Some(file)) => ("--jwks", KeySource::Jwks(file.clone())),
        (None, None, None) => return configured(args),
    };
    let algorithms = args.alg.iter().map(|text| parse_algorithm(text));
    let leeway = args.leeway.as_deref();
    let issuer = Issuer {
        name: option.to_owned(),
        keys,
        issuer: args.issuer.clone(),
        audience: args.audience.clone(),
        algorithms: algorithms.collect::<Result<_, _>>()?,
        leeway: leeway.map(parse_leeway).transpose()?.unwrap_or_default(),
        require: args.require.clone(),
        // `--claim` is judged for issuers of the configuration too, afterwards.
        claims: BTreeMap::new(),
        typ: args.typ.clone(),
        binding: Binding::None,
        signs_refresh_tokens: false,
        signs_sliding_tokens: false,
    };
    let (keys, warning) = key_files::load_named(&issuer).map_err(|error| match error {
        LoadError::File(error) => wrong(&format!("{option}: {error}")),
        // Whatever the token is, no key of the set has signed it.
        LoadError::NoKey(error) => not_valid(&format!("{option}: {error}")),
    })?;
    if let Some(warning) = warning {
        tell(&format!("warning: {option}: {warning}"));
    }
    let auth = Auth {
        issuers: vec![issuer],
        ..Auth::default()
    };
    let guard = Guard::new(&auth, vec![keys]).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        wrong(&lines.join("\n"))
    })?;
    Ok((guard, None))
}

/// As strict as `leeway` of the configuration.
fn parse_leeway(text: &str) -> Result<Duration, CommandError> {
    let leeway = parse_duration("--leeway", text)?;
    if leeway > LEEWAY_MAX || leeway.subsec_nanos() != 0 {
        return Err(wrong(&format!(
            "`--leeway` must be whole seconds, at most {}, found `{text}`",
            humantime::format_duration(LEEWAY_MAX)
        )));
    }
    Ok(leeway)
}

fn configured(args: &TokenVerifyArgs) -> Result<(Guard, Option<Config>), CommandError> {
    let config = load_config(&ConfigArgs {
        file: args.config.clone(),
        ..ConfigArgs::default()
    })?;
    if config.auth.issuers.is_empty() {
        return Err(wrong(&format!(
            "`{}` has no [[auth.issuer]]; name a key with `--secret`, `--public-key` or `--jwks`",
            config.file.display()
        )));
    }
    let guard = key_files::load(&config.auth, MissingSecret::Refuse)
        .map_err(|errors| misconfigured(&errors))?;
    Ok((guard, Some(config)))
}

fn wrong(problem: &str) -> CommandError {
    CommandError::usage(format!("token verify: {problem}"))
}
