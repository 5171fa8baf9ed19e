//! The path: what is judged is what the application gets, and every other program reads that in the same way.
#![no_main]

use std::sync::LazyLock;

use destrier::auth::{Explanation, Guard, RequestView, canonical_path};
use destrier_fuzz::{NOW, configuration, guard};
use http::HeaderMap;
use http::uri::PathAndQuery;
use libfuzzer_sys::fuzz_target;
use url::Url;

static GUARD: LazyLock<Guard> = LazyLock::new(|| {
    guard(&configuration(
        "[[auth.rule]]\npath = '/admin/**'\n[[auth.rule]]\npath = '/a/{b}/c'\naccess = 'public'\n[[auth.rule]]\npath = '/**'\naccess = 'public'\n",
    ))
});

fuzz_target!(|path: &str| {
    let headers = HeaderMap::new();
    let explain = |path: &str| {
        let request = RequestView {
            method: "GET",
            path,
            query: None,
            headers: &headers,
        };
        let Explanation { path, rule, .. } = GUARD.explain(&request, NOW);
        (path, rule)
    };
    let (Some(judged), rule) = explain(path) else {
        return;
    };
    let written = canonical_path(path).unwrap_or_else(|| path.to_owned());
    // Judged again, it is the same path, and is written in the same way.
    assert_eq!(explain(&written), (Some(judged.clone()), rule));
    assert_eq!(canonical_path(&written), None);
    // It is a target that HTTP allows, all of it path.
    let target: PathAndQuery = written.parse().expect("a target");
    assert_eq!((target.path(), target.query()), (&*written, None));
    // Who resolves dot segments, as browsers and proxies do, finds nothing to resolve.
    let address = Url::parse(&format!("http://host{written}")).expect("an address");
    assert_eq!(address.path(), written);
    let mut segments = judged.split('/').skip(1);
    assert_eq!(
        rule == Some(0),
        segments.next() == Some("admin"),
        "{judged}"
    );
});
