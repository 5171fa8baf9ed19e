//! How many logins are tried for one account and from one address: each worker lets its part of that through.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::config::{self, Rate, network_of};

/// What is counted is a number of this many bits, made of a name or an address with a key that nobody knows. So what is held is
/// bounded, to a few MiB, whoever asks; two names share a number about never, but in a flood of 10,000 new ones a second.
const KEY_BITS: u32 = 17;

/// Those that could start anew are forgotten after so many questions at least.
const SWEEP_AFTER: usize = 1024;

/// Logins of one worker.
#[derive(Debug)]
pub(super) struct Throttle {
    account: Option<Limiter>,
    address: Option<Limiter>,
}

/// One login too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Throttled {
    /// What there were too many for, for the log.
    pub(super) by: &'static str,
    /// Seconds until one more is let through, at least 1.
    pub(super) wait: u32,
}

impl Throttle {
    /// Of what all workers let through, the part of one of `workers`, rounded up.
    pub(super) fn new(tokens: &config::Tokens, workers: u16) -> Self {
        let limiter = |rate: Option<Rate>| {
            rate.and_then(|rate| Limiter::new(rate, workers, DefaultClock::default()))
        };
        Self {
            account: limiter(tokens.throttle_account),
            address: limiter(tokens.throttle_address),
        }
    }

    /// Counts one login. Who has no address, on a Unix socket, is not counted by it.
    pub(super) fn check(&self, username: &str, address: Option<IpAddr>) -> Result<(), Throttled> {
        let by = |by| move |wait| Throttled { by, wait };
        // First the address: of whoever floods, what is asked for somebody else's account shall not count.
        if let (Some(limiter), Some(address)) = (&self.address, address) {
            limiter.check(network_of(address)).map_err(by("address"))?;
        }
        if let Some(limiter) = &self.account {
            // As one types one's name, it is one account.
            limiter
                .check(username.to_lowercase())
                .map_err(by("account"))?;
        }
        Ok(())
    }
}

type Limits<C> = RateLimiter<u32, HashMapStateStore<u32>, C, NoOpMiddleware<<C as Clock>::Instant>>;

#[derive(Debug)]
struct Limiter<C: Clock = DefaultClock> {
    limits: Limits<C>,
    clock: C,
    hasher: RandomState,
    /// Questions since the last sweep.
    asked: AtomicUsize,
}

impl<C: Clock + Clone> Limiter<C> {
    fn new(rate: Rate, workers: u16, clock: C) -> Option<Self> {
        let part = NonZeroU32::new(rate.count.get().div_ceil(u32::from(workers.max(1))))?;
        let quota = Quota::with_period(rate.per.length() / part.get())?.allow_burst(part);
        Some(Self {
            limits: RateLimiter::hashmap_with_clock(quota, clock.clone()),
            clock,
            hasher: RandomState::new(),
            asked: AtomicUsize::new(0),
        })
    }

    /// Counts it, or says how many seconds to wait.
    fn check(&self, whose: impl Hash) -> Result<(), u32> {
        self.sweep();
        let number = self.hasher.hash_one(whose) >> (u64::BITS - KEY_BITS);
        let number = u32::try_from(number).unwrap_or_default();
        self.limits.check_key(&number).map_err(|not_until| {
            let wait = not_until.wait_time_from(self.clock.now());
            in_whole_seconds(wait)
        })
    }

    /// Costs a look at all of them, so it is done when as many have asked.
    fn sweep(&self) {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        if asked >= SWEEP_AFTER.max(self.limits.len()) {
            self.asked.store(0, Ordering::Relaxed);
            self.limits.retain_recent();
            self.limits.shrink_to_fit();
        }
    }
}

