//! What differs between two files is told key by key, and no more than that.

use insta::assert_snapshot;

use super::*;

fn between(before: &str, after: &str) -> String {
    with(before, after, &Sources::default())
}

fn with(before: &str, after: &str, sources: &Sources) -> String {
    let settings = |text| read_text(text, sources).unwrap().settings;
    let found = differences(&settings(before), &settings(after));
    let lines = found.iter().map(|it| {
        let (before, after) = (it.before.as_deref(), it.after.as_deref());
        let origin = it.origin.as_ref().map(ToString::to_string);
        format!(
            "{}: {} -> {}  # {}",
            it.key,
            before.unwrap_or("nothing"),
            after.unwrap_or("nothing"),
            origin.as_deref().unwrap_or("gone")
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

const RULES: [&str; 3] = [
    "[[auth.rule]]\npath = '/a'\naccess = 'public'\n",
    "[[auth.rule]]\npath = '/b'\nscopes = ['x']\n",
    "[[auth.rule]]\npath = '/c'\n",
];

#[test]
fn the_same_said_in_another_way_is_no_difference() {
    let plain = "[workers]\ncount = 2\n[log]\nlevel = 'info'\n";
    let other = "# two\nworkers.count = 2\nhttp.keep_alive = '75s'\n";
    assert_eq!(between(plain, other), "");
}

#[test]
fn a_key_is_told_with_both_values_and_the_place_of_the_new_one() {
    let before = "workers.count = 2\nlog.file = 'a.log'\n";
    let after = "\nworkers.count = 'auto'\nserver.unix_owner = 'www'\n";
    assert_snapshot!(between(before, after), @r#"
    server.unix_owner: nothing -> "www"  # /srv/app.toml:3:21
    workers.count: 2 -> "auto"  # /srv/app.toml:2:17
    log.file: "/srv/a.log" -> nothing  # default
    "#);
}

#[test]
fn a_rule_before_others_is_one_difference() {
    let [a, b, c] = RULES;
    let (before, after) = ([a, c].concat(), [a, b, c].concat());
    assert_snapshot!(between(&before, &after), @r#"auth.rule[1]: nothing -> { path = "/b", scopes = ["x"] }  # /srv/app.toml:5:8"#);
    assert_snapshot!(between(&after, &before), @r#"auth.rule[1]: { path = "/b", scopes = ["x"] } -> nothing  # gone"#);
}

#[test]
fn a_table_that_changed_is_told_by_its_keys() {
    let [a, b, c] = RULES;
    let (before, after) = ([a, b].concat(), [c, a, &b.replace("'x'", "'y'")].concat());
    assert_snapshot!(between(&before, &after), @r#"
    auth.rule[0]: nothing -> { path = "/c" }  # /srv/app.toml:2:8
    auth.rule[2].scopes: ["x"] -> ["y"]  # /srv/app.toml:8:10
    "#);
}

#[test]
fn what_something_overrides_is_no_difference_and_is_known() {
    let sources = Sources {
        workers: Some("4".to_owned()),
        ..environment([("DESTRIER_LOG__LEVEL", "warn")])
    };
    let (before, after) = (
        "workers.count = 2\n",
        "workers.count = 3\nlog.level = 'debug'\n",
    );
    assert_eq!(with(before, after, &sources), "");
    let overridden = read_text(after, &sources).unwrap().overridden;
    let lines = overridden
        .iter()
        .map(|it| format!("{} = {} at {}, by {}", it.key, it.written, it.origin, it.by));
    assert_snapshot!(lines.collect::<Vec<_>>().join("\n"), @r#"
    log.level = "debug" at /srv/app.toml:2:13, by DESTRIER_LOG__LEVEL
    workers.count = 3 at /srv/app.toml:1:17, by --workers
    "#);
}

#[test]
fn a_flag_over_a_variable_over_the_file_hides_what_the_file_says() {
    let sources = Sources {
        workers: Some("4".to_owned()),
        ..environment([("DESTRIER_WORKERS__COUNT", "5")])
    };
    let overridden = read_text("workers.count = 2\n", &sources)
        .unwrap()
        .overridden;
    assert_eq!(overridden.len(), 1);
    assert_eq!(overridden[0].written, "2");
    assert_eq!(overridden[0].by, Origin::Flag("--workers"));
}
