//! Every line is one line, whatever its fields hold, and says what they hold.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use http::Version;
use proptest::prelude::*;
use serde_json::Value;

use super::bounds::{LINE_MAX, fit};
use super::*;
use crate::config::{AccessField, TemplatePart};

const TIME: Duration = Duration::from_millis(1_764_242_869_123);

fn log(format: AccessFormat, envelope: Envelope) -> AccessLog {
    AccessLog {
        format,
        envelope,
        has_query: true,
        secrets: BTreeSet::from(["access_token".to_owned()]),
        skip: vec!["/readyz".to_owned()],
        rules: vec!["auth.rule[0]: /**".to_owned()],
        worker: 3,
        generation: 7,
    }
}

fn plain(format: AccessFormat) -> AccessLog {
    log(format, Envelope::Line { in_log: false })
}

fn line(log: &AccessLog, entry: &Entry<'_>) -> String {
    let mut buffer = Vec::new();
    log.append(entry, &mut buffer);
    String::from_utf8(buffer).expect("lines are UTF-8")
}

fn entry<'a>() -> Entry<'a> {
    Entry {
        time: TIME,
        request_id: &"00000000000000070000000000000001",
        client: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7))),
        method: b"GET",
        host: Some(b"api.example"),
        path: b"/a",
        query: Some(b"x=1"),
        version: Some(Version::HTTP_2),
        status: 200,
        bytes: 512,
        duration: Duration::from_micros(1500),
        app: Duration::from_micros(1200),
        queued: Duration::ZERO,
        subject: Some("alice"),
        issuer: Some("https://id.example"),
        rule: Some("auth.rule[0]: /**"),
        refusal: None,
        reason: None,
        user_agent: Some(b"curl/8.0"),
        referer: None,
        tls: Some("1.3"),
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736"),
        span_id: None,
        aborted: false,
    }
}

#[test]
fn a_line_of_json_has_every_field_in_its_order() {
    assert_eq!(
        line(&plain(AccessFormat::Json), &entry()),
        concat!(
            r#"{"time":"2025-11-27T11:27:49.123Z","request_id":"00000000000000070000000000000001","client":"192.0.2.7","#,
            r#""method":"GET","host":"api.example","path":"/a","query":"x=1","protocol":"HTTP/2","status":200,"bytes":512,"#,
            r#""duration_us":1500,"app_us":1200,"queue_us":0,"worker":3,"generation":7,"subject":"alice","#,
            r#""issuer":"https://id.example","rule":"auth.rule[0]: /**","refusal":null,"reason":null,"#,
            r#""user_agent":"curl/8.0","referer":null,"tls":"1.3","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":null,"aborted":false}"#,
            "\n"
        )
    );
}

#[test]
fn among_the_lines_of_the_log_it_begins_as_those_do() {
    let log = log(AccessFormat::Json, Envelope::Line { in_log: true });
    let line = line(&log, &entry());
    let start = r#"{"timestamp":"2025-11-27T11:27:49.123Z","level":"INFO","message":"request","target":"access","request_id":"#;
    assert!(line.starts_with(start), "{line}");
}

#[test]
fn combined_is_what_apache_writes() {
    let combined = plain(AccessFormat::Combined);
    let time = entry::local(TIME).to_string();
    assert_eq!(
        line(&combined, &entry()),
        format!("192.0.2.7 - alice [{time}] \"GET /a?x=1 HTTP/2.0\" 200 512 \"-\" \"curl/8.0\"\n")
    );
    let nobody = Entry {
        client: None,
        subject: None,
        bytes: 0,
        query: None,
        version: None,
        path: b"/\x7f\xffa b",
        user_agent: Some(b"\"\\\n\t\x1b"),
        ..entry()
    };
    assert_eq!(
        line(&combined, &nobody),
        format!("- - - [{time}] \"GET /\\x7f\\xffa\\x20b\" 200 - \"-\" \"\\\"\\\\\\n\\t\\x1b\"\n")
    );
}

#[test]
fn text_leaves_out_what_is_absent() {
    let line = line(
        &plain(AccessFormat::Text),
        &Entry {
            subject: Some("a b"),
            ..entry()
        },
    );
    assert!(
        line.starts_with("2025-11-27T11:27:49.123Z  INFO request request_id=0000"),
        "{line}"
    );
    assert!(line.contains(" subject=\"a b\" issuer="), "{line}");
    assert!(!line.contains("refusal"), "{line}");
}

