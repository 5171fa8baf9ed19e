//! The access log: where its lines go, what they look like, and which fields they have.

use std::fmt;
use std::path::{Path, PathBuf};

use leon::{Item, Template};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The socket of the syslog daemon (syslog(3)).
const SYSLOG: &str = "/dev/log";
/// The socket of systemd's journal (systemd-journald.service(8)).
const JOURNAL: &str = "/run/systemd/journal/socket";

/// Names alike enough to be worth a hint.
const LIKENESS_MIN: f64 = 0.6;

/// `[access_log]`: one line for each request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// Where the lines go.
    pub to: AccessTarget,
    /// What they look like.
    pub format: AccessFormat,
    /// Whether they have the queries of targets, but for what may be a token there.
    pub query: bool,
    /// Paths that get no line.
    pub skip: Vec<String>,
    /// As what a syslog daemon gets them.
    pub facility: Facility,
}

/// `access_log.to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessTarget {
    /// Among the other lines of the log.
    Log,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, a named pipe or a device. Opened anew on SIGUSR1.
    File(PathBuf),
    /// The socket of a syslog daemon, which gets a datagram for each line (RFC 5424).
    Syslog(PathBuf),
    /// The socket of systemd's journal, which gets an entry for each line.
    Journald(PathBuf),
}

impl AccessTarget {
    /// The file that lines go to, where they go to one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Log | Self::Stdout | Self::Stderr | Self::Syslog(_) | Self::Journald(_) => None,
        }
    }
}

impl fmt::Display for AccessTarget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log => formatter.write_str("log"),
            Self::Stdout => formatter.write_str("stdout"),
            Self::Stderr => formatter.write_str("stderr"),
            Self::File(path) => write!(formatter, "{}", path.display()),
            Self::Syslog(path) => write!(formatter, "syslog:{}", path.display()),
            Self::Journald(path) => write!(formatter, "journald:{}", path.display()),
        }
    }
}

/// `access_log.format`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessFormat {
    /// Among the lines of the log as those are; elsewhere JSON.
    Auto,
    /// One JSON object a line.
    Json,
    /// Apache's "combined".
    Combined,
    /// For reading: fields with their names.
    Text,
    /// As the operator wrote it.
    Template(Vec<TemplatePart>),
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplatePart {
    /// As it is.
    Text(String),
    /// The value of a field.
    Field {
        /// Which one.
        field: AccessField,
        /// Whether it stands between quotation marks, so that blanks in it do no harm.
        is_quoted: bool,
    },
}

/// `access_log.syslog_facility` (RFC 5424 section 6.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the standard's own names")]
pub enum Facility {
    User,
    Daemon,
    Local0,
    Local1,
    Local2,
    Local3,
    Local4,
    Local5,
    Local6,
    Local7,
}

/// What a line of the access log may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "`docs/logs.md` has a table of them")]
pub enum AccessField {
    Time,
    RequestId,
    Client,
    Method,
    Host,
    Path,
    Query,
    Protocol,
    Status,
    Bytes,
    DurationUs,
    AppUs,
    QueueUs,
    Worker,
    Generation,
    Subject,
    Issuer,
    Rule,
    Refusal,
    Reason,
    UserAgent,
    Referer,
    Tls,
    TraceId,
    SpanId,
    Aborted,
    TimeLocal,
    RequestLine,
}

impl AccessField {
    /// All of them, in the order in which a line of JSON has them.
    pub const ALL: [Self; 28] = [
        Self::Time,
        Self::RequestId,
        Self::Client,
        Self::Method,
        Self::Host,
        Self::Path,
        Self::Query,
        Self::Protocol,
        Self::Status,
        Self::Bytes,
        Self::DurationUs,
        Self::AppUs,
        Self::QueueUs,
        Self::Worker,
        Self::Generation,
        Self::Subject,
        Self::Issuer,
        Self::Rule,
        Self::Refusal,
        Self::Reason,
        Self::UserAgent,
        Self::Referer,
        Self::Tls,
        Self::TraceId,
        Self::SpanId,
        Self::Aborted,
        Self::TimeLocal,
        Self::RequestLine,
    ];

    /// Whether it says what others say already, in another form: for templates.
    pub fn is_composed(self) -> bool {
        matches!(self, Self::TimeLocal | Self::RequestLine)
    }

