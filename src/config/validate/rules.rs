//! `[[auth.rule]]`: what a request needs.

use std::num::NonZeroU32;

use super::{Check, any_if_zero, text, texts, unless_zero};
use crate::config::key::KeyPath;
use crate::config::notation::{Limit, OneOrMany, Text};
use crate::config::{
    Access, ClientCert, ClientCertNeed, RateBy, Rule, RuleRate, file, rules, token_source,
};

impl Check<'_> {
    pub(super) fn rules(&mut self, written: &[file::Rule], http: &file::Http) -> Vec<Rule> {
        let mut rules: Vec<(KeyPath, Rule)> = Vec::new();
        for (index, rule) in written.iter().enumerate() {
            let key = KeyPath::from("auth.rule").item(index);
            let Some(rule) = self.rule(&key, rule, http) else {
                continue;
            };
            if let Some((earlier, _)) = rules
                .iter()
                .find(|(_, earlier)| rules::covers(earlier, &rule))
            {
                let message =
                    format!("`{key}` can never decide: `{earlier}` matches all its requests first");
                let hint =
                    "the first rule that matches decides: put the narrower one first".to_owned();
                self.refuse_with(&key, message, Some(hint));
            }
            rules.push((key, rule));
        }
        rules.into_iter().map(|(_, rule)| rule).collect()
    }

    fn rule(&mut self, key: &KeyPath, written: &file::Rule, http: &file::Http) -> Option<Rule> {
        let at = key.child("path");
        let Some(Text(pattern)) = &written.path else {
            if !self.problems.concern(&at) {
                self.refuse_with(key, format!("`{key}` must have a `path`"), None);
            }
            return None;
        };
        if let Some(reason) = rules::refuse_pattern(pattern) {
            let hint =
                (pattern == "**" || pattern == "*").then(|| "every path is `/**`".to_owned());
            self.refuse(&at, reason, hint);
            return None;
        }
        if written.max_age.0.subsec_nanos() != 0 {
            self.refuse(&key.child("max_age"), "must be whole seconds", None);
        }
        let rule = Rule {
            path: pattern.clone(),
            methods: self.each(
                &key.child("methods"),
                &written.methods,
                |method| rules::is_method(method).then(|| method.to_owned()),
                "must be a method in capitals, such as \"GET\"",
            ),
            hosts: self.each(
                &key.child("hosts"),
                &written.hosts,
                rules::host,
                "must be a host without port, such as `api.example.com` or `*.example.com`",
            ),
            access: written.access,
            scopes: self.scopes(&key.child("scopes"), &written.scopes),
            any_scopes: self.scopes(&key.child("any_scopes"), &written.any_scopes),
            roles: texts(&written.roles),
            claims: self.claims(&key.child("claims"), &written.claims),
            max_age: unless_zero(written.max_age.0),
            audit: written.audit,
            request_timeout: unless_zero(
                written
                    .request_timeout
                    .as_ref()
                    .map_or(http.request_timeout.0, |time| time.0),
            ),
            max_body: any_if_zero(
                written
                    .max_body
                    .as_ref()
                    .map_or(http.max_body.0, |size| size.0),
            ),
            query_token: written.query_token.as_ref().map(text),
            client_cert: self.client_cert(key, written),
            rate: self.rate(key, written),
        };
        if let Some(name) = &rule.query_token
            && (rule.access == Access::Public || !token_source::is_name(name))
        {
            let reason = "must be the name of a parameter, of a rule that looks at a token";
            self.refuse(&key.child("query_token"), reason, None);
        }
        if rule.audit && rule.access == Access::Public && rule.rate.is_none() {
            let message =
                format!("`{key}` is public, so it refuses nothing that `audit` could let pass");
            self.refuse_with(&key.child("audit"), message, None);
        }
        let access = match rule.access {
            Access::Public => Some("public"),
            Access::Optional => Some("optional"),
            Access::Token => None,
        };
        // A request without a token would be let through, whatever is asked of those with one.
        if let Some(access) = access.filter(|_| rules::has_needs(&rule)) {
            let message = format!(
                "`{key}` is {access}, so it cannot have `scopes`, `any_scopes`, `roles`, `claims` or `max_age`"
            );
            let hint = "leave `access` out: the default needs a token".to_owned();
            self.refuse_with(key, message, Some(hint));
        }
        Some(rule)
    }

    fn client_cert(&mut self, key: &KeyPath, written: &file::Rule) -> Option<ClientCert> {
        let names = self.each(
            &key.child("client_cert_san"),
            &written.client_cert_san,
            rules::alternative_name,
            "must be a name after its kind: `DNS:robot.example`, `IP:192.0.2.7`, `URI:spiffe://example/robot` or `email:robot@example.com`",
        );
        let is_needed = written.client_cert == ClientCertNeed::Required || !names.is_empty();
        is_needed.then_some(ClientCert { names })
    }

    fn rate(&mut self, key: &KeyPath, written: &file::Rule) -> Option<RuleRate> {
        if written.rate_by == Some(RateBy::Subject) && written.access == Access::Public {
            let reason = "must be \"address\" in a rule that is public: it looks at no token";
            self.refuse(&key.child("rate_by"), reason, None);
        }
        let Some(Limit(Some(rate))) = written.rate else {
            let needless = [
                ("rate_by", written.rate_by.is_some()),
                ("rate_burst", written.rate_burst.is_some()),
            ];
            for (name, _) in needless.iter().filter(|(_, is_given)| *is_given) {
                let key = key.child(name);
                self.refuse_with(&key, format!("`{key}` is of no use without a `rate`"), None);
            }
            return None;
        };
        let burst = written.rate_burst.as_ref();
        let burst = burst.and_then(|burst| NonZeroU32::new(burst.0));
        let by = match written.access {
            Access::Token => RateBy::Subject,
            Access::Public | Access::Optional => RateBy::Address,
        };
        Some(RuleRate {
            rate,
            burst: burst.unwrap_or(rate.count),
            by: written.rate_by.unwrap_or(by),
        })
    }

    pub(super) fn scopes(&mut self, key: &KeyPath, written: &OneOrMany<Text>) -> Vec<String> {
        let reason = "must be names of printable ASCII without `\"` and `\\`, separated by blanks";
        self.each(key, written, rules::scopes, reason).concat()
    }
}
