//! What the table promises, shown with threads; that processes keep to it too is for the end-to-end tests.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread;

use governor::clock::FakeRelativeClock;
use proptest::prelude::*;

use super::*;
use crate::config::{Access, Rate, RatePeriod, RuleRate};

fn rule(path: &str, count: u32, burst: u32, by: RateBy) -> config::Rule {
    let number = |number| NonZeroU32::new(number).unwrap();
    config::Rule {
        path: path.to_owned(),
        methods: Vec::new(),
        hosts: Vec::new(),
        access: Access::Public,
        scopes: Vec::new(),
        any_scopes: Vec::new(),
        roles: Vec::new(),
        claims: std::collections::BTreeMap::new(),
        max_age: None,
        audit: false,
        request_timeout: None,
        max_body: u64::MAX,
        query_token: None,
        client_cert: None,
        rate: Some(RuleRate {
            rate: Rate {
                count: number(count),
                per: RatePeriod::Minute,
            },
            burst: number(burst),
            by,
        }),
    }
}

fn limits(rules: &[config::Rule]) -> (RateLimits<FakeRelativeClock>, FakeRelativeClock) {
    let clock = FakeRelativeClock::default();
    let table = RateTable::new().unwrap();
    let limits = RateLimits::with_clock(rules, &table, || clock.clone());
    (limits, clock)
}

fn from(address: &str) -> Requester<'static> {
    Requester {
        address: Some(address.parse().unwrap()),
        subject: None,
    }
}

fn passed<C: Clock>(limits: &RateLimits<C>, rule: usize, client: Requester<'_>) -> usize {
    (0..1000)
        .take_while(|_| limits.check(rule, client).is_ok())
        .count()
}

#[test]
fn the_burst_passes_and_then_as_many_as_the_time_lets() {
    let (limits, clock) = limits(&[rule("/a", 10, 3, RateBy::Address)]);
    let one = from("192.0.2.1");
    assert_eq!(passed(&limits, 0, one), 3);
    let refused = limits.check(0, one).unwrap_err();
    assert_eq!((refused.by, refused.wait), (RateBy::Address, 6));
    clock.advance(Duration::from_millis(5_500));
    assert_eq!(limits.check(0, one).unwrap_err().wait, 1);
    clock.advance(Duration::from_millis(500));
    assert_eq!(passed(&limits, 0, one), 1);
    clock.advance(Duration::from_hours(1));
    assert_eq!(passed(&limits, 0, one), 3, "what was not used is not saved");
}

#[test]
fn rules_addresses_networks_and_subjects_of_issuers_count_alone() {
    let rules = [
        rule("/a", 10, 2, RateBy::Address),
        rule("/b", 10, 2, RateBy::Subject),
    ];
    let (limits, _) = limits(&rules);
    assert_eq!(passed(&limits, 0, from("2001:db8::1")), 2);
    assert_eq!(passed(&limits, 0, from("2001:db8::ffff:0:0:1")), 0);
    assert_eq!(passed(&limits, 0, from("2001:db8:0:1::1")), 2);
    assert_eq!(passed(&limits, 0, from("::ffff:192.0.2.1")), 2);
    assert_eq!(passed(&limits, 0, from("192.0.2.1")), 0);
    assert_eq!(passed(&limits, 1, from("192.0.2.1")), 2, "another rule");
    let subject = |issuer, subject| Requester {
        subject: Some((Some(issuer), subject)),
        ..from("192.0.2.1")
    };
    assert_eq!(passed(&limits, 1, subject("one", "alice")), 2);
    assert_eq!(passed(&limits, 1, subject("two", "alice")), 2);
    assert_eq!(passed(&limits, 1, subject("onea", "lice")), 2);
    let refused = limits.check(1, subject("one", "alice")).unwrap_err();
    assert_eq!(refused.by, RateBy::Subject);
    assert_eq!(passed(&limits, 0, subject("one", "alice")), 0);
    assert_eq!(
        passed(&limits, 0, Requester::default()),
        1000,
        "nobody is counted"
    );
    assert_eq!(passed(&limits, 7, from("192.0.2.1")), 1000, "no rule");
}

