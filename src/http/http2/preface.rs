//! Whether a connection begins as HTTP/2 does where the client knows without asking (RFC 9113 section 3.3).

/// With what every client of HTTP/2 begins (RFC 9113 section 3.4). No request of HTTP/1 begins so.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the first bytes of a connection say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// It may become HTTP/2: more must arrive.
    Unknown,
    /// It is HTTP/2.
    Http2,
    /// It is HTTP/1, if it is anything.
    Http1,
}

impl Opening {
    /// Of what has arrived on a connection until now.
    pub fn of(bytes: &[u8]) -> Self {
        if bytes.starts_with(PREFACE) {
            Self::Http2
        } else if PREFACE.starts_with(bytes) {
            Self::Unknown
        } else {
            Self::Http1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_preface_makes_it_http_2() {
        for length in 0..PREFACE.len() {
            assert_eq!(Opening::of(&PREFACE[..length]), Opening::Unknown);
        }
        assert_eq!(Opening::of(PREFACE), Opening::Http2);
        assert_eq!(Opening::of(&[PREFACE, b"\0"].concat()), Opening::Http2);
        for other in [
            &b"GET / HTTP/1.1"[..],
            b"PRI / ",
            b"PRI * HTTP/1.1\r\n",
            b"\x16",
        ] {
            assert_eq!(Opening::of(other), Opening::Http1);
        }
    }
}
