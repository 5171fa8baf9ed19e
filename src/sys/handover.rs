//! What one program leaves to the next in the same process (execve(2)): descriptors that stay open, and a file in memory
//! that says what they are.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use nix::fcntl::{FcntlArg, FdFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::fstat;
use nix::unistd::{execv, execve};

/// A file in memory with `bytes` in it, which nobody can change any more (`memfd_create(2)`, `F_ADD_SEALS` of fcntl(2));
/// it is read from its start.
///
/// # Errors
/// No memory, or a system without such files.
pub fn sealed_file(name: &str, bytes: &[u8]) -> io::Result<File> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut file = File::from(memfd_create(name, flags)?);
    file.write_all(bytes)?;
    file.rewind()?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(SEALS))?;
    Ok(file)
}

/// What makes a file one that nobody can change.
const SEALS: SealFlag = SealFlag::F_SEAL_WRITE
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_SHRINK);

/// Everything in a file that `sealed_file` has made, wherever others who share the descriptor have read to.
///
/// # Errors
/// As [`check_sealed`], or it cannot be read.
pub fn read_sealed(file: OwnedFd, most: u64) -> io::Result<Vec<u8>> {
    let size = check_sealed(&file, most)?;
    let mut bytes = vec![0; size];
    File::from(file).read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// The size of a file that `sealed_file` has made, which holds so many bytes at most.
///
/// # Errors
/// Somebody could still change it, or it holds more.
pub fn check_sealed(file: impl AsFd, most: u64) -> io::Result<usize> {
    let seals = SealFlag::from_bits_truncate(fcntl(&file, FcntlArg::F_GET_SEALS)?);
    if !seals.contains(SEALS) {
        return Err(io::Error::other("the file is not sealed"));
    }
    let size = u64::try_from(fstat(&file)?.st_size).map_err(io::Error::other)?;
    if size > most {
        return Err(io::Error::other(format!(
            "it has {size} bytes, more than {most}"
        )));
    }
    usize::try_from(size).map_err(io::Error::other)
}

/// Descriptors that the next program gets.
#[derive(Debug, Default)]
pub struct Luggage<'a>(Vec<BorrowedFd<'a>>);

impl<'a> Luggage<'a> {
    /// Puts `descriptor` with the rest, and says under which number the next program finds it.
    pub fn pack(&mut self, descriptor: BorrowedFd<'a>) -> i32 {
        self.0.push(descriptor);
        descriptor.as_raw_fd()
    }

    /// The numbers of everything that was packed.
    pub fn numbers(&self) -> BTreeSet<i32> {
        self.0.iter().map(AsRawFd::as_raw_fd).collect()
    }

    /// Becomes the program at `path`, with the luggage and nothing else of what is closed on exec. The blocked signals stay
    /// blocked, and those that have arrived stay there; the environment is handed on.
    ///
    /// # Errors
    /// execve(2): this process goes on as it was.
    pub fn exec(self, path: &OsStr, arguments: &[OsString]) -> io::Error {
        let result = self
            .close_on_exec(false)
            .and_then(|()| exec(path, arguments));
        self.stay(result)
    }

    /// As [`Self::exec`], with another environment: names and values.
    ///
    /// # Errors
    /// execve(2): this process goes on as it was.
    pub fn exec_in(
        self,
        path: &OsStr,
        arguments: &[OsString],
        environment: &[(OsString, OsString)],
    ) -> io::Error {
        let result = self
            .close_on_exec(false)
            .and_then(|()| exec_in(path, arguments, environment));
        self.stay(result)
    }

    fn stay(&self, result: io::Result<Infallible>) -> io::Error {
        let closed_again = self.close_on_exec(true);
        match (result, closed_again) {
            (Err(error), Ok(()) | Err(_)) => error,
        }
    }

