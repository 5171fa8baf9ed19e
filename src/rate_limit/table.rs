//! What every client has used of its rate, once for all workers.
//!
//! A table of fixed size in shared memory, as that of the replay cache: a client has a bucket, chosen by a keyed digest, and is one word in
//! it, so a worker that dies in mid-write leaves a word, not a lock. Workers of every generation use the same table.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, SeqCst},
};
use std::time::Duration;

use aws_lc_rs::hmac;
use governor::nanos::Nanos;
use governor::state::StateStore;

use super::entry::Entry;
use crate::sys::clock;
use crate::sys::memory::SharedWords;

/// Buckets: with [`WAYS`] they are 1 MiB, which 131,072 clients fill who have used something a moment ago.
const BUCKETS: usize = 1 << 14;

/// Clients that a bucket can hold: a cache line.
const WAYS: usize = 8;

/// Before the first bucket: when the table was made, and its key. A whole bucket, so that none begins within a cache line.
const HEAD: usize = WAYS;

/// Monotonic nanoseconds from which the times in it count.
const ORIGIN: usize = 0;

/// Where the key is.
const KEY: usize = 1;

/// Words of the key, which has 256 bits.
const KEY_WORDS: usize = 4;

/// Words of the whole region.
const WORDS: usize = HEAD + BUCKETS * WAYS;

/// The table.
#[derive(Debug)]
pub struct RateTable {
    memory: SharedWords,
    /// Nobody outside can tell who shares a bucket, or a word.
    key: hmac::Key,
}

/// The table as governor knows it.
#[derive(Debug, Clone)]
pub(super) struct Store(pub(super) Arc<RateTable>);

impl RateTable {
    /// Makes it; before the fork of the first worker that shall use it.
    ///
    /// # Errors
    /// `memfd_create(2)` and mmap(2): no memory. getrandom(2).
    pub fn new() -> io::Result<Arc<Self>> {
        let memory = SharedWords::new("destrier-rates", WORDS)?;
        for word in memory.words().iter().skip(KEY).take(KEY_WORDS) {
            let random = getrandom::u64();
            let random = random.map_err(|error| io::Error::other(error.to_string()))?;
            word.store(random, Relaxed);
        }
        if let Some(word) = memory.words().get(ORIGIN) {
            let now = u64::try_from(clock::monotonic().as_nanos()).unwrap_or(u64::MAX);
            word.store(now, Relaxed);
        }
        Ok(Arc::new(Self::of_memory(memory)))
    }

    /// Shares one that a program of the same build has made.
    ///
    /// # Errors
    /// mmap(2), or `file` is no such table.
    pub fn of_file(file: OwnedFd) -> io::Result<Arc<Self>> {
        let memory = SharedWords::of_file(file, WORDS)?;
        Ok(Arc::new(Self::of_memory(memory)))
    }

    /// The memory, for a program that does not inherit the mapping.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.memory.file()
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

    /// From when the times in it count, monotonic.
    pub(super) fn origin(&self) -> Duration {
        let words = self.memory.words();
        let origin = words.get(ORIGIN).map_or(0, |word| word.load(Relaxed));
        Duration::from_nanos(origin)
    }

    /// By what a client is known here that `parts` describe.
    pub(super) fn number_of(&self, parts: &[&[u8]]) -> u64 {
        let mut digest = hmac::Context::with_key(&self.key);
        for part in parts {
            // With its length, so that nothing can be moved from one part to the next.
            digest.update(&part.len().to_le_bytes());
            digest.update(part);
        }
        let digest = digest.sign();
        let start = digest.as_ref().first_chunk().copied().unwrap_or_default();
        u64::from_le_bytes(start)
    }

    /// The bucket of a client, and what it is known by there.
    fn place(&self, number: u64) -> (&[AtomicU64], u64) {
        let buckets = BUCKETS as u64;
        let bucket = usize::try_from(number % buckets).unwrap_or_default();
        let start = HEAD + bucket * WAYS;
        let words = self.memory.words().get(start..start + WAYS);
        (words.unwrap_or_default(), number / buckets)
    }
}

impl StateStore for Store {
    type Key = u64;

    /// The word of a client is found, or made of the one whose owner has had everything back for longest: that owner starts anew, as it
    /// would anyhow. Only where a bucket is full of clients that have used something a moment ago, one of them gets more than its rate.
    fn measure_and_replace<T, F, E>(&self, number: &u64, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (bucket, tag) = self.0.place(*number);
        loop {
            // The earliest word, and the first of several. Words only ever get later: so of two workers who look for the same client
            // neither can choose a word that the other has passed over, and one of them finds the word changed, and then the client.
            let mut chosen: Option<(&AtomicU64, Entry)> = None;
            for word in bucket {
                let found = Entry(word.load(Acquire));
                if found.is_of(tag) {
                    chosen = Some((word, found));
                    break;
                }
                if chosen.is_none_or(|(_, earliest)| found.time() < earliest.time()) {
                    chosen = Some((word, found));
                }
            }
            let Some((word, old)) = chosen else {
                return decide(None).map(|(decision, _)| decision);
            };
            let before = old.is_of(tag).then(|| Nanos::from(old.time()));
            let (decision, next) = decide(before)?;
            let new = Entry::new(tag, next.into());
            let replaced = word.compare_exchange(old.0, new.0, SeqCst, Acquire);
            if replaced.is_ok() {
                return Ok(decision);
            }
        }
    }
}

const _: () = assert!(BUCKETS.is_power_of_two() && KEY + KEY_WORDS <= HEAD);
