//! What holds for every payload: a law for each check.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use serde_json::json;

use super::super::fixtures::{NOW, fresh, issuer, with};
use super::*;

/// Beyond it a number is no time: not every reader can tell it from the next one.
const LAST: i64 = (1 << 53) - 1;

const DATES: [&str; 3] = ["exp", "nbf", "iat"];

fn check_with(claims: &Value, issuer: &Issuer) -> Result<(), ClaimError> {
    check(claims.as_object().unwrap(), issuer, NOW)
}

fn at_time(claims: &Value, leeway: u64, now: u64) -> Result<(), ClaimError> {
    let issuer = Issuer {
        leeway: Duration::from_secs(leeway),
        ..issuer("a")
    };
    check(claims.as_object().unwrap(), &issuer, UnixTime(now))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "what is beyond the exact ones is no longer told apart, which is what is tried"
)]
fn float(number: i64) -> f64 {
    number as f64
}

/// Any value of JSON.
fn values() -> impl Strategy<Value = Value> {
    let value = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e300..1e300).prop_map(|number: f64| Value::from(number)),
        "[a-c ]{0,3}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    value.prop_recursive(2, 8, 3, |value| {
        let members = proptest::collection::btree_map("[a-c]", value.clone(), 0..3);
        prop_oneof![
            vec(value, 0..3).prop_map(Value::from),
            members.prop_map(|members| members.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
}

/// A value of few, so that two of them are often equal.
fn small() -> impl Strategy<Value = Value> {
    prop_oneof![
        (0..3).prop_map(Value::from),
        "[ab]".prop_map(Value::from),
        Just(json!([0])),
        Just(json!({"a": 0})),
        Just(Value::Null),
    ]
}

fn passes_with(claim: &Value, test: ClaimTest) -> bool {
    let issuer = Issuer {
        claims: BTreeMap::from([("c".to_owned(), test)]),
        ..issuer("a")
    };
    check_with(&fresh(json!({ "c": claim })), &issuer).is_ok()
}

/// One number as a token may write it: whole, or with a fraction.
fn numbers() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-9..9_i64).prop_map(|beyond| Value::from(LAST + beyond)),
        (-9..9_i64).prop_map(|beyond| Value::from(-LAST + beyond)),
        (-9..9_i64).prop_map(|beyond| Value::from(float(LAST + beyond))),
        (-1e17..1e17).prop_map(|number: f64| Value::from(number)),
        (-1e300..1e300).prop_map(|number: f64| Value::from(number)),
    ]
}

