//! The proofs that were shown within their time, remembered once for all workers: none can be used a second time.
//!
//! A table of fixed size in shared memory. A proof has a bucket of its own, chosen by a keyed digest, and is one word in it: so
//! a worker that dies in mid-write leaves a word, not a lock. Workers of every generation use the same table.

mod entry;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, SeqCst},
};

use aws_lc_rs::hmac;

use crate::sys::memory::SharedWords;
use entry::Entry;

/// The layout's number, in the first word.
pub const VERSION: u64 = 1;

/// Buckets: with [`WAYS`] they are 4 MiB. With 60 000 proofs a minute, each remembered for a minute as by default, one in 10^8
/// finds its bucket full; with 120 000, one in 30 000.
const BUCKETS: usize = 1 << 15;

/// Proofs that a bucket can hold: two cache lines.
const WAYS: usize = 16;

/// Before the first bucket: the version and the key. A whole bucket, so that no bucket begins within a cache line.
const HEAD: usize = WAYS;

/// Where the key is.
const KEY: usize = 1;

/// Words of the key, which has 256 bits.
const KEY_WORDS: usize = 4;

/// Words of the whole region.
const WORDS: usize = HEAD + BUCKETS * WAYS;

/// What came of showing a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// For the first time; now it is remembered.
    First,
    /// It is remembered.
    Again,
    /// It cannot be remembered: its bucket is full of proofs whose time is not over. Whether it was shown is then unknown.
    Full,
}

/// The table.
#[derive(Debug)]
pub struct ReplayCache {
    memory: SharedWords,
    /// Nobody outside can tell which proofs share a bucket, or a word.
    key: hmac::Key,
}

impl ReplayCache {
    /// Makes it; before the fork of the first worker that shall use it.
    ///
    /// # Errors
    /// `memfd_create(2)` and mmap(2): no memory. getrandom(2).
    pub fn new() -> io::Result<Arc<Self>> {
        let memory = SharedWords::new("destrier-replay", WORDS)?;
        for word in memory.words().iter().skip(KEY).take(KEY_WORDS) {
            let random = getrandom::u64();
            let random = random.map_err(|error| io::Error::other(error.to_string()))?;
            word.store(random, Relaxed);
        }
        if let Some(word) = memory.words().first() {
            word.store(VERSION, Relaxed);
        }
        Ok(Arc::new(Self::of_memory(memory)))
    }

    /// Goes on with one that an earlier program has made with layout `version`; `None` where that is another one.
    ///
    /// # Errors
    /// mmap(2), or `file` is no such table.
    pub fn of_file(file: OwnedFd, version: u64) -> io::Result<Option<Arc<Self>>> {
        if version != VERSION {
            return Ok(None);
        }
        let memory = SharedWords::of_file(file, WORDS)?;
        let is_ours = memory.words().first().map(|word| word.load(Relaxed)) == Some(VERSION);
        Ok(is_ours.then(|| Arc::new(Self::of_memory(memory))))
    }

    /// The memory, for a program that goes on with it.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.memory.file()
    }

    /// Remembers a proof until the end of the second `until`, unless it is remembered already. Of any number of callers who show
    /// the same one, in whatever processes, exactly one is the first. Times are seconds since 1970.
    pub fn show(&self, fingerprint: &[u8; 32], until: u64, now: u64) -> Shown {
        let (bucket, tag) = self.place(fingerprint);
        let entry = Entry::new(tag, until.max(now));
        loop {
            // The word that ends first, and the first of several. Every word of a bucket only ever gets later: so of two callers
            // with the same proof neither can choose a word that the other has passed over, and one of them finds the word
            // changed, and then the proof.
            let mut earliest: Option<(&AtomicU64, Entry)> = None;
            for word in bucket {
                let found = Entry(word.load(Acquire));
                if found.is_of(tag) {
                    return Shown::Again;
                }
                if earliest.is_none_or(|(_, least)| found.end() < least.end()) {
                    earliest = Some((word, found));
                }
            }
            let Some((word, old)) = earliest.filter(|(_, old)| old.is_over(now)) else {
                return Shown::Full;
            };
            let taken = word.compare_exchange(old.0, entry.0, SeqCst, Acquire);
            if taken.is_ok() {
                return Shown::First;
            }
        }
    }

    fn of_memory(memory: SharedWords) -> Self {
        let words = memory.words().iter().skip(KEY).take(KEY_WORDS);
        let key: Vec<u8> = words
            .flat_map(|word| word.load(Relaxed).to_le_bytes())
            .collect();
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            memory,
        }
    }

    /// The bucket of a proof, and what it is known by there.
    fn place(&self, fingerprint: &[u8; 32]) -> (&[AtomicU64], u64) {
        let digest = hmac::sign(&self.key, fingerprint);
        let (bucket, rest) = digest.as_ref().split_at(size_of::<u16>());
        let bucket = bucket.first_chunk().copied().unwrap_or_default();
        let tag = rest.first_chunk().copied().unwrap_or_default();
        let number = usize::from(u16::from_le_bytes(bucket)) % BUCKETS;
        let start = HEAD + number * WAYS;
        let words = self.memory.words().get(start..start + WAYS);
        (words.unwrap_or_default(), u64::from_le_bytes(tag))
    }
}

const _: () = assert!(BUCKETS <= 1 << 16 && KEY + KEY_WORDS <= HEAD);

#[cfg(test)]
mod tests;
