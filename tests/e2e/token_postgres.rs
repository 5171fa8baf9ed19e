//! The token service on a real `PostgreSQL`: it does what it does on `SQLite`, and lives through what a server does.

use serde_json::json;

use crate::support::PATIENCE;
use crate::support::journal::Mark;
use crate::support::postgres::Postgres;
use crate::support::server::{Server, Setup};
use crate::token_service::{
    AUTH, BLACKLISTED, PASSWORD, REVOCATION, assert_access_ends, get, login, post, race, racing,
    refresh, set_up, user,
};

fn on(database: &str, auth: &str) -> Setup {
    set_up(&auth.replace("sqlite:tokens.db", database))
}

fn start(database: &str) -> Server {
    let server = on(database, AUTH).start();
    let outcome = user(&server, &["add", "alice", "--role", "ops"], PASSWORD);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    server
}

#[test]
fn sixteen_refreshes_at_once_make_one_pair_on_postgresql_too() {
    let database = Postgres::shared().database();
    race(on(&database, &racing(AUTH)));
}

#[test]
fn users_and_tokens_live_as_they_do_in_sqlite() {
    let auth = AUTH.replace("rotate_", "update_last_login = true\nrotate_");
    let database = Postgres::shared().database();
    let server = on(&database, &auth).start();
    let add = || user(&server, &["add", "alice", "--role", "ops"], PASSWORD);
    assert_eq!(add().code, Some(0));
    let outcome = add();
    assert!(
        outcome.stderr.contains("there is a user of this name"),
        "{outcome:?}"
    );
    assert_eq!(user(&server, &["add", "bob"], PASSWORD).code, Some(0));
    let address = server.address();
    let pair = login(&address);
    assert_eq!(get(&address, "/admin", &pair.text("access")).status, 200);
    let listed = user(&server, &["list"], "").stdout;
    assert!(
        listed.contains(r#"{"roles":["ops"]}"#) && listed.contains("20"),
        "{listed}"
    );

    let next = refresh(&address, &pair.text("refresh"));
    assert_eq!(next.status, 200, "{next:?}");
    // The same pair within the grace.
    assert_eq!(refresh(&address, &pair.text("refresh")).body, next.body);
    let blacklist = |token: &str| {
        post(
            &address,
            "/api/token/blacklist/",
            &json!({ "refresh": token }),
        )
    };
    let token = next.text("refresh");
    assert_eq!(
        (blacklist(&token).status, blacklist(&token).status),
        (200, 401)
    );
    assert_eq!(refresh(&address, &token).body, BLACKLISTED);
    let verify = post(&address, "/api/token/verify/", &json!({ "token": token }));
    assert_eq!(
        verify.body,
        r#"{"non_field_errors":["Token is blacklisted"]}"#
    );

    let old = login(&address).text("refresh");
    assert_eq!(user(&server, &["passwd", "alice"], PASSWORD).code, Some(0));
    assert_eq!(refresh(&address, &old).body, BLACKLISTED);
    let token = login(&address).text("refresh");
    assert_eq!(user(&server, &["disable", "alice"], "").code, Some(0));
    assert_eq!(
        (refresh(&address, &token).status, login(&address).status),
        (401, 401)
    );
    assert_eq!(user(&server, &["enable", "alice"], "").code, Some(0));
    let token = login(&address).text("refresh");
    assert_eq!(user(&server, &["remove", "alice"], "").code, Some(0));
    assert_eq!(
        refresh(&address, &token).body,
        r#"{"detail":"No active account found for the given token."}"#
    );
    assert_eq!(user(&server, &["remove", "alice"], "").code, Some(1));
}

#[test]
fn expired_rows_go_with_later_logins() {
    let postgres = Postgres::shared();
    let database = postgres.database();
    let name = database.split(['/', '?']).nth(3).unwrap();
    let server = start(&database);
    let expired = "INSERT INTO refresh_tokens (jti, family, issued_at, expires_at) SELECT n, n, 0, 1 FROM generate_series(1, 40) n";
    postgres.run(name, expired);
    let left = || {
        postgres.run(
            name,
            "SELECT count(*) FROM refresh_tokens WHERE expires_at = 1",
        )
    };
    assert_eq!(left(), "40");
    for _ in 0..3 {
        assert_eq!(login(&server.address()).status, 200);
    }
    assert_eq!(left(), "0");
}

#[test]
fn while_the_database_is_away_tokens_are_not_issued_and_everything_else_goes_on() {
    let postgres = Postgres::start();
    let server = start(&postgres.database());
    let address = server.address();
    let pair = login(&address);
    let (access, token) = (pair.text("access"), pair.text("refresh"));
    let mark = server.log.mark();
    postgres.control("stop -m fast");
    let body = r#"{"detail":"Service temporarily unavailable, try again later."}"#;
    for answer in [login(&address), refresh(&address, &token)] {
        assert_eq!((answer.status, answer.body.as_str()), (503, body));
        assert!(answer.head.contains("retry-after: 1"), "{answer:?}");
    }
    server.wait_for_log(mark, "the token database failed");
    assert_eq!(get(&address, "/admin", &access).status, 200);
    postgres.control("start");
    assert_eq!(refresh(&address, &token).status, 200);
    assert_eq!(login(&address).status, 200);
    let died = server.count_log(Mark::START, "worker died");
    assert_eq!(died, 0);
}

#[test]
fn a_connection_that_the_server_closed_is_opened_anew() {
    let postgres = Postgres::shared();
    let database = postgres.database();
    let name = database.split(['/', '?']).nth(3).unwrap();
    let server = start(&database);
    let address = server.address();
    for _ in 0..4 {
        assert_eq!(login(&address).status, 200);
        let close = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"
        );
        assert_ne!(postgres.run(name, &close), "0");
    }
    assert_eq!(
        server.count_log(Mark::START, "the token database failed"),
        0
    );
}