#[test]
fn a_rule_that_says_the_same_goes_on_and_another_one_begins_anew() {
    let table = RateTable::new().unwrap();
    let before = [rule("/a", 10, 2, RateBy::Address)];
    let one = from("192.0.2.1");
    assert_eq!(passed(&RateLimits::new(&before, &table), 0, one), 2);
    let after = [
        rule("/a", 11, 2, RateBy::Address),
        rule("/a", 10, 2, RateBy::Address),
    ];
    let after = RateLimits::new(&after, &table);
    assert_eq!(passed(&after, 1, one), 0);
    assert_eq!(passed(&after, 0, one), 2);
}

/// As many workers as there are processors, each with limits of its own over the one table.
#[test]
fn whatever_workers_do_at_once_no_more_than_the_burst_passes() {
    let rules = [rule("/a", 1, 50, RateBy::Address)];
    let table = RateTable::new().unwrap();
    let threads = thread::available_parallelism()
        .map_or(2, usize::from)
        .clamp(2, 16);
    let passed: Vec<_> = (0..200).map(|_| AtomicU32::new(0)).collect();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                // As a program that does not inherit the mapping.
                let file = table.file().try_clone_to_owned().unwrap();
                let table = RateTable::of_file(file).unwrap();
                let limits = RateLimits::new(&rules, &table);
                for _ in 0..60 {
                    for (number, passed) in (0..).zip(&passed) {
                        let client = from(&format!("192.0.2.{number}"));
                        if limits.check(0, client).is_ok() {
                            passed.fetch_add(1, SeqCst);
                        }
                    }
                }
            });
        }
    });
    for passed in passed {
        assert_eq!(passed.into_inner(), 50);
    }
}

#[test]
fn more_clients_than_there_is_room_for_take_the_places_of_the_oldest() {
    let (limits, clock) = limits(&[rule("/a", 60, 1, RateBy::Address)]);
    let client = |number: u32| Requester {
        address: Some(IpAddr::from(number.to_be_bytes())),
        subject: None,
    };
    let mut shared = 0;
    for number in 0..300_000 {
        shared += u32::from(limits.check(0, client(number)).is_err());
        if number % 100 == 0 {
            clock.advance(Duration::from_millis(1));
        }
    }
    // Some ten of them are taken for another one.
    assert!(shared < 60, "{shared}");
    // Of the last ones all are remembered.
    for number in 299_000..300_000 {
        assert!(limits.check(0, client(number)).is_err(), "{number}");
    }
}

proptest! {
    /// governor's own store, which is not shared, says the same.
    #[test]
    fn the_table_decides_as_a_map_would(
        burst in 1_u32..20,
        requests in prop::collection::vec((0_u8..5, 0_u64..8_000), 0..400),
    ) {
        let rules = [rule("/a", 30, burst, RateBy::Address)];
        let (limits, clock) = limits(&rules);
        let quota = Quota::per_minute(NonZeroU32::new(30).unwrap());
        let quota = quota.allow_burst(NonZeroU32::new(burst).unwrap());
        let map = RateLimiter::hashmap_with_clock(quota, clock.clone());
        for (who, milliseconds) in requests {
            clock.advance(Duration::from_millis(milliseconds));
            let client = from(&format!("192.0.2.{who}"));
            prop_assert_eq!(limits.check(0, client).is_ok(), map.check_key(&who).is_ok());
        }
    }

    #[test]
    fn whoever_waits_as_long_as_was_said_is_let_through(
        count in 1_u32..1_000_000, burst in 1_u32..1000, asked in 1_usize..50
    ) {
        let (limits, clock) = limits(&[rule("/a", count, burst, RateBy::Address)]);
        let one = from("192.0.2.1");
        for _ in 0..asked {
            if let Err(TooMany { wait, .. }) = limits.check(0, one) {
                clock.advance(Duration::from_secs(wait.into()));
                prop_assert_eq!(limits.check(0, one), Ok(()));
            }
        }
    }
}
