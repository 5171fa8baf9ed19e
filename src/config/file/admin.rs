//! `[admin]` as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::notation::{OneOrMany, Text};

/// Where monitoring asks: probes and metrics.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, expecting = "a table")]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Admin {
    /// Addresses to listen on, `HOST:PORT`, `[V6]:PORT`, `unix:PATH`; an empty list: none. Not set: a Unix socket beside the control
    /// socket, `web.admin.sock` beside `web.sock`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "OneOrMany<Text>")]
    pub bind: Option<OneOrMany<Text>>,
    /// The name of the issuer whose tokens open the metrics on TCP addresses. Probes need none. Not set: no token is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub issuer: Option<Text>,
    /// Scopes that such a token must grant.
    pub scopes: OneOrMany<Text>,
    /// Scopes that a token of `admin.issuer` must grant so that orders are taken over TCP: reload, scale, pause. None: no orders are taken
    /// there; on a Unix socket those of root and of the user of the master are.
    pub control_scopes: OneOrMany<Text>,
}
