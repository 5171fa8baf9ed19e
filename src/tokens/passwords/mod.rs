//! Passwords are checked beside the event loop, and never too many at once.

mod hash;

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use tokio::sync::{Semaphore, oneshot};

use crate::sys::thread::step_back;
use hash::Hash;

pub(super) use hash::hash;

/// Checks that wait or run in one worker; then the answer is 429.
const PLACES: usize = 16;
/// Checks that run at once in one worker: each takes a processor, and the memory that the hash asks for.
const RUNNING: usize = 1;

/// What is checked in the place of the hash of a user that does not exist, with the parameters that hashes have here, so
/// that it takes the same time. No password has this hash.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGlzIGhlcmUgMQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The same in a table of Django's, unless its own hashes are others.
const NOBODY_OF_DJANGO: &str =
    "pbkdf2_sha256$1000000$bm9ib2R5IGlzIGhlcmUgMQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// Which hashes are accepted, and what is done about old ones.
#[derive(Clone)]
pub(super) struct Policy {
    allows_md5: bool,
    upgrades: bool,
    /// What is checked where there is nothing to check.
    usual: Option<Hash>,
}

impl Policy {
    /// Hashes are those of `destrier user`.
    pub(super) fn own() -> Self {
        Self {
            allows_md5: false,
            upgrades: false,
            usual: Hash::parse(NOBODY),
        }
    }

    /// Hashes are Django's, these among them, the newest first. The newest was made by the hasher that the site prefers, and of
    /// that kind the costliest is what the others are brought to when they are checked: a site makes more iterations each year.
    pub(super) fn of_django(allows_md5: bool, upgrades: bool, sample: &[String]) -> Self {
        let mut policy = Self {
            allows_md5,
            upgrades,
            usual: None,
        };
        let known = sample.iter().filter_map(|text| policy.read(text));
        let mut known: Vec<Hash> = known.collect();
        let of_nobody = Hash::parse(NOBODY_OF_DJANGO);
        if known.is_empty() || upgrades {
            // Those that log in get such a one.
            known.extend(of_nobody);
        }
        let preferred = known.first().map(Hash::cost);
        let same = known.into_iter().filter(|hash| {
            preferred.is_some_and(|preferred| hash.cost().is_of_the_kind_of(preferred))
        });
        policy.usual = same.max_by_key(Hash::cost);
        policy
    }

    /// A hash that may be checked.
    fn read(&self, text: &str) -> Option<Hash> {
        Hash::parse(text).filter(|hash| self.allows_md5 || !matches!(hash, Hash::Md5 { .. }))
    }

    /// What a wrong password takes beside the check of its hash, so that it takes what one without a hash does.
    fn missing(&self, hash: &Hash) -> Option<NonZeroU32> {
        self.usual.as_ref().and_then(|usual| hash.missing(usual))
    }

