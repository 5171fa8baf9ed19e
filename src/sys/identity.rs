//! Users and groups: names become numbers while the process may still ask, and a worker becomes them.

use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{
    Gid, Group, Uid, User, getegid, geteuid, getgrouplist, getgroups, setgroups, setresgid,
    setresuid,
};

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
    /// A number that no account has: nothing says which group goes with it.
    #[error("`process.user`: no account has the number `{0}`, so `process.group` must be set")]
    NoPrimaryGroup(Uid),
    /// Only root may become somebody else.
    #[error(
        "`process.user`, `process.group` and `process.groups` need a master that runs as root, this one has user id {0} and group id {1}"
    )]
    NotRoot(Uid, Gid),
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
        let group = group_name
            .map(|name| group("process.group", name))
            .transpose()?;
        let groups = groups
            .map(|names| {
                names
                    .iter()
                    .map(|name| self::group("process.groups", name))
                    .collect::<Result<Vec<_>, _>>()
            })
            .transpose()?;
        let only_root_can_change_groups = groups.as_ref().is_some_and(|groups| !are_own(groups));
        let identity = Self::complete(found, group, groups, mask)?;
        let (own_user, own_group) = (geteuid(), getegid());
        let is_another = identity.user.is_some_and(|user| user != own_user)
            || identity.group.is_some_and(|group| group != own_group)
            || only_root_can_change_groups;
        if is_another && !own_user.is_root() {
            return Err(IdentityError::NotRoot(own_user, own_group));
        }
        Ok(identity)
    }

    /// What the operator should look at, for it is hardly what was meant.
    pub fn warning(&self) -> Option<&'static str> {
        let has_groups = self.group.is_some() || self.groups.is_some();
        (geteuid().is_root() && self.user.is_none() && has_groups).then_some(
            "`process.group` or `process.groups` without `process.user`: workers stay root",
        )
    }

    /// What follows from what was named: with root's group or supplementary groups left over, a worker would keep a part
    /// of root's privileges.
    fn complete(
        user: Option<(Uid, Option<User>)>,
        group: Option<Gid>,
        groups: Option<Vec<Gid>>,
        mask: u32,
    ) -> Result<Self, IdentityError> {
        let account = user.as_ref().and_then(|(_, account)| account.as_ref());
        let group = group.or_else(|| account.map(|account| account.gid));
        if let (Some((uid, _)), None) = (&user, group) {
            return Err(IdentityError::NoPrimaryGroup(*uid));
        }
        let groups = groups.or_else(|| match (account, group) {
            (Some(account), _) => Some(supplementary_groups(account)),
            (None, Some(group)) => Some(vec![group]),
            (None, None) => None,
        });
        Ok(Self {
            user: user.map(|(uid, _)| uid),
            group,
            groups,
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

fn are_own(groups: &[Gid]) -> bool {
    let sorted = |groups: &[Gid]| {
        let mut groups: Vec<_> = groups.iter().map(|group| group.as_raw()).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    };
    getgroups().is_ok_and(|own| sorted(&own) == sorted(groups))
}

fn supplementary_groups(account: &User) -> Vec<Gid> {
    let name = CString::new(account.name.as_bytes()).unwrap_or_default();
    getgrouplist(&name, account.gid).unwrap_or_else(|_| vec![account.gid])
}

/// The user this process acts as.
pub fn effective_user() -> u32 {
    geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use nix::unistd::{Gid, Uid};

    use super::{Identity, IdentityError};

    #[test]
    fn a_number_without_an_account_needs_a_group_and_gets_no_other_one() {
        let user = Uid::from_raw(54321);
        let complete = |group| Identity::complete(Some((user, None)), group, None, 0);
        assert_eq!(complete(None), Err(IdentityError::NoPrimaryGroup(user)));
        let group = Gid::from_raw(54322);
        let identity = complete(Some(group)).unwrap();
        assert_eq!(identity.groups, Some(vec![group]));
    }

    #[test]
    fn a_group_alone_takes_the_place_of_all_others() {
        let group = Gid::from_raw(54322);
        let identity = Identity::complete(None, Some(group), None, 0).unwrap();
        assert_eq!(identity.groups, Some(vec![group]));
        let nothing = Identity::complete(None, None, None, 0).unwrap();
        assert_eq!(nothing.groups, None);
    }
}
