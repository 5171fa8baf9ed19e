//! What has expired is taken out of the token database by one process, and what is of use stays.

use std::path::Path;

use destrier::sys::clock;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Row};

use crate::support::eventually;
use crate::support::journal::Mark;
use crate::token_service::{AUTH, set_up};

const FLUSHED: &str = "what had expired was taken out of the token database";

/// Runs statements on a database of `SQLite`.
fn run(file: &Path, statements: &str) {
    on(file, async |mut database| {
        let statements = AssertSqlSafe(statements.to_owned());
        sqlx::raw_sql(statements)
            .execute(&mut database)
            .await
            .unwrap();
    });
}

fn on<T>(file: &Path, work: impl AsyncFnOnce(SqliteConnection) -> T) -> T {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    runtime.block_on(async { work(options.connect().await.unwrap()).await })
}

/// The texts of a column, in their order.
fn column(file: &Path, query: &str) -> Vec<String> {
    let query = AssertSqlSafe(query.to_owned());
    on(file, async |mut database| {
        let rows = sqlx::query(query).fetch_all(&mut database).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    })
}

#[test]
fn what_has_expired_is_taken_out_of_the_database_and_nothing_else() {
    let auth = AUTH.replace("database", "flush_interval = '1s'\ndatabase");
    let server = set_up(&auth).start();
    let file = server.folder().join("tokens.db");
    let now = clock::unix().as_secs();
    // More than one transaction takes out; within the leeway a token may be accepted.
    run(
        &file,
        &format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)
             INSERT INTO refresh_tokens (jti, family, issued_at, expires_at) SELECT 'old' || i, 'f', 1, 2 FROM n;
             INSERT INTO refresh_tokens (jti, family, issued_at, expires_at) VALUES ('recent', 'r', 1, {}), ('good', 'g', 1, {});
             CREATE TABLE IF NOT EXISTS destrier_revocations (kind TEXT NOT NULL, name TEXT NOT NULL, iss TEXT NOT NULL, issued_before BIGINT, expires_at BIGINT);
             INSERT INTO destrier_revocations VALUES ('jti', 'old', '', NULL, 2), ('jti', 'good', '', NULL, {}), ('sub', 'always', '', NULL, NULL);",
            now - 5,
            now + 1000,
            now + 1000
        ),
    );
    eventually("what has expired is gone", || {
        let left = column(&file, "SELECT jti FROM refresh_tokens ORDER BY jti");
        (left == ["good", "recent"]).then_some(())
    });
    eventually("so are revocations", || {
        let left = column(&file, "SELECT name FROM destrier_revocations ORDER BY name");
        (left == ["always", "good"]).then_some(())
    });
    let line = server.wait_for_log(Mark::START, FLUSHED);
    assert!(line["rows"].as_u64().is_some_and(|rows| rows > 0), "{line}");
}

/// What Django and `SimpleJWT` make, as far as it is read here.
const DJANGO: &str = "
    CREATE TABLE auth_user (id INTEGER PRIMARY KEY, password TEXT, last_login TEXT, username TEXT, is_active BOOL);
    CREATE TABLE token_blacklist_outstandingtoken (id INTEGER PRIMARY KEY, token TEXT, created_at TEXT, expires_at TEXT, user_id INTEGER, jti TEXT UNIQUE);
    CREATE TABLE token_blacklist_blacklistedtoken (id INTEGER PRIMARY KEY, blacklisted_at TEXT, token_id INTEGER UNIQUE REFERENCES token_blacklist_outstandingtoken (id));
    INSERT INTO token_blacklist_outstandingtoken (id, token, created_at, expires_at, jti) VALUES
        (1, 'a', '2020-01-01 00:00:00', '2020-01-02 00:00:00.123456', 'old'), (2, 'b', '2020-01-01 00:00:00', '2020-01-02 00:00:00', 'blacklisted'),
        (3, 'c', '2020-01-01 00:00:00', '2999-01-02 00:00:00', 'good'), (4, 'd', '2020-01-01 00:00:00', '2999-01-02 00:00:00', 'revoked');
    INSERT INTO token_blacklist_blacklistedtoken (blacklisted_at, token_id) VALUES ('2020-01-01 12:00:00', 2), ('2020-01-01 12:00:00', 4);";

#[test]
fn what_has_expired_is_taken_out_of_the_tables_of_django_too() {
    let keys = "flush_interval = '1s'\nschema = 'django'\ngroups_claim = ''\ndatabase";
    let setup = set_up(&AUTH.replace("database", keys));
    let file = setup.folder().join("tokens.db");
    run(&file, DJANGO);
    let server = setup.start();
    server.wait_for_log(Mark::START, FLUSHED);
    let outstanding = "SELECT jti FROM token_blacklist_outstandingtoken ORDER BY jti";
    assert_eq!(column(&file, outstanding), ["good", "revoked"]);
    let blacklisted = "SELECT CAST(token_id AS TEXT) FROM token_blacklist_blacklistedtoken";
    assert_eq!(column(&file, blacklisted), ["4"]);
}
