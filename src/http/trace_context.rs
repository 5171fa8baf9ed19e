//! The trace that a request belongs to, as W3C Trace Context has it (<https://www.w3.org/TR/trace-context-1/>): taken over from whom it may
//! come, else begun here, and passed on to the application.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Request};

use crate::config::TraceContexts;
use crate::scoreboard::RequestId;
use crate::telemetry::{Recorder, Span};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The length of a `traceparent` of version 00, which later versions begin with.
const LENGTH: usize = 55;

/// Flags that are passed on: sampled, and that the id of the trace is random (level 2). Others mean nothing yet.
const FLAGS: u8 = 0b11;

/// Whoever records spans records this trace.
const SAMPLED: u8 = 0b01;

/// So many bytes and members of a `tracestate` are passed on (sections 3.3.1.1 and 3.3.1.5).
const STATE_MAX: usize = 512;
const MEMBERS_MAX: usize = 32;

/// A request extension: the trace that the request belongs to, and the span that it is in it. There where `http.trace_context` is on. The
/// application gets the same in `traceparent`, so that spans of its own are children of this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    parent_id: Option<u64>,
    flags: u8,
}

impl TraceContext {
    /// What the trace is called: 32 hexadecimal digits.
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// What this request is called in it: 16 hexadecimal digits.
    pub fn span_id(&self) -> String {
        format!("{:016x}", self.span_id)
    }

    /// What whoever sent the request is called in it, as it says; none where the trace begins here.
    pub fn parent_id(&self) -> Option<String> {
        self.parent_id.map(|id| format!("{id:016x}"))
    }

    /// Whether whoever records spans shall record those of this trace.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Tells a span what it is called.
    pub(super) fn name(&self, span: &mut Span) {
        span.trace_id = self.trace_id;
        span.span_id = self.span_id;
        span.parent_id = self.parent_id;
        span.flags = self.flags;
    }

    /// Of a request with these fields. Afterwards they say this, and nothing that cannot be believed. `samples`: whether a trace that begins
    /// here is recorded.
    fn take(
        fields: &mut HeaderMap,
        who: TraceContexts,
        is_proxy: bool,
        samples: impl Fn(u128) -> bool,
    ) -> Option<Self> {
        let is_believed = match who {
            TraceContexts::Off => return None,
            TraceContexts::Trusted => is_proxy,
            TraceContexts::All => true,
        };
        let parent = single(fields).and_then(|value| read(value.as_bytes()));
        let parent = parent.filter(|_| is_believed);
        // Without its parent it says nothing (section 3.3).
        if parent.is_none() || !has_good_state(fields) {
            fields.remove(TRACESTATE);
        }
        let span_id = random(getrandom::u64);
        let context = if let Some((trace_id, parent_id, flags)) = parent {
            Self {
                trace_id,
                span_id,
                parent_id: Some(parent_id),
                flags: flags & FLAGS,
            }
        } else {
            let half = || u128::from(random(getrandom::u64));
            let trace_id = (half() << 64) | half();
            let sampled = if samples(trace_id) { SAMPLED } else { 0 };
            Self {
                trace_id,
                span_id,
                parent_id: None,
                flags: (FLAGS & !SAMPLED) | sampled,
            }
        };
        match HeaderValue::try_from(context.to_string()) {
            Ok(value) => drop(fields.insert(TRACEPARENT, value)),
            Err(_) => drop(fields.remove(TRACEPARENT)),
        }
        Some(context)
    }
}

impl fmt::Display for TraceContext {
    /// As a `traceparent`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            trace_id,
            span_id,
            flags,
            ..
        } = self;
        write!(formatter, "00-{trace_id:032x}-{span_id:016x}-{flags:02x}")
    }
}

/// Has a request be part of a trace, where it shall be one; its id tells of it then.
pub(super) fn begin<B>(
    request: &mut Request<B>,
    id: RequestId,
    (who, recorder): (TraceContexts, Option<&Arc<dyn Recorder>>),
    is_proxy: bool,
) -> RequestId {
    let samples = |trace_id| recorder.is_none_or(|recorder| recorder.samples(trace_id));
    let Some(context) = TraceContext::take(request.headers_mut(), who, is_proxy, samples) else {
        return id;
    };
    request.extensions_mut().insert(context);
    id.in_trace(context.trace_id)
}

