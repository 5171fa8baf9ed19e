//! What holds for every token: a law for each check of its form and its header.

use jsonwebtoken::EncodingKey;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::json;

use super::super::fixtures::{
    NOW, SECRET, base64url, fresh, hs256, issuer, secret_keys, sign_text, with,
};
use super::*;

const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn check_by(typ: &[&str], token: &str) -> Result<Accepted, TokenError> {
    let policy = Issuer {
        typ: typ.iter().map(|&typ| typ.to_owned()).collect(),
        ..issuer("a")
    };
    verify(
        token.as_bytes(),
        &[TrustedIssuer::new(policy, secret_keys())],
        NOW,
    )
}

fn check(token: &str) -> Result<Accepted, TokenError> {
    check_by(&[], token)
}

/// Signed with [`SECRET`] for HS256, whatever it says.
fn signed(header: &str, payload: &str) -> String {
    let key = EncodingKey::from_secret(SECRET).unwrap();
    sign_text(&key, jsonwebtoken::Algorithm::HS256, header, payload)
}

fn with_header(members: Value) -> String {
    let header = with(&json!({"alg": "HS256"}), members);
    signed(&header.to_string(), &fresh(json!({})).to_string())
}

/// The text with some of its letters in capitals.
fn in_any_case(text: &'static str) -> impl Strategy<Value = String> {
    vec(any::<bool>(), text.len()).prop_map(move |capitals| {
        let letters = text.chars().zip(capitals);
        letters
            .map(|(letter, is_capital)| {
                if is_capital {
                    letter.to_ascii_uppercase()
                } else {
                    letter
                }
            })
            .collect()
    })
}

fn values() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        vec("[a-z]{1,4}", 0..3).prop_map(|names| json!(names)),
        btree_map("[a-z]{1,4}", any::<i32>(), 0..3).prop_map(|members| json!(members)),
    ]
}