#[test]
fn a_password_comes_from_its_file_and_a_wrong_one_fails_the_boot_with_the_reason() {
    use std::os::unix::fs::PermissionsExt;
    let postgres = Postgres::shared();
    let database = postgres.database();
    let name = database.split(['/', '?']).nth(3).unwrap();
    let role = format!(
        "CREATE ROLE secretive LOGIN PASSWORD 'x y'; ALTER DATABASE {name} OWNER TO secretive; ALTER SCHEMA public OWNER TO secretive"
    );
    postgres.run(name, &role);
    let auth = AUTH.replace(
        "rotate_",
        "database_password_file = \"password of database\"\nrotate_",
    );
    let setup = |password: &str| {
        let mut setup = on(&postgres.url("secretive", name), &auth);
        setup.config.set("workers.count", 1);
        let file = setup.folder().join("password of database");
        std::fs::write(&file, password).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        setup
    };
    let server = setup("wrong").launch();
    assert_eq!(server.wait_for_exit(PATIENCE), Some(3));
    server.assert_said("password authentication failed for user");
    let log = format!("{:?}", server.log.since(Mark::START));
    assert!(!log.contains("wrong"), "{log}");
    let server = setup("x y\n").start();
    assert_eq!(user(&server, &["add", "alice"], PASSWORD).code, Some(0));
    assert_eq!(login(&server.address()).status, 200);
}

#[test]
fn a_server_that_cannot_be_reached_fails_the_boot_with_the_reason() {
    let mut setup = on("postgresql://destrier@localhost:1/nowhere", AUTH);
    setup.config.set("workers.count", 1);
    let server = setup.launch();
    assert_eq!(server.wait_for_exit(PATIENCE), Some(3));
    server.assert_said("cannot open the database `postgresql://destrier@localhost:1/nowhere`: ");
    server.assert_said("Connection refused");
}

#[test]
fn access_tokens_end_by_the_deny_list_in_the_database() {
    let database = Postgres::shared().database();
    let server = on(&database, &[REVOCATION, AUTH].concat()).start();
    let outcome = user(&server, &["add", "alice", "--role", "ops"], PASSWORD);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_access_ends(&server, |_| {
        let outcome = user(&server, &["passwd", "alice"], "another horse");
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
    });
}

#[test]
fn what_has_expired_is_taken_out_of_postgresql_too() {
    let postgres = Postgres::shared();
    let url = postgres.database();
    let name = url.split(['/', '?']).nth(3).unwrap().to_owned();
    let auth = AUTH.replace("database", "flush_interval = '1s'\ndatabase");
    let server = on(&url, &auth).start();
    let mark = server.log.mark();
    postgres.run(
        &name,
        "INSERT INTO refresh_tokens (jti, family, issued_at, expires_at) SELECT 'old' || i, 'f', 1, 2 FROM generate_series(1, 1200) i;
         INSERT INTO refresh_tokens (jti, family, issued_at, expires_at) VALUES ('good', 'g', 1, 99999999999);
         CREATE TABLE destrier_revocations (kind TEXT NOT NULL, name TEXT NOT NULL, iss TEXT NOT NULL, issued_before BIGINT, expires_at BIGINT);
         INSERT INTO destrier_revocations VALUES ('jti', 'old', '', NULL, 2), ('sub', 'always', '', NULL, NULL);",
    );
    let flushed = "what had expired was taken out of the token database";
    let line = server.wait_for_log(mark, flushed);
    assert_eq!(line["rows"], 1201);
    let left = postgres.run(&name, "SELECT jti FROM refresh_tokens");
    assert_eq!(left, "good");
    let left = postgres.run(&name, "SELECT name FROM destrier_revocations");
    assert_eq!(left, "always");
}