    fn close_on_exec(&self, close: bool) -> io::Result<()> {
        let flags = if close {
            FdFlag::FD_CLOEXEC
        } else {
            FdFlag::empty()
        };
        for descriptor in &self.0 {
            fcntl(descriptor, FcntlArg::F_SETFD(flags))?;
        }
        Ok(())
    }
}

fn exec(path: &OsStr, arguments: &[OsString]) -> io::Result<Infallible> {
    let path = CString::new(path.as_bytes())?;
    Ok(execv(&path, &words(arguments)?)?)
}

fn exec_in(
    path: &OsStr,
    arguments: &[OsString],
    environment: &[(OsString, OsString)],
) -> io::Result<Infallible> {
    let path = CString::new(path.as_bytes())?;
    let environment = variables(environment.iter().cloned())?;
    Ok(execve(&path, &words(arguments)?, &environment)?)
}

/// An environment, names and values, as execve(2) takes it.
pub(super) fn variables(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> io::Result<Vec<CString>> {
    let variable = |(mut variable, value): (OsString, OsString)| {
        variable.push("=");
        variable.push(value);
        variable
    };
    words(environment.into_iter().map(variable))
}

/// As execve(2) takes them.
pub(super) fn words(words: impl IntoIterator<Item: AsRef<OsStr>>) -> io::Result<Vec<CString>> {
    let words = words.into_iter();
    words
        .map(|word| Ok(CString::new(word.as_ref().as_bytes())?))
        .collect()
}

/// What the program before this one left; whatever is not taken is closed with it.
#[derive(Debug)]
pub struct Legacy(BTreeMap<i32, OwnedFd>);

impl Legacy {
    /// Claims the descriptors `numbers`, closed on exec from now on. Once in a process's life, and for numbers that the
    /// program before left to this one.
    ///
    /// # Errors
    /// One of them is not open, or is a standard stream.
    pub fn claim(numbers: &BTreeSet<i32>) -> io::Result<Self> {
        let claimed = numbers.iter().map(|number| Ok((*number, claim(*number)?)));
        claimed.collect::<io::Result<_>>().map(Self)
    }

    /// The descriptor that had this number.
    ///
    /// # Errors
    /// It was taken already, or was never left.
    pub fn take(&mut self, number: i32) -> io::Result<OwnedFd> {
        self.0
            .remove(&number)
            .ok_or_else(|| io::Error::other(format!("descriptor {number} was not left")))
    }
}

fn claim(number: RawFd) -> io::Result<OwnedFd> {
    let failed = |reason: &dyn std::fmt::Display| {
        io::Error::other(format!("descriptor {number} was not left: {reason}"))
    };
    if number <= 2 {
        return Err(failed(&"it is a standard stream"));
    }
    // SAFETY: fcntl fails on a number that is not open, and then the borrow is not used further.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|error| failed(&error))?;
    // SAFETY: it is open (just seen); the program before left it to this one, and nobody else in this process knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Everything in the file that the program before left under `number`.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn read_file(number: i32) -> io::Result<Vec<u8>> {
    let mut file = File::from(claim(number)?);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::{read_sealed, sealed_file};

    #[test]
    fn a_sealed_file_is_read_by_everybody_who_has_it_and_no_other_is() {
        let file = sealed_file("test", b"content").expect("memory");
        for _ in 0..2 {
            let shared = file.try_clone().expect("a descriptor");
            assert_eq!(read_sealed(shared.into(), 7).expect("readable"), b"content");
        }
        assert!(read_sealed(file.into(), 6).is_err());
        let other = tempfile::tempfile().expect("a file");
        assert!(read_sealed(other.into(), 7).is_err());
    }

    #[test]
    fn a_sealed_file_is_read_and_not_changed() {
        let mut file = sealed_file("test", b"state").expect("memory");
        assert!(file.write_all(b"other").is_err());
        let mut text = String::new();
        file.read_to_string(&mut text).expect("readable");
        assert_eq!(text, "state");
    }
}
