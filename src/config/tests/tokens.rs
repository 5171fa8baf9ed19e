//! `[auth.tokens]`: what is accepted, and how rates are written.

use super::*;

#[test]
fn a_token_service_with_all_defaults_needs_a_database_only() {
    let config = accepted(
        "[auth.tokens]\ndatabase = 'sqlite:a/b.db'\nprefix = '/t/'\n[[auth.issuer]]\nsecret_file = 'a'\n[[auth.rule]]\npath = '/'",
    );
    let tokens = config.auth.tokens.as_ref().unwrap();
    assert_eq!(tokens.database, Database::Sqlite("/srv/a/b.db".into()));
    assert_eq!((tokens.prefix.as_str(), tokens.issuer), ("/t", 0));
    assert_eq!(tokens.access_lifetime, Duration::from_mins(5));
    assert!(config.auth.issuers[0].signs_refresh_tokens);
    assert!(accepted("").auth.tokens.is_none());
}

#[test]
fn a_rate_is_written_as_in_django_rest_framework() {
    let rate = |text: &str| {
        let file = format!(
            "[auth.tokens]\ndatabase = 'sqlite:a'\nthrottle_account = '{text}'\n[[auth.issuer]]\nsecret_file = 'a'"
        );
        accepted(&file).auth.tokens.unwrap().throttle_account
    };
    for (text, count, seconds) in [
        ("10/min", 10, 60),
        ("5/s", 5, 1),
        ("100/hour", 100, 3600),
        ("1000000/d", 1_000_000, 86400),
        ("1/minute", 1, 60),
    ] {
        let rate = rate(text).unwrap();
        let found = (rate.count.get(), rate.per.length().as_secs());
        assert_eq!(found, (count, seconds), "{text}");
    }
    assert_eq!(rate("off"), None);
    assert_snapshot!(refused("auth.tokens.throttle_account = '10 per minute'"), @r#"
    config: /srv/app.toml:1:32: `auth.tokens.throttle_account` must be a rate such as "10/min", "5/s", "100/hour" or "1000/day", or "off", found `"10 per minute"`
    "#);
    for text in [
        "10",
        "0/s",
        "/s",
        "10/",
        "10/week",
        "+1/s",
        "-1/s",
        "1.5/s",
        "01/s",
        " 1/s",
        "1/s ",
        "1/S",
        "1000001/s",
        "on",
    ] {
        let file = format!("auth.tokens.throttle_address = '{text}'");
        assert!(refused(&file).contains("must be a rate such as"), "{text}");
    }
    assert!(refused("auth.tokens.throttle_address = 10").contains("must be a rate such as"));
}

#[test]
fn a_sliding_token_is_not_rotated() {
    let file = "[auth.tokens]\ndatabase = 'sqlite:a'\nkind = 'sliding'\nrotate_refresh_tokens = true\n[[auth.issuer]]\nsecret_file = 'a'\n[[auth.rule]]\npath = '/'";
    assert_snapshot!(warned(file), @r#"
    config: /srv/app.toml:4:25: `auth.tokens.rotate_refresh_tokens` is for `kind = "pair"`: a sliding token is not rotated
    "#);
    assert_snapshot!(refused("[auth.tokens]\nkind = 'both'\nsliding_lifetime = '0s'"), @r#"
    config: /srv/app.toml:2:8: `auth.tokens.kind` must be `pair` or `sliding`, found `"both"`
    config: /srv/app.toml:3:20: `auth.tokens.sliding_lifetime` must be a time of 1s to 11months 30days 3h 50m 24s, such as "10s" or "500ms", found `"0s"`
    "#);
}

#[test]
fn a_variable_reaches_a_table_within_a_section() {
    let sources = environment([
        ("DESTRIER_AUTH__TOKENS__DATABASE", "sqlite:/a.db"),
        ("DESTRIER_AUTH__TOKENS__ACCESS_LIFETIME", "10m"),
    ]);
    let file = "[[auth.issuer]]\nsecret_file = 'a'";
    let config = read_text(file, &sources).unwrap().config;
    let tokens = config.auth.tokens.unwrap();
    assert_eq!(tokens.access_lifetime, Duration::from_mins(10));
    let sources = environment([("DESTRIER_AUTH__TOKENS__LIFETIME", "10m")]);
    assert_snapshot!(refused_with(file, &sources), @r"
    config: DESTRIER_AUTH__TOKENS__LIFETIME: unknown key `auth.tokens__lifetime`
    hint: did you mean `DESTRIER_AUTH__TOKENS__ACCESS_LIFETIME`?
    ");
}
