//! When a feed is fetched: a function of what happened and of the time, which comes in. Reads no clock.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// What a server says about freshness is believed between these two.
const LIFETIME_MIN: Duration = Duration::from_secs(30);
const LIFETIME_MAX: Duration = Duration::from_hours(24);

/// Attempts that were asked for are at least so far apart, and whoever asks waits no longer than this for one to begin.
const ASKED_MIN: Duration = Duration::from_secs(1);
/// So many may bring nothing new, one after the other, before they are made farther apart: a few tokens with names of keys that do
/// not exist shall not make others wait whose key is new.
const USELESS_MAX: u32 = 10;
/// So far apart when they go on to bring nothing new.
const ASKED_MAX: Duration = Duration::from_secs(30);

/// The longest wait after a failure, where it is not fetched anew more often than that.
const RETRY_MAX: Duration = Duration::from_mins(1);

/// The attempts of one feed, of which one is under way at a time. Times are of any clock that only moves forward.
#[derive(Debug)]
pub(super) struct Schedule {
    refresh: Duration,
    stale_max: Duration,
    /// The next attempt, whether anybody asks for one or not.
    due: Duration,
    /// The attempt that somebody asked for.
    asked: Option<Duration>,
    under_way: Option<Cause>,
    began_last: Option<Duration>,
    /// How many that were asked for have brought nothing new, one after the other.
    useless: u32,
    /// How far attempts that are asked for are apart now, and what comes after that.
    apart: Duration,
    farther: ExponentialBackoff,
    retries: ExponentialBackoff,
    failing_since: Option<Duration>,
    random: fastrand::Rng,
}

/// Why an attempt is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Due,
    Asked,
}

/// What becomes of the wish for an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// An attempt is under way, or begins within a second.
    Granted,
    /// Too many were asked for, and so would be those within this time.
    TooOften {
        /// How long.
        again_in: Duration,
    },
}

impl Schedule {
    /// `age` is that of what is known already. `seed` moves this feed apart from the same one on other hosts.
    pub(super) fn new(
        (refresh, stale_max): (Duration, Duration),
        age: Option<Duration>,
        now: Duration,
        seed: u64,
    ) -> Self {
        let (apart, farther) = asked_from_the_start();
        let mut schedule = Self {
            refresh,
            stale_max,
            due: now,
            asked: None,
            under_way: None,
            began_last: None,
            useless: 0,
            apart,
            farther,
            retries: doubling(retry_max(refresh)),
            failing_since: None,
            random: fastrand::Rng::with_seed(seed),
        };
        if let Some(age) = age {
            schedule.due = now + schedule.ahead_of(refresh).saturating_sub(age);
        }
        schedule
    }

    /// When the next attempt begins; `None` while one is under way.
    pub(super) fn next(&self) -> Option<Duration> {
        let next = self.asked.map_or(self.due, |asked| asked.min(self.due));
        self.under_way.is_none().then_some(next)
    }

    /// An attempt begins: whoever asked for one gets this one.
    pub(super) fn begin(&mut self, now: Duration) {
        let cause = self.asked.take().map_or(Cause::Due, |_| Cause::Asked);
        self.under_way = Some(cause);
        self.began_last = Some(now);
    }

    /// Somebody misses a key.
    pub(super) fn wish(&mut self, now: Duration) -> Wish {
        let bound = now + ASKED_MIN;
        if self.next().is_none_or(|next| next <= bound) {
            return Wish::Granted;
        }
        let free = self.began_last.map_or(now, |began| began + self.apart);
        if free > bound {
            let again_in = free.saturating_sub(bound);
            return Wish::TooOften { again_in };
        }
        self.asked = Some(free.max(now));
        Wish::Granted
    }

    /// The attempt brought something, new or not, that its server says is fresh for `lifetime`. Returns how long it had been
    /// failing before.
    pub(super) fn succeeded(
        &mut self,
        now: Duration,
        is_new: bool,
        lifetime: Option<Duration>,
    ) -> Option<Duration> {
        let cause = self.under_way.take();
        if is_new {
            self.useless = 0;
            (self.apart, self.farther) = asked_from_the_start();
        } else {
            self.brought_nothing(cause);
        }
        self.retries = doubling(retry_max(self.refresh));
        // What is known must not become stale while its server is there.
        let lifetime = bounded(lifetime).unwrap_or(self.refresh);
        self.due = now + self.ahead_of(lifetime.min(self.stale_max));
        let since = self.failing_since.take()?;
        Some(now.saturating_sub(since))
    }

    /// The attempt brought nothing. Returns whether it is the first in a row.
    pub(super) fn failed(&mut self, now: Duration) -> bool {
        let cause = self.under_way.take();
        self.brought_nothing(cause);
        let most = retry_max(self.refresh);
        let wait = self.retries.next().unwrap_or(most);
        self.due = now + self.longer(wait).min(most);
        let is_first = self.failing_since.is_none();
        self.failing_since.get_or_insert(now);
        is_first
    }

