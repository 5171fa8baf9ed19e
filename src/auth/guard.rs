//! Keys and rules together: the verdict on one request.

use std::fmt;
use std::sync::Arc;

use super::challenge::Challenges;
use super::claims::Claims;
use super::credentials::{self, Credentials, CredentialsError};
use super::keys::IssuerKeys;
use super::rules::{self, Need, Rule, RuleError, Unmet};
use super::token::{self, TokenError, TrustedIssuer};
use super::{Refusal, RequestView, UnixTime, Verdict, path};
use crate::config;

/// Why keys and rules do not make a guard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// A rule that cannot be used.
    #[error("auth.rule {number}, path `{path}`: {error}")]
    Rule {
        /// Its place in the file, from 1.
        number: usize,
        /// Its pattern.
        path: String,
        /// What is wrong.
        error: RuleError,
    },
    /// Not one set of keys for each issuer.
    #[error("{issuers} issuers are configured, but the keys of {keys} were loaded")]
    Keys {
        /// How many issuers there are.
        issuers: usize,
        /// How many sets of keys were given.
        keys: usize,
    },
}

/// Keys and rules of one generation.
#[derive(Debug)]
pub struct Guard {
    challenges: Challenges,
    issuers: Vec<TrustedIssuer>,
    rules: Vec<Rule>,
    warnings: Vec<String>,
}

impl Guard {
    /// Joins the rules with the keys, which are in the order of `config.issuers`. Returns everything that is wrong.
    pub fn new(config: &config::Auth, keys: Vec<IssuerKeys>) -> Result<Self, Vec<GuardError>> {
        let mut errors = Vec::new();
        if keys.len() != config.issuers.len() {
            errors.push(GuardError::Keys {
                issuers: config.issuers.len(),
                keys: keys.len(),
            });
        }
        let mut rules = Vec::with_capacity(config.rules.len());
        for (index, rule) in config.rules.iter().enumerate() {
            match Rule::new(rule) {
                Ok(rule) => rules.push(rule),
                Err(error) => errors.push(GuardError::Rule {
                    number: index + 1,
                    path: rule.path.clone(),
                    error,
                }),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut warnings = Vec::new();
        let mut issuers = Vec::with_capacity(keys.len());
        for (policy, keys) in config.issuers.iter().zip(keys) {
            let named = |warning| format!("auth.issuer `{}`: {warning}", policy.name);
            warnings.extend(keys.warnings().iter().map(named));
            issuers.push(TrustedIssuer::new(policy.clone(), keys));
        }
        Ok(Self {
            challenges: Challenges::new(&config.realm),
            issuers,
            rules,
            warnings,
        })
    }

    /// What the operator should know though it works: keys of a set that were skipped.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Judges one request.
    pub fn judge(&self, request: &RequestView<'_>, now: UnixTime) -> Verdict {
        match self.decide(request, now) {
            Ok(claims) => Verdict::Pass(claims),
            Err(refusal) => Verdict::Refuse(refusal),
        }
    }

    /// The claims of a token that one of the issuers signed and accepts; no rule is looked at.
    pub fn verify(&self, token: &[u8], now: UnixTime) -> Result<Arc<Claims>, TokenError> {
        token::verify(token, &self.issuers, now).map(Arc::new)
    }

    fn decide(
        &self,
        request: &RequestView<'_>,
        now: UnixTime,
    ) -> Result<Option<Arc<Claims>>, Refusal> {
        let path = path::normalise(request.path)
            .map_err(|error| bad_request("The path of the request is ambiguous.", &error))?;
        let need = rules::find(&self.rules, request.method, &path);
        if let Some(Need::Nothing) = need {
            return Ok(None);
        }
        let credentials = credentials::read(request.authorization);
        let token = match (credentials.map_err(|error| self.unreadable(error))?, need) {
            (Credentials::Bearer(token), _) => token,
            (Credentials::Absent, Some(Need::TokenIfPresent)) => return Ok(None),
            // With no issuer a token would not help.
            (Credentials::Absent, None) if self.issuers.is_empty() => {
                return Err(self.forbidden(&[], &NO_RULE));
            }
            // Whether a path exists is not told to whoever shows no token.
            (Credentials::Absent, Some(Need::Nothing | Need::Token(_)) | None) => {
                return Err(self.not_authenticated());
            }
        };
        let claims = self
            .verify(token, now)
            .map_err(|error| self.invalid(error.to_string()))?;
        match need {
            Some(Need::Nothing | Need::TokenIfPresent) => {}
            Some(Need::Token(requirements)) => {
                requirements.check(&claims).map_err(|unmet| match unmet {
                    Unmet::Scopes { needed, .. } => self.forbidden(needed, &unmet),
                    Unmet::Roles(_) | Unmet::Claim(_) => self.forbidden(&[], &unmet),
                })?;
            }
            None => return Err(self.forbidden(&[], &NO_RULE)),
        }
        Ok(Some(claims))
    }

    fn unreadable(&self, error: CredentialsError) -> Refusal {
        match error {
            CredentialsError::Several => bad_request(
                "The request has more than one Authorization header.",
                &error,
            ),
            CredentialsError::Malformed => Refusal {
                status: 401,
                challenge: Some(self.challenges.invalid_request()),
                detail: "Authorization header must contain two space-delimited values",
                code: "bad_authorization_header",
                reason: error.to_string(),
            },
        }
    }

    fn not_authenticated(&self) -> Refusal {
        Refusal {
            status: 401,
            challenge: Some(self.challenges.missing()),
            detail: "Authentication credentials were not provided.",
            code: "not_authenticated",
            reason: "no bearer token".to_owned(),
        }
    }

    fn invalid(&self, reason: String) -> Refusal {
        Refusal {
            status: 401,
            challenge: Some(self.challenges.invalid_token()),
            detail: "Given token not valid for any token type",
            code: "token_not_valid",
            reason,
        }
    }

    fn forbidden(&self, scopes: &[String], reason: &dyn fmt::Display) -> Refusal {
        Refusal {
            status: 403,
            challenge: Some(self.challenges.insufficient_scope(scopes)),
            detail: "You do not have permission to perform this action.",
            code: "permission_denied",
            reason: reason.to_string(),
        }
    }
}

const NO_RULE: &str = "no rule is for this method and path";

fn bad_request(detail: &'static str, reason: &dyn fmt::Display) -> Refusal {
    Refusal {
        status: 400,
        challenge: None,
        detail,
        code: "invalid_request",
        reason: reason.to_string(),
    }
}