proptest! {
    #[test]
    fn a_token_has_two_dots_and_no_other_number(parts in vec("[A-Za-z0-9_-]{0,12}", 1..7)) {
        let verdict = check(&parts.join("."));
        prop_assert_eq!(verdict.is_err_and(|error| error == TokenError::Parts), parts.len() != 3);
    }

    #[test]
    fn a_good_token_with_one_dot_more_is_none(place in any::<prop::sample::Index>()) {
        let mut token = hs256(&fresh(json!({})));
        token.insert(place.index(token.len() + 1), '.');
        prop_assert_eq!(check(&token).unwrap_err(), TokenError::Parts);
    }

    #[test]
    fn a_token_is_looked_at_up_to_its_longest_length_and_not_beyond(length in MAX_TOKEN - 40..MAX_TOKEN + 40) {
        let pad = |blanks: usize| signed(r#"{"alg":"HS256"}"#, &format!("{}{}", fresh(json!({})), " ".repeat(blanks)));
        // Four characters hold three bytes, so that not every length can be had; dots and leaders need not fit.
        let token = pad((length - pad(0).len()) * 3 / 4);
        let is_too_long = token.len() > MAX_TOKEN;
        prop_assert_eq!(check(&token).is_ok(), !is_too_long, "{}", token.len());
        if is_too_long {
            prop_assert_eq!(check(&token).unwrap_err(), TokenError::TooLong(token.len()));
        }
    }

    #[test]
    fn no_character_beyond_the_alphabet_is_skipped(place in any::<prop::sample::Index>(), foreign in any::<char>()) {
        prop_assume!(foreign != '.' && !ALPHABET.contains(foreign));
        let mut token = hs256(&fresh(json!({})));
        token.insert(place.index(token.len() + 1), foreign);
        let error = check(&token).unwrap_err();
        prop_assert!(matches!(error, TokenError::Base64(_)), "{}", error);
    }

    /// Bits that no byte takes up must be zero: a token has one spelling.
    #[test]
    fn another_spelling_of_a_part_is_no_token(part in 0..3_usize, payload in "[a-z]{0,5}") {
        let token = hs256(&fresh(json!({"sub": payload})));
        let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
        let unused = match parts[part].len() % 4 { 2 => 4, 3 => 2, _ => 0 };
        let last = parts[part].pop().unwrap();
        let place = ALPHABET.find(last).unwrap();
        for stray in 1..1 << unused {
            let other = &ALPHABET[place + stray..=place + stray];
            let mut spelled = parts.clone();
            spelled[part].push_str(other);
            let error = check(&spelled.join(".")).unwrap_err();
            prop_assert!(matches!(error, TokenError::Base64(_)), "{}", error);
        }
    }

    #[test]
    fn alg_is_one_of_the_known_names_to_the_letter(alg in prop_oneof![any::<String>(), in_any_case("hs256"), in_any_case("none"), "(HS|RS|PS|ES)[0-9]{3}"]) {
        let token = with_header(json!({ "alg": alg }));
        prop_assert_eq!(check(&token).is_ok(), alg == "HS256");
    }

    #[test]
    fn crit_and_b64_are_refused_whatever_they_say(name in prop_oneof![Just("crit"), Just("b64")], value in values()) {
        let error = check(&with_header(json!({name: value}))).unwrap_err();
        prop_assert!(matches!(error, TokenError::Header(_)), "{}", error);
    }

    #[test]
    fn kid_and_typ_are_strings(name in prop_oneof![Just("kid"), Just("typ")], value in values()) {
        let is_string = value.is_string();
        prop_assert_eq!(check(&with_header(json!({name: value}))).is_ok(), is_string);
    }

    #[test]
    fn typ_is_compared_without_case_and_with_or_without_its_tree(
        typ in in_any_case("at+jwt"), tree in prop_oneof![Just(String::new()), in_any_case("application/")],
        accepted in prop_oneof![Just("at+jwt"), Just("application/at+jwt"), Just("AT+JWT")],
        other in "[ -~]{0,12}",
    ) {
        let typ = format!("{tree}{typ}");
        let checked = check_by(&["x", accepted], &with_header(json!({ "typ": typ })));
        prop_assert!(checked.is_ok());
        let is_same = other.eq_ignore_ascii_case("at+jwt");
        prop_assert_eq!(check_by(&[accepted], &with_header(json!({ "typ": other }))).is_ok(), is_same);
    }

    #[test]
    fn a_member_that_occurs_twice_is_refused_in_header_and_payload(
        members in btree_map("[f-z]{1,4}", any::<i32>(), 1..5), twice in any::<prop::sample::Index>(), in_header in any::<bool>(),
        value in any::<i32>(),
    ) {
        let text = |first: &str, doubled: bool| {
            let mut written = vec![first.to_owned()];
            written.extend(members.iter().map(|(name, value)| format!("{name:?}:{value}")));
            if doubled {
                let name = members.keys().nth(twice.index(members.len())).unwrap();
                // Escaped it is the same name.
                let (start, rest) = name.split_at(1);
                let escape = u32::from(start.chars().next().unwrap());
                written.push(format!("\"\\u{escape:04x}{rest}\":{value}"));
            }
            format!("{{{}}}", written.join(","))
        };
        prop_assume!(!members.keys().any(|name| ["iat", "nbf", "iss", "sub", "jti", "kid", "typ", "crit"].contains(&&**name)));
        let token = |doubled: bool| {
            let header = text(r#""alg":"HS256""#, doubled && in_header);
            signed(&header, &text(r#""exp":1900000000"#, doubled && !in_header))
        };
        prop_assert!(check(&token(false)).is_ok());
        let error = check(&token(true)).unwrap_err().to_string();
        prop_assert!(error.contains("occurs twice"), "{}", error);
    }

    #[test]
    fn only_a_signature_of_our_key_is_one(signature in vec(any::<u8>(), 0..80)) {
        let token = hs256(&fresh(json!({})));
        let (message, own) = token.rsplit_once('.').unwrap();
        let other = base64url(&signature);
        prop_assume!(other != own);
        let checked = check(&format!("{message}.{other}"));
        prop_assert!(checked.is_err());
    }
}