    /// As it is called in lines and in templates.
    pub fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::RequestId => "request_id",
            Self::Client => "client",
            Self::Method => "method",
            Self::Host => "host",
            Self::Path => "path",
            Self::Query => "query",
            Self::Protocol => "protocol",
            Self::Status => "status",
            Self::Bytes => "bytes",
            Self::DurationUs => "duration_us",
            Self::AppUs => "app_us",
            Self::QueueUs => "queue_us",
            Self::Worker => "worker",
            Self::Generation => "generation",
            Self::Subject => "subject",
            Self::Issuer => "issuer",
            Self::Rule => "rule",
            Self::Refusal => "refusal",
            Self::Reason => "reason",
            Self::UserAgent => "user_agent",
            Self::Referer => "referer",
            Self::Tls => "tls",
            Self::TraceId => "trace_id",
            Self::SpanId => "span_id",
            Self::Aborted => "aborted",
            Self::TimeLocal => "time_local",
            Self::RequestLine => "request_line",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }
}

/// What is wrong with a text, and what may have been meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unusable {
    pub(super) reason: String,
    pub(super) hint: Option<String>,
}

/// Reads `access_log.to`.
pub(super) fn target(written: &str) -> Result<AccessTarget, Unusable> {
    const WORDS: [&str; 5] = ["log", "stdout", "stderr", "syslog", "journald"];
    let socket = |path: &str| {
        let is_path = path.starts_with('/');
        is_path
            .then(|| PathBuf::from(path))
            .ok_or_else(|| Unusable {
                reason: "must have the whole path of a socket after the `:`".to_owned(),
                hint: None,
            })
    };
    Ok(match written {
        "log" => AccessTarget::Log,
        "stdout" => AccessTarget::Stdout,
        "stderr" => AccessTarget::Stderr,
        "syslog" => AccessTarget::Syslog(SYSLOG.into()),
        "journald" => AccessTarget::Journald(JOURNAL.into()),
        _ => {
            if let Some(path) = written.strip_prefix("syslog:") {
                AccessTarget::Syslog(socket(path)?)
            } else if let Some(path) = written.strip_prefix("journald:") {
                AccessTarget::Journald(socket(path)?)
            } else if is_file(written) {
                AccessTarget::File(written.into())
            } else {
                return Err(Unusable {
                    reason: "must be \"log\", \"stdout\", \"stderr\", \"syslog\", \"journald\" or the path of a file"
                        .to_owned(),
                    hint: Some(nearest(written, WORDS.into_iter()).map_or_else(
                        || format!("a file here is \"./{written}\""),
                        |word| format!("did you mean \"{word}\"? A file here is \"./{written}\""),
                    )),
                });
            }
        }
    })
}

/// Whether `access_log.to` names a file: a word alone is more likely to be one that was mistyped.
pub(super) fn is_file(written: &str) -> bool {
    let names_socket = ["syslog:", "journald:"]
        .iter()
        .any(|prefix| written.starts_with(prefix));
    !names_socket && written.contains(['/', '.'])
}

/// Reads `access_log.format`.
pub(super) fn format(written: &str) -> Result<AccessFormat, Unusable> {
    const WORDS: [&str; 4] = ["auto", "json", "combined", "text"];
    match written {
        "auto" => return Ok(AccessFormat::Auto),
        "json" => return Ok(AccessFormat::Json),
        "combined" => return Ok(AccessFormat::Combined),
        "text" => return Ok(AccessFormat::Text),
        _ if written.contains(['{', '}']) => {}
        _ => {
            return Err(Unusable {
                reason: "must be \"auto\", \"json\", \"combined\", \"text\" or a template such as \"{client} {status}\""
                    .to_owned(),
                hint: nearest(written, WORDS.into_iter())
                    .map(|word| format!("did you mean \"{word}\"?")),
            });
        }
    }
    let template = Template::parse(written).map_err(|_error| Unusable {
        reason: "is a template whose braces do not fit together".to_owned(),
        hint: Some(
            "a field is `{name}`; a brace that is meant as such is `\\{` or `\\}`".to_owned(),
        ),
    })?;
    let mut is_quoted = false;
    let mut parts = Vec::with_capacity(template.items.len());
    for item in template.items.iter() {
        parts.push(match item {
            Item::Text(text) => {
                is_quoted ^= text.matches('"').count() % 2 == 1;
                TemplatePart::Text((*text).to_owned())
            }
            Item::Key(name) => {
                let field = AccessField::named(name).ok_or_else(|| unknown(name))?;
                TemplatePart::Field { field, is_quoted }
            }
        });
    }
    Ok(AccessFormat::Template(parts))
}

fn unknown(name: &str) -> Unusable {
    let names = || AccessField::ALL.into_iter().map(AccessField::name);
    let hint = nearest(name, names()).map_or_else(
        || format!("there are {}", names().collect::<Vec<_>>().join(", ")),
        |name| format!("did you mean `{{{name}}}`?"),
    );
    Unusable {
        reason: format!("has an unknown field `{{{name}}}`"),
        hint: Some(hint),
    }
}

fn nearest(name: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    known
        .map(|known| (strsim::jaro_winkler(&name.to_lowercase(), known), known))
        .filter(|(likeness, _)| *likeness > LIKENESS_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}
