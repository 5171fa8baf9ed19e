//! `destrier user`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

const USER_ADD: &str = "\
Examples:
  destrier user add alice --role editor
  destrier user add robot --claim 'tenant=\"north\"' <password.txt

A password on the command line would be shown to every user of this machine, so there is no option for it.";

/// `destrier user`.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Add a user; the password is asked for, or is the first line of standard input
    #[command(after_help = USER_ADD)]
    Add(UserAddArgs),
    /// Show who there is
    List {
        /// Where
        #[command(flatten)]
        user: UserPlaceArgs,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Set the password of a user, who must then log in anew
    Passwd(UserPasswdArgs),
    /// Let a user log in no more; refresh tokens end at once
    Disable(UserArgs),
    /// Let a user log in again
    Enable(UserArgs),
    /// Forget a user; refresh tokens end at once
    Remove(UserArgs),
}

/// Where users are kept.
#[derive(Debug, Clone, Default, Args)]
pub struct UserPlaceArgs {
    /// The configuration that names the database [default: as for run]
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Which user.
#[derive(Debug, Args)]
pub struct UserArgs {
    /// The name that is typed at a login
    pub name: String,
    /// Where
    #[command(flatten)]
    pub place: UserPlaceArgs,
}

/// `destrier user passwd`.
#[derive(Debug, Args)]
pub struct UserPasswdArgs {
    /// Which user
    #[command(flatten)]
    pub user: UserArgs,
    /// Accept a password of fewer than 8 characters
    #[arg(long)]
    pub allow_weak: bool,
}

/// `destrier user add`.
#[derive(Debug, Args)]
pub struct UserAddArgs {
    /// Which user
    #[command(flatten)]
    pub user: UserArgs,
    /// Accept a password of fewer than 8 characters
    #[arg(long)]
    pub allow_weak: bool,
    /// A role, for the claim `roles`; may be given several times
    #[arg(long, value_name = "NAME")]
    pub role: Vec<String>,
    /// A group, for the claim `groups`; may be given several times
    #[arg(long, value_name = "NAME")]
    pub group: Vec<String>,
    /// A scope to grant, for the claim `scope`; may be given several times
    #[arg(long, value_name = "NAME")]
    pub scope: Vec<String>,
    /// One more claim; the value is JSON, or text when it is not; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    pub claim: Vec<String>,
}
