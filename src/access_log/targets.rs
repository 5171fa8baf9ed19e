//! What goes around a line, as the place where it goes wants it: a line break, a header of syslog, the fields of the journal.

use std::fs;

use syslog_fmt::Severity;
use syslog_fmt::v5424;

use super::entry::{Entry, Value, rfc3339};
use super::lines::{self, Place};
use crate::config::{AccessField, AccessLog, AccessTarget, Facility};
use crate::sys::process::ProcessId;

/// What goes around each line.
#[derive(Debug)]
pub(super) enum Envelope {
    /// It ends with a line break.
    Line {
        /// Other lines than those of requests are there too.
        in_log: bool,
    },
    /// A message of RFC 5424.
    Syslog(v5424::Formatter),
    /// An entry of systemd's journal in its native protocol: a field on each line, the text as `MESSAGE`.
    Journal,
}

impl Envelope {
    pub(super) fn new(settings: &AccessLog) -> Self {
        match &settings.to {
            AccessTarget::Log => Self::Line { in_log: true },
            AccessTarget::Stdout | AccessTarget::Stderr | AccessTarget::File(_) => {
                Self::Line { in_log: false }
            }
            AccessTarget::Journald(_) => Self::Journal,
            AccessTarget::Syslog(_) => {
                let host = fs::read_to_string("/proc/sys/kernel/hostname");
                let host = host.as_deref().map(str::trim).ok();
                let formatter = v5424::Config {
                    facility: of_library(settings.facility),
                    hostname: host.filter(|host| !host.is_empty()),
                    app_name: Some("destrier"),
                    proc_id: Some(&ProcessId::own().number().to_string()),
                };
                Self::Syslog(formatter.into_formatter())
            }
        }
    }

    /// Appends what `write` writes, and what goes around it. `write` is told whether it is among the lines of the log.
    pub(super) fn wrap(
        &self,
        entry: &Entry<'_>,
        whose: (u64, u64),
        buffer: &mut Vec<u8>,
        write: impl FnOnce(bool, &mut Vec<u8>),
    ) {
        match self {
            Self::Line { in_log } => {
                write(*in_log, buffer);
                buffer.push(b'\n');
            }
            Self::Syslog(formatter) => {
                let time = rfc3339(entry.time).to_string();
                let _ok = formatter.write_header(buffer, Severity::Info, &*time, Some("access"));
                // No structured data (RFC 5424 section 6.3).
                buffer.extend_from_slice(b" - ");
                write(false, buffer);
            }
            Self::Journal => {
                buffer.extend_from_slice(b"PRIORITY=6\nSYSLOG_IDENTIFIER=destrier\nMESSAGE=");
                write(false, buffer);
                buffer.push(b'\n');
                append_fields(entry, whose, buffer);
            }
        }
    }
}

/// What is absent is left out.
fn append_fields(entry: &Entry<'_>, whose: (u64, u64), buffer: &mut Vec<u8>) {
    for field in AccessField::ALL {
        let value = entry.value(field, whose);
        if field.is_composed() || matches!(value, Value::Absent) {
            continue;
        }
        buffer.extend(field.name().bytes().map(|byte| byte.to_ascii_uppercase()));
        buffer.push(b'=');
        // A line break would begin another field; blanks do no harm.
        lines::append(value, entry, Place::Quoted, buffer);
        buffer.push(b'\n');
    }
}

fn of_library(facility: Facility) -> syslog_fmt::Facility {
    match facility {
        Facility::User => syslog_fmt::Facility::User,
        Facility::Daemon => syslog_fmt::Facility::Daemon,
        Facility::Local0 => syslog_fmt::Facility::Local0,
        Facility::Local1 => syslog_fmt::Facility::Local1,
        Facility::Local2 => syslog_fmt::Facility::Local2,
        Facility::Local3 => syslog_fmt::Facility::Local3,
        Facility::Local4 => syslog_fmt::Facility::Local4,
        Facility::Local5 => syslog_fmt::Facility::Local5,
        Facility::Local6 => syslog_fmt::Facility::Local6,
        Facility::Local7 => syslog_fmt::Facility::Local7,
    }
}
