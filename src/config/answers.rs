//! What answers are given besides the application's own: header fields, compression, files.

use std::path::PathBuf;

use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[headers]`: header fields of every answer, unless the application has set them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers {
    /// On every connection.
    pub always: Vec<(HeaderName, HeaderValue)>,
    /// To who asked by `https`, here or at a trusted proxy (RFC 6797 section 7.2).
    pub over_https: Vec<(HeaderName, HeaderValue)>,
}

/// `headers.preset`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HeaderPreset {
    /// No field but those of `headers.default`.
    #[default]
    None,
    /// What keeps browsers from guessing types, showing pages in frames, telling other sites where a user was, and leaving HTTPS.
    Strict,
}

/// `[compression]`: which answers are compressed on their way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compression {
    /// The one that is used of several that a client likes equally, first; none: nothing is compressed.
    pub algorithms: Vec<CompressionAlgorithm>,
    /// An answer that is known to have fewer bytes stays as it is.
    pub min_size: u64,
    /// Media types, in lower case: `type/subtype`, or `type/*` for all of a type.
    pub types: Vec<String>,
    /// Whether answers are compressed that may hold a secret of one client.
    pub authenticated: bool,
}

/// An algorithm by its name in `Content-Encoding` (RFC 9110 section 8.4.1, RFC 7932, RFC 8878).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CompressionAlgorithm {
    /// Zstandard.
    Zstd,
    /// Brotli.
    Br,
    /// DEFLATE in the gzip format.
    Gzip,
}

/// `[[http.static]]`: a folder whose files are answers to requests for paths under a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticFolder {
    /// It begins and ends with `/`, and is written as rules are: decoded.
    pub path: String,
    /// The folder.
    pub folder: PathBuf,
    /// The field `Cache-Control` of its answers.
    pub cache_control: Option<HeaderValue>,
    /// Whether a folder is answered with its `index.html`.
    pub index: bool,
    /// Compressed files that may lie beside a file.
    pub precompressed: Vec<CompressionAlgorithm>,
    /// Whether the application is asked where there is no such file.
    pub fallthrough: bool,
}
