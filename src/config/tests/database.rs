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

#[test]
fn tables_of_django_are_asked_for_groups_unless_nobody_wants_them() {
    let schema = |keys: &str| {
        let file = format!(
            "[auth.tokens]\ndatabase = 'sqlite:a.db'\n{keys}[[auth.issuer]]\nsecret_file = 'a'\n[[auth.rule]]\npath = '/'"
        );
        accepted(&file).auth.tokens.unwrap().schema
    };
    let django = |groups_claim: Option<&str>| Schema::Django {
        groups_claim: groups_claim.map(str::to_owned),
        allow_md5_hashes: false,
        upgrade_hashes: false,
    };
    assert_eq!(schema(""), Schema::Destrier);
    assert_eq!(schema("schema = 'django'\n"), django(Some("roles")));
    let none = schema("schema = 'django'\ngroups_claim = ''\n");
    assert_eq!(none, django(None));
}

#[test]
fn what_is_said_about_tables_of_django_is_not_said_in_vain() {
    for (keys, problem) in [
        (
            "groups_claim = 'groups'",
            "`auth.tokens.groups_claim` needs `schema = \"django\"`",
        ),
        (
            "allow_md5_hashes = true",
            "`auth.tokens.allow_md5_hashes` needs `schema = \"django\"`",
        ),
        (
            "upgrade_hashes = true",
            "`auth.tokens.upgrade_hashes` needs `schema = \"django\"`",
        ),
        (
            "schema = 'django'\ngroups_claim = 'exp'",
            "`auth.tokens.groups_claim` must be a claim that the token service does not set itself",
        ),
        (
            "schema = 'django'\ngroups_claim = 'user_id'",
            "`auth.tokens.groups_claim` must be a claim that the token service does not set itself",
        ),
    ] {
        let file = format!(
            "[auth.tokens]\ndatabase = 'sqlite:a.db'\n{keys}\n[[auth.issuer]]\nsecret_file = 'a'\n"
        );
        let said = refused(&file);
        assert!(said.contains(problem), "{said}");
    }
}