    /// Names of keys that do not exist cost nothing to make up: they shall not cost the server of the keys more.
    fn brought_nothing(&mut self, cause: Option<Cause>) {
        if cause != Some(Cause::Asked) {
            return;
        }
        self.useless = self.useless.saturating_add(1);
        if self.useless >= USELESS_MAX {
            self.apart = self.farther.next().unwrap_or(ASKED_MAX);
        }
    }

    /// Four fifths of `lifetime`, give or take a twentieth, so that hosts that started together do not go on together.
    fn ahead_of(&mut self, lifetime: Duration) -> Duration {
        lifetime.mul_f64(0.75 + 0.1 * self.random.f64())
    }

    /// Up to a quarter more.
    fn longer(&mut self, wait: Duration) -> Duration {
        wait.mul_f64(1.0 + 0.25 * self.random.f64())
    }
}

/// What is fetched every ten seconds is tried every ten seconds, too, while its server is away.
fn retry_max(refresh: Duration) -> Duration {
    refresh.clamp(ASKED_MIN, RETRY_MAX)
}

/// How long an answer is good, within bounds.
pub(super) fn bounded(lifetime: Option<Duration>) -> Option<Duration> {
    lifetime.map(|lifetime| lifetime.clamp(LIFETIME_MIN, LIFETIME_MAX))
}

/// The least wait between two attempts that are asked for, and those that follow.
fn asked_from_the_start() -> (Duration, ExponentialBackoff) {
    let mut farther = doubling(ASKED_MAX);
    (farther.next().unwrap_or(ASKED_MIN), farther)
}

