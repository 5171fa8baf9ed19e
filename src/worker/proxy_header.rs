//! What a PROXY header says, of version 1 or 2 (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>), and where it ends.

use std::io;
use std::net::SocketAddr;

use memchr::memchr;
use ppp::{v1, v2};

use crate::channel;

/// The longest header of version 1 (section 2.1), in bytes.
const LINE_MAX: usize = 107;

/// What every header has at least, of whichever version, in bytes.
const MIN: usize = 12;

/// What a header of version 2 has before its addresses (section 2.2), in bytes.
const FIXED: usize = 16;

/// What may follow that, in bytes: addresses, and what a proxy adds to them, a client's certificate perhaps.
const REST_MAX: usize = 4096;

/// How a header of version 1 begins, and how one that tells nothing of the client (section 2.1).
const PREFIX: &[u8] = b"PROXY ";
const UNKNOWN: &[u8] = b"PROXY UNKNOWN";

/// What a client without an address is called on the way to another worker.
const UNIX: &str = "unix";

/// `PP2_TYPE_SSL` (section 2.2.5), and `PP2_CLIENT_SSL` in its first byte.
const SSL: u8 = 0x20;
const CLIENT_SSL: u8 = 1;

/// What a proxy has said of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) source: Source,
    /// The proxy has taken off TLS.
    pub(super) is_https: bool,
}

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// From the proxy itself, or it does not know (`LOCAL`, `UNKNOWN`).
    Peer,
    /// From a client that has no address: it came over a Unix socket.
    Unix,
    /// From here.
    Address(SocketAddr),
}

impl Announced {
    /// For the worker that goes on with the connection.
    pub(super) fn to_pass(self) -> channel::Announced {
        channel::Announced {
            source: match self.source {
                Source::Peer => None,
                Source::Unix => Some(UNIX.to_owned()),
                Source::Address(address) => Some(address.to_string()),
            },
            is_https: self.is_https,
        }
    }

    /// What another worker has passed on.
    ///
    /// # Errors
    /// It is no address.
    pub(super) fn of_passed(passed: &channel::Announced) -> io::Result<Self> {
        let source = match passed.source.as_deref() {
            None => Source::Peer,
            Some(UNIX) => Source::Unix,
            Some(address) => Source::Address(address.parse().map_err(io::Error::other)?),
        };
        Ok(Self {
            source,
            is_https: passed.is_https,
        })
    }
}

/// How far a header is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing is missing.
    Whole(Announced),
    /// So many bytes more belong to it.
    Bytes(usize),
    /// So many bytes more at most belong to it, up to the end of the line.
    Line(usize),
}

/// Why this is no header; fit for a log.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("it does not begin with a PROXY header")]
    Missing,
    #[error("its PROXY header is too long")]
    TooLong,
    #[error("its PROXY header, version 1, is malformed: {0}")]
    V1(v1::BinaryParseError),
    #[error("its PROXY header, version 1, is malformed")]
    Line,
    #[error("its PROXY header, version 2, is malformed: {0}")]
    V2(v2::ParseError),
}

/// Reads the first bytes of a connection, which must be those of a header and no more.
pub(super) fn read(bytes: &[u8]) -> Result<Progress, Malformed> {
    let missing = FIXED.saturating_sub(bytes.len());
    match v2::Header::try_from(bytes) {
        Ok(header) => Ok(Progress::Whole(told(&header))),
        // The shortest of version 1 is shorter.
        Err(v2::ParseError::Incomplete(_)) if bytes.len() < MIN => {
            Ok(Progress::Bytes(MIN - bytes.len()))
        }
        Err(v2::ParseError::Incomplete(_)) => Ok(Progress::Bytes(missing)),
        Err(v2::ParseError::Partial(_, length)) if length > REST_MAX => Err(Malformed::TooLong),
        Err(v2::ParseError::Partial(have, length)) => Ok(Progress::Bytes(length - have)),
        Err(v2::ParseError::Prefix) => read_line(bytes),
        Err(error) => Err(Malformed::V2(error)),
    }
}