/// Never 0, which would be none.
fn random<E>(number: impl Fn() -> Result<u64, E>) -> u64 {
    // A kernel without random numbers does not exist here (getrandom(2)).
    number().unwrap_or_default().max(1)
}

/// The field, where it is there once.
fn single(fields: &HeaderMap) -> Option<&HeaderValue> {
    let mut values = fields.get_all(TRACEPARENT).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// Trace, parent and flags (section 3.2.2): digits of a fixed number, lower case, none of the ids 0. Of a later version what this one knows.
fn read(value: &[u8]) -> Option<(u128, u64, u8)> {
    let known = value.get(..LENGTH)?;
    let text = std::str::from_utf8(known).ok()?;
    let is_written_well = text.bytes().enumerate().all(|(place, byte)| match place {
        2 | 35 | 52 => byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    });
    if !is_written_well {
        return None;
    }
    let digits = |from: usize, to: usize| u128::from_str_radix(text.get(from..to)?, 16).ok();
    let follows = value.get(LENGTH);
    let is_good = match digits(0, 2)? {
        0 => follows.is_none(),
        0xff => false,
        _ => follows.is_none_or(|byte| *byte == b'-'),
    };
    let trace_id = digits(3, 35)?;
    let parent_id = u64::try_from(digits(36, 52)?).ok()?;
    let flags = u8::try_from(digits(53, 55)?).ok()?;
    (is_good && trace_id != 0 && parent_id != 0).then_some((trace_id, parent_id, flags))
}

/// Whether all of it is a list as section 3.3 has it, and no longer than may be passed on.
fn has_good_state(fields: &HeaderMap) -> bool {
    let mut names = Vec::new();
    let mut length = 0;
    for value in fields.get_all(TRACESTATE) {
        let Ok(text) = value.to_str() else {
            return false;
        };
        length += text.len() + 1;
        for member in text
            .split(',')
            .map(|member| member.trim_matches([' ', '\t']))
        {
            // An empty one is allowed, and is none.
            if member.is_empty() {
                continue;
            }
            match member.split_once('=') {
                Some((name, value))
                    if is_name(name) && is_value(value) && !names.contains(&name) =>
                {
                    names.push(name);
                }
                Some(_) | None => return false,
            }
        }
    }
    length <= STATE_MAX + 1 && names.len() <= MEMBERS_MAX
}

fn is_name(name: &str) -> bool {
    let begins_well =
        name.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit());
    let is_allowed = |byte: u8| {
        byte.is_ascii_lowercase()
            || byte.is_ascii_digit()
            || matches!(byte, b'_' | b'-' | b'*' | b'/' | b'@')
    };
    begins_well && name.len() <= 256 && name.bytes().all(is_allowed)
}

