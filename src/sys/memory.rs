//! Memory that forked processes share (`memfd_create(2)`, mmap(2)).

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

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
    /// Makes `words` words, at least one, all zero; /proc shows them under this name. Pages that are never touched cost no memory.
    pub fn new(name: &str, words: usize) -> nix::Result<Self> {
        let file = memfd_create(name, MFdFlags::MFD_CLOEXEC)?;
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
