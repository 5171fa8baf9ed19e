//! The metrics as text: `OpenMetrics` 1.0, or the older text format of Prometheus for whoever understands only that.

use std::fmt;

use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::Registry;

use super::metrics::Snapshot;

/// What `OpenMetrics` text is called.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The text, and its type; `accept` is the field of the request.
pub(super) fn encode(
    snapshot: Snapshot,
    accept: &str,
) -> Result<(&'static str, String), fmt::Error> {
    let mut registry = Registry::with_prefix("destrier");
    registry.register_collector(Box::new(snapshot));
    let mut text = String::new();
    if wants_prometheus_text(accept) {
        prometheus_text::encode(&mut text, &registry)?;
        Ok((prometheus_text::CONTENT_TYPE, text))
    } else {
        text::encode(&mut text, &registry)?;
        Ok((OPENMETRICS, text))
    }
}

/// Whoever names `OpenMetrics` gets it, whatever weights it gives.
fn wants_prometheus_text(accept: &str) -> bool {
    accept.contains("text/plain") && !accept.contains("application/openmetrics-text")
}

#[cfg(test)]
mod tests {
    use super::wants_prometheus_text;

    #[test]
    fn whoever_asks_only_for_plain_text_gets_the_format_of_prometheus() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert!(!wants_prometheus_text(prometheus));
        assert!(!wants_prometheus_text("*/*") && !wants_prometheus_text(""));
        assert!(wants_prometheus_text(
            "text/plain;version=0.0.4;q=1,*/*;q=0.1"
        ));
    }
}
