//! How much of a text from outside a line has, so that no line is longer than a pipe takes whole.

use crate::config::AccessField;
use crate::sys::output::AT_ONCE;

/// No line is longer, in bytes and with its line break: so much a pipe takes whole or not at all (pipe(7)), and all workers share it.
pub(super) const LINE_MAX: usize = AT_ONCE;

/// So many bytes a field may need when it is written. Together with what stands around them they are less than [`LINE_MAX`].
fn needed_max(field: AccessField) -> usize {
    match field {
        AccessField::Path => 1024,
        AccessField::Query => 512,
        AccessField::UserAgent => 384,
        AccessField::Referer | AccessField::Reason => 256,
        AccessField::Subject | AccessField::Issuer | AccessField::Rule => 192,
        AccessField::Host => 128,
        AccessField::Method => 24,
        AccessField::Time
        | AccessField::RequestId
        | AccessField::Client
        | AccessField::Protocol
        | AccessField::Status
        | AccessField::Bytes
        | AccessField::DurationUs
        | AccessField::AppUs
        | AccessField::QueueUs
        | AccessField::Worker
        | AccessField::Generation
        | AccessField::Refusal
        | AccessField::Tls
        | AccessField::TraceId
        | AccessField::SpanId
        | AccessField::Aborted
        | AccessField::TimeLocal
        | AccessField::RequestLine => 64,
    }
}

/// The start of `text`, as much of it as a line has of this field in any format, not in the middle of a character.
pub(super) fn fit(field: AccessField, text: &[u8]) -> &[u8] {
    let max = needed_max(field);
    let mut needed = 0;
    let end = text.iter().position(|byte| {
        needed += match byte {
            b'"' | b'\\' => 2,
            b' '..=b'~' => 1,
            // `\u001f` in JSON.
            0..=0x1f | 0x7f => 6,
            // `\xff`; what JSON makes of a whole character is never more.
            0x80.. => 4,
        };
        needed > max
    });
    let Some(mut end) = end else {
        return text;
    };
    // At most three bytes of a character follow its first one (RFC 3629 section 3).
    for _ in 0..3 {
        if end > 0 && text.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
            end -= 1;
        }
    }
    text.get(..end).unwrap_or(text)
}
