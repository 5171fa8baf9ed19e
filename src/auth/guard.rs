//! Keys and rules together: the verdict on one request.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use serde_json::Value;

use super::bearer::Scheme;
use super::binding::{self, Believed};
use super::claims::Claims;
use super::credentials::{self, Credentials};
use super::csrf::Csrf;
use super::deny_list::DenyList;
use super::dpop::Dpop;
use super::identity_fields::IdentityFields;
use super::keys::{IssuerKeys, KeyError};
use super::path;
use super::refusals::{self, Refusals};
use super::resource::ResourceMetadata;
use super::revocation::Revocations;
use super::rules::{self, Need, Rule, RuleError};
use super::signing::SigningKey;
use super::token::{self, Accepted, MAX_TOKEN, Purpose, TokenError, TrustedIssuer};
use super::verified::VerifiedTokens;
use super::{
    Explanation, Freshness, Judged, Passed, Proof, Refusal, RequestView, UnixTime, Verdict, Wanted,
};
use crate::config::{self, Algorithm, Binding, FeedPurpose, TokenSource};

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
    refusals: Refusals,
    metadata: Option<ResourceMetadata>,
    issuers: Vec<TrustedIssuer>,
    rules: Vec<Rule>,
    token_from: Vec<TokenSource>,
    csrf: Csrf,
    identity_fields: IdentityFields,
    dpop: Dpop,
    warnings: Vec<String>,
    verified: VerifiedTokens,
    revocations: Revocations,
}

/// How much of a request is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// All of it.
    Whole,
    /// Not what its client proves besides its token: nobody sends it.
    Unsent,
}

/// What comes out about a request while it is judged.
#[derive(Debug, Default)]
struct Learned {
    /// What its token says, as soon as it is believed.
    claims: Option<Arc<Claims>>,
    /// The proof that came with the token.
    proof: Option<Proof>,
    /// What would have to be proved besides, and was not looked at.
    unproven: Option<Binding>,
    /// What is missing to judge the token.
    wanted: Option<Wanted>,
}

