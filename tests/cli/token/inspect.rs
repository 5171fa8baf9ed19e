//! `destrier token inspect`.

use insta::assert_snapshot;

use super::forged;
use crate::place::{Place, masked};

const AGO: [(&str, &str); 1] = [(r"Z, .* ago", "Z, [long] ago")];

#[test]
fn it_shows_what_a_token_says_and_that_nothing_was_verified() {
    let token = forged(
        r#"{"alg":"none","x":[1]}"#,
        r#"{"sub":"a","exp":1000000000,"nbf":"soon","iat":99999999999999}"#,
        "",
    );
    let _masks = masked(&AGO);
    assert_snapshot!(Place::new().run_on(&token, "token inspect"), @r#"
    exit 0
    --- stdout
    {
      "header": {
        "alg": "none",
        "x": [
          1
        ]
      },
      "claims": {
        "sub": "a",
        "exp": 1000000000,
        "nbf": "soon",
        "iat": 99999999999999
      },
      "times": {
        "exp": "2001-09-09T01:46:40Z, [long] ago"
      }
    }
    --- stderr
    nothing was verified: anyone can have written this, see `destrier token verify`
    "#);
}

#[test]
fn what_is_no_token_is_refused_without_repeating_it() {
    let place = Place::new();
    assert_snapshot!(place.run("token inspect"), @r#"
    exit 1
    --- stderr
    token: standard input holds no token
    "#);
    assert_snapshot!(place.run_on("hello\n", "token inspect"), @r#"
    exit 1
    --- stderr
    token cannot be read: the token does not have three parts
    "#);
    assert_snapshot!(place.run_on("a.b.c", "token inspect"), @r#"
    exit 1
    --- stderr
    token cannot be read: the header is not base64url without padding
    "#);
    assert_snapshot!(place.run_on(forged("{}", "[]", "AAAA"), "token inspect"), @r#"
    exit 1
    --- stderr
    token cannot be read: payload: not a JSON object
    "#);
    assert_snapshot!(place.run_on("Bearer eyJh.eyJh.AAAA", "token inspect"), @r#"
    exit 1
    --- stderr
    token: standard input holds white space within the token; leave out `Bearer` and line breaks
    "#);
    assert_snapshot!(place.run("token inspect --token-file nope"), @r#"
    exit 2
    --- stderr
    token: cannot read `nope`: No such file or directory (os error 2)
    "#);
    assert_snapshot!(place.run("token inspect --token-file ."), @r#"
    exit 2
    --- stderr
    token: cannot read `.`: Is a directory (os error 21)
    "#);
    assert_snapshot!(place.run("token inspect --token-file eyJh.eyJh.AAAA"), @r#"
    exit 2
    --- stderr
    token: cannot read a file whose name looks like a token: No such file or directory (os error 2)
    "#);
    assert_snapshot!(place.run("token inspect eyJh.eyJh.AAAA"), @r#"
    exit 2
    --- stderr
    token: a token on the command line is shown to every user of this machine; pass it on standard input or with `--token-file`
    "#);
}
