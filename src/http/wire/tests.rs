//! What passes and what does not, however it arrives.

use http::uri::PathAndQuery;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

const BOUNDS: Bounds = Bounds {
    target: 64,
    headers: 4,
    head: 256,
    body: 1 << 20,
};

/// How many requests had a head in order, what was wrong, and whether something is unfinished, when `bytes` arrive in pieces.
fn shown<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (u64, Option<Malformed>, bool) {
    let mut screen = Screen::new(BOUNDS);
    let mut held = Vec::new();
    for piece in pieces {
        held.extend_from_slice(piece);
        while !held.is_empty() {
            match screen.look(&held) {
                Ok(0) => break,
                Ok(passed) => drop(held.drain(..passed)),
                Err(malformed) => return (screen.requests(), Some(malformed), false),
            }
        }
    }
    let is_unfinished = !held.is_empty() || !screen.is_between();
    (screen.requests(), None, is_unfinished)
}

fn whole(bytes: &[u8]) -> (u64, Option<Malformed>, bool) {
    shown([bytes])
}

fn chunked(body: &str) -> (u64, Option<Malformed>, bool) {
    whole(format!("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n{body}").as_bytes())
}

#[test]
fn requests_follow_one_another_whatever_their_bodies() {
    let all = concat!(
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nGET /",
        "POST / HTTP/1.1\r\ntransfer-encoding: Chunked\r\n\r\n5;a=b\r\nhello\r\n0A\r\n0123456789\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n000\r\nx-sum: 1\r\n\r\n",
        "\r\nGET / HTTP/1.0\r\ncontent-length: 0\r\n\r\n",
    );
    assert_eq!(whole(all.as_bytes()), (5, None, false));
    assert_eq!(shown(all.as_bytes().chunks(1)), (5, None, false));
}

#[test]
fn a_head_passes_whole_and_a_body_as_it_comes() {
    let mut screen = Screen::new(BOUNDS);
    let head = b"POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\n";
    assert_eq!(screen.look(&head[..head.len() - 1]), Ok(0));
    assert!(screen.is_between());
    assert_eq!(screen.look(head), Ok(head.len()));
    assert!(!screen.is_between());
    assert_eq!(screen.look(b"ab"), Ok(2));
    assert_eq!(screen.look(b"cGET / HTTP/1.1\r\n\r\n"), Ok(1));
    assert!(screen.is_between());
}

#[test]
fn what_is_good_passes_before_what_is_not() {
    let mut screen = Screen::new(BOUNDS);
    let head = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
    let all = format!("{head}x\r\n");
    assert_eq!(screen.look(all.as_bytes()), Ok(head.len()));
    assert_eq!(screen.look(b"x\r\n"), Err(Malformed::ChunkSize));
}

#[test]
fn a_request_line_is_judged_as_far_as_it_has_come() {
    let wrong = |bytes: &str| whole(bytes.as_bytes()).1;
    let long = "a".repeat(65);
    assert_eq!(wrong(&"A".repeat(33)), Some(Malformed::MethodTooLong));
    assert_eq!(
        wrong(&format!("GET /{long}")),
        Some(Malformed::TargetTooLong)
    );
    assert_eq!(
        wrong(&format!("GET /{long} HTTP/1.1\r\n")),
        Some(Malformed::TargetTooLong)
    );
    assert_eq!(wrong("GET / HTTP/2"), None);
    assert_eq!(wrong("GET / HTTP/2.0\r\n"), Some(Malformed::Version));
    assert_eq!(wrong("GET / HTTP/22.0\r\n"), Some(Malformed::VersionSyntax));
    assert_eq!(
        wrong("GET / HTTP/2.0aaaaaaaaaaaaaaaaaaa"),
        Some(Malformed::VersionSyntax)
    );
    assert_eq!(wrong("\u{16}\u{3}\u{1}"), Some(Malformed::RequestLine));
}

