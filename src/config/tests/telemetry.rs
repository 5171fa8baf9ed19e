//! `[telemetry]`: where spans go, and what stands in the way.

use super::{accepted, refused};

const ENDPOINT: &str = "[telemetry]\notlp_endpoint = 'http://127.0.0.1:4318'\n";

#[test]
fn spans_need_traces_and_fields_need_a_collector() {
    let error = refused(ENDPOINT);
    assert!(error.contains("needs `http.trace_context`"), "{error}");
    for key in ["otlp_headers_file", "otlp_ca_file"] {
        let error = refused(&format!("[telemetry]\n{key} = 'a'\n"));
        assert!(
            error.contains(&format!(
                "`telemetry.{key}` is for `telemetry.otlp_endpoint`"
            )),
            "{error}"
        );
    }
    assert!(accepted("").telemetry.is_none());
}

#[test]
fn a_ratio_is_a_part_of_the_whole() {
    for ratio in ["1.1", "-0.1", "nan", "2", "'half'"] {
        let error = refused(&format!("[telemetry]\nsampling_ratio = {ratio}\n"));
        assert!(error.contains("0.0 to 1.0"), "{error}");
    }
    accepted("[telemetry]\nsampling_ratio = 0\n");
}

#[cfg(not(feature = "otlp"))]
#[test]
fn a_program_without_the_feature_says_how_to_build_one_with_it() {
    let error = refused(&format!("http.trace_context = 'all'\n{ENDPOINT}"));
    assert!(
        error.contains("built without the feature `otlp`"),
        "{error}"
    );
    assert!(
        error.contains("cargo build --release --features otlp"),
        "{error}"
    );
}

#[cfg(feature = "otlp")]
#[test]
fn where_spans_go_is_read_and_fields_that_anybody_on_the_way_can_read_are_warned_of() {
    let config = |keys: &str| format!("http.trace_context = 'all'\n[telemetry]\n{keys}");
    let all = "otlp_endpoint = 'https://collect.example/otlp'\notlp_headers_file = 'fields'\notlp_ca_file = 'ca.pem'\nsampling_ratio = 0.25\nservice_name = 'shop'\n";
    let telemetry = accepted(&config(all)).telemetry.unwrap();
    assert_eq!(
        telemetry.traces.as_str(),
        "https://collect.example/otlp/v1/traces"
    );
    assert_eq!(
        telemetry.headers_file.unwrap(),
        std::path::Path::new("/srv/fields")
    );
    assert_eq!(
        telemetry.ca_file.unwrap(),
        std::path::Path::new("/srv/ca.pem")
    );
    assert!((telemetry.sampling_ratio - 0.25).abs() < f64::EPSILON);
    assert_eq!(telemetry.service_name, "shop");
    let plain = "otlp_endpoint = 'http://collect.example'\notlp_headers_file = 'fields'\n";
    let warned = super::warned(&config(plain));
    assert!(warned.contains("without encryption"), "{warned}");
    let here = "otlp_endpoint = 'http://127.0.0.1:4318'\notlp_headers_file = 'fields'\n";
    assert!(!super::warned(&config(here)).contains("without encryption"));
    let unencrypted = "otlp_endpoint = 'http://127.0.0.1:4318'\notlp_ca_file = 'ca.pem'\n";
    let error = refused(&config(unencrypted));
    assert!(error.contains("shows a certificate"), "{error}");
    for bad in ["'a'", "'http://user:word@a'", "'grpc://a'"] {
        let error = refused(&config(&format!("otlp_endpoint = {bad}\n")));
        assert!(error.contains("must be an address such as"), "{error}");
    }
}
