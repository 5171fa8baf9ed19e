//! How many requests one client may make, where the rule that decides has a rate: counted once for all workers of this host.

mod entry;
mod origin;
mod table;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::{Quota, RateLimiter};

use crate::config::{self, RateBy, network_of};
use origin::TableClock;
pub use table::RateTable;
use table::Store;

/// The rates of one generation.
#[derive(Debug)]
pub struct RateLimits<C: Clock = Clocked> {
    table: Arc<RateTable>,
    /// By the place of each rule in the configuration.
    rules: Vec<Option<Limited<C>>>,
}

/// The clock that all workers share.
#[derive(Debug)]
pub struct Clocked(TableClock);

/// A rule with a rate.
#[derive(Debug)]
struct Limited<C: Clock> {
    limiter: RateLimiter<u64, Store, C, NoOpMiddleware<C::Instant>>,
    by: RateBy,
    is_audited: bool,
    /// What makes it the same rule after a reload.
    text: String,
}

/// Who makes a request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Requester<'a> {
    /// Its address; none on a Unix socket.
    pub address: Option<IpAddr>,
    /// Issuer and subject of its token, where it has one that names a subject.
    pub subject: Option<(Option<&'a str>, &'a str)>,
}

/// One request too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany {
    /// What it was counted by.
    pub by: RateBy,
    /// Seconds until one more is let through, at least 1.
    pub wait: u32,
    /// Whether its rule only says what it would refuse.
    pub is_audited: bool,
}

impl Clock for Clocked {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.now()
    }
}

impl RateLimits {
    /// Of these rules.
    pub fn new(rules: &[config::Rule], table: &Arc<RateTable>) -> Self {
        let clock = || Clocked(TableClock::at(table.origin()));
        let limits = Self::with_clock(rules, table, clock);
        for rule in limits.rules.iter().flatten() {
            rule.limiter.clock().0.run();
        }
        limits
    }
}

impl<C: Clock> RateLimits<C> {
    fn with_clock(rules: &[config::Rule], table: &Arc<RateTable>, clock: impl Fn() -> C) -> Self {
        let limited = |rule: &config::Rule| {
            let rate = rule.rate?;
            let period = rate.rate.per.length() / rate.rate.count.get();
            let quota = Quota::with_period(period)?.allow_burst(rate.burst);
            Some(Limited {
                limiter: RateLimiter::new(quota, Store(Arc::clone(table)), clock()),
                by: rate.by,
                is_audited: rule.audit,
                text: format!("{:?}", (&rule.path, &rule.methods, &rule.hosts, rate)),
            })
        };
        Self {
            table: Arc::clone(table),
            rules: rules.iter().map(limited).collect(),
        }
    }

    /// Counts a request that the rule at this place has let pass. Who has no subject is counted by its address, and who has none of
    /// these not at all.
    ///
    /// # Errors
    /// There are too many.
    pub fn check(&self, rule: usize, requester: Requester<'_>) -> Result<(), TooMany> {
        let Some(Some(limited)) = self.rules.get(rule) else {
            return Ok(());
        };
        let text = limited.text.as_bytes();
        let by_subject = requester.subject.filter(|_| limited.by == RateBy::Subject);
        let (by, number) = match (by_subject, requester.address) {
            (Some((issuer, subject)), _) => {
                let issuer = issuer.unwrap_or_default().as_bytes();
                let parts = [text, b"subject", issuer, subject.as_bytes()];
                (RateBy::Subject, self.table.number_of(&parts))
            }
            (None, Some(address)) => {
                let address = network_of(address).to_string();
                let parts = [text, b"address", address.as_bytes()];
                (RateBy::Address, self.table.number_of(&parts))
            }
            (None, None) => return Ok(()),
        };
        limited.limiter.check_key(&number).map_err(|not_until| {
            let wait = not_until.wait_time_from(limited.limiter.clock().now());
            TooMany {
                by,
                wait: in_whole_seconds(wait),
                is_audited: limited.is_audited,
            }
        })
    }
}

/// Rounded up: who comes when it was said shall be let through.
fn in_whole_seconds(wait: Duration) -> u32 {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    u32::try_from(seconds.max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
