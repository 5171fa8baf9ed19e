//! `[headers]`, `[compression]` and `[[http.static]]` as they are written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{KIBIBYTE, MEBIBYTE};
use crate::config::notation::{OneOrMany, Size, Text};
use crate::config::{CompressionAlgorithm, HeaderPreset};

/// Header fields of every answer, unless the application has set them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, expecting = "a table")]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Headers {
    /// `none`, or `strict`: X-Content-Type-Options, X-Frame-Options, Referrer-Policy, Cross-Origin-Opener-Policy, and over
    /// https Strict-Transport-Security.
    pub preset: HeaderPreset,
    /// Fields by name, which add to those of the preset or replace them; with the empty value a field of the preset is left out.
    pub default: BTreeMap<String, String>,
}

/// Which answers are compressed on their way out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, expecting = "a table")]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Compression {
    /// `zstd`, `br`, `gzip`; the first of those that a client likes best is used. None: nothing is compressed.
    pub algorithms: OneOrMany<CompressionAlgorithm>,
    /// A smaller answer stays as it is. 0: none is too small.
    pub min_size: Size<1, { 16 * MEBIBYTE }>,
    /// Media types that are compressed; `text/*` for all of a type. Event streams never are.
    pub types: OneOrMany<Text>,
    /// Whether also those answers are compressed whose request carried a token or a cookie, or that set a cookie: what a stranger can
    /// make a browser send along with a secret tells the length of both (BREACH).
    pub authenticated: bool,
}

impl Default for Compression {
    fn default() -> Self {
        let types = [
            "text/*",
            "application/json",
            "application/javascript",
            "application/xml",
            "application/wasm",
            "application/manifest+json",
            "application/problem+json",
            "image/svg+xml",
        ];
        Self {
            algorithms: OneOrMany::default(),
            min_size: Size(KIBIBYTE),
            types: OneOrMany(types.map(|name| Text(name.to_owned())).into()),
            authenticated: false,
        }
    }
}

/// A folder whose files are answers to requests for paths under a prefix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, expecting = "a table")]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Static {
    /// The prefix, `/assets/`; of several the longest decides. Rules open it, as they do every path.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub path: Option<Text>,
    /// The folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub folder: Option<Text>,
    /// The field `Cache-Control` of its answers, `public, max-age=3600`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub cache_control: Option<Text>,
    /// Whether a folder is answered with its `index.html`.
    pub index: bool,
    /// Compressed files that are sent in the place of a file where they lie beside it: `.br`, `.gz`, `.zst`.
    pub precompressed: OneOrMany<CompressionAlgorithm>,
    /// Whether the application is asked where there is no such file; else the answer is 404.
    pub fallthrough: bool,
}

impl Default for Static {
    fn default() -> Self {
        Self {
            path: None,
            folder: None,
            cache_control: None,
            index: true,
            precompressed: OneOrMany(vec![
                CompressionAlgorithm::Br,
                CompressionAlgorithm::Gzip,
                CompressionAlgorithm::Zstd,
            ]),
            fallthrough: false,
        }
    }
}