#[test]
fn a_head_is_bounded_in_length_and_fields() {
    let fields = |count| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(count));
    assert_eq!(whole(fields(4).as_bytes()).0, 1);
    assert_eq!(
        whole(fields(5).as_bytes()).1,
        Some(Malformed::TooManyFields)
    );
    let long = |length: usize| format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(length - 23));
    assert_eq!(whole(long(256).as_bytes()).0, 1);
    assert_eq!(whole(long(257).as_bytes()).1, Some(Malformed::HeadTooLarge));
    assert_eq!(
        whole(&[b"GET / HTTP/1.1\r\na: ".as_slice(), &[b'b'; 256]].concat()).1,
        Some(Malformed::HeadTooLarge)
    );
    let many = Bounds {
        headers: 1000,
        head: 1 << 16,
        ..BOUNDS
    };
    assert_eq!(
        Screen::new(many).look(fields(1000).as_bytes()),
        Ok(fields(1000).len())
    );
}

#[test]
fn chunks_are_bounded() {
    assert_eq!(chunked("100001\r\n").1, Some(Malformed::ChunkTooLarge));
    assert_eq!(
        chunked("ffffffffffffffffff\r\n").1,
        Some(Malformed::ChunkSize)
    );
    assert_eq!(chunked(&"0".repeat(65)).1, Some(Malformed::ChunkSize));
    let extension = format!("1;{}\r\n", "a".repeat(9000));
    assert_eq!(
        chunked(&format!("{extension}b\r\n{extension}")).1,
        Some(Malformed::ChunkExtension)
    );
    assert_eq!(
        chunked(&format!("0\r\na: {}", "b".repeat(256))).1,
        Some(Malformed::HeadTooLarge)
    );
    assert_eq!(
        chunked(&format!("0\r\n{}\r\n", "a: b\r\n".repeat(5))).1,
        Some(Malformed::TooManyFields)
    );
}

/// hyper would refuse such a target without a word.
#[test]
fn whatever_may_stand_in_a_target_hyper_can_read() {
    for byte in 0..=u8::MAX {
        for start in ["/", "/?"] {
            let target = [start.as_bytes(), &[byte]].concat();
            let request = [b"GET ", target.as_slice(), b" HTTP/1.1\r\n\r\n"].concat();
            if whole(&request).1.is_none() {
                let read = PathAndQuery::try_from(target.as_slice()).unwrap();
                assert_eq!(read.as_str().as_bytes(), target);
            }
        }
    }
}

/// What requests are made of, well and badly.
fn bytes_of_requests() -> impl Strategy<Value = Vec<u8>> {
    const PARTS: [&[u8]; 34] = [
        b"GET / HTTP/1.1\r\n",
        b"POST /a?b HTTP/1.1\r\n",
        b"GET http://a/ HTTP/1.0\r\n",
        b"OPTIONS * HTTP/1.1\r\n",
        b"GET / HTTP/1.2\r\n",
        b"\r\n",
        b"\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"host: a\r\n",
        b"a : b\r\n",
        b" ",
        b"\t",
        b"content-length: 3\r\n",
        b"content-length: 0\r\n",
        b"content-length: +3\r\n",
        b"transfer-encoding: chunked\r\n",
        b"transfer-encoding: chunked\r\n",
        b"transfer-encoding: gzip\r\n",
        b"abc",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"0\r\n",
        b"3;a=b\r\nabc\r\n",
        b"3 ;\r\n",
        b"x",
        b"0",
        b":",
        b";",
        b"#",
        b"\0",
        b"\x80",
        b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ];
    let part = prop::sample::select(PARTS.as_slice());
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn it_makes_no_difference_how_bytes_arrive(bytes in bytes_of_requests(), cuts in prop::collection::vec(any::<Index>(), 0..6)) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
        let at_once = whole(&bytes);
        prop_assert_eq!(shown(pieces), at_once);
        prop_assert_eq!(shown(bytes.chunks(1)), at_once);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
        whole(&bytes);
        chunked(&String::from_utf8_lossy(&bytes));
    }

    /// hyper, which reads with the same parser, finds the same end of a head.
    #[test]
    fn a_head_that_passes_is_one_that_hyper_reads(bytes in bytes_of_requests()) {
        let mut screen = Screen::new(BOUNDS);
        if let Ok(passed @ 1..) = screen.look(&bytes) {
            let mut fields = [httparse::EMPTY_HEADER; 100];
            let mut request = httparse::Request::new(&mut fields);
            let length = request.parse(&bytes[..passed]).unwrap().unwrap();
            prop_assert!(length <= passed);
        }
    }
}
