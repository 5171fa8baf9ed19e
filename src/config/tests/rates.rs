//! `auth.rule.rate`: what is accepted, what its defaults are.

use std::num::NonZeroU32;

use super::*;

const ISSUER: &str = "[[auth.issuer]]\nsecret_file = 'a'\n";

#[test]
fn a_rule_counts_by_subject_where_it_needs_a_token_and_by_address_elsewhere() {
    let text = format!(
        "{ISSUER}[[auth.rule]]\npath = '/a'\nrate = '10/s'\n[[auth.rule]]\npath = '/b'\naccess = 'public'\nrate = '10/s'\nrate_burst = 3\n[[auth.rule]]\npath = '/c'\naccess = 'optional'\nrate = '5/min'\n[[auth.rule]]\npath = '/d'\nrate = '5/min'\nrate_by = 'address'\n[[auth.rule]]\npath = '/e'\n"
    );
    let auth = accepted(&text).auth;
    assert!(auth.has_rate());
    let rates: Vec<_> = auth.rules.iter().map(|rule| rule.rate).collect();
    let rate = |count, per, burst, by| {
        let number = |number| NonZeroU32::new(number).unwrap();
        Some(RuleRate {
            rate: Rate {
                count: number(count),
                per,
            },
            burst: number(burst),
            by,
        })
    };
    assert_eq!(
        rates,
        [
            rate(10, RatePeriod::Second, 10, RateBy::Subject),
            rate(10, RatePeriod::Second, 3, RateBy::Address),
            rate(5, RatePeriod::Minute, 5, RateBy::Address),
            rate(5, RatePeriod::Minute, 5, RateBy::Address),
            None,
        ]
    );
    assert!(
        !accepted("[[auth.rule]]\npath = '/a'\naccess = 'public'")
            .auth
            .has_rate()
    );
}

#[test]
fn what_would_count_nothing_is_refused() {
    for (rule, key, reason) in [
        (
            "rate_by = 'address'",
            "rate_by",
            "of no use without a `rate`",
        ),
        ("rate_burst = 3", "rate_burst", "of no use without a `rate`"),
        (
            "rate = '1/s'\nrate_by = 'subject'",
            "rate_by",
            "it looks at no token",
        ),
        ("rate = '1 a second'", "rate", "must be a rate such as"),
        (
            "rate = '1/s'\nrate_burst = 0",
            "rate_burst",
            "must be 1 to 1000000",
        ),
    ] {
        let text = format!("[[auth.rule]]\npath = '/a'\naccess = 'public'\n{rule}");
        let told = refused(&text);
        assert!(told.contains(&format!("`auth.rule[0].{key}`")), "{told}");
        assert!(told.contains(reason), "{told}");
    }
    // With a rate there is something that an audit lets pass.
    let audit = "[[auth.rule]]\npath = '/a'\naccess = 'public'\naudit = true\nrate = '1/s'";
    assert!(accepted(audit).auth.rules[0].audit);
}
