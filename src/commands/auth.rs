//! `destrier auth explain`: the rules of the configuration, tried on a request that nobody sends.

use http::header::{AUTHORIZATION, COOKIE, HOST, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue};
use serde_json::Value;

use super::{CommandError, ExitCode, fetched, misconfigured, print, token};
use crate::auth::{Explanation, Passed, Refusal, RequestView, Verdict};
use crate::cli::{AuthCommand, AuthExplainArgs, ConfigArgs};
use crate::config::{Access, Binding, ClaimTest, RateBy, Rule, RuleRate, TokenSource};
use crate::key_files::{self, MissingSecret};

pub(super) fn run(command: &AuthCommand) -> Result<ExitCode, CommandError> {
    match command {
        AuthCommand::Explain(args) => explain(args),
    }
}

/// Says which rule decides, and what comes of it.
fn explain(args: &AuthExplainArgs) -> Result<ExitCode, CommandError> {
    let config = super::load_config(&ConfigArgs {
        file: args.config.clone(),
        ..ConfigArgs::default()
    })?;
    let guard = key_files::load(&config.auth, MissingSecret::StandIn)
        .map_err(|errors| misconfigured(&errors))?;
    let (path, query) = match args.path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (args.path.as_str(), None),
    };
    let headers = headers(args, &config.auth.token_from)?;
    // Without a token no key matters.
    if args.token_file.is_some() {
        fetched::put_in_force(&guard, &config, args.offline)?;
    }
    let request = RequestView {
        method: &args.method,
        path,
        query,
        headers: &headers,
        client_certificate: None,
        client_names: &[],
        is_https: false,
    };
    let explanation = guard.explain(&request, token::now());
    print(&shown(&explanation, &config.auth.rules))?;
    Ok(match explanation.verdict {
        Verdict::Pass(_) => ExitCode::Success,
        // A worker would say the same, were it without them.
        Verdict::Refuse(refusal) if refusal.code == "token_not_checked" => ExitCode::Unknown,
        Verdict::Refuse(_) => ExitCode::Failure,
    })
}

/// What the arguments ask about, with the token in the first place where one is looked for.
fn headers(args: &AuthExplainArgs, places: &[TokenSource]) -> Result<HeaderMap, CommandError> {
    let unusable =
        |name: &str| CommandError::usage(format!("auth: `{name}` is no value of a field"));
    let mut headers = HeaderMap::new();
    if let Some(host) = &args.host {
        let host = HeaderValue::from_str(host).map_err(|_| unusable("--host"))?;
        headers.insert(HOST, host);
    }
    if let Some(file) = &args.token_file {
        let token = token::read_token(file)?;
        let (name, prefix) = match places.first() {
            Some(TokenSource::Cookie(name)) => (COOKIE, format!("{name}=")),
            Some(TokenSource::Header(name)) => {
                let name = name.parse().map_err(|_| unusable("auth.token_from"))?;
                (name, String::new())
            }
            Some(TokenSource::Protocol(name)) => (SEC_WEBSOCKET_PROTOCOL, format!("{name}, ")),
            Some(TokenSource::Authorization) | None => (AUTHORIZATION, "Bearer ".to_owned()),
        };
        let value = HeaderValue::from_bytes(&[prefix.as_bytes(), &token].concat());
        headers.insert(name, value.map_err(|_| unusable("--token-file"))?);
    }
    Ok(headers)
}

fn shown(explanation: &Explanation, rules: &[Rule]) -> String {
    let path = explanation
        .path
        .as_deref()
        .unwrap_or("has more than one reading");
    let numbered = |index: usize| Some((index, rules.get(index)?));
    let rule = match (explanation.rule.and_then(numbered), &explanation.path) {
        (Some((index, rule)), _) => format!("auth.rule[{index}]: {}", in_words(rule)),
        (None, Some(_)) => "none is for this request, so it is refused".to_owned(),
        (None, None) => "none was asked".to_owned(),
    };
    let mut lines = vec![format!("path      {path}"), format!("rule      {rule}")];
    lines.extend(explanation.unproven.and_then(|binding| {
        let proof = match binding {
            Binding::None => return None,
            Binding::Dpop => "a DPoP proof",
            Binding::Mtls => "the certificate that the token is bound to",
        };
        Some(format!(
            "binding   {proof} is needed besides, and was not looked at"
        ))
    }));
    match &explanation.verdict {
        Verdict::Pass(Passed {
            claims, audited, ..
        }) => {
            let claims = claims.as_ref().map_or_else(
                || "without claims".to_owned(),
                |claims| format!("with the claims {}", Value::from(claims.as_map().clone())),
            );
            lines.push(format!("verdict   passes, {claims}"));
            lines.extend(audited.as_ref().map(|refusal| {
                let Refusal { status, reason, .. } = refusal;
                format!("audit     would be refused with {status}: {reason}")
            }));
        }
        Verdict::Refuse(refusal) => {
            let Refusal {
                status,
                challenge,
                detail,
                code,
                class: _,
                reason,
            } = refusal;
            lines.push(format!("verdict   refused with {status}: {reason}"));
            lines.push(format!("client    code `{code}`, detail `{detail}`"));
            lines.extend(challenge.as_ref().map(|value| format!("challenge {value}")));
        }
    }
    lines.join("\n") + "\n"
}

/// A rule in one line.
fn in_words(rule: &Rule) -> String {
    let listed = |name: &str, values: &[String]| {
        (!values.is_empty()).then(|| format!("{name} {}", values.join(" ")))
    };
    let access = match rule.access {
        Access::Public => "public",
        Access::Optional => "a token is optional",
        Access::Token => "needs a token",
    };
    let claims = rule.claims.iter().map(|(name, test)| claim(name, test));
    let login = |age| format!("logged in {} ago at most", humantime::format_duration(age));
    let words = [
        Some(rule.path.clone()),
        listed("methods", &rule.methods),
        listed("hosts", &rule.hosts),
        Some(access.to_owned()),
        listed("all scopes of", &rule.scopes),
        listed("one scope of", &rule.any_scopes),
        listed("one role of", &rule.roles),
    ];
    let words = words.into_iter().flatten().chain(claims);
    let words = words.chain(rule.max_age.map(login));
    let words = words.chain(rule.rate.as_ref().map(rate));
    let words = words.chain(rule.audit.then(|| "only an audit".to_owned()));
    words.collect::<Vec<_>>().join(", ")
}

fn rate(rate: &RuleRate) -> String {
    let by = match rate.by {
        RateBy::Address => "address",
        RateBy::Subject => "subject",
    };
    let RuleRate { rate, burst, .. } = rate;
    format!("{rate} by {by}, {burst} at once")
}

fn claim(name: &str, test: &ClaimTest) -> String {
    match test {
        ClaimTest::Equals(value) => format!("`{name}` = {value}"),
        ClaimTest::Contains(value) => format!("`{name}` containing {value}"),
        ClaimTest::OneOf(values) => {
            format!("`{name}` one of {}", Value::from(values.clone()))
        }
    }
}