fn read_line(bytes: &[u8]) -> Result<Progress, Malformed> {
    let begun = bytes.len().min(PREFIX.len());
    if bytes.get(..begun) != PREFIX.get(..begun) {
        return Err(Malformed::Missing);
    }
    if let Some(end) = memchr(b'\n', bytes) {
        let is_all = end + 1 == bytes.len() && bytes.len() <= LINE_MAX;
        return if is_all {
            whole_line(bytes).map(Progress::Whole)
        } else {
            Err(Malformed::Line)
        };
    }
    match LINE_MAX.saturating_sub(bytes.len()) {
        0 => Err(Malformed::TooLong),
        _ if bytes.len() < MIN => Ok(Progress::Bytes(MIN - bytes.len())),
        left => Ok(Progress::Line(left)),
    }
}

fn whole_line(line: &[u8]) -> Result<Announced, Malformed> {
    let told_nothing = Announced {
        source: Source::Peer,
        is_https: false,
    };
    // Whatever follows the word must be ignored, which the library does with four words.
    if let Some(rest) = line.strip_prefix(UNKNOWN)
        && rest.ends_with(b"\r\n")
        && rest
            .first()
            .is_some_and(|next| matches!(next, b' ' | b'\r'))
    {
        return Ok(told_nothing);
    }
    // The library takes `+80` for a port.
    if line.contains(&b'+') {
        return Err(Malformed::Line);
    }
    let header = v1::Header::try_from(line).map_err(Malformed::V1)?;
    // It ends with the first CR, and so must the line.
    if header.header.len() != line.len() {
        return Err(Malformed::Line);
    }
    let source = match header.addresses {
        v1::Addresses::Unknown => return Ok(told_nothing),
        v1::Addresses::Tcp4(it) => SocketAddr::from((it.source_address, it.source_port)),
        v1::Addresses::Tcp6(it) => SocketAddr::from((it.source_address, it.source_port)),
    };
    Ok(Announced {
        source: at(source),
        is_https: false,
    })
}

fn told(header: &v2::Header<'_>) -> Announced {
    let is_stream = header.protocol == v2::Protocol::Stream;
    let source = match header.addresses {
        // Section 2.2: the addresses of such a connection must be discarded, and those of a protocol that cannot be here.
        _ if header.command == v2::Command::Local || !is_stream => Source::Peer,
        v2::Addresses::Unspecified => Source::Peer,
        v2::Addresses::Unix(_) => Source::Unix,
        v2::Addresses::IPv4(it) => at((it.source_address, it.source_port).into()),
        v2::Addresses::IPv6(it) => at((it.source_address, it.source_port).into()),
    };
    let came_encrypted = |value: &[u8]| value.first().is_some_and(|bits| bits & CLIENT_SSL != 0);
    // What else the proxy adds counts for nothing, well-formed or not.
    let mut more = header.tlvs().map_while(Result::ok);
    Announced {
        source,
        is_https: header.command == v2::Command::Proxy
            && more.any(|it| it.kind == SSL && came_encrypted(&it.value)),
    }
}

