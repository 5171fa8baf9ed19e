//! `auth.tokens.database`.

use super::*;

#[test]
fn a_server_is_named_by_its_address() {
    let database = |url: &str| {
        let file = format!(
            "[auth.tokens]\ndatabase = '{url}'\ndatabase_password_file = 'p'\n[[auth.issuer]]\nsecret_file = 'a'\n[[auth.rule]]\npath = '/'"
        );
        accepted(&file).auth.tokens.unwrap().database
    };
    for (written, read) in [
        (
            "postgresql://app@db.example:5432/site?sslmode=verify-full",
            None,
        ),
        ("postgres://app@%2Frun%2Fpostgresql/site", None),
        ("postgresql:///site?host=/run/postgresql&user=app", None),
        (
            "postgresql://app@/site?host=/run/postgresql",
            Some("postgresql://app@localhost/site?host=/run/postgresql"),
        ),
    ] {
        let expected = Database::Postgres {
            url: read.unwrap_or(written).to_owned(),
            password_file: Some("/srv/p".into()),
        };
        assert_eq!(database(written), expected);
    }
}

#[test]
fn an_address_that_would_not_do_is_refused_and_no_password_is_repeated() {
    for (url, problem) in [
        (
            "postgresql://app:hidden@db/site",
            "must not have a password in it",
        ),
        (
            "postgresql://db/site?password=hidden",
            "must not have a password in it",
        ),
        ("mysql://app:hidden@db/site", "must be `sqlite:PATH` or"),
        (
            "postgresql://app:hidden@db:x/site",
            "is no address: invalid port number",
        ),
        ("postgresql://app@db", "must be `sqlite:PATH` or"),
        (
            "postgresql://app@db/site#hidden",
            "must be `sqlite:PATH` or",
        ),
        (
            "postgresql://db/site?sslmode=on",
            "has `sslmode=on`, which must be one of disable,",
        ),
        (
            "postgresql://db/site?port=x",
            "has `port=x`, which is no port",
        ),
        (
            "postgresql://db/site?connect_timeout=1",
            "has the parameter `connect_timeout`, but only these are known: host,",
        ),
    ] {
        let file =
            format!("[auth.tokens]\ndatabase = '{url}'\n[[auth.issuer]]\nsecret_file = 'a'\n");
        let said = refused(&file);
        assert!(
            said.contains(&format!("`auth.tokens.database` {problem}")),
            "{said}"
        );
        assert!(!said.contains("hidden"), "{said}");
    }
}