/// A second, two, four, up to `most`.
fn doubling(most: Duration) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_secs(1))
        .with_factor(2.0)
        .with_max_delay(most)
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{Schedule, USELESS_MAX, Wish};

    const REFRESH: Duration = Duration::from_mins(15);
    const STALE_MAX: Duration = Duration::from_hours(24);

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn schedule(age: Option<f64>) -> Schedule {
        Schedule::new((REFRESH, STALE_MAX), age.map(at), at(1000.0), 7)
    }

    /// Seconds from `now` to the next attempt.
    fn wait(schedule: &Schedule, now: f64) -> f64 {
        let next = schedule.next().unwrap();
        next.checked_sub(at(now)).unwrap().as_secs_f64()
    }

    /// As [`schedule`], with one attempt at 1000 that brought a set.
    fn fetched() -> Schedule {
        let mut schedule = schedule(None);
        schedule.begin(at(1000.0));
        assert_eq!(schedule.succeeded(at(1000.0), true, None), None);
        schedule
    }

    #[test]
    fn what_is_not_known_is_fetched_at_once() {
        assert_eq!(schedule(None).next(), Some(at(1000.0)));
    }

    #[test]
    fn a_new_agent_goes_on_where_the_last_one_was() {
        let wait_at = |age| wait(&schedule(Some(age)), 1000.0);
        assert!((675.0..=765.0).contains(&wait_at(0.0)));
        assert!((375.0..=465.0).contains(&wait_at(300.0)));
        assert_eq!(schedule(Some(10_000.0)).next(), Some(at(1000.0)));
    }

    #[test]
    fn it_is_fetched_anew_ahead_of_the_end_of_its_lifetime_within_bounds() {
        for (lifetime, believed) in [
            (None, 900.0),
            (Some(600.0), 600.0),
            (Some(0.0), 30.0),
            (Some(1.0), 30.0),
            (Some(1e9), 24.0 * 3600.0),
        ] {
            let mut schedule = schedule(None);
            schedule.begin(at(1000.0));
            schedule.succeeded(at(1001.0), true, lifetime.map(at));
            let range = 0.75 * believed..=0.85 * believed;
            let wait = wait(&schedule, 1001.0);
            assert!(range.contains(&wait), "{lifetime:?}: {wait}");
        }
    }

    #[test]
    fn it_does_not_become_stale_while_its_server_is_there() {
        let mut schedule = Schedule::new((at(30.0), at(60.0)), None, at(0.0), 7);
        schedule.begin(at(0.0));
        schedule.succeeded(at(0.0), true, Some(at(3600.0)));
        assert!(wait(&schedule, 0.0) < 60.0);
    }

    #[test]
    fn after_failures_the_wait_doubles_up_to_a_minute_until_one_succeeds() {
        let mut schedule = schedule(None);
        let mut now = 1000.0;
        for (number, least) in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
            .into_iter()
            .enumerate()
        {
            schedule.begin(at(now));
            assert_eq!(schedule.failed(at(now)), number == 0);
            let wait = wait(&schedule, now);
            assert!(
                (least..=f64::min(least * 1.25, 60.0)).contains(&wait),
                "{wait}"
            );
            now += wait;
        }
        schedule.begin(at(now));
        let failed_for = schedule.succeeded(at(now), false, None).unwrap();
        assert_eq!(failed_for, at(now).abs_diff(at(1000.0)));
        schedule.begin(at(now + 700.0));
        assert!(schedule.failed(at(now + 700.0)));
        assert!(wait(&schedule, now + 700.0) < 2.0);
    }

    #[test]
    fn after_failures_it_is_tried_as_often_as_it_is_fetched_at_least() {
        let mut schedule = Schedule::new((at(10.0), at(600.0)), None, at(0.0), 7);
        let mut now = 0.0;
        for _ in 0..20 {
            schedule.begin(at(now));
            schedule.failed(at(now));
            let wait = wait(&schedule, now);
            assert!((1.0..=10.0).contains(&wait), "{wait}");
            now += wait;
        }
    }

    #[test]
    fn one_attempt_serves_all_who_ask() {
        let mut schedule = fetched();
        assert_eq!(schedule.wish(at(1010.0)), Wish::Granted);
        assert_eq!(schedule.next(), Some(at(1010.0)));
        assert_eq!(schedule.wish(at(1010.0)), Wish::Granted);
        schedule.begin(at(1010.0));
        assert_eq!(schedule.wish(at(1010.5)), Wish::Granted);
        schedule.succeeded(at(1011.0), true, None);
        assert!(wait(&schedule, 1011.0) > 600.0);
    }

    #[test]
    fn a_wish_soon_after_an_attempt_waits_for_its_turn() {
        let mut schedule = fetched();
        assert_eq!(schedule.wish(at(1000.25)), Wish::Granted);
        assert_eq!(schedule.next(), Some(at(1001.0)));
    }

    #[test]
    fn wishes_that_bring_nothing_new_are_granted_ever_more_seldom() {
        let mut schedule = fetched();
        let mut now = 1000.0;
        let at_first = [1.0; USELESS_MAX as usize];
        for apart in at_first
            .into_iter()
            .chain([2.0, 4.0, 8.0, 16.0, 30.0, 30.0])
        {
            if apart > 1.0 {
                let again_in = at(0.5);
                let wish = schedule.wish(at(now + apart - 1.5));
                assert_eq!(wish, Wish::TooOften { again_in });
            }
            assert_eq!(schedule.wish(at(now + apart - 0.5)), Wish::Granted);
            now += apart;
            assert_eq!(schedule.next(), Some(at(now)));
            schedule.begin(at(now));
            schedule.succeeded(at(now), false, None);
        }
        // A new set: from the start.
        assert_eq!(schedule.wish(at(now + 29.5)), Wish::Granted);
        schedule.begin(at(now + 30.0));
        schedule.succeeded(at(now + 30.0), true, None);
        assert_eq!(schedule.wish(at(now + 30.5)), Wish::Granted);
        assert_eq!(schedule.next(), Some(at(now + 31.0)));
    }

    #[test]
    fn whoever_asks_while_its_server_is_away_is_served_before_the_next_retry() {
        let mut schedule = fetched();
        let mut now = 2000.0;
        for _ in 0..8 {
            schedule.begin(at(now));
            schedule.failed(at(now));
            now += 60.0;
        }
        assert_eq!(schedule.wish(at(now - 30.0)), Wish::Granted);
        assert_eq!(schedule.next(), Some(at(now - 30.0)));
    }

    /// What can happen to a schedule, after so many milliseconds.
    #[derive(Debug, Clone, Copy)]
    enum Event {
        Wish,
        New,
        Same,
        Failure,
    }

    proptest! {
        #[test]
        fn attempts_are_a_second_apart_and_every_wish_that_is_granted_is_fulfilled(
            events in prop::collection::vec(
                (
                    0_u64..3000,
                    prop::sample::select(vec![Event::Wish, Event::Wish, Event::New, Event::Same, Event::Failure]),
                    prop::option::of(0_u64..100_000),
                ),
                1..200,
            ),
            seed: u64,
        ) {
            let mut schedule = Schedule::new((REFRESH, STALE_MAX), None, Duration::ZERO, seed);
            let mut now = Duration::ZERO;
            let mut began: Option<Duration> = None;
            let mut waiting_since: Option<Duration> = None;
            for (pause, event, lifetime) in events {
                let until = now + Duration::from_millis(pause);
                // The agent begins what is due.
                if let Some(next) = schedule.next().filter(|next| *next <= until) {
                    let next = next.max(now);
                    if let Some(began) = began {
                        prop_assert!(next >= began + Duration::from_secs(1), "{next:?} after {began:?}");
                    }
                    if let Some(since) = waiting_since.take() {
                        prop_assert!(next <= since + Duration::from_secs(1));
                    }
                    schedule.begin(next);
                    began = Some(next);
                }
                now = until;
                let is_under_way = schedule.next().is_none();
                match event {
                    Event::Wish => {
                        if schedule.wish(now) == Wish::Granted && !is_under_way {
                            waiting_since.get_or_insert(now);
                        }
                    }
                    Event::New | Event::Same if is_under_way => {
                        let is_new = matches!(event, Event::New);
                        schedule.succeeded(now, is_new, lifetime.map(Duration::from_secs));
                    }
                    Event::Failure if is_under_way => _ = schedule.failed(now),
                    Event::New | Event::Same | Event::Failure => {}
                }
                let next = schedule.next();
                prop_assert!(next.is_none_or(|next| next <= now + Duration::from_hours(24)));
            }
        }
    }
}