fn at(address: SocketAddr) -> Source {
    Source::Address(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> Source {
        Source::Address(text.parse().unwrap())
    }

    /// A header of version 2: the byte of version and command, that of family and protocol, and the rest.
    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [v2::PROTOCOL_PREFIX, &[command, family], &length, rest].concat()
    }

    const IPV4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x34, 1, 187];

    fn read_all(bytes: &[u8]) -> Result<Announced, Malformed> {
        match read(bytes)? {
            Progress::Whole(announced) => Ok(announced),
            Progress::Bytes(_) | Progress::Line(_) => panic!("unfinished: {bytes:?}"),
        }
    }

    #[test]
    fn a_line_names_the_client_or_says_that_nobody_knows_it() {
        for (line, source) in [
            (
                "PROXY TCP4 192.0.2.7 10.0.0.1 4660 443\r\n",
                address("192.0.2.7:4660"),
            ),
            (
                "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
                address("255.255.255.255:65535"),
            ),
            (
                "PROXY TCP6 2001:db8::7 ::1 0 443\r\n",
                address("[2001:db8::7]:0"),
            ),
            (
                "PROXY TCP6 ::ffff:192.0.2.7 ::1 1 443\r\n",
                address("192.0.2.7:1"),
            ),
            ("PROXY UNKNOWN\r\n", Source::Peer),
            ("PROXY UNKNOWN ffff::1 ::1 65535 65535\r\n", Source::Peer),
            (
                "PROXY UNKNOWN whatever it may be, and however many words\r\n",
                Source::Peer,
            ),
        ] {
            assert_eq!(read_all(line.as_bytes()).unwrap().source, source, "{line}");
        }
    }

    #[test]
    fn lines_that_are_no_headers_are_refused() {
        for line in [
            "PROXY \r\n",
            "PROXY TCP4\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 4660 443\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 4660\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 4660 443 \r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 4660 443 1\r\n",
            "PROXY TCP4  192.0.2.7 10.0.0.1 4660 443\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 +466 443\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 04660 443\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 65536 443\r\n",
            "PROXY TCP4 192.0.2.256 10.0.0.1 4660 443\r\n",
            "PROXY TCP4 192.0.2.07 10.0.0.1 4660 443\r\n",
            "PROXY TCP4 ::1 ::1 4660 443\r\n",
            "PROXY TCP6 192.0.2.7 10.0.0.1 4660 443\r\n",
            "PROXY TCP5 192.0.2.7 10.0.0.1 4660 443\r\n",
            "PROXY UDP4 192.0.2.7 10.0.0.1 4660 443\r\n",
            "PROXY tcp4 192.0.2.7 10.0.0.1 4660 443\r\n",
            "PROXY TCP4 192.0.2.7\r10.0.0.1 4660 443\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY UNKNOWN\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 4660 443\r\nG",
        ] {
            assert!(read(line.as_bytes()).is_err(), "{line}");
        }
        for line in [
            "GET / HTTP/1.1\r\n",
            "proxy ",
            "\r\n\r\n\0\r\nQUIT\r",
            "PRI * ",
            "\x16\x03",
        ] {
            assert_eq!(read(line.as_bytes()), Err(Malformed::Missing), "{line}");
        }
        let long = format!("PROXY UNKNOWN {}", "x".repeat(LINE_MAX));
        assert_eq!(read(&long.as_bytes()[..LINE_MAX]), Err(Malformed::TooLong));
        let broken = [b"PROXY TCP4 ".as_slice(), &[0xff, 0xfe], b"\r\n"].concat();
        assert!(matches!(read(&broken), Err(Malformed::V1(_))));
    }

    #[test]
    fn a_header_of_version_2_names_the_client_or_does_not() {
        let ipv6 = [
            &[0x20, 1, 0xd, 0xb8],
            &[0; 11][..],
            &[7],
            &[0; 16],
            &[0, 80, 1, 187],
        ]
        .concat();
        let with_more = [IPV4.as_slice(), &[4, 0, 1, 9]].concat();
        for (header, source) in [
            (v2(0x21, 0x11, &IPV4), address("192.0.2.7:4660")),
            (v2(0x21, 0x11, &with_more), address("192.0.2.7:4660")),
            (v2(0x21, 0x21, &ipv6), address("[2001:db8::7]:80")),
            (v2(0x21, 0x31, &[b'/'; 216]), Source::Unix),
            (v2(0x21, 0x00, &[]), Source::Peer),
            (v2(0x21, 0x12, &IPV4), Source::Peer),
            (v2(0x21, 0x10, &IPV4), Source::Peer),
            (v2(0x20, 0x00, &[]), Source::Peer),
            (v2(0x20, 0x11, &IPV4), Source::Peer),
            (
                v2(
                    0x21,
                    0x11,
                    &[IPV4.as_slice(), &vec![0; REST_MAX - 12]].concat(),
                ),
                address("192.0.2.7:4660"),
            ),
        ] {
            assert_eq!(read_all(&header).unwrap().source, source, "{header:?}");
        }
    }

    #[test]
    fn what_was_announced_is_passed_on_whole() {
        for source in [
            Source::Peer,
            Source::Unix,
            address("192.0.2.7:1"),
            address("[2001:db8::7]:65535"),
        ] {
            for is_https in [false, true] {
                let announced = Announced { source, is_https };
                assert_eq!(
                    Announced::of_passed(&announced.to_pass()).unwrap(),
                    announced
                );
            }
        }
    }

    #[test]
    fn whether_the_proxy_has_taken_off_tls_is_read_of_version_2() {
        let with = |command, more: &[u8]| {
            let rest = [IPV4.as_slice(), more].concat();
            read_all(&v2(command, 0x11, &rest)).unwrap().is_https
        };
        assert!(with(0x21, &[0x20, 0, 5, 1, 0, 0, 0, 0]));
        assert!(with(0x21, &[4, 0, 0, 0x20, 0, 5, 5, 0, 0, 0, 0]));
        for more in [
            &[0x20, 0, 5, 0, 0, 0, 0, 0][..],
            &[0x20, 0, 0],
            &[0x20, 0, 5, 1],
            &[0x21, 0, 1, 1],
            &[0x20],
        ] {
            assert!(!with(0x21, more), "{more:?}");
        }
        assert!(!with(0x20, &[0x20, 0, 5, 1, 0, 0, 0, 0]));
    }

    #[test]
    fn headers_of_version_2_that_are_none_are_refused() {
        for header in [
            v2(0x11, 0x11, &IPV4),
            v2(0x31, 0x11, &IPV4),
            v2(0x22, 0x11, &IPV4),
            v2(0x21, 0x41, &IPV4),
            v2(0x21, 0x13, &IPV4),
            v2(0x21, 0x11, &IPV4[..11]),
            v2(0x21, 0x21, &IPV4),
            v2(0x21, 0x31, &IPV4),
        ] {
            assert!(matches!(read(&header), Err(Malformed::V2(_))), "{header:?}");
        }
        let announces_too_much = v2(0x21, 0x11, &vec![0; REST_MAX + 1]);
        assert_eq!(read(&announces_too_much[..FIXED]), Err(Malformed::TooLong));
    }

    proptest! {
        /// However little arrives at a time: what is asked for never reaches beyond the header.
        #[test]
        fn no_byte_beyond_the_header_is_asked_for(
            index in 0_usize..6, chunk in 1_usize..40, after in "[ -~\r\n]{0,40}",
        ) {
            let headers = [
                b"PROXY UNKNOWN\r\n".to_vec(),
                b"PROXY UNKNOWN a b\r\n".to_vec(),
                b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 443\r\n".to_vec(),
                v2(0x20, 0, &[]),
                v2(0x21, 0x11, &IPV4),
                v2(0x21, 0x31, &[b'/'; 300]),
            ];
            let all = [headers[index].as_slice(), after.as_bytes()].concat();
            let mut have = 0;
            loop {
                let wanted = match read(&all[..have]).unwrap() {
                    Progress::Whole(_) => break,
                    Progress::Bytes(count) => count,
                    Progress::Line(max) => {
                        let rest = &all[have..];
                        let end = rest.iter().position(|byte| *byte == b'\n').unwrap() + 1;
                        prop_assert!(end <= max);
                        end
                    }
                };
                have += wanted.min(chunk);
                prop_assert!(have <= headers[index].len());
            }
            prop_assert_eq!(have, headers[index].len());
        }

        #[test]
        fn whatever_arrives_is_judged(bytes in proptest::collection::vec(any::<u8>(), 0..300), is_v2 in any::<bool>()) {
            let prefix: &[u8] = if is_v2 { v2::PROTOCOL_PREFIX } else { PREFIX };
            for bytes in [bytes.clone(), [prefix, &bytes].concat()] {
                drop(read(&bytes));
            }
        }
    }
}
