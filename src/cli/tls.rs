//! `destrier tls`.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand};

const SELF_SIGNED: &str = "\
Example:
  destrier tls self-signed --name localhost --name 127.0.0.1 --out-cert dev.crt --out-key dev.key
  curl --cacert dev.crt https://localhost:8443/

For development: nobody trusts it who was not told to.";

/// `destrier tls`.
#[derive(Debug, Subcommand)]
pub enum TlsCommand {
    /// Make a certificate that signs itself, and its key, readable by its owner only
    #[command(after_help = SELF_SIGNED)]
    SelfSigned(SelfSignedArgs),
}

/// `destrier tls self-signed`.
#[derive(Debug, Args)]
pub struct SelfSignedArgs {
    /// A name that clients use for the server: a host, `*.example.test` for all below one, or an address; may be given several times
    #[arg(long = "name", value_name = "NAME", required = true, action = ArgAction::Append)]
    pub names: Vec<String>,
    /// Where the certificate goes
    #[arg(long, value_name = "FILE")]
    pub out_cert: PathBuf,
    /// Where the private key goes
    #[arg(long, value_name = "FILE")]
    pub out_key: PathBuf,
    /// For how many days it is valid
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(u16).range(1..=3650))]
    pub days: u16,
    /// Overwrite files that exist
    #[arg(long)]
    pub force: bool,
}
