//! `[headers]`, `[compression]` and `[[http.static]]`.

use insta::assert_snapshot;

use super::*;

const OPEN: &str = "\n[[auth.rule]]\npath = \"/assets/**\"\naccess = \"public\"\n";

fn fields(text: &str) -> String {
    let headers = accepted(text).headers;
    let shown = |(name, value): &(http::HeaderName, http::HeaderValue)| {
        format!("{name}: {}", value.to_str().unwrap())
    };
    let always: Vec<_> = headers.always.iter().map(shown).collect();
    let over_https: Vec<_> = headers.over_https.iter().map(shown).collect();
    format!(
        "{}\nover https\n{}",
        always.join("\n"),
        over_https.join("\n")
    )
}

#[test]
fn no_field_is_added_by_default_and_nothing_is_compressed() {
    let config = accepted("");
    assert_eq!(config.headers, Headers::default());
    assert!(config.compression.algorithms.is_empty());
    assert!(config.http.static_folders.is_empty());
}

#[test]
fn fields_of_the_preset_can_be_replaced_and_left_out() {
    assert_snapshot!(fields("[headers]\npreset = \"strict\"\n"), @r"
    cross-origin-opener-policy: same-origin
    referrer-policy: strict-origin-when-cross-origin
    x-content-type-options: nosniff
    x-frame-options: DENY
    over https
    strict-transport-security: max-age=31536000
    ");
    let text = r#"[headers]
preset = "strict"
[headers.default]
X-Frame-Options = "SAMEORIGIN"
Referrer-Policy = ""
Cross-Origin-Opener-Policy = ""
Strict-Transport-Security = "max-age=60"
X-Mine = "a, b"
"#;
    assert_snapshot!(fields(text), @r"
    x-content-type-options: nosniff
    x-frame-options: SAMEORIGIN
    x-mine: a, b
    over https
    strict-transport-security: max-age=60
    ");
}

#[test]
fn fields_that_are_none_or_not_for_all_answers_are_refused() {
    assert_snapshot!(refused(r#"[headers]
preset = "paranoid"
[headers.default]
Content-Length = "5"
Transfer-Encoding = "chunked"
Connection = "close"
"a b" = "c"
X-A = "a\nb"
X-B = " a"
X-C = "1"
x-c = "2"
X-D = 5
"#), @r#"
    config: /srv/app.toml:2:10: `headers.preset` must be `none` or `strict`, found `"paranoid"`
    config: /srv/app.toml:4:1: `headers.default.Content-Length` must not be a field that the server or the application alone can set
    config: /srv/app.toml:5:1: `headers.default.Transfer-Encoding` must not be a field that the server or the application alone can set
    config: /srv/app.toml:6:1: `headers.default.Connection` must not be a field that the server or the application alone can set
    config: /srv/app.toml:7:1: `headers.default."a b"` must have the name of a header field
    config: /srv/app.toml:8:1: `headers.default.X-A` must be a value without line breaks, and without white space around it
    config: /srv/app.toml:9:1: `headers.default.X-B` must be a value without line breaks, and without white space around it
    config: /srv/app.toml:11:1: `headers.default.x-c` repeats a field: capitals make no difference
    config: /srv/app.toml:12:7: `headers.default.X-D` must be a string, found `5`
    "#);
}

#[test]
fn what_is_compressed_is_checked() {
    let text = "[compression]\nalgorithms = \"gzip\"\nmin_size = 0\ntypes = [\"Text/*\"]\n";
    let compression = accepted(text).compression;
    assert_eq!(compression.algorithms, [CompressionAlgorithm::Gzip]);
    assert_eq!(
        (compression.min_size, compression.types),
        (0, vec!["text/*".to_owned()])
    );
    assert_snapshot!(refused(r#"[compression]
algorithms = ["gzip", "deflate"]
"#), @r#"config: /srv/app.toml:2:23: `compression.algorithms[1]` must be one of `zstd`, `br`, `gzip`, found `"deflate"`"#);
    assert_snapshot!(refused(r#"[compression]
algorithms = ["gzip", "br", "gzip"]
min_size = "1GiB"
types = ["text", "text/html; charset=utf-8", "*/*", "text/css"]
"#), @r#"
    config: /srv/app.toml:2:29: `compression.algorithms[2]` stands there twice, found `"gzip"`
    config: /srv/app.toml:3:12: `compression.min_size` must be 0, or a size of 1B to 16MiB, such as "16MiB", found `"1GiB"`
    config: /srv/app.toml:4:10: `compression.types[0]` must be a media type, such as `application/json` or `text/*`, found `"text"`
    config: /srv/app.toml:4:18: `compression.types[1]` must be a media type, such as `application/json` or `text/*`, found `"text/html; charset=utf-8"`
    config: /srv/app.toml:4:46: `compression.types[2]` must be a media type, such as `application/json` or `text/*`, found `"*/*"`
    "#);
}

#[test]
fn a_folder_is_found_beside_the_file_and_its_path_is_a_prefix() {
    let text = "[[http.static]]\npath = \"/assets/\"\nfolder = \"static\"\n";
    let config = accepted(&(text.to_owned() + OPEN));
    let folder = &config.http.static_folders[0];
    assert_eq!(folder.folder, Path::new("/srv/static"));
    assert!(folder.index && !folder.fallthrough && folder.precompressed.len() == 3);
    assert_snapshot!(refused(r#"[[http.static]]
[[http.static]]
path = "/assets"
folder = "a"
[[http.static]]
path = "/a%20b/"
folder = "a"
[[http.static]]
path = "/{name}/"
folder = "a"
[[http.static]]
path = "/a//"
folder = "a"
precompressed = ["br", "br"]
[[http.static]]
path = "/b/"
folder = "a"
[[http.static]]
path = "/b/"
folder = "b"
"#), @r#"
    config: /srv/app.toml:1:1: `http.static[0]` must have a `folder`
    config: /srv/app.toml:1:1: `http.static[0]` must have a `path`
    config: /srv/app.toml:3:8: `http.static[1].path` must end with `/`, found `"/assets"`
    config: /srv/app.toml:6:8: `http.static[2].path` must be written decoded, without `%`, found `"/a%20b/"`
    config: /srv/app.toml:9:8: `http.static[3].path` must be a prefix such as "/assets/", without `{name}` and `*`, found `"/{name}/"`
    config: /srv/app.toml:12:8: `http.static[4].path` must not have empty segments, found `"/a//"`
    config: /srv/app.toml:14:24: `http.static[4].precompressed[1]` stands there twice, found `"br"`
    config: /srv/app.toml:19:8: `http.static[6].path` repeats `/b/`
    "#);
}

#[test]
fn files_that_no_rule_opens_are_warned_of() {
    let under = |path: &str, rule: &str| {
        let text = format!(
            "[[http.static]]\npath = \"{path}\"\nfolder = \"a\"\n[[auth.rule]]\naccess = \"public\"\n{rule}\n"
        );
        !warned(&text).contains("no rule is for paths under")
    };
    for (path, rule, is_open) in [
        ("/assets/", "path = \"/assets/**\"", true),
        ("/assets/", "path = \"/**\"", true),
        ("/", "path = \"/**\"", true),
        ("/", "path = \"/a.txt\"", true),
        ("/assets/", "path = \"/assets/logo.png\"", true),
        ("/assets/", "path = \"/assets/{name}\"", true),
        ("/assets/img/", "path = \"/{any}/img/x\"", true),
        ("/assets/img/", "path = \"/assets/**\"", true),
        (
            "/assets/",
            "path = \"/assets/**\"\nmethods = [\"GET\"]",
            true,
        ),
        (
            "/assets/",
            "path = \"/assets/**\"\nmethods = [\"POST\"]",
            false,
        ),
        ("/assets/", "path = \"/assets\"", false),
        ("/assets/", "path = \"/api/**\"", false),
        ("/assets/img/", "path = \"/assets/x\"", false),
    ] {
        assert_eq!(under(path, rule), is_open, "{path} {rule}");
    }
    assert_snapshot!(warned("[[http.static]]\npath = \"/assets/\"\nfolder = \"a\"\n"), @r#"
    config: there is no `[[auth.rule]]`: every request will be refused
    config: /srv/app.toml:2:8: `http.static[0].path`: no rule is for paths under `/assets/`, so its files are refused to everybody
    hint: a rule with `path = "/assets/**"` and `access = "public"` opens what is under /assets/
    "#);
}