/// Rounded up: who comes when it was said shall be let through.
fn in_whole_seconds(wait: Duration) -> u32 {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    u32::try_from(seconds.max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;
    use proptest::prelude::*;

    use super::*;
    use crate::config::RatePeriod;

    fn limiter(count: u32, per: RatePeriod, workers: u16) -> Limiter<FakeRelativeClock> {
        let count = NonZeroU32::new(count).unwrap();
        Limiter::new(Rate { count, per }, workers, FakeRelativeClock::default()).unwrap()
    }

    fn passed<C: Clock + Clone>(limiter: &Limiter<C>, whose: &str) -> usize {
        (0..1000)
            .take_while(|_| limiter.check(whose).is_ok())
            .count()
    }

    #[test]
    fn so_many_pass_and_then_as_many_as_the_time_lets() {
        let limiter = limiter(10, RatePeriod::Minute, 1);
        assert_eq!(passed(&limiter, "a"), 10);
        assert_eq!(passed(&limiter, "b"), 10, "each is counted alone");
        assert_eq!(limiter.check("a"), Err(6));
        limiter.clock.advance(Duration::from_millis(5_500));
        assert_eq!(limiter.check("a"), Err(1));
        limiter.clock.advance(Duration::from_millis(500));
        assert_eq!(passed(&limiter, "a"), 1);
        limiter.clock.advance(Duration::from_mins(10));
        assert_eq!(passed(&limiter, "a"), 10, "what was not used is not saved");
    }

    #[test]
    fn each_worker_has_its_part_rounded_up() {
        for (count, workers, part) in [(10, 2, 5), (10, 3, 4), (10, 100, 1), (1, 1, 1)] {
            let limiter = limiter(count, RatePeriod::Hour, workers);
            assert_eq!(passed(&limiter, "a"), part, "{count} {workers}");
        }
    }

    #[test]
    fn whoever_has_waited_is_forgotten_and_what_is_held_is_bounded() {
        let limiter = limiter(1, RatePeriod::Second, 1);
        for number in 0..200_000 {
            let _: Result<(), u32> = limiter.check(number);
        }
        assert!(limiter.limits.len() <= 1 << KEY_BITS);
        assert!(
            limiter.limits.len() > 1 << (KEY_BITS - 1),
            "numbers are used"
        );
        limiter.clock.advance(Duration::from_secs(2));
        for _ in 0..=1 << KEY_BITS {
            let _: Result<(), u32> = limiter.check("a");
        }
        assert_eq!(limiter.limits.len(), 1);
    }

    #[test]
    fn an_account_is_the_same_in_capitals_and_a_network_in_any_of_its_addresses() {
        let throttle = |account, address| {
            let rate = |count| Rate {
                count,
                per: RatePeriod::Day,
            };
            let limiter = |count| {
                NonZeroU32::new(count)
                    .and_then(|count| Limiter::new(rate(count), 1, DefaultClock::default()))
            };
            Throttle {
                account: limiter(account),
                address: limiter(address),
            }
        };
        let by = |throttled: Result<(), Throttled>| throttled.map_err(|throttled| throttled.by);
        let one = throttle(1, 0);
        assert_eq!(by(one.check("Alice", None)), Ok(()));
        assert_eq!(by(one.check("aLICE", None)), Err("account"));
        assert_eq!(by(one.check("bob", None)), Ok(()));
        let one = throttle(1, 1);
        let from = |text: &str| Some(text.parse().unwrap());
        assert_eq!(by(one.check("a", from("2001:db8::1"))), Ok(()));
        assert_eq!(
            by(one.check("b", from("2001:db8::ffff:0:0:1"))),
            Err("address")
        );
        // The address was refused, so the account was not counted.
        assert_eq!(by(one.check("b", from("2001:db8:0:1::1"))), Ok(()));
        assert_eq!(by(one.check("c", from("192.0.2.1"))), Ok(()));
        assert_eq!(by(one.check("d", from("::ffff:192.0.2.1"))), Err("address"));
        assert_eq!(by(one.check("e", None)), Ok(()));
        assert_eq!(by(throttle(0, 0).check("a", from("192.0.2.1"))), Ok(()));
    }

    proptest! {
        #[test]
        fn whoever_waits_as_long_as_was_said_is_let_through(
            count in 1_u32..1_000_000, workers in 1_u16..512, asked in 1_usize..50
        ) {
            let limiter = limiter(count, RatePeriod::Minute, workers);
            for _ in 0..asked {
                if let Err(wait) = limiter.check("a") {
                    limiter.clock.advance(Duration::from_secs(wait.into()));
                    prop_assert_eq!(limiter.check("a"), Ok(()));
                }
            }
        }
    }
}