#[test]
fn a_template_is_filled_in_and_blanks_end_nothing() {
    let quoted = |field, is_quoted| TemplatePart::Field { field, is_quoted };
    let text = |text: &str| TemplatePart::Text(text.to_owned());
    let template = AccessFormat::Template(vec![
        quoted(AccessField::Client, false),
        text(" "),
        quoted(AccessField::Subject, false),
        text(" \""),
        quoted(AccessField::Subject, true),
        text("\" "),
        quoted(AccessField::Refusal, false),
    ]);
    let entry = Entry {
        subject: Some("a b"),
        ..entry()
    };
    assert_eq!(
        line(&plain(template), &entry),
        "192.0.2.7 a\\x20b \"a b\" -\n"
    );
}

#[test]
fn the_journal_gets_a_field_on_each_line_and_syslog_a_header() {
    let journal = line(&log(lines::summary(), Envelope::Journal), &entry());
    for field in [
        "MESSAGE=GET /a 200",
        "REQUEST_ID=00000000000000070000000000000001",
        "STATUS=200",
        "DURATION_US=1500",
        "PRIORITY=6",
    ] {
        assert!(
            journal.lines().any(|line| line == field),
            "{field}: {journal}"
        );
    }
    assert!(!journal.contains("REFUSAL"), "{journal}");
    let settings = crate::config::AccessLog {
        to: AccessTarget::Syslog("/dev/log".into()),
        format: AccessFormat::Json,
        query: false,
        skip: Vec::new(),
        facility: crate::config::Facility::Local7,
    };
    let syslog = line(&log(AccessFormat::Json, Envelope::new(&settings)), &entry());
    // Local7 is 23, information 6.
    assert!(
        syslog.starts_with("<190>1 2025-11-27T11:27:49.123Z "),
        "{syslog}"
    );
    assert!(syslog.contains(" access - {\"time\":"), "{syslog}");
}

#[test]
fn what_may_be_a_token_is_never_written() {
    let log = plain(AccessFormat::Json);
    let written = |query: &str| log.query(query).unwrap();
    assert_eq!(
        written("a=1&access_token=secret&b"),
        "a=1&access_token=[redacted]&b"
    );
    assert_eq!(
        written("%61ccess_token=secret"),
        "%61ccess_token=[redacted]"
    );
    let referer = |referer: &[u8]| String::from_utf8(log.referer(referer)).unwrap();
    assert_eq!(
        referer(b"https://a/b?access_token=secret#access_token=x"),
        "https://a/b?access_token=[redacted]"
    );
    assert_eq!(referer(b"https://a/b#access_token=x"), "https://a/b");
    let without = AccessLog {
        has_query: false,
        ..plain(AccessFormat::Json)
    };
    assert_eq!(without.query("a=1"), None);
    assert_eq!(without.referer(b"https://a/b?a=1"), b"https://a/b");
}

#[test]
fn paths_that_are_skipped_are_whole_paths() {
    let log = plain(AccessFormat::Json);
    assert!(!log.is_for("/readyz"));
    assert!(log.is_for("/readyz/") && log.is_for("/"));
}

