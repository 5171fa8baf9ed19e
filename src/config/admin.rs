//! `[admin]` in force: where the probes and the metrics are, who may read the metrics, and who may give orders.

use super::{Access, Auth, Bind, Config, Issuer, Revocation, Rule, TokenSource};

/// `[admin]`: where monitoring asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Addresses, no two alike, TCP or Unix; empty: nobody can ask. Absent: a Unix socket beside the control socket.
    pub bind: Option<Vec<Bind>>,
    /// The place in `auth.issuers` of the issuer whose tokens open the metrics on TCP addresses; absent: no token is needed.
    pub issuer: Option<usize>,
    /// Scopes that such a token must grant.
    pub scopes: Vec<String>,
    /// Scopes that a token of this issuer must grant so that orders are taken over TCP; none: they are not.
    pub control_scopes: Vec<String>,
}

impl Config {
    /// The issuer whose tokens open the metrics; absent: no token is needed.
    pub fn admin_issuer(&self) -> Option<&Issuer> {
        self.auth.issuers.get(self.admin.issuer?)
    }

    /// What a request for the metrics is judged by; absent: no token is needed. Deny lists are not looked at: they are the workers'.
    pub fn admin_auth(&self) -> Option<Auth> {
        self.auth_of_admin(&self.admin.scopes)
    }

    /// What an order over TCP is judged by; absent: none is taken.
    pub fn control_auth(&self) -> Option<Auth> {
        let scopes = &self.admin.control_scopes;
        if scopes.is_empty() {
            return None;
        }
        self.auth_of_admin(scopes)
    }

    fn auth_of_admin(&self, scopes: &[String]) -> Option<Auth> {
        let issuer = self.admin_issuer()?.clone();
        let rule = Rule {
            path: "/**".to_owned(),
            methods: Vec::new(),
            hosts: Vec::new(),
            access: Access::Token,
            scopes: scopes.to_vec(),
            any_scopes: Vec::new(),
            roles: Vec::new(),
            claims: std::collections::BTreeMap::new(),
            max_age: None,
            audit: false,
            request_timeout: None,
            max_body: 0,
            rate: None,
            query_token: None,
            client_cert: None,
        };
        Some(Auth {
            resource: None,
            token_from: vec![TokenSource::Authorization],
            headers: Vec::new(),
            payload_header: None,
            revocation: Revocation::default(),
            tokens: None,
            issuers: vec![issuer],
            rules: vec![rule],
            ..self.auth.clone()
        })
    }
}
