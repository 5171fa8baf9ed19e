//! `destrier user`: who may log in at the token service.

use insta::assert_snapshot;

use crate::place::{Place, masked};

fn place() -> Place {
    let place = Place::new();
    place.write(
        "destrier.toml",
        "[auth.tokens]\ndatabase = 'sqlite:tokens.db'\n[[auth.issuer]]\nsecret_file = 'secret'\n[[auth.rule]]\npath = '/'\n",
    );
    place
}

#[test]
fn users_are_added_listed_and_removed() {
    let place = place();
    assert_snapshot!(place.run("user list"), @r"
    exit 0
    --- stderr
    there are no users; `destrier user add NAME` makes one
    ");
    let add = "user add alice --role ops --role editor --group staff --scope a --scope b --claim tenant=7";
    assert_snapshot!(place.run_on("correct horse\n", add), @r"
    exit 0
    --- stderr
    user 1: `alice` may log in
    ");
    assert_snapshot!(place.run_on("x yz x yz", "user add bob"), @r"
    exit 0
    --- stderr
    user 2: `bob` may log in
    ");
    assert_snapshot!(place.run_on("x yz x yz", "user add bob"), @r"
    exit 1
    --- stderr
    user: `bob`: there is a user of this name
    ");
    assert_snapshot!(place.run("user disable bob"), @r"
    exit 0
    --- stderr
    `bob` may not log in, access tokens end with their lifetime
    ");
    assert_snapshot!(place.run("user list"), @r#"
    exit 0
    --- stdout
     ID  NAME   ACTIVE  LAST LOGIN  CLAIMS
     1   alice  yes     -           {"roles":["ops","editor"],"groups":["staff"],"scope":"a b","tenant":7}
     2   bob    no      -           {}
    "#);
    assert_snapshot!(place.run("user remove bob"), @r"
    exit 0
    --- stderr
    `bob` is removed, access tokens end with their lifetime
    ");
    let _masked = masked(&[(r#""\d{4}-.*Z""#, r#""[time]""#)]);
    assert_snapshot!(place.run("user list --json"), @r#"
    exit 0
    --- stdout
    [
      {
        "id": 1,
        "username": "alice",
        "is_active": true,
        "created_at": "[time]",
        "last_login": null,
        "claims": {
          "roles": [
            "ops",
            "editor"
          ],
          "groups": [
            "staff"
          ],
          "scope": "a b",
          "tenant": 7
        }
      }
    ]
    "#);
    assert_snapshot!(place.run("user enable bob"), @r"
    exit 1
    --- stderr
    user: `bob`: there is no user of this name
    ");
}

#[test]
fn a_password_comes_from_standard_input_and_is_hashed() {
    let place = place();
    assert_eq!(
        place.run_on("correct horse\r\n", "user add alice").code,
        Some(0)
    );
    assert_eq!(place.mode("tokens.db"), 0o600);
    assert_eq!(place.names(), ["destrier.toml", "tokens.db"]);
    let bytes = std::fs::read(place.path("tokens.db")).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("$argon2id$v=19$m=19456,t=2,p=1$") && !text.contains("correct horse"));
    assert_snapshot!(place.run_on("", "user add bob"), @r"
    exit 1
    --- stderr
    user: the password is empty
    ");
    assert_snapshot!(place.run_on(" x yz x yz", "user passwd alice"), @r"
    exit 1
    --- stderr
    user: the password has white space around it, which a login takes away
    ");
    assert_snapshot!(place.run_on("x", "user add alice secret"), @r"
    exit 2
    --- stderr
    error: unexpected argument 'secret' found

    Usage: destrier user add [OPTIONS] <NAME>

    For more information, try '--help'.
    ");
}

#[test]
fn a_short_password_is_accepted_only_when_that_is_said() {
    let place = place();
    assert_snapshot!(place.run_on("sieben7\n", "user add alice"), @r"
    exit 1
    --- stderr
    user: the password is too short, it must have at least 8 characters
    hint: `--allow-weak` accepts it
    ");
    assert_eq!(place.run("user list --json").stdout, "[]\n");
    // Eight characters, and not eight bytes.
    assert_eq!(place.run_on("éééé", "user add alice").code, Some(1));
    assert_eq!(place.run_on("éééééééé", "user add alice").code, Some(0));
    assert_eq!(place.run_on("x", "user passwd alice").code, Some(1));
    let weak = place.run_on("x", "user passwd alice --allow-weak");
    assert_eq!(weak.code, Some(0), "{weak:?}");
    let weak = place.run_on("x", "user add bob --allow-weak");
    assert_eq!(weak.code, Some(0), "{weak:?}");
    let empty = place.run_on("", "user add carol --allow-weak");
    assert_eq!(empty.code, Some(1), "{empty:?}");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let place = place();
    assert_snapshot!(place.run_on("correct horse", "user add alice --claim exp=1"), @r"
    exit 1
    --- stderr
    user: claim `exp` is set by the token service itself
    ");
    assert_snapshot!(place.run_on("x", "user add alice --claim exp"), @r"
    exit 2
    --- stderr
    user add: `--claim` must be NAME=VALUE, found `exp`
    ");
    place.write(
        "destrier.toml",
        "[[auth.rule]]\npath = '/'\naccess = 'public'\n",
    );
    assert_snapshot!(place.run("user list"), @r"
    exit 2
    --- stderr
    user: `/srv/destrier.toml` has no `auth.tokens.database`, so there are no users
    ");
}
