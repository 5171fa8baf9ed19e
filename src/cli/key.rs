//! `destrier key`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

const GENERATE: &str = "\
Examples:
  destrier key generate HS256 --out demo.secret
  destrier key generate ES256 --out private.pem --public-out public.pem
  destrier key generate ES256 --out private.pem --jwks-out keys.json";

const ROTATE: &str = "\
Examples:
  destrier key rotate add        the next key is known
  destrier key rotate promote    an hour later: it signs
  destrier key rotate retire     when the tokens of the former one have ended: it is forgotten

The files are `auth.tokens.signing_key_file` and the `jwks_file` of its issuer, which is rewritten whole or not at all. A \
server that runs has it in force within a second, and after a reload. Each step can be repeated, and says what comes next and when.";

/// `destrier key`.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key, readable by its owner only
    #[command(after_help = GENERATE)]
    Generate {
        /// What it is for; an RSA key serves RS256 to PS512
        #[arg(value_enum, ignore_case = true)]
        algorithm: KeyAlgorithm,
        /// Where the secret or private key goes; an existing file is never overwritten
        #[arg(long, short, value_name = "FILE")]
        out: PathBuf,
        /// Where the public key goes [default: FILE.pub]; a shared secret has none
        #[arg(long, value_name = "FILE")]
        public_out: Option<PathBuf>,
        /// Where the public key goes as a JWK set instead, called by its thumbprint; other keys can follow it there
        #[arg(long, value_name = "FILE", conflicts_with = "public_out")]
        jwks_out: Option<PathBuf>,
    },
    /// Let another key sign for the token service, in three steps, without a token being refused
    #[command(after_help = ROTATE)]
    Rotate {
        /// The step
        #[command(subcommand)]
        command: RotateCommand,
    },
}

/// `destrier key rotate`.
#[derive(Debug, Subcommand)]
pub enum RotateCommand {
    /// Make the next key: private in NAME.next beside the signing key, public in the issuer's key set
    Add {
        /// What it is for [default: as the key that signs]
        #[arg(long, value_enum, ignore_case = true)]
        algorithm: Option<KeyAlgorithm>,
        /// Which keys
        #[command(flatten)]
        place: RotatePlaceArgs,
    },
    /// Make the next key the one that signs; the former one is kept as NAME.previous
    Promote {
        /// How long others may remember the set as it was before the key was added, as in 10m or 1h
        #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = humantime::parse_duration)]
        after: Duration,
        /// Do not wait for that
        #[arg(long, conflicts_with = "after")]
        now: bool,
        /// Which keys
        #[command(flatten)]
        place: RotatePlaceArgs,
    },
    /// Take former keys out of the set when their tokens have ended, and remove NAME.previous
    Retire {
        /// Do not wait for that: their tokens are refused
        #[arg(long)]
        now: bool,
        /// Which keys
        #[command(flatten)]
        place: RotatePlaceArgs,
    },
}

/// How long `destrier key rotate promote` waits unless told otherwise.
pub const PROMOTE_AFTER: Duration = Duration::from_hours(1);

/// Which keys are rotated.
#[derive(Debug, Clone, Default, Args)]
pub struct RotatePlaceArgs {
    /// The configuration that names the files [default: as for run]
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What `destrier key generate` makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names of RFC 7518 and RFC 8037")]
pub enum KeyAlgorithm {
    #[value(name = "HS256")]
    Hs256,
    #[value(name = "HS384")]
    Hs384,
    #[value(name = "HS512")]
    Hs512,
    // One RSA key serves them all.
    #[value(name = "RS256", aliases = ["RS384", "RS512", "PS256", "PS384", "PS512"])]
    Rs256,
    #[value(name = "ES256")]
    Es256,
    #[value(name = "ES384")]
    Es384,
    #[value(name = "EdDSA")]
    EdDsa,
}
