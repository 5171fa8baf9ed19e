//! What the server tells clients about itself as a protected resource: who issues its tokens, which scopes there are
//! (RFC 9728).

use http::Uri;
use serde::Serialize;

use super::{algorithm, dpop};
use crate::config::{Auth, Binding, Rule};

/// The well-known place, before the path of the resource (section 3).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The metadata, ready to be sent.
#[derive(Debug)]
pub(super) struct ResourceMetadata {
    /// The path at which they are asked for.
    pub(super) path: String,
    /// The whole address, for challenges (section 5.1).
    pub(super) address: String,
    /// JSON (section 2).
    pub(super) document: String,
}

/// What is told (section 2).
#[derive(Serialize)]
struct Document<'a> {
    resource: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    authorization_servers: &'a [String],
    bearer_methods_supported: [&'a str; 1],
    #[serde(skip_serializing_if = "<[&str]>::is_empty")]
    dpop_signing_alg_values_supported: &'a [&'a str],
    #[serde(skip_serializing_if = "is_false")]
    dpop_bound_access_tokens_required: bool,
    #[serde(skip_serializing_if = "is_false")]
    tls_client_certificate_bound_access_tokens: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes_supported: Vec<&'a str>,
}

impl ResourceMetadata {
    /// `None` where the configuration does not say what the resource is called.
    pub(super) fn new(auth: &Auth) -> Option<Self> {
        let resource = auth.resource.as_deref()?;
        let uri = resource.parse::<Uri>().ok()?;
        let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
        let path = format!("{WELL_KNOWN}{}", uri.path().trim_end_matches('/'));
        let mut scopes: Vec<&str> = auth.rules.iter().flat_map(scopes).collect();
        scopes.sort_unstable();
        scopes.dedup();
        let algorithms = dpop::ALGORITHMS.map(algorithm::name);
        let takes_dpop = auth.has_binding(Binding::Dpop);
        // Parameters with no values are left out (section 2).
        let document = Document {
            resource,
            authorization_servers: &auth.authorization_servers,
            bearer_methods_supported: ["header"],
            dpop_signing_alg_values_supported: if takes_dpop { &algorithms } else { &[] },
            dpop_bound_access_tokens_required: auth.has_only_binding(Binding::Dpop),
            tls_client_certificate_bound_access_tokens: auth.has_binding(Binding::Mtls),
            scopes_supported: scopes,
        };
        Some(Self {
            address: format!("{scheme}://{authority}{path}"),
            path,
            document: serde_json::to_string(&document).ok()?,
        })
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
fn is_false(said: &bool) -> bool {
    !said
}

fn scopes(rule: &Rule) -> impl Iterator<Item = &str> {
    rule.scopes
        .iter()
        .chain(&rule.any_scopes)
        .map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{auth, rule};
    use super::*;
    use crate::config::Access;

    fn metadata(resource: &str) -> ResourceMetadata {
        let mut one = rule("/a", &[], Access::Token);
        one.scopes = vec!["write".to_owned(), "read".to_owned()];
        let mut other = rule("/b", &[], Access::Token);
        other.any_scopes = vec!["read".to_owned()];
        let auth = Auth {
            resource: Some(resource.to_owned()),
            authorization_servers: vec!["https://login.example".to_owned()],
            rules: vec![one, other],
            ..auth()
        };
        ResourceMetadata::new(&auth).unwrap()
    }

    #[test]
    fn the_well_known_place_stands_between_host_and_path() {
        for (resource, path) in [
            (
                "https://api.example",
                "/.well-known/oauth-protected-resource",
            ),
            (
                "https://api.example/",
                "/.well-known/oauth-protected-resource",
            ),
            (
                "https://api.example:8443/v1",
                "/.well-known/oauth-protected-resource/v1",
            ),
        ] {
            let metadata = metadata(resource);
            assert_eq!(metadata.path, path);
            let host = resource.strip_prefix("https://").unwrap();
            let host = host.split('/').next().unwrap();
            assert_eq!(metadata.address, format!("https://{host}{path}"));
        }
    }

    #[test]
    fn the_document_names_the_issuers_and_every_scope_once() {
        let document = metadata("https://api.example/v1").document;
        assert_eq!(
            document,
            r#"{"resource":"https://api.example/v1","authorization_servers":["https://login.example"],"bearer_methods_supported":["header"],"scopes_supported":["read","write"]}"#
        );
    }

    #[test]
    fn a_resource_without_a_name_tells_nothing() {
        assert!(ResourceMetadata::new(&auth()).is_none());
    }
}