proptest! {
    #[test]
    fn exp_is_compared_with_now_to_the_fraction(
        halves in -20_i64..20, leeway in 0_u64..8, now in NOW.0 - 9..NOW.0 + 9,
    ) {
        // Twice the time, so that a half is a whole number here.
        let twice = 2 * i64::try_from(now).unwrap() + halves;
        let exp = json!(float(twice) / 2.0);
        let is_valid = halves + 2 * i64::try_from(leeway).unwrap() > 0;
        prop_assert_eq!(at_time(&json!({ "exp": exp }), leeway, now).is_ok(), is_valid);
    }

    #[test]
    fn nbf_and_iat_are_compared_with_now_to_the_fraction(
        name in prop_oneof![Just("nbf"), Just("iat")], halves in -20_i64..20, leeway in 0_u64..8,
        now in NOW.0 - 9..NOW.0 + 9,
    ) {
        let twice = 2 * i64::try_from(now).unwrap() + halves;
        let claims = json!({"exp": now + 1, name: float(twice) / 2.0});
        let is_valid = halves <= 2 * i64::try_from(leeway).unwrap();
        prop_assert_eq!(at_time(&claims, leeway, now).is_ok(), is_valid);
    }

    /// Whatever leeway and clock: nothing wraps around.
    #[test]
    fn dates_are_compared_as_if_numbers_had_no_end(
        exp in -LAST..=LAST, nbf in -LAST..=LAST, iat in -LAST..=LAST, leeway in any::<u64>(), now in any::<u64>(),
    ) {
        // A clock and a leeway that no `i64` holds are the last that one holds.
        let bounded = |number: u64| i128::from(i64::try_from(number).unwrap_or(i64::MAX));
        let (ahead, clock) = (bounded(leeway), bounded(now));
        let end = (i128::from(exp) + ahead).min(i128::from(i64::MAX));
        let latest = clock + ahead;
        let is_valid = clock < end && i128::from(nbf) <= latest && i128::from(iat) <= latest;
        let claims = json!({"exp": exp, "nbf": nbf, "iat": iat});
        prop_assert_eq!(at_time(&claims, leeway, now).is_ok(), is_valid);
        let expiry = expiry(claims.as_object().unwrap(), &Issuer { leeway: Duration::from_secs(leeway), ..issuer("a") });
        prop_assert_eq!(i128::from(expiry), end);
    }

    #[test]
    fn a_date_is_a_number_within_the_exact_ones(name in prop::sample::select(&DATES[..]), number in numbers()) {
        let is_exact = number.as_f64().unwrap().ceil().abs() <= float(LAST)
            && number.as_i64().is_none_or(|whole| (-LAST..=LAST).contains(&whole));
        let refused = check_with(&with(&fresh(json!({})), json!({name: number})), &issuer("a"));
        let is_no_date = matches!(refused, Err(ClaimError::Type { name: told, .. }) if told == name);
        prop_assert_eq!(is_no_date, !is_exact, "{:?}", refused);
    }

    #[test]
    fn a_date_is_nothing_but_a_number(name in prop::sample::select(&DATES[..]), value in values()) {
        prop_assume!(!value.is_number());
        let refused = check_with(&with(&fresh(json!({})), json!({name: value})), &issuer("a"));
        let is_no_date = matches!(refused, Err(ClaimError::Type { name: told, .. }) if told == name);
        prop_assert!(is_no_date, "{:?}", refused);
    }

    #[test]
    fn iss_sub_and_jti_are_nothing_but_strings(name in prop::sample::select(&["iss", "sub", "jti"][..]), value in values()) {
        let checked = check_with(&fresh(json!({name: value})), &issuer("a"));
        let is_no_string = matches!(checked, Err(ClaimError::Type { name: told, .. }) if told == name);
        prop_assert_eq!(is_no_string, !value.is_string());
        prop_assert_eq!(checked.is_ok(), value.is_string());
    }

    #[test]
    fn one_audience_is_as_good_as_a_list_of_it(aud in "[a-d]{1,2}", accepted in vec("[a-d]{1,2}", 1..5)) {
        let is_ours = accepted.contains(&aud);
        let issuer = Issuer { audience: accepted, ..issuer("a") };
        for written in [json!(aud), json!([aud])] {
            prop_assert_eq!(check_with(&fresh(json!({"aud": written})), &issuer).is_ok(), is_ours);
        }
    }

    #[test]
    fn an_audience_is_a_string_or_a_list_of_nothing_else(aud in values(), strings in vec("[a-c]", 0..3), place in any::<prop::sample::Index>()) {
        let ours = Issuer { audience: vec!["a".to_owned(), "b".to_owned(), "c".to_owned()], ..issuer("a") };
        let is_list = |value: &Value| value.as_array().is_some_and(|list| list.iter().all(Value::is_string));
        let type_is_wrong = |aud: &Value| {
            matches!(check_with(&fresh(json!({ "aud": aud })), &ours), Err(ClaimError::Type { name: "aud", .. }))
        };
        prop_assert_eq!(type_is_wrong(&aud), !aud.is_string() && !is_list(&aud));
        // One that is ours does not make up for one that is none.
        let mut list: Vec<Value> = strings.into_iter().map(Value::from).collect();
        list.insert(place.index(list.len() + 1), aud.clone());
        prop_assert_eq!(type_is_wrong(&json!(list)), !aud.is_string());
    }

    #[test]
    fn without_a_configured_audience_there_must_be_none(aud in values()) {
        let checked = check_with(&fresh(json!({ "aud": aud })), &issuer("a"));
        prop_assert!(checked.is_err());
    }

    #[test]
    fn a_required_claim_may_be_anything_but_null(name in "[a-z]{1,6}", value in values()) {
        prop_assume!(!["exp", "nbf", "iat", "iss", "sub", "jti", "aud"].contains(&&*name));
        let issuer = Issuer { require: vec![name.clone()], ..issuer("a") };
        let is_there = !value.is_null();
        prop_assert_eq!(check_with(&fresh(json!({name: value})), &issuer).is_ok(), is_there);
    }

    #[test]
    fn equals_is_equality(claim in small(), wanted in small()) {
        prop_assert_eq!(passes_with(&claim, ClaimTest::Equals(wanted.clone())), claim == wanted);
    }

    #[test]
    fn one_of_is_membership(claim in small(), wanted in vec(small(), 0..4)) {
        prop_assert_eq!(passes_with(&claim, ClaimTest::OneOf(wanted.clone())), wanted.contains(&claim));
    }

    #[test]
    fn contains_is_for_lists_and_for_names_with_blanks_between(items in vec(small(), 0..4), names in btree_set("[ab]{1,2}", 0..4), wanted in small(), name in "[ab]{1,2}") {
        let of_list = passes_with(&json!(items), ClaimTest::Contains(wanted.clone()));
        prop_assert_eq!(of_list, items.contains(&wanted));
        let text = names.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        let of_names = passes_with(&json!(text), ClaimTest::Contains(json!(name)));
        prop_assert_eq!(of_names, names.contains(&name));
        if !wanted.is_string() {
            prop_assert!(!passes_with(&json!(text), ClaimTest::Contains(wanted)));
        }
    }

    #[test]
    fn contains_is_for_nothing_else(claim in values(), wanted in small()) {
        prop_assume!(!claim.is_array() && !claim.is_string());
        prop_assert!(!passes_with(&claim, ClaimTest::Contains(wanted)));
    }

    #[test]
    fn a_dotted_path_leads_to_where_its_names_lead(names in vec("[a-c]{1,2}", 1..4), value in small(), other in small()) {
        let path = names.join(".");
        let nested = names.iter().rev().fold(value.clone(), |value, name| json!({name.as_str(): value}));
        let nested = nested.as_object().unwrap().clone();
        prop_assert_eq!(at(&nested, &path), Some(&value));
        let deeper = format!("{path}.zz");
        prop_assert_eq!(at(&nested, &deeper), None);
        // One that is called so as a whole comes first.
        let mut named = nested;
        named.insert(path.clone(), other.clone());
        prop_assert_eq!(at(&named, &path), Some(&other));
    }

    #[test]
    fn a_token_of_the_service_opens_nothing_unless_it_says_access(token_type in prop_oneof![values(), Just(json!("access"))]) {
        let service = Issuer { signs_refresh_tokens: true, ..issuer("a") };
        let claims = json!({"token_type": token_type});
        let checked = check_token_type(claims.as_object().unwrap(), &service);
        prop_assert_eq!(checked.is_ok(), token_type == "access");
    }
}
