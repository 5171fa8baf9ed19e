//! `[health]`: paths, and a probe that a worker has time for while it boots.

use std::time::Duration;

use http::uri::{Authority, PathAndQuery};
use humantime::format_duration;

use super::{Check, refuse_pattern, small, text, unless_zero};
use crate::config::key::KeyPath;
use crate::config::{Health, Probe, WorkerCount, file};

impl Check<'_> {
    pub(super) fn health(&mut self, health: &file::Health, workers: &file::Workers) -> Health {
        let path = health.readiness_path.as_ref().map(text);
        if let Some(path) = &path {
            let refused = if path.contains(['{', '}', '*', '%']) {
                Some("must be one path, such as \"/readyz\"")
            } else {
                refuse_pattern(path)
            };
            if let Some(reason) = refused {
                self.refuse(&KeyPath::from("health.readiness_path"), reason, None);
            }
        }
        let ready_min = small(health.ready_min.0);
        if let WorkerCount::Fixed(count) = workers.count
            && ready_min > count
        {
            let key = self.given(&["health.ready_min", "workers.count"]);
            let message = format!(
                "`health.ready_min` must not be more than `workers.count`, {count}, found `{ready_min}`: the server would never be ready"
            );
            self.refuse_with(&key, message, None);
        }
        Health {
            ready_min,
            readiness_path: path,
            probe: self.probe(health, workers.boot_timeout.0),
        }
    }

    fn probe(&mut self, health: &file::Health, boot_timeout: Duration) -> Option<Probe> {
        let key = KeyPath::from("health");
        let path = health.probe.as_ref().map(text)?;
        let is_target = path.starts_with('/') && path.parse::<PathAndQuery>().is_ok();
        if !is_target {
            let reason = "must be a path, such as \"/healthz\"";
            self.refuse(&key.child("probe"), reason, None);
        }
        let host = text(&health.probe_host);
        let is_host = host
            .parse::<Authority>()
            .is_ok_and(|authority| !authority.as_str().contains('@'));
        if !is_host {
            let reason = "must be a name or an address, with or without a port";
            self.refuse(&key.child("probe_host"), reason, None);
        }
        let timeout = health.probe_timeout.0;
        if timeout >= boot_timeout {
            let key = self.given(&["health.probe_timeout", "workers.boot_timeout"]);
            let (timeout, boot) = (format_duration(timeout), format_duration(boot_timeout));
            let message = format!(
                "`health.probe_timeout`, {timeout}, must be less than `workers.boot_timeout`, {boot}: a worker is probed while it boots"
            );
            self.refuse_with(&key, message, None);
        }
        Some(Probe {
            path,
            host,
            interval: unless_zero(health.probe_interval.0),
            timeout,
            failures: health.probe_failures.0,
        })
    }
}
