//! Memory that processes share (`memfd_create(2)`, mmap(2)): words that all write, contents that nobody changes any more.

use std::ffi::c_void;
use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// Zeroed 64-bit words that this process shares with every process forked from it.
#[derive(Debug)]
pub struct SharedWords {
    start: NonNull<c_void>,
    words: usize,
    file: OwnedFd,
}

// SAFETY: the mapping is plain atomics, which any thread may read and write; only drop unmaps it, and drop has `&mut`.
unsafe impl Send for SharedWords {}
// SAFETY: as above; no method but drop changes the struct itself.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// Makes `words` words, at least one, all zero. Pages that are never touched cost no memory.
    pub fn new(words: usize) -> nix::Result<Self> {
        let file = memfd_create("destrier-scoreboard", MFdFlags::MFD_CLOEXEC)?;
        let bytes = NonZeroUsize::new(words.saturating_mul(size_of::<AtomicU64>()))
            .ok_or(nix::Error::EINVAL)?;
        nix::unistd::ftruncate(
            &file,
            i64::try_from(bytes.get()).map_err(|_| nix::Error::EINVAL)?,
        )?;
        Self::map(file, words, bytes)
    }

    /// Shares words that another process, or the program before this one in the same process, has made.
    ///
    /// # Errors
    /// `EINVAL` where `file` does not hold exactly `words` words.
    pub fn of_file(file: OwnedFd, words: usize) -> nix::Result<Self> {
        let bytes = NonZeroUsize::new(words.saturating_mul(size_of::<AtomicU64>()))
            .ok_or(nix::Error::EINVAL)?;
        let size = nix::sys::stat::fstat(&file)?.st_size;
        if usize::try_from(size) != Ok(bytes.get()) {
            return Err(nix::Error::EINVAL);
        }
        Self::map(file, words, bytes)
    }

    fn map(file: OwnedFd, words: usize, bytes: NonZeroUsize) -> nix::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice, over a file of exactly this size.
        let start = unsafe {
            mmap(
                None,
                bytes,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
                &file,
                0,
            )
        }?;
        Ok(Self { start, words, file })
    }

    /// The words.
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, holds `words` words, lives as long as `self`; any bits are an `AtomicU64`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast::<AtomicU64>(), self.words) }
    }

    /// The file behind the words, for a process that does not inherit the mapping.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; no slice of it can outlive `self`.
        let _unmapped = unsafe { munmap(self.start, self.words * size_of::<AtomicU64>()) };
    }
}

/// What keeps a file as it is (`F_ADD_SEALS`, fcntl(2)); no seal can be taken off again.
fn seals() -> SealFlag {
    SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL
}

/// A file in memory whose contents nobody can change any more, so that it can be handed to processes that do not trust each other.
#[derive(Debug)]
pub struct SealedFile;

impl SealedFile {
    /// Makes one, closed on exec. `name` is what `/proc/PID/fd` shows.
    ///
    /// # Errors
    /// `memfd_create(2)`, write(2), fcntl(2): no memory or no descriptor is left.
    #[expect(
        clippy::new_ret_no_self,
        reason = "what is sealed is a descriptor like any other"
    )]
    pub fn new(name: &str, contents: &[u8]) -> io::Result<OwnedFd> {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let mut file = File::from(memfd_create(name, flags)?);
        file.write_all(contents)?;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals()))?;
        Ok(file.into())
    }
}

/// Reads all of a file that [`SealedFile::new`] made, wherever others who share it have read to.
///
/// # Errors
/// `InvalidData` where it is not sealed, or longer than `most` bytes; read(2), fcntl(2).
pub fn read_sealed(file: OwnedFd, most: usize) -> io::Result<Vec<u8>> {
    let not_sealed = || io::Error::new(io::ErrorKind::InvalidData, "the file is not sealed");
    // What is no file in memory has no seals: EINVAL.
    let found = fcntl(&file, FcntlArg::F_GET_SEALS).map_err(|_| not_sealed())?;
    if !SealFlag::from_bits_retain(found).contains(seals()) {
        return Err(not_sealed());
    }
    let file = File::from(file);
    let length = file.metadata()?.len();
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= most);
    let Some(length) = length else {
        let message = format!("the file has more than {most} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    };
    let mut contents = vec![0; length];
    // Not by the offset: it is shared.
    file.read_exact_at(&mut contents, 0)?;
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{ErrorKind, Write};
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::FileExt;

    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::{SealedFile, read_sealed};

    #[test]
    fn what_was_sealed_is_read_by_everybody_and_changed_by_nobody() {
        for contents in [&b""[..], b"keys"] {
            let file = SealedFile::new("test", contents).unwrap();
            let again = file.try_clone().unwrap();
            let mut writer = File::from(file.try_clone().unwrap());
            writer.write_all(b"x").unwrap_err();
            writer.write_all_at(b"x", 0).unwrap_err();
            assert_eq!(writer.set_len(0).is_ok(), contents.is_empty());
            writer.set_len(100).unwrap_err();
            assert_eq!(read_sealed(file, 4).unwrap(), contents);
            assert_eq!(read_sealed(again, 4).unwrap(), contents);
        }
    }

    #[test]
    fn what_is_not_sealed_or_too_long_is_refused() {
        let kind = |file, most| read_sealed(file, most).unwrap_err().kind();
        let sealed = SealedFile::new("test", b"12345").unwrap();
        assert_eq!(kind(sealed, 4), ErrorKind::InvalidData);
        let plain: OwnedFd = tempfile::tempfile().unwrap().into();
        assert_eq!(kind(plain, 4), ErrorKind::InvalidData);
        let unsealed = memfd_create("test", MFdFlags::MFD_ALLOW_SEALING).unwrap();
        assert_eq!(kind(unsealed, 4), ErrorKind::InvalidData);
    }
}
