//! What one request is called, and the trace that it belongs to.

use std::fmt;
use std::num::NonZeroU128;

use data_encoding::HEXLOWER;

/// So many characters may the id have that a proxy has given a request.
const GIVEN_MAX: usize = 64;

/// What one request is called. It is shown, in logs and answers, as the id that a trusted proxy has given it, or else as 32 hexadecimal
/// digits; on the scoreboard, and so in death reports, it has those in any case. It carries the trace that the request belongs to, so that
/// whoever writes the one can write the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId {
    /// The first 16 digits.
    pub high: u64,
    /// The last 16 digits.
    pub low: u64,
    given: Option<Given>,
    trace: Option<NonZeroU128>,
}

/// In place, so that an id can be copied and is never allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Given {
    text: [u8; GIVEN_MAX],
    length: u8,
}

impl RequestId {
    /// Of these digits.
    pub const fn new(high: u64, low: u64) -> Self {
        Self {
            high,
            low,
            given: None,
            trace: None,
        }
    }

    /// The same, of a request that belongs to this trace; 0 is none.
    #[must_use]
    pub const fn in_trace(self, trace: u128) -> Self {
        Self {
            trace: NonZeroU128::new(trace),
            ..self
        }
    }

    /// The trace that the request belongs to, as it is written: 32 hexadecimal digits, in lower case (W3C Trace Context section 3.2.2.3).
    pub fn trace_id(&self) -> Option<String> {
        self.trace.map(|trace| format!("{trace:032x}"))
    }

    /// The halves of it; 0 is none.
    pub(super) fn trace_halves(self) -> (u64, u64) {
        let trace = self.trace.map_or(0, NonZeroU128::get);
        let half = |half: u128| u64::try_from(half & u128::from(u64::MAX)).unwrap_or_default();
        (half(trace >> u64::BITS), half(trace))
    }

    /// The same, called as a proxy calls it: 1 to 64 letters, digits and `-._~+/=:@`, which is what ids are written with (base64, UUIDs,
    /// `Root=1-...`) and cannot forge a line of a log. None where it is anything else.
    pub fn called(self, id: &[u8]) -> Option<Self> {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=:@".contains(byte);
        if id.is_empty() || !id.iter().all(is_plain) {
            return None;
        }
        let mut text = [0; GIVEN_MAX];
        text.get_mut(..id.len())?.copy_from_slice(id);
        let length = u8::try_from(id.len()).ok()?;
        Some(Self {
            given: Some(Given { text, length }),
            ..self
        })
    }

    /// All 32 digits, in lower case.
    pub fn digits(self) -> [u8; 32] {
        let id = u128::from(self.high) << 64 | u128::from(self.low);
        let mut digits = [0; 32];
        HEXLOWER.encode_mut(&id.to_be_bytes(), &mut digits);
        digits
    }

    /// What `read` makes of it as it is written: as a proxy calls it, else its digits.
    pub fn written<T>(&self, read: impl FnOnce(&[u8]) -> T) -> T {
        let given = self.given.as_ref();
        match given.and_then(|given| given.text.get(..usize::from(given.length))) {
            Some(text) => read(text),
            None => read(&self.digits()),
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.written(|text| formatter.write_str(&String::from_utf8_lossy(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::RequestId;

    #[test]
    fn a_trace_is_written_with_all_its_digits_and_none_is_none() {
        let id = RequestId::new(1, 2);
        assert_eq!(id.trace_id(), None);
        assert_eq!(id.in_trace(0), id);
        let traced = id.in_trace(0xa_0000_0000_0000_000b);
        let written = traced.trace_id();
        assert_eq!(written.as_deref(), Some("000000000000000a000000000000000b"));
        assert_eq!(traced.trace_halves(), (10, 11));
        assert_eq!(traced.to_string(), id.to_string());
    }
}
