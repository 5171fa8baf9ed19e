//! What the table promises, shown with threads; that processes keep to it too is for the end-to-end tests.

use std::sync::Barrier;
use std::sync::atomic::AtomicUsize;
use std::thread;

use super::*;

const NOW: u64 = 1_800_000_000;

/// A proof by its number.
fn proof(number: u64) -> [u8; 32] {
    let mut fingerprint = [0; 32];
    fingerprint[..8].copy_from_slice(&number.to_le_bytes());
    fingerprint
}

/// So many proofs of one bucket.
fn of_one_bucket(cache: &ReplayCache, count: usize) -> Vec<[u8; 32]> {
    let start = |proof: &[u8; 32]| cache.place(proof).0.as_ptr();
    let bucket = start(&proof(0));
    let all = (0..).map(proof).filter(|proof| start(proof) == bucket);
    all.take(count).collect()
}

#[test]
fn a_proof_is_new_once() {
    let cache = ReplayCache::new().unwrap();
    for number in 0..10_000 {
        assert_eq!(cache.show(&proof(number), NOW + 60, NOW), Shown::First);
    }
    for number in 0..10_000 {
        assert_eq!(cache.show(&proof(number), NOW + 60, NOW + 60), Shown::Again);
    }
}

#[test]
fn a_full_bucket_takes_none_until_one_is_over() {
    let cache = ReplayCache::new().unwrap();
    let proofs = of_one_bucket(&cache, WAYS + 1);
    let (last, others) = proofs.split_last().unwrap();
    for (number, proof) in (0..).zip(others) {
        // The sixth ends first.
        let until = if number == 5 { NOW + 30 } else { NOW + 60 };
        assert_eq!(cache.show(proof, until, NOW), Shown::First);
    }
    assert_eq!(cache.show(last, NOW + 60, NOW), Shown::Full);
    assert_eq!(cache.show(last, NOW + 90, NOW + 30), Shown::Full);
    for proof in others {
        assert_eq!(cache.show(proof, NOW + 60, NOW + 30), Shown::Again);
    }
    assert_eq!(cache.show(last, NOW + 110, NOW + 50), Shown::First);
    assert_eq!(cache.show(last, NOW + 110, NOW + 50), Shown::Again);
    assert_eq!(cache.show(&others[4], NOW + 60, NOW + 50), Shown::Again);
}

#[test]
fn a_table_is_gone_on_with_and_one_of_another_layout_is_not() {
    let before = ReplayCache::new().unwrap();
    let copy = || before.file().try_clone_to_owned().unwrap();
    assert_eq!(before.show(&proof(1), NOW + 60, NOW), Shown::First);
    let after = ReplayCache::of_file(copy(), VERSION).unwrap().unwrap();
    assert_eq!(after.show(&proof(1), NOW + 60, NOW), Shown::Again);
    assert_eq!(after.show(&proof(2), NOW + 60, NOW), Shown::First);
    assert_eq!(before.show(&proof(2), NOW + 60, NOW), Shown::Again);
    assert!(ReplayCache::of_file(copy(), VERSION + 1).unwrap().is_none());
    let other = ReplayCache::new().unwrap();
    assert_eq!(other.show(&proof(1), NOW + 60, NOW), Shown::First);
}

/// Of `threads` that show the same proofs in the same order, with clocks that differ, how many were the first for each.
fn race(
    cache: &ReplayCache,
    proofs: &[[u8; 32]],
    threads: u64,
    time: impl Fn(usize) -> u64 + Sync,
) {
    let firsts: Vec<AtomicUsize> = proofs.iter().map(|_| AtomicUsize::new(0)).collect();
    let (start, time) = (Barrier::new(usize::try_from(threads).unwrap()), &time);
    thread::scope(|scope| {
        for number in 0..threads {
            let (firsts, start) = (&firsts, &start);
            scope.spawn(move || {
                for (index, proof) in proofs.iter().enumerate() {
                    start.wait();
                    let now = time(index) + number % 3;
                    if cache.show(proof, now + 60, now) == Shown::First {
                        firsts[index].fetch_add(1, SeqCst);
                    }
                }
            });
        }
    });
    for (index, firsts) in firsts.iter().enumerate() {
        assert_eq!(firsts.load(SeqCst), 1, "proof {index}");
    }
}

#[test]
fn of_sixteen_that_show_the_same_proof_at_once_exactly_one_is_the_first() {
    let cache = ReplayCache::new().unwrap();
    let proofs: Vec<_> = (0..2_000).map(proof).collect();
    race(&cache, &proofs, 16, |_| NOW);
}

/// Words are taken again all the time, by callers who do not agree which of them are over.
#[test]
fn so_it_is_where_the_proofs_of_one_bucket_end_while_they_are_shown() {
    let cache = ReplayCache::new().unwrap();
    let proofs = of_one_bucket(&cache, 300);
    let seconds = |index: usize| NOW + 6 * u64::try_from(index).unwrap();
    race(&cache, &proofs, 16, seconds);
}