/// Fields of a line of "combined", unescaped, as a strict reader has them; none where it is not in order.
fn read_combined(line: &str) -> Option<Vec<Vec<u8>>> {
    let mut rest = line.strip_suffix('\n')?;
    let mut fields = Vec::new();
    for (start, end) in [
        ("", " - "),
        ("", " ["),
        ("", "] \""),
        ("", "\" "),
        ("", " "),
        ("", " \""),
        ("", "\" \""),
        ("", "\""),
    ] {
        rest = rest.strip_prefix(start)?;
        let bytes = rest.as_bytes();
        let place = (0..bytes.len()).find(|place| {
            let escapes = bytes[..*place]
                .iter()
                .rev()
                .take_while(|byte| **byte == b'\\')
                .count();
            rest[*place..].starts_with(end) && escapes % 2 == 0
        })?;
        fields.push(unescaped(&rest[..place]));
        rest = &rest[place + end.len()..];
    }
    rest.is_empty().then_some(fields)
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
    let mut found = Vec::new();
    while let Some(byte) = bytes.next() {
        found.push(
            match (byte, (byte == b'\\').then(|| bytes.next().unwrap())) {
                (_, Some(b'x')) => {
                    let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                (_, Some(b'b')) => 8,
                (_, Some(b'n')) => b'\n',
                (_, Some(b'r')) => b'\r',
                (_, Some(b't')) => b'\t',
                (_, Some(b'v')) => 0x0b,
                (_, Some(escaped)) => escaped,
                (byte, None) => byte,
            },
        );
    }
    found
}

fn hostile() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..2000),
        any::<String>().prop_map(String::into_bytes),
        "[\"\\\\\n\r\u{7f}\u{85}\u{2028}\u{2029}\u{202e} x{}=\\[\\]]{0,2000}"
            .prop_map(String::into_bytes),
    ]
}

proptest! {
    #[test]
    fn any_fields_make_one_line_that_says_what_they_are(
        texts in prop::array::uniform6(hostile()),
        names in prop::array::uniform4(any::<String>()),
        status: u16,
        bytes: u64,
    ) {
        let [method, host, path, query, agent, referer] = &texts;
        let [subject, issuer, rule, reason] = &names;
        let entry = Entry {
            method,
            host: Some(host),
            path,
            query: Some(query),
            user_agent: Some(agent),
            referer: Some(referer),
            subject: Some(subject),
            issuer: Some(issuer),
            rule: Some(rule),
            reason: Some(reason),
            refusal: Some("token_not_valid"),
            status,
            bytes,
            ..entry()
        };
        let all = [
            (AccessField::Method, method), (AccessField::Host, host), (AccessField::Path, path),
            (AccessField::Query, query), (AccessField::UserAgent, agent), (AccessField::Referer, referer),
        ];
        let template = AccessField::ALL.map(|field| TemplatePart::Field { field, is_quoted: field == AccessField::Path });
        for format in [AccessFormat::Json, AccessFormat::Combined, AccessFormat::Text, AccessFormat::Template(template.to_vec())] {
            for in_log in [false, true] {
                let line = line(&log(format.clone(), Envelope::Line { in_log }), &entry);
                prop_assert!(line.len() <= LINE_MAX, "{} bytes", line.len());
                prop_assert!(line.ends_with('\n'));
                let unsafe_ones = line.trim_end_matches('\n').chars().filter(|it| it.is_control() || ('\u{2028}'..='\u{202e}').contains(it));
                prop_assert_eq!(unsafe_ones.count(), 0, "{:?}", line);
            }
        }
        let json: Value = serde_json::from_str(&line(&plain(AccessFormat::Json), &entry)).unwrap();
        for (field, text) in all {
            let text = String::from_utf8_lossy(fit(field, text));
            prop_assert_eq!(json[field.name()].as_str(), Some(&*text));
        }
        prop_assert_eq!(json["subject"].as_str().unwrap().as_bytes(), fit(AccessField::Subject, subject.as_bytes()));
        let combined = line(&plain(AccessFormat::Combined), &entry);
        let fields = read_combined(&combined);
        prop_assert!(fields.is_some(), "{:?}", combined);
        let fields = fields.unwrap();
        let or_none = |field, text: &[u8]| if text.is_empty() { b"-".to_vec() } else { fit(field, text).to_vec() };
        prop_assert_eq!(&fields[1], &or_none(AccessField::Subject, subject.as_bytes()));
        prop_assert_eq!(&fields[4], &status.to_string().into_bytes());
        prop_assert_eq!(&fields[6], &or_none(AccessField::Referer, referer));
        prop_assert_eq!(&fields[7], &or_none(AccessField::UserAgent, agent));
        let journal = line(&log(lines::summary(), Envelope::Journal), &entry);
        let is_field = |line: &str| line.split_once('=').is_some_and(|(name, _)| name.bytes().all(|byte| byte == b'_' || byte.is_ascii_uppercase()));
        prop_assert!(journal.lines().all(is_field), "{journal:?}");
        prop_assert_eq!(journal.lines().count(), 4 + 24);
    }
}
