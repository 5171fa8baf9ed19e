//! `destrier token`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};

const ISSUE: &str = "\
Examples:
  destrier token issue --sub alice --scope admin
  destrier token issue --sub alice --key private.pem --audience api --claim 'roles=[\"ops\"]'
  destrier token issue --sub alice --issuer login --key login.private.pem";

const VERIFY: &str = "\
Examples:
  destrier token verify <token.txt
  destrier token verify --jwks keys.json --alg ES256,EdDSA --issuer https://login.example --audience api <token.txt

Without a key on the command line the issuers of the configuration judge, each by its own policy. Key sets and deny lists that servers \
fetch are fetched once, in the same way.
A token must have `exp`, whatever is asked for.

Exit codes: 0 valid, 1 not valid, also when no key of the set can be used, 2 wrong usage, 4 nobody can tell, for keys or a deny list \
could not be fetched.";

const REVOKE: &str = "\
Examples:
  destrier token revoke --sub alice                     every token of alice that was issued until now
  destrier token revoke --token-file stolen.txt         this one, by its jti
  destrier token revoke --sid 08a5019c-17e1-4977-8f42

Servers that have the file in their configuration notice within a moment; no reload is needed. Entries whose tokens have all expired \
are taken out.

Exit codes: 0 it is on the list, 1 the list cannot be written, 2 wrong usage or configuration: no list, or nothing in the file that \
could be put on it.";

/// `destrier token`.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Sign a token with the key of an issuer of the configuration, or with a key file
    #[command(after_help = ISSUE)]
    Issue(TokenIssueArgs),
    /// Check a token exactly as a worker would; exits 0 when it is valid, 1 when not, and says why
    #[command(after_help = VERIFY)]
    Verify(TokenVerifyArgs),
    /// Show what a token says, without checking it
    Inspect(TokenInput),
    /// Put a token, a subject or a session on the deny list of the configuration (`auth.revocation.file`)
    #[command(after_help = REVOKE)]
    Revoke(TokenRevokeArgs),
}

/// Where a token comes from.
#[derive(Debug, Args)]
pub struct TokenInput {
    /// The file that holds the token; `-` is standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub token_file: PathBuf,
    /// Refused in words of our own, for clap's would repeat the token.
    #[arg(hide = true, value_name = "TOKEN")]
    pub on_command_line: Vec<OsString>,
}

/// `destrier token issue`.
#[derive(Debug, Args)]
pub struct TokenIssueArgs {
    /// The configuration that names the issuers [default: as for run]
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The issuer in whose name it is signed [default: the first that has a secret]
    #[arg(long, value_name = "NAME")]
    pub issuer: Option<String>,
    /// Sign with the private key (PEM or JWK) or the secret in this file; alone, or as --issuer
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// The algorithm [default: what the key is made for]
    #[arg(long, value_name = "ALG")]
    pub alg: Option<String>,
    /// The subject (`sub`)
    #[arg(long, value_name = "NAME")]
    pub sub: String,
    /// A scope to grant; may be given several times
    #[arg(long, value_name = "NAME")]
    pub scope: Vec<String>,
    /// How long it is valid, as in 5m or 1h
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    pub ttl: String,
    /// The audience (`aud`); may be given several times [default: the issuer's]
    #[arg(long, value_name = "NAME")]
    pub audience: Vec<String>,
    /// One more claim; the value is JSON, or text when it is not; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    pub claim: Vec<String>,
    /// The `kid` header
    #[arg(long, value_name = "ID")]
    pub kid: Option<String>,
}

/// `destrier token verify`.
#[derive(Debug, Args)]
pub struct TokenVerifyArgs {
    /// Use the issuers of this configuration [default when no key is named: as for run]
    #[arg(short = 'c', long = "config", value_name = "FILE",
        conflicts_with_all = ["jwks", "public_key", "secret", "alg", "leeway", "issuer", "audience", "require", "typ"])]
    pub config: Option<PathBuf>,
    /// The file of a JWK or JWK set
    #[arg(long, value_name = "FILE", group = "key_source")]
    pub jwks: Option<PathBuf>,
    /// The file of a public key or certificate in PEM
    #[arg(long, value_name = "FILE", group = "key_source")]
    pub public_key: Option<PathBuf>,
    /// The file of a shared secret
    #[arg(long, value_name = "FILE", group = "key_source")]
    pub secret: Option<PathBuf>,
    /// Algorithms that are accepted, separated by commas [default: what each key is made for]
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        requires = "key_source"
    )]
    pub alg: Vec<String>,
    /// Which token
    #[command(flatten)]
    pub token: TokenInput,
    /// Clock difference that is forgiven, as in 30s, up to 10m; a bare number is seconds
    #[arg(long, value_name = "DURATION", requires = "key_source")]
    pub leeway: Option<String>,
    /// The `iss` it must carry
    #[arg(long, value_name = "NAME", requires = "key_source")]
    pub issuer: Option<String>,
    /// An `aud` that is accepted; may be given several times
    #[arg(long, value_name = "NAME", requires = "key_source")]
    pub audience: Vec<String>,
    /// A claim that must be present; may be given several times
    #[arg(long, value_name = "NAME", requires = "key_source")]
    pub require: Vec<String>,
    /// A `typ` header that is accepted; may be given several times
    #[arg(long, value_name = "TYPE", requires = "key_source")]
    pub typ: Vec<String>,
    /// Fetch nothing: an issuer whose keys must be fetched cannot judge then
    #[arg(long, conflicts_with = "key_source")]
    pub offline: bool,
    /// A claim that must have this value, JSON or else text: `a=42` is the number, `a='"42"'` the text; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    pub claim: Vec<String>,
}

/// `destrier token revoke`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub struct TokenRevokeArgs {
    /// The token of this name (`jti`)
    #[arg(long, value_name = "ID", group = "what")]
    pub jti: Option<String>,
    /// The tokens of this subject; for the token service, of the user with this number
    #[arg(long, value_name = "NAME", group = "what")]
    pub sub: Option<String>,
    /// The tokens of this session
    #[arg(long, value_name = "ID", group = "what")]
    pub sid: Option<String>,
    /// The token in this file, by its `jti`; `-` is standard input
    #[arg(long, value_name = "FILE", group = "what")]
    pub token_file: Option<PathBuf>,
    /// With --sub: also the tokens that will be issued, until the entry is taken out of the file
    #[arg(long, conflicts_with_all = ["jti", "sid", "token_file"])]
    pub for_good: bool,
    /// Only tokens of this issuer (`iss`) [default with --token-file: the token's, else any]
    #[arg(long, value_name = "NAME")]
    pub iss: Option<String>,
    /// How long these tokens can be valid at most: then the entry may go [default with --token-file: the token's `exp`, else never]
    #[arg(long, value_name = "DURATION")]
    pub ttl: Option<String>,
    /// The configuration that names the list [default: as for run]
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
}
