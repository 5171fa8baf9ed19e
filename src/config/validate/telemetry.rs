//! `[telemetry]`: whether this program can export spans, whereto, and of which requests.

use url::Url;

use super::{Check, path};
use crate::config::key::KeyPath;
use crate::config::notation::Text;
use crate::config::{Telemetry, TraceContexts, file, is_trusted};

/// Whether this program can.
const CAN_EXPORT: bool = cfg!(feature = "otlp");

const HEADERS_FILE: &str = "telemetry.otlp_headers_file";
const CA_FILE: &str = "telemetry.otlp_ca_file";

impl Check<'_> {
    pub(super) fn telemetry(
        &mut self,
        telemetry: &file::Telemetry,
        contexts: TraceContexts,
    ) -> Option<Telemetry> {
        let key = KeyPath::from("telemetry.otlp_endpoint");
        let Some(Text(endpoint)) = &telemetry.otlp_endpoint else {
            for (key, is_set) in [
                (HEADERS_FILE, telemetry.otlp_headers_file.is_some()),
                (CA_FILE, telemetry.otlp_ca_file.is_some()),
            ] {
                if is_set {
                    let message =
                        format!("`{key}` is for `telemetry.otlp_endpoint`, which is not set");
                    self.refuse_with(&key.into(), message, None);
                }
            }
            return None;
        };
        if !CAN_EXPORT {
            let hint = "build it with `cargo build --release --features otlp`";
            let reason = "cannot be used: this program was built without the feature `otlp`, so it exports no spans";
            self.refuse(&key, reason, Some(hint.to_owned()));
        }
        if contexts == TraceContexts::Off {
            let hint = "set `http.trace_context = \"trusted\"`";
            let message = "`telemetry.otlp_endpoint` needs `http.trace_context`: without it no request is part of a trace";
            self.refuse_with(&key, message.to_owned(), Some(hint.to_owned()));
        }
        let Some(traces) = traces(endpoint) else {
            let reason = "must be an address such as `http://127.0.0.1:4318`, without user, query and fragment";
            self.refuse(&key, reason, None);
            return None;
        };
        let headers_file = telemetry.otlp_headers_file.as_ref().map(path);
        if headers_file.is_some() && !is_trusted(&traces) {
            let message = format!(
                "what `{HEADERS_FILE}` holds is sent to `{endpoint}` without encryption, so anybody on the way can read it"
            );
            let hint = "use `https`, or a collector on this machine";
            self.warn(&key, message, Some(hint));
        }
        let ca_file = telemetry.otlp_ca_file.as_ref().map(path);
        if ca_file.is_some() && traces.scheme() != "https" {
            let message =
                format!("`{CA_FILE}` is for a collector that shows a certificate: `https://...`");
            self.refuse_with(&CA_FILE.into(), message, None);
        }
        Some(Telemetry {
            traces,
            headers_file,
            ca_file,
            sampling_ratio: telemetry.sampling_ratio.0,
            service_name: telemetry.service_name.0.clone(),
        })
    }
}

/// Where traces are taken (OTLP specification, endpoint URLs for OTLP/HTTP).
fn traces(endpoint: &str) -> Option<Url> {
    let mut url = Url::parse(endpoint).ok()?;
    let is_plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !is_plain {
        return None;
    }
    url.path_segments_mut()
        .ok()?
        .pop_if_empty()
        .extend(["v1", "traces"]);
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::traces;

    #[test]
    fn traces_go_below_the_endpoint() {
        let of = |endpoint| traces(endpoint).map(String::from);
        let here = Some("http://127.0.0.1:4318/v1/traces".to_owned());
        assert_eq!(of("http://127.0.0.1:4318"), here);
        assert_eq!(of("http://127.0.0.1:4318/"), here);
        let below = Some("https://collect.example/otlp/v1/traces".to_owned());
        assert_eq!(of("https://collect.example/otlp"), below);
        for bad in [
            "127.0.0.1:4318",
            "ftp://a",
            "http://user:word@a",
            "http://a?key=1",
            "http://a#b",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
