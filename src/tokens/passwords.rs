//! Hashes of passwords: argon2id as PHC strings, made and checked beside the event loop, and never too many at once.

use std::sync::Arc;
use std::thread;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{self, PasswordHasher as _, PasswordVerifier as _};
use tokio::sync::{Semaphore, oneshot};

use crate::sys::thread::step_back;

/// Checks that wait or run in one worker; then the answer is 429.
const PLACES: usize = 16;
/// Checks that run at once in one worker: each takes a processor, and 19 MiB.
const RUNNING: usize = 1;

/// What is checked in the place of the hash of a user that does not exist, with the parameters that hashes have here, so
/// that it takes the same time. No password has this hash.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGlzIGhlcmUgMQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The hash of a new password (RFC 9106), with the parameters that OWASP recommends, which are the crate's.
pub(super) fn hash(password: &str) -> Result<String, password_hash::Error> {
    let hash = Argon2::default().hash_password(password.as_bytes())?;
    Ok(hash.to_string())
}

/// The bounded pool.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    places: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

/// No place is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Busy;

impl Pool {
    pub(super) fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(PLACES)),
            running: Arc::new(Semaphore::new(RUNNING)),
        }
    }

    /// Whether the password has this hash; without a hash it has not, after the same time.
    pub(super) async fn check(&self, password: String, hash: Option<String>) -> Result<bool, Busy> {
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| Busy)?;
        let turn = Arc::clone(&self.running).acquire_owned().await;
        let turn = turn.map_err(|_| Busy)?;
        // Both belong to the check and not to whoever waits for it, who may go away.
        let (answer, checking) = oneshot::channel();
        // A thread of its own costs a thousandth of the check, and can step back for good behind those that answer requests.
        let thread = thread::Builder::new().name("password".to_owned());
        let started = thread.spawn(move || {
            step_back();
            let is_right = matches(&password, hash.as_deref().unwrap_or(NOBODY));
            drop((turn, place));
            // Whoever asked may have gone.
            let _gone: Result<(), bool> = answer.send(is_right && hash.is_some());
        });
        started.map_err(|_| Busy)?;
        checking.await.map_err(|_| Busy)
    }
}

fn matches(password: &str, hash: &str) -> bool {
    // A hash that cannot be read matches nothing.
    PasswordHash::new(hash).is_ok_and(|hash| {
        let verified = Argon2::default().verify_password(password.as_bytes(), &hash);
        verified.is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    }

    #[test]
    fn a_password_matches_its_hash_and_no_other() {
        let made = hash("correct horse").unwrap();
        assert!(
            made.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{made}"
        );
        assert_ne!(made, hash("correct horse").unwrap());
        let pool = Pool::new();
        let check = |password: &str, hash: Option<String>| {
            runtime()
                .block_on(pool.check(password.to_owned(), hash))
                .unwrap()
        };
        assert!(check("correct horse", Some(made.clone())));
        assert!(!check("Correct horse", Some(made)));
        assert!(!check("x", None));
        assert!(!check("", Some(String::new())));
    }

    #[test]
    fn the_hash_of_nobody_is_read_and_costs_what_a_real_one_does() {
        let parameters = |hash: &str| {
            let hash = PasswordHash::new(hash).unwrap();
            (
                hash.algorithm.to_string(),
                hash.version,
                hash.params.to_string(),
            )
        };
        assert_eq!(parameters(NOBODY), parameters(&hash("x").unwrap()));
    }

    #[test]
    fn a_full_pool_says_so_at_once() {
        let pool = Pool::new();
        let all = u32::try_from(PLACES).unwrap();
        let taken = Arc::clone(&pool.places)
            .try_acquire_many_owned(all)
            .unwrap();
        let check = || runtime().block_on(pool.check("x".to_owned(), None));
        assert_eq!(check(), Err(Busy));
        drop(taken);
        assert_eq!(check(), Ok(false));
    }
}