fn is_value(value: &str) -> bool {
    let is_allowed = |byte: u8| matches!(byte, 0x20..=0x7e) && byte != b'=';
    !value.is_empty() && value.len() <= 256 && value.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn take(fields: &mut HeaderMap, who: TraceContexts, is_proxy: bool) -> Option<TraceContext> {
        TraceContext::take(fields, who, is_proxy, |_| true)
    }

    fn fields(given: &[(HeaderName, &str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in given {
            fields.append(name, value.parse().expect("a value"));
        }
        fields
    }

    #[test]
    fn a_trace_goes_on_and_the_application_is_told_of_this_span() {
        let mut fields = fields(&[
            (TRACEPARENT, PARENT),
            (TRACESTATE, "a=1"),
            (TRACESTATE, "b@c=x y"),
        ]);
        let context = take(&mut fields, TraceContexts::All, false).expect("on");
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.parent_id().as_deref(), Some("00f067aa0ba902b7"));
        assert!(context.is_sampled());
        let told = format!("00-{}-{}-01", context.trace_id(), context.span_id());
        assert_eq!(fields[TRACEPARENT], told.as_str());
        assert_ne!(context.span_id(), "00f067aa0ba902b7");
        assert_eq!(fields.get_all(TRACESTATE).iter().count(), 2);
    }

    #[test]
    fn what_is_not_believed_or_not_written_well_begins_another_trace() {
        let not_good = [
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "",
        ];
        let cases = not_good.map(|text| (text, TraceContexts::All, false));
        for (text, who, is_proxy) in
            cases
                .into_iter()
                .chain([(PARENT, TraceContexts::Trusted, false)])
        {
            let mut fields = fields(&[(TRACEPARENT, text), (TRACESTATE, "a=1")]);
            let context = take(&mut fields, who, is_proxy).expect("on");
            assert_ne!(
                context.trace_id(),
                "4bf92f3577b34da6a3ce929d0e0e4736",
                "{text}"
            );
            assert_eq!(context.parent_id(), None);
            assert_eq!(fields[TRACEPARENT], context.to_string().as_str());
            assert!(!fields.contains_key(TRACESTATE));
        }
        let mut twice = fields(&[(TRACEPARENT, PARENT), (TRACEPARENT, PARENT)]);
        let context = take(&mut twice, TraceContexts::All, true).expect("on");
        assert_eq!(context.parent_id(), None);
        let mut proxied = fields(&[(TRACEPARENT, PARENT)]);
        let context = take(&mut proxied, TraceContexts::Trusted, true).expect("on");
        assert!(context.parent_id().is_some());
    }

    #[test]
    fn of_a_later_version_what_is_known_counts() {
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff-what comes";
        let mut fields = fields(&[(TRACEPARENT, later)]);
        let context = take(&mut fields, TraceContexts::All, false).expect("on");
        assert!(context.to_string().ends_with("-03"), "{context}");
        assert!(context.parent_id().is_some());
    }

    #[test]
    fn a_state_that_is_none_is_not_passed_on_and_the_trace_goes_on() {
        let many = (0..33)
            .map(|number| format!("a{number}=1"))
            .collect::<Vec<_>>()
            .join(",");
        let long = format!("a={}", "x".repeat(256));
        for state in [
            "a",
            "A=1",
            "a=1,a=2",
            "=1",
            "a=b=c",
            &many,
            &format!("{long},b={}", "y".repeat(256)),
        ] {
            let mut fields = fields(&[(TRACEPARENT, PARENT), (TRACESTATE, state)]);
            let context = take(&mut fields, TraceContexts::All, false).expect("on");
            assert!(context.parent_id().is_some());
            assert!(!fields.contains_key(TRACESTATE), "{state}");
        }
        for state in ["", "a=1, ,b=2", &long] {
            let mut fields = fields(&[(TRACEPARENT, PARENT), (TRACESTATE, state)]);
            let _context = take(&mut fields, TraceContexts::All, false);
            assert!(fields.contains_key(TRACESTATE), "{state}");
        }
    }

    #[test]
    fn a_trace_that_begins_here_is_sampled_where_it_is_recorded_and_another_as_its_parent_says() {
        let sampled = |parent: &str, samples: bool| {
            let mut fields = fields(&[(TRACEPARENT, parent)]);
            let context =
                TraceContext::take(&mut fields, TraceContexts::All, false, |_| samples).unwrap();
            context.is_sampled()
        };
        assert!(sampled("", true) && !sampled("", false));
        assert!(sampled(PARENT, false));
        let not_sampled = PARENT.replace("-01", "-00");
        assert!(!sampled(&not_sampled, true));
    }

    #[test]
    fn where_it_is_off_nothing_is_touched() {
        let mut fields = fields(&[(TRACEPARENT, "anything")]);
        assert_eq!(take(&mut fields, TraceContexts::Off, true), None);
        assert_eq!(fields[TRACEPARENT], "anything");
    }

    proptest! {
        #[test]
        fn whatever_comes_the_application_gets_a_good_one(parent in "[0-9a-f-]{0,60}|\\PC{0,60}", state in "\\PC{0,40}") {
            let mut fields = HeaderMap::new();
            fields.extend(HeaderValue::from_str(&parent).ok().map(|value| (TRACEPARENT, value)));
            fields.extend(HeaderValue::from_str(&state).ok().map(|value| (TRACESTATE, value)));
            let context = take(&mut fields, TraceContexts::All, false).expect("on");
            let (trace_id, span_id, _) = read(fields[TRACEPARENT].as_bytes()).expect("a good one");
            prop_assert_eq!((trace_id, span_id), (context.trace_id, context.span_id));
        }
    }
}