impl Guard {
    /// Whether this one of the subprotocols that a request offers for its WebSocket is its token.
    pub fn is_token_protocol(&self, fields: &HeaderMap, protocol: &str) -> bool {
        self.token_from.iter().any(|source| match source {
            TokenSource::Protocol(name) => {
                credentials::protocols(fields, name).any(|token| token == protocol.as_bytes())
            }
            TokenSource::Authorization | TokenSource::Cookie(_) | TokenSource::Header(_) => false,
        })
    }

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
        let metadata = ResourceMetadata::new(config);
        Ok(Self {
            refusals: Refusals::new(config, metadata.as_ref().map(|metadata| &*metadata.address)),
            metadata,
            issuers,
            rules,
            token_from: config.token_from.clone(),
            csrf: Csrf::new(config),
            identity_fields: IdentityFields::new(config),
            dpop: Dpop::new(config),
            warnings,
            verified: VerifiedTokens::new(),
            revocations: Revocations::new(config),
        })
    }

    /// What the operator should know though it works: keys of a set that were skipped.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The JSON that tells clients where they get a token (RFC 9728), when this path, as received, asks for it.
    pub fn metadata_at(&self, path: &str) -> Option<&str> {
        let metadata = self.metadata.as_ref();
        let asked = metadata.filter(|metadata| metadata.path == path);
        asked.map(|metadata| &*metadata.document)
    }

    /// The fields in which the application gets claims: those that a client sends are forged.
    pub fn identity_fields(&self) -> &[HeaderName] {
        self.identity_fields.names()
    }

    /// Judges one request.
    pub fn judge(&self, request: &RequestView<'_>, now: UnixTime) -> Verdict {
        self.judge_request(request, now).verdict
    }

    /// As [`Self::judge`], with what decided, and what is missing.
    pub fn judge_request(&self, request: &RequestView<'_>, now: UnixTime) -> Judged {
        match path::normalise(request.path) {
            Ok(path) => {
                let found = self.find(request, &path);
                let (verdict, learned) = self.judge_by(found, request, now, Scope::Whole);
                Judged {
                    verdict,
                    wanted: learned.wanted,
                    rule: found.map(|(index, _)| index),
                }
            }
            Err(error) => Judged {
                verdict: Verdict::Refuse(refusals::ambiguous(error)),
                wanted: None,
                rule: None,
            },
        }
    }

    /// The verdict on a request that passed with a proof, when it is known whether the proof was shown before.
    pub fn settle(&self, mut passed: Passed, freshness: Freshness) -> Verdict {
        let refusal = match freshness {
            Freshness::Fresh => return Verdict::Pass(passed),
            Freshness::Seen => self.refusals.replayed(),
            Freshness::Unknown => refusals::unremembered(),
        };
        if !passed.proof.as_ref().is_some_and(|proof| proof.is_audit) {
            return Verdict::Refuse(refusal);
        }
        // Who it is is not certain.
        passed.claims = None;
        passed.audited.get_or_insert(refusal);
        Verdict::Pass(passed)
    }

    /// As [`Self::judge`] for a request that nobody sends, and says how the verdict came about. What its client would have to
    /// prove besides its token is named, not asked for.
    pub fn explain(&self, request: &RequestView<'_>, now: UnixTime) -> Explanation {
        match path::normalise(request.path) {
            Ok(path) => {
                let found = self.find(request, &path);
                let (verdict, learned) = self.judge_by(found, request, now, Scope::Unsent);
                Explanation {
                    rule: found.map(|(index, _)| index),
                    verdict,
                    unproven: learned.unproven,
                    path: Some(path.into_owned()),
                }
            }
            Err(error) => Explanation {
                path: None,
                rule: None,
                verdict: Verdict::Refuse(refusals::ambiguous(error)),
                unproven: None,
            },
        }
    }

    /// The claims of a token that one of the issuers signed and accepts, and that is not revoked; no rule is looked at, nor
    /// whether whoever shows it may.
    pub fn verify(&self, token: &[u8], now: UnixTime) -> Result<Arc<Claims>, TokenError> {
        self.believe(token, now).map(|believed| believed.claims)
    }

    /// Whether one of the issuers signed a token and accepts it. What was revoked is not looked at: for a token that was just made.
    ///
    /// # Errors
    /// Why not.
    pub fn try_out(&self, token: &[u8], now: UnixTime) -> Result<(), TokenError> {
        self.verify_signed(token, now).map(drop)
    }

    fn believe(&self, token: &[u8], now: UnixTime) -> Result<Believed, TokenError> {
        let believed = self.verify_signed(token, now)?;
        // Also of one that was verified before: it may have been revoked since.
        self.revocations.check(&believed.claims, now)?;
        Ok(believed)
    }

    fn verify_signed(&self, token: &[u8], now: UnixTime) -> Result<Believed, TokenError> {
        // One that is too long is refused before it is looked through.
        if token.len() <= MAX_TOKEN
            && let Some((claims, issuer)) = self.verified.find(token, now)
            && let Some(issuer) = self.issuers.get(issuer).filter(|it| it.has_keys(now))
        {
            let binding = issuer.binding();
            return Ok(Believed { claims, binding });
        }
        let accepted = token::verify(token, &self.issuers, now)?;
        let Accepted {
            claims,
            binding,
            issuer,
            until,
        } = accepted;
        let claims = Arc::new(claims.with_fields(&self.identity_fields, token));
        self.verified.keep(token, (&claims, issuer), now, until);
        Ok(Believed { claims, binding })
    }

    /// The claims of a token of any kind that this issuer, by its place in the configuration, signed and accepts; nothing is
    /// remembered of it. For the token service.
    pub fn verify_of(
        &self,
        issuer: usize,
        token: &[u8],
        now: UnixTime,
    ) -> Result<Claims, TokenError> {
        let issuer = self.issuers.get(issuer);
        let issuers = issuer.map(std::slice::from_ref).unwrap_or_default();
        let accepted = token::verify_for(Purpose::Service, token, issuers, now)?;
        self.revocations.check(&accepted.claims, now)?;
        Ok(accepted.claims)
    }

    /// Goes on with other keys for the issuer at this place of the configuration, which are good until then, or for ever; what
    /// they are read from is told in [`IssuerKeys::read`]. What was verified with the keys of before is verified anew.
    ///
    /// # Errors
    /// No keys can be read there: those of before stay.
    pub fn renew_keys(
        &self,
        issuer: usize,
        content: &[u8],
        good_until: Option<UnixTime>,
    ) -> Result<(), KeyError> {
        if let Some(issuer) = self.issuers.get(issuer) {
            issuer.renew_keys(content, good_until)?;
            self.verified.forget();
        }
        Ok(())
    }

    /// The keys of this issuer were found to be still what they are, and are good until then. Whether they were too old before.
    pub fn keep_keys(&self, issuer: usize, good_until: Option<UnixTime>, now: UnixTime) -> bool {
        self.issuers.get(issuer).is_some_and(|issuer| {
            let were_too_old = !issuer.has_keys(now);
            issuer.keep_keys(good_until);
            were_too_old
        })
    }

    /// The deny list at this place was found to be still what it is, and is good until then. Whether it was too old before.
    pub fn keep_deny_list(
        &self,
        place: usize,
        good_until: Option<UnixTime>,
        now: UnixTime,
    ) -> bool {
        self.revocations.keep(place, good_until, now)
    }

    /// How many tokens this process has recognised, for it had verified them before, and how many it had not.
    pub fn token_counts(&self) -> (u64, u64) {
        self.verified.counts()
    }

    /// How many keys the issuer at this place of the configuration has.
    pub fn key_count(&self, issuer: usize) -> Option<usize> {
        self.issuers.get(issuer).map(TrustedIssuer::key_count)
    }

    /// How many entries the deny list at this place of the configuration has, where it is known.
    pub fn deny_count(&self, place: usize) -> Option<usize> {
        self.revocations.count(place)
    }

    /// Goes on with another deny list at this place of the configuration, which is good until then, or for ever.
    pub fn renew_deny_list(&self, place: usize, list: DenyList, good_until: Option<UnixTime>) {
        self.revocations.renew(place, list, good_until);
    }

    /// What the keys of this issuer call the public half of `key`, where it verifies `algorithm`. For the token service.
    pub fn kid_of(&self, issuer: usize, key: &SigningKey, algorithm: Algorithm) -> Option<String> {
        let issuer = self.issuers.get(issuer)?;
        issuer.kid_of(key, algorithm)
    }

    /// Every public key of this issuer as a JWK (RFC 7517), no secret; `key` is the one that signs, with `algorithm`, and is
    /// called `kid`. For the token service.
    pub fn public_keys(
        &self,
        issuer: usize,
        key: &SigningKey,
        algorithm: Algorithm,
        kid: Option<&str>,
    ) -> Vec<Value> {
        let issuer = self.issuers.get(issuer);
        issuer.map_or_else(Vec::new, |issuer| issuer.published(key, algorithm, kid))
    }

    fn find(&self, request: &RequestView<'_>, path: &str) -> Option<(usize, &Rule)> {
        rules::find(&self.rules, request.method, path, || request.host())
    }

    /// The verdict, and what came out besides.
    fn judge_by(
        &self,
        found: Option<(usize, &Rule)>,
        request: &RequestView<'_>,
        now: UnixTime,
        scope: Scope,
    ) -> (Verdict, Learned) {
        let rule = found.map(|(_, rule)| rule);
        let mut learned = Learned::default();
        let decision = self.decide(rule, request, now, scope, &mut learned);
        let is_audit = rule.is_some_and(|rule| rule.is_audit);
        let proof = learned.proof.take();
        let verdict = match decision {
            Err(refusal) if !is_audit => Verdict::Refuse(refusal),
            decision => Verdict::Pass(Passed {
                claims: learned.claims.take(),
                proof: proof.map(|proof| Proof { is_audit, ..proof }),
                audited: decision.err(),
                request_timeout: rule.and_then(|rule| rule.request_timeout),
                max_body: rule.map(|rule| rule.max_body),
                rule: found.map(|(place, _)| place),
            }),
        };
        (verdict, learned)
    }

    /// Whether the request has what is needed.
    fn decide(
        &self,
        rule: Option<&Rule>,
        request: &RequestView<'_>,
        now: UnixTime,
        scope: Scope,
        learned: &mut Learned,
    ) -> Result<(), Refusal> {
        let need = rule.map(|rule| &rule.need);
        if let (Some(rule), Scope::Whole) = (rule, scope) {
            let checked = rule.check_client(request);
            checked.map_err(refusals::without_certificate)?;
        }
        if let Some(Need::Nothing) = need {
            return Ok(());
        }
        let in_query = rule.and_then(|rule| rule.query_token.as_deref());
        let credentials = credentials::find(request, &self.token_from, in_query);
        let (token, scheme) = match (
            credentials.map_err(|error| self.refusals.unreadable(&error))?,
            need,
        ) {
            (
                Credentials::Token {
                    token,
                    scheme,
                    is_ambient,
                },
                _,
            ) => {
                if is_ambient {
                    self.csrf.check(request).map_err(refusals::forged)?;
                }
                (token, scheme)
            }
            (Credentials::Absent, Some(Need::TokenIfPresent)) => return Ok(()),
            // With no issuer a token would not help.
            (Credentials::Absent, None) if self.issuers.is_empty() => {
                return Err(self.refusals.no_rule(None));
            }
            // Whether a path exists is not told to whoever shows no token.
            (Credentials::Absent, Some(Need::Nothing | Need::Token(_)) | None) => {
                return Err(self.refusals.not_authenticated());
            }
        };
        let believed = self.believe(&token, now).map_err(|error| {
            learned.wanted = self.wanted(&error);
            self.refusals.not_believed(scheme, &error)
        })?;
        learned.proof = match scope {
            Scope::Whole => binding::check(&believed, (&token, scheme), request, &self.dpop, now),
            Scope::Unsent => {
                learned.unproven = Some(believed.binding).filter(|each| *each != Binding::None);
                binding::check_token(&believed).map(|()| None)
            }
        }
        .map_err(|error| self.refusals.not_bound(&error, scheme))?;
        let scheme = match believed.binding {
            Binding::Dpop => Some(Scheme::Dpop),
            Binding::None | Binding::Mtls => Some(Scheme::Bearer),
        };
        let verified = &*learned.claims.insert(believed.claims);
        verified.fields().map_err(refusals::unwritable)?;
        match need {
            Some(Need::Nothing | Need::TokenIfPresent) => Ok(()),
            Some(Need::Token(requirements)) => requirements
                .check(verified, now)
                .map_err(|unmet| self.refusals.insufficient(scheme, &unmet)),
            None => Err(self.refusals.no_rule(scheme)),
        }
    }

    /// What might be known after something was fetched again.
    fn wanted(&self, error: &TokenError) -> Option<Wanted> {
        if let TokenError::NoDenyList(place) = error {
            let feed = FeedPurpose::DenyList(*place);
            return Some(Wanted { feed, kid: None });
        }
        let (name, kid) = error.wants()?;
        let issuer = self.issuers.iter().position(|it| it.is_remote(name))?;
        let (feed, kid) = (FeedPurpose::IssuerKeys(issuer), kid.map(str::to_owned));
        Some(Wanted { feed, kid })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
    use http::{HeaderMap, HeaderValue};
    use serde_json::json;

    use super::super::fixtures::{NOW, auth, fresh, guard, hs256, issuer, rule, secret_keys};
    use super::*;
    use crate::config::Access;

    fn shop() -> Guard {
        let mut orders = rule("/orders/**", &["GET"], Access::Token);
        orders.scopes = vec!["orders:read".to_owned()];
        let mut admin = rule("/admin/**", &[], Access::Token);
        admin.roles = vec!["admin".to_owned()];
        let rules = vec![
            rule("/", &[], Access::Public),
            rule("/me", &[], Access::Token),
            rule("/feed", &[], Access::Optional),
            orders,
            admin,
        ];
        guard(vec![(issuer("a"), secret_keys())], rules)
    }

    fn view<'a>(method: &'a str, path: &'a str, headers: &'a HeaderMap) -> RequestView<'a> {
        RequestView {
            method,
            path,
            query: None,
            headers,
            client_certificate: None,
            client_names: &[],
            is_https: false,
        }
    }

    fn judge(guard: &Guard, target: &str, authorization: &[&str]) -> Verdict {
        let (method, path) = target.split_once(' ').unwrap();
        let headers = authorization.iter().map(|field| {
            let field = HeaderValue::from_bytes(field.as_bytes()).unwrap();
            (AUTHORIZATION, field)
        });
        guard.judge(&view(method, path, &headers.collect()), NOW)
    }

    fn refusal(verdict: Verdict) -> Refusal {
        match verdict {
            Verdict::Refuse(refusal) => refusal,
            Verdict::Pass(passed) => panic!("{passed:?}"),
        }
    }

    fn claims(verdict: Verdict) -> Option<Arc<Claims>> {
        match verdict {
            Verdict::Pass(passed) => {
                assert_eq!(passed.audited, None);
                passed.claims
            }
            Verdict::Refuse(refusal) => panic!("{refusal:?}"),
        }
    }

    fn bearer(claims: Value) -> String {
        format!("Bearer {}", hs256(&fresh(claims)))
    }

    #[test]
    fn a_public_route_does_not_look_at_the_token() {
        for authorization in [&[][..], &["Bearer rubbish"], &["Bearer a", "Bearer b"]] {
            assert!(claims(judge(&shop(), "GET /", authorization)).is_none());
        }
    }

    #[test]
    fn a_valid_token_passes_with_its_claims() {
        let verdict = judge(&shop(), "GET /me", &[&bearer(json!({"sub": "u"}))]);
        let claims = claims(verdict).expect("claims");
        assert_eq!(claims.subject(), Some("u"));
    }

    #[test]
    fn the_rule_that_decides_says_how_long_the_answer_may_take() {
        let mut patient = rule("/report", &["GET"], Access::Public);
        patient.request_timeout = Some(Duration::from_mins(10));
        let rules = vec![patient, rule("/**", &[], Access::Public)];
        let guard = guard(Vec::new(), rules);
        let time = |target| match judge(&guard, target, &[]) {
            Verdict::Pass(passed) => passed.request_timeout,
            Verdict::Refuse(refusal) => panic!("refused: {refusal:?}"),
        };
        assert_eq!(time("GET /report"), Some(Duration::from_mins(10)));
        assert_eq!(time("POST /report"), None);
    }

    #[test]
    fn a_missing_token_is_401_without_error_code() {
        for authorization in [&[][..], &["Basic dTpw"]] {
            let refusal = refusal(judge(&shop(), "GET /me", authorization));
            assert_eq!(refusal.status, 401);
            assert_eq!(refusal.challenge.as_deref(), Some(r#"Bearer realm="test""#));
            assert_eq!(
                refusal.detail,
                "Authentication credentials were not provided."
            );
            assert_eq!(refusal.code, "not_authenticated");
        }
    }

    #[test]
    fn an_invalid_token_is_401_and_the_reason_is_for_the_log() {
        let expired = format!("Bearer {}", hs256(&json!({"exp": NOW.0})));
        let refusal = refusal(judge(&shop(), "GET /me", &[&expired]));
        assert_eq!(refusal.status, 401);
        let challenge = r#"Bearer realm="test", error="invalid_token""#;
        assert_eq!(refusal.challenge.as_deref(), Some(challenge));
        assert_eq!(refusal.detail, "Given token not valid for any token type");
        assert_eq!(refusal.code, "token_not_valid");
        assert!(refusal.reason.contains("expired"), "{}", refusal.reason);
    }

    #[test]
    fn a_token_of_strange_characters_is_401() {
        for field in ["Bearer a,b", "Bearer \"a.b.c\"", "Bearer =", "Bearer é"] {
            let refusal = refusal(judge(&shop(), "GET /me", &[field]));
            assert_eq!((refusal.status, refusal.code), (401, "token_not_valid"));
        }
    }

    #[test]
    fn two_authorization_headers_are_refused() {
        let token = bearer(json!({}));
        for second in [token.as_str(), "Bearer x", "Basic y", ""] {
            let refusal = refusal(judge(&shop(), "GET /me", &[&token, second]));
            assert_eq!((refusal.status, refusal.code), (400, "invalid_request"));
            assert_eq!(refusal.challenge, None);
        }
    }

    #[test]
    fn a_token_in_a_cookie_needs_a_request_that_the_site_made() {
        let config = config::Auth {
            token_from: vec![
                TokenSource::Authorization,
                TokenSource::Cookie("at".to_owned()),
            ],
            rules: vec![rule("/me", &[], Access::Token)],
            issuers: vec![issuer("a")],
            ..auth()
        };
        let guard = Guard::new(&config, vec![secret_keys()]).unwrap();
        let token = hs256(&fresh(json!({})));
        let ask = |method, origin: Option<&'static str>| {
            let cookie = HeaderValue::try_from(format!("at={token}")).unwrap();
            let mut headers = HeaderMap::from_iter([
                (COOKIE, cookie),
                (HOST, HeaderValue::from_static("api.example")),
            ]);
            headers.extend(origin.map(|origin| (ORIGIN, HeaderValue::from_static(origin))));
            guard.judge(&view(method, "/me", &headers), NOW)
        };
        assert!(claims(ask("GET", None)).is_some());
        assert!(claims(ask("POST", Some("https://api.example"))).is_some());
        for origin in [None, Some("https://evil.example")] {
            let refusal = refusal(ask("POST", origin));
            assert_eq!((refusal.status, refusal.code), (403, "permission_denied"));
        }
    }

    #[test]
    fn a_token_in_the_query_counts_only_where_the_rule_names_its_parameter() {
        let mut download = rule("/download", &["GET"], Access::Token);
        download.query_token = Some("token".to_owned());
        let rules = vec![download, rule("/me", &[], Access::Token)];
        let guard = guard(vec![(issuer("a"), secret_keys())], rules);
        let query = format!("x=1&token={}", hs256(&fresh(json!({}))));
        let headers = HeaderMap::new();
        let ask = |path| {
            let request = RequestView {
                query: Some(&query),
                ..view("GET", path, &headers)
            };
            guard.judge(&request, NOW)
        };
        assert!(claims(ask("/download")).is_some());
        assert_eq!(refusal(ask("/me")).code, "not_authenticated");
    }

    #[test]
    fn bearer_without_one_token_is_400() {
        for field in ["Bearer", "Bearer a b", "Bearer\ta.b.c", "Bearer a.b.c\td"] {
            let refusal = refusal(judge(&shop(), "GET /me", &[field]));
            assert_eq!(
                (refusal.status, refusal.code),
                (400, "bad_authorization_header")
            );
            let challenge = r#"Bearer realm="test", error="invalid_request""#;
            assert_eq!(refusal.challenge.as_deref(), Some(challenge));
        }
    }

    #[test]
    fn an_optional_route_takes_no_token_or_a_valid_one() {
        assert!(claims(judge(&shop(), "GET /feed", &[])).is_none());
        let verdict = judge(&shop(), "GET /feed", &[&bearer(json!({}))]);
        assert!(claims(verdict).is_some());
        let refusal = refusal(judge(&shop(), "GET /feed", &["Bearer rubbish"]));
        assert_eq!(refusal.status, 401);
    }

    #[test]
    fn a_missing_scope_is_403_and_the_challenge_names_what_is_needed() {
        let verdict = judge(&shop(), "GET /orders/1", &[&bearer(json!({"scope": "x"}))]);
        let refusal = refusal(verdict);
        assert_eq!((refusal.status, refusal.code), (403, "permission_denied"));
        assert_eq!(
            refusal.challenge.as_deref(),
            Some(r#"Bearer realm="test", error="insufficient_scope", scope="orders:read""#)
        );
        let granted = bearer(json!({"scope": "x orders:read"}));
        let verdict = judge(&shop(), "HEAD /orders/1", &[&granted]);
        assert!(claims(verdict).is_some());
    }

    #[test]
    fn a_missing_role_is_403() {
        let refusal = refusal(judge(&shop(), "GET /admin", &[&bearer(json!({}))]));
        assert_eq!((refusal.status, refusal.code), (403, "permission_denied"));
    }

    #[test]
    fn what_no_rule_is_for_is_refused() {
        for target in ["GET /other", "POST /orders/1", "GET /me/", "GET /ME"] {
            let without = refusal(judge(&shop(), target, &[]));
            assert_eq!((without.status, without.code), (401, "not_authenticated"));
            let with = refusal(judge(&shop(), target, &[&bearer(json!({}))]));
            assert_eq!((with.status, with.code), (403, "permission_denied"));
        }
        let nobody = guard(Vec::new(), Vec::new());
        assert_eq!(refusal(judge(&nobody, "GET /", &[])).status, 403);
    }

    #[test]
    fn an_ambiguous_path_is_400_on_every_route() {
        for path in [
            "/../admin",
            "/%2e%2e/admin",
            "//",
            "/me%2f",
            "/me;x",
            "/me%00",
            "*",
        ] {
            let refusal = refusal(judge(&shop(), &format!("GET {path}"), &[]));
            assert_eq!(
                (refusal.status, refusal.code),
                (400, "invalid_request"),
                "{path}"
            );
        }
    }

    #[test]
    fn an_encoded_path_meets_the_rule_of_the_decoded_one() {
        let refusal = refusal(judge(&shop(), "GET /%61dmin", &[&bearer(json!({}))]));
        assert_eq!(refusal.status, 403);
        assert!(refusal.reason.contains("roles"), "{}", refusal.reason);
    }

    #[test]
    fn every_bad_rule_is_told() {
        let config = config::Auth {
            rules: vec![
                rule("a", &[], Access::Token),
                rule("/a", &[], Access::Token),
                rule("/*", &[], Access::Token),
            ],
            ..auth()
        };
        let errors = Guard::new(&config, Vec::new()).unwrap_err();
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(
            errors[0].starts_with("auth.rule 1, path `a`: "),
            "{errors:?}"
        );
        assert!(
            errors[1].starts_with("auth.rule 3, path `/*`: "),
            "{errors:?}"
        );
    }

    #[test]
    fn an_audited_rule_says_what_it_would_refuse_and_lets_it_pass() {
        let mut admin = rule("/admin", &[], Access::Token);
        admin.roles = vec!["admin".to_owned()];
        admin.audit = true;
        let guard = guard(vec![(issuer("a"), secret_keys())], vec![admin]);
        let passed = |authorization: &[&str]| match judge(&guard, "GET /admin", authorization) {
            Verdict::Pass(passed) => passed,
            Verdict::Refuse(refusal) => panic!("{refusal:?}"),
        };
        let status = |passed: &Passed| passed.audited.as_ref().map(|refusal| refusal.status);
        let without = passed(&[]);
        assert_eq!((status(&without), without.claims), (Some(401), None));
        let wrong = passed(&["Bearer a.b.c"]);
        assert_eq!((status(&wrong), wrong.claims), (Some(401), None));
        // Who it is is certain; what it may is not.
        let powerless = passed(&[&bearer(json!({"sub": "u"}))]);
        assert_eq!(status(&powerless), Some(403));
        assert!(powerless.claims.is_some());
        assert_eq!(status(&passed(&[&bearer(json!({"roles": "admin"}))])), None);
        // What has two readings was judged by no rule.
        assert_eq!(refusal(judge(&guard, "GET //admin", &[])).status, 400);
    }

    #[test]
    fn a_login_that_is_too_old_asks_for_another_one() {
        let mut pay = rule("/pay", &[], Access::Token);
        pay.max_age = Some(Duration::from_mins(5));
        let guard = guard(vec![(issuer("a"), secret_keys())], vec![pay]);
        let old = bearer(json!({"auth_time": NOW.0 - 301}));
        let refusal = refusal(judge(&guard, "GET /pay", &[&old]));
        assert_eq!((refusal.status, refusal.code), (401, "login_too_old"));
        assert_eq!(
            refusal.challenge.as_deref(),
            Some(r#"Bearer realm="test", error="insufficient_user_authentication", max_age=300"#)
        );
        let recent = bearer(json!({"auth_time": NOW.0 - 300}));
        assert!(claims(judge(&guard, "GET /pay", &[&recent])).is_some());
    }

    #[test]
    fn an_explanation_names_the_path_and_the_rule() {
        let guard = shop();
        let explain = |method, path| {
            let headers = HeaderMap::new();
            let Explanation { path, rule, .. } = guard.explain(&view(method, path, &headers), NOW);
            (path, rule)
        };
        let path = |path: &str| Some(path.to_owned());
        assert_eq!(explain("GET", "/%6de"), (path("/me"), Some(1)));
        assert_eq!(explain("PUT", "/orders/1"), (path("/orders/1"), None));
        assert_eq!(explain("GET", "/a//b"), (None, None));
    }

    #[test]
    fn keys_and_issuers_must_be_as_many() {
        let config = config::Auth {
            issuers: vec![issuer("a")],
            ..auth()
        };
        assert!(Guard::new(&config, Vec::new()).is_err());
        assert!(Guard::new(&config, vec![secret_keys(), secret_keys()]).is_err());
    }

    #[test]
    fn a_token_that_was_verified_before_still_expires() {
        let guard = shop();
        let token = hs256(&fresh(json!({"sub": "u", "exp": NOW.0 + 10})));
        let me = |now| {
            let field = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
            let headers = HeaderMap::from_iter([(AUTHORIZATION, field)]);
            guard.judge(&view("GET", "/me", &headers), UnixTime(now))
        };
        for now in [NOW.0, NOW.0, NOW.0 + 9] {
            assert!(claims(me(now)).is_some(), "{now}");
        }
        for now in [NOW.0 + 10, NOW.0 + 1000] {
            assert!(matches!(me(now), Verdict::Refuse(_)), "{now}");
        }
    }
}
