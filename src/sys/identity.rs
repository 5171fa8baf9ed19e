//! Users and groups: names become numbers while the process may still ask, and a worker becomes them.

use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Group, Uid, User, geteuid, getgrouplist, setgroups, setresgid, setresuid};

/// What a worker shall be to the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    user: Option<Uid>,
    group: Option<Gid>,
    groups: Option<Vec<Gid>>,
    umask: Mode,
}

/// An identity that cannot be had.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IdentityError {
    /// No such user: the key that names it, and its name.
    #[error("`{0}`: there is no user `{1}`")]
    NoUser(&'static str, String),
    /// No such group.
    #[error("`{0}`: there is no group `{1}`")]
    NoGroup(&'static str, String),
    /// Only root may become somebody else.
    #[error(
        "`process.user` and `process.group` need a master that runs as root, this one has user id {0}"
    )]
    NotRoot(u32),
    /// The user database could not be read.
    #[error("`{0}`: cannot look up `{1}`: {2}")]
    LookUp(&'static str, String, Errno),
}

/// The user id behind a name or number; `key` is where it was named.
pub fn user(key: &'static str, name: &str) -> Result<Uid, IdentityError> {
    find_user(key, name).map(|(uid, _)| uid)
}

fn find_user(key: &'static str, name: &str) -> Result<(Uid, Option<User>), IdentityError> {
    let failed = |errno| IdentityError::LookUp(key, name.to_owned(), errno);
    if let Ok(number) = name.parse() {
        let uid = Uid::from_raw(number);
        return Ok((uid, User::from_uid(uid).map_err(failed)?));
    }
    let user = User::from_name(name).map_err(failed)?;
    let user = user.ok_or_else(|| IdentityError::NoUser(key, name.to_owned()))?;
    Ok((user.uid, Some(user)))
}

/// The group id behind a name or number; `key` is where it was named.
pub fn group(key: &'static str, name: &str) -> Result<Gid, IdentityError> {
    if let Ok(number) = name.parse() {
        return Ok(Gid::from_raw(number));
    }
    let group = Group::from_name(name)
        .map_err(|errno| IdentityError::LookUp(key, name.to_owned(), errno))?;
    group
        .map(|group| group.gid)
        .ok_or_else(|| IdentityError::NoGroup(key, name.to_owned()))
}

impl Identity {
    /// Looks the names up. A user without `group` gets its primary group, without `groups` its supplementary ones.
    pub fn find(
        user: Option<&str>,
        group_name: Option<&str>,
        groups: Option<&[String]>,
        mask: u32,
    ) -> Result<Self, IdentityError> {
        let found = user
            .map(|name| find_user("process.user", name))
            .transpose()?;
        let mut gid = group_name
            .map(|name| group("process.group", name))
            .transpose()?;
        let mut supplementary = groups
            .map(|names| {
                names
                    .iter()
                    .map(|name| group("process.groups", name))
                    .collect::<Result<Vec<_>, _>>()
            })
            .transpose()?;
        if let Some((_, account)) = &found {
            gid = gid.or_else(|| account.as_ref().map(|account| account.gid));
            if supplementary.is_none() {
                supplementary = Some(account.as_ref().map_or_else(Vec::new, supplementary_groups));
            }
        }
        let uid = found.map(|(uid, _)| uid);
        let changes =
            uid.is_some_and(|uid| uid != geteuid()) || gid.is_some() && !geteuid().is_root();
        if changes && !geteuid().is_root() {
            return Err(IdentityError::NotRoot(geteuid().as_raw()));
        }
        Ok(Self {
            user: uid,
            group: gid,
            groups: supplementary,
            umask: Mode::from_bits_truncate(mask),
        })
    }

    /// Gives an open file to it. The descriptor and not a path: nobody can exchange what it names.
    pub fn own(&self, file: impl AsFd) -> io::Result<()> {
        if self.user.is_none() && self.group.is_none() {
            return Ok(());
        }
        let (user, group) = (self.user.map(Uid::as_raw), self.group.map(Gid::as_raw));
        std::os::unix::fs::fchown(file, user, group)
    }

    /// Becomes it, for good: groups first, for a user without privileges may not change them; then no execve(2) may
    /// grant privileges any more (`PR_SET_NO_NEW_PRIVS`).
    pub fn assume(&self) -> nix::Result<()> {
        umask(self.umask);
        if geteuid().is_root() {
            if let Some(groups) = &self.groups {
                setgroups(groups)?;
            }
            if let Some(gid) = self.group {
                setresgid(gid, gid, gid)?;
            }
            if let Some(uid) = self.user {
                setresuid(uid, uid, uid)?;
            }
        }
        nix::sys::prctl::set_no_new_privs()
    }
}

fn supplementary_groups(account: &User) -> Vec<Gid> {
    let name = CString::new(account.name.as_bytes()).unwrap_or_default();
    getgrouplist(&name, account.gid).unwrap_or_else(|_| vec![account.gid])
}

/// The user this process acts as.
pub fn effective_user() -> u32 {
    geteuid().as_raw()
}