    /// Whether the password has this hash; without a hash it has not, after the same time.
    fn check(&self, password: &str, text: Option<&str>) -> Checked {
        let Some(hash) = text.and_then(|text| self.read(text)) else {
            let _never = self.usual.as_ref().map(|usual| usual.matches(password));
            return Checked::default();
        };
        let is_right = hash.matches(password);
        if !is_right && let Some(iterations) = self.missing(&hash) {
            hash::waste(iterations, password);
        }
        let is_old = self.upgrades && !hash.is_preferred();
        Checked {
            is_right,
            upgraded: (is_right && is_old)
                .then(|| hash::hash_for_django(password))
                .flatten(),
        }
    }
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Checked {
    /// The password is right.
    pub(super) is_right: bool,
    /// A better hash of it, in the place of the one that it was checked with.
    pub(super) upgraded: Option<String>,
}

/// The bounded pool.
#[derive(Clone)]
pub(super) struct Pool {
    places: Arc<Semaphore>,
    running: Arc<Semaphore>,
    policy: Arc<Policy>,
    /// Where the thread that checks takes its work from; it is started by the first check.
    thread: Arc<Mutex<Option<mpsc::Sender<Job>>>>,
}

type Job = Box<dyn FnOnce() + Send>;

/// No place is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Busy;

impl Pool {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            places: Arc::new(Semaphore::new(PLACES)),
            running: Arc::new(Semaphore::new(RUNNING)),
            policy: Arc::new(policy),
            thread: Arc::default(),
        }
    }

    /// Whether the password has this hash; without a hash it has not, after the same time.
    pub(super) async fn check(
        &self,
        password: String,
        hash: Option<String>,
    ) -> Result<Checked, Busy> {
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| Busy)?;
        let turn = Arc::clone(&self.running).acquire_owned().await;
        let turn = turn.map_err(|_| Busy)?;
        let policy = Arc::clone(&self.policy);
        // Both belong to the check and not to whoever waits for it, who may go away.
        let (answer, checking) = oneshot::channel();
        self.compute(Box::new(move || {
            let checked = policy.check(&password, hash.as_deref());
            drop((turn, place));
            // Whoever asked may have gone.
            let _gone: Result<(), Checked> = answer.send(checked);
        }))?;
        checking.await.map_err(|_| Busy)
    }

    /// Hands it to the thread that computes, which stays: a new one would be as urgent as those that answer requests until it has
    /// stepped back, and take the processor from them.
    fn compute(&self, job: Job) -> Result<(), Busy> {
        let mut thread = self.thread.lock().map_err(|_| Busy)?;
        let job = match thread.as_ref() {
            None => job,
            Some(running) => match running.send(job) {
                Ok(()) => return Ok(()),
                // A check has panicked.
                Err(mpsc::SendError(job)) => job,
            },
        };
        let (jobs, taken) = mpsc::channel::<Job>();
        let started = thread::Builder::new().name("password".to_owned());
        started
            .spawn(move || {
                step_back();
                for job in taken {
                    job();
                }
            })
            .map_err(|_| Busy)?;
        jobs.send(job).map_err(|_| Busy)?;
        *thread = Some(jobs);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::hash::{Cost, tests::OF_DJANGO};
    use super::*;

    /// `md5` of `salt` and `x`.
    const MD5: &str = "md5$salt$e52cf713193460fea2740c8638c0770c";
    /// Of `correct horse`, with 1000 iterations.
    const OLD: &str = "pbkdf2_sha256$1000$saltySALT$OlPcyeXVkRS1zlq2EGhHQnLlAJa+hGOmNB9iBElamF4=";

    fn django(allows_md5: bool, upgrades: bool, sample: &[&str]) -> Policy {
        let sample: Vec<String> = sample.iter().map(|&text| text.to_owned()).collect();
        Policy::of_django(allows_md5, upgrades, &sample)
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    }

    fn wrong() -> Checked {
        Checked::default()
    }

    #[test]
    fn a_password_matches_its_hash_and_no_other() {
        let made = hash("correct horse").unwrap();
        let pool = Pool::new(Policy::own());
        let check = |password: &str, hash: Option<String>| {
            runtime()
                .block_on(pool.check(password.to_owned(), hash))
                .unwrap()
        };
        assert!(check("correct horse", Some(made.clone())).is_right);
        assert_eq!(check("Correct horse", Some(made)), wrong());
        assert_eq!(check("x", None), wrong());
        assert_eq!(check("", Some(String::new())), wrong());
    }

    #[test]
    fn the_hash_of_nobody_is_read_and_costs_what_a_real_one_does() {
        use argon2::password_hash::phc::PasswordHash;
        let parameters = |hash: &str| {
            let hash = PasswordHash::new(hash).unwrap();
            (
                hash.algorithm.to_string(),
                hash.version,
                hash.params.to_string(),
            )
        };
        assert_eq!(parameters(NOBODY), parameters(&hash("x").unwrap()));
        assert!(Policy::own().usual.is_some());
        assert!(Hash::parse(NOBODY_OF_DJANGO).unwrap().is_preferred());
    }

    #[test]
    fn who_has_no_hash_takes_as_long_as_the_others_of_the_table() {
        let usual = |sample: &[&str]| django(false, false, sample).usual.unwrap();
        assert!(usual(&[]).is_preferred());
        assert!(usual(&["!unusable"]).is_preferred());
        // Not so cheap as a hash that nobody can log in with.
        assert!(usual(&[MD5]).is_preferred());
        assert!(!usual(&[OLD]).is_preferred());
    }

    /// What a login with a wrong password computes: of a user with this hash, or of nobody.
    fn work(policy: &Policy, text: Option<&str>) -> Vec<Cost> {
        let hash = text.and_then(|text| policy.read(text));
        let Some(hash) = hash else {
            return policy.usual.iter().map(Hash::cost).collect();
        };
        let missing = policy
            .missing(&hash)
            .map(NonZeroU32::get)
            .unwrap_or_default();
        vec![if let Cost::Pbkdf2Sha256(own) = hash.cost() {
            Cost::Pbkdf2Sha256(own.saturating_add(missing))
        } else {
            hash.cost()
        }]
    }

    #[test]
    fn nobody_costs_what_users_of_the_preferred_hasher_do_whichever_that_is() {
        for text in OF_DJANGO {
            let policy = django(true, false, &[text, "!unusable"]);
            assert_eq!(work(&policy, None), work(&policy, Some(text)), "{text}");
            assert_eq!(work(&policy, Some("!x")), work(&policy, None), "{text}");
        }
        // Also where another user's hash is costlier than the newest: it logged in after the site had raised its iterations.
        let newer = OLD.replace("$1000$", "$2000$");
        let policy = django(false, false, &[OLD, &newer, OF_DJANGO[2]]);
        let expected = vec![Cost::Pbkdf2Sha256(NonZeroU32::new(2000).unwrap())];
        for text in [None, Some(OLD), Some(newer.as_str())] {
            assert_eq!(work(&policy, text), expected, "{text:?}");
        }
        // And where a login replaces old ones.
        let policy = django(false, true, &[OLD]);
        assert!(policy.usual.as_ref().unwrap().is_preferred());
        assert_eq!(work(&policy, None), work(&policy, Some(OLD)));
        let policy = Policy::own();
        assert_eq!(
            work(&policy, None),
            work(&policy, Some(&hash("x").unwrap()))
        );
    }

    #[test]
    fn md5_is_for_those_who_ask_for_it() {
        let check = |allows_md5| {
            let policy = django(allows_md5, false, &[OLD]);
            policy.check("x", Some(MD5)).is_right
        };
        assert_eq!((check(false), check(true)), (false, true));
    }

    #[test]
    fn an_old_hash_is_upgraded_when_the_password_is_right() {
        let check = |upgrades, password: &str, hash: &str| {
            let policy = django(false, upgrades, &[OLD]);
            policy.check(password, Some(hash))
        };
        assert_eq!(check(false, "correct horse", OLD).upgraded, None);
        assert_eq!(check(true, "x", OLD), wrong());
        let upgraded = check(true, "correct horse", OLD).upgraded.unwrap();
        let again = check(true, "correct horse", &upgraded);
        assert!(again.is_right && again.upgraded.is_none());
    }

    /// The thread on which the pool checks, once the one that panics has ended.
    fn thread_of(pool: &Pool) -> thread::ThreadId {
        let (tell, told) = mpsc::channel();
        let job = Box::new(move || tell.send(thread::current().id()).unwrap());
        pool.compute(job).unwrap();
        told.recv().unwrap()
    }

    #[test]
    fn one_thread_checks_and_another_one_when_it_has_panicked() {
        let pool = Pool::new(Policy::own());
        let first = thread_of(&pool);
        assert_ne!(first, thread::current().id());
        assert_eq!(thread_of(&pool), first);
        let (held, until_dropped) = mpsc::channel::<()>();
        let panics = move || {
            let _held = held;
            panic!("a check");
        };
        pool.compute(Box::new(panics)).unwrap();
        until_dropped.recv().unwrap_err();
        // It may take a moment until the thread takes nothing any more.
        let check = || runtime().block_on(pool.check("x".to_owned(), None));
        while check() == Err(Busy) {}
        assert_ne!(thread_of(&pool), first);
    }

    #[test]
    fn a_full_pool_says_so_at_once() {
        let pool = Pool::new(Policy::own());
        let all = u32::try_from(PLACES).unwrap();
        let taken = Arc::clone(&pool.places)
            .try_acquire_many_owned(all)
            .unwrap();
        let check = || runtime().block_on(pool.check("x".to_owned(), None));
        assert_eq!(check(), Err(Busy));
        drop(taken);
        assert_eq!(check(), Ok(wrong()));
    }
}
