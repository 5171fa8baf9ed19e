//! What the table promises, shown with threads; that processes keep to it too is for the end-to-end tests.

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

/// Threads that show the same proofs in the same order, each at the same moment as the others, with clocks that differ by up to
/// `spread` seconds: for each proof exactly one of them is the first. Rounds go on for ever with the same proofs, so those of a
/// bucket must be forgotten before they come again.
fn race(cache: &ReplayCache, proofs: &[[u8; 32]], rounds: u64, (step, spread): (u64, u64)) {
    // More than there are processors would take turns instead of racing.
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let threads = u64::try_from(threads.clamp(2, 16)).unwrap();
    let (arrived, firsts) = (AtomicU64::new(0), AtomicU64::new(0));
    let show = |number: u64| {
        for round in 0..rounds {
            let now = NOW + step * round + spread * number / (threads - 1);
            let proof = &proofs[usize::try_from(round).unwrap() % proofs.len()];
            arrived.fetch_add(1, SeqCst);
            let mut turns = 0;
            while arrived.load(SeqCst) < (round + 1) * threads {
                turns += 1;
                if turns % 1000 == 0 {
                    thread::yield_now();
                }
                std::hint::spin_loop();
            }
            if cache.show(proof, now + 60, now) == Shown::First {
                firsts.fetch_add(1, SeqCst);
            }
        }
    };
    thread::scope(|scope| {
        for number in 0..threads {
            let show = &show;
            scope.spawn(move || show(number));
        }
    });
    assert_eq!(firsts.load(SeqCst), rounds);
}

#[test]
fn of_all_that_show_the_same_proof_at_once_exactly_one_is_the_first() {
    let cache = ReplayCache::new().unwrap();
    let proofs: Vec<_> = (0..40_000).map(proof).collect();
    race(&cache, &proofs, 40_000, (0, 0));
}

/// Words are taken again all the time, by callers who do not agree which of them are over.
#[test]
fn so_it_is_where_the_proofs_of_one_bucket_end_while_they_are_shown() {
    let cache = ReplayCache::new().unwrap();
    let proofs = of_one_bucket(&cache, 40);
    race(&cache, &proofs, 40_000, (8, 20));
}
