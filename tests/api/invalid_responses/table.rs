//! Responses that are invalid or odd, and the gateway's response to each.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;
use test_support::Reply;

/// Stands for the id of the image that was asked for.
const ID: &str = "case-x-000";
/// As short as an image can be.
const IMAGE: &str = r#"{"id": "case-x-000"}"#;

/// The gateway's response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// 200: odd, but no reason to fail.
    Ok,
    /// 502: Glance never responds like that.
    BadGateway,
    /// 503: Glance did not respond.
    Unavailable,
}

/// A response of Glance, the same to every operation.
pub struct Case {
    pub name: &'static str,
    pub wire: Reply,
    pub expected: Expected,
}

impl Case {
    /// The response about the image with this id, which is as long as [`ID`].
    pub fn about(&self, id: &str) -> Reply {
        let mut wire = self.wire.clone();
        assert_eq!(id.len(), ID.len());
        if let Reply::Bytes(bytes) = &mut wire
            && let Some(at) = memchr::memmem::find(bytes, ID.as_bytes())
        {
            bytes[at..at + id.len()].copy_from_slice(id.as_bytes());
        }
        wire
    }
}

fn case(name: &'static str, expected: Expected, wire: Reply) -> Case {
    Case {
        name,
        wire,
        expected,
    }
}

fn bytes(text: impl AsRef<[u8]>) -> Reply {
    Reply::Bytes(text.as_ref().to_owned())
}

/// `left` and what follows with a length of its own.
fn headed(head: &str, body: &str) -> Reply {
    bytes(format!("{head}\r\n\r\n{body}"))
}

/// Wrong JSON, or none, in an answer that is fine as HTTP.
fn wrong_bodies() -> Vec<Case> {
    let html = "<!DOCTYPE html><title>Log in</title>";
    let deep = "[".repeat(1 << 20);
    let bodies: [(&str, &[u8]); 13] = [
        ("html", html.as_bytes()),
        ("empty", b""),
        ("null", b"null"),
        ("number", b"42"),
        ("string", b"\"images\""),
        ("array", b"[{\"id\": \"x\"}]"),
        ("images-null", b"{\"images\": null, \"id\""),
        ("unterminated", b"{\"images\": [{\"id\": \"x\""),
        ("trailing", b"{\"images\": [], \"id\": \"x\"} {}"),
        (
            "not-utf-8",
            b"{\"images\": [{\"id\": \"\xff\"}], \"id\": \"\xff\"}",
        ),
        ("nan", b"{\"images\": [], \"id\": NaN}"),
        (
            "byte-order-mark",
            b"\xef\xbb\xbf{\"images\": [], \"id\": \"x\"}",
        ),
        ("deep", deep.as_bytes()),
    ];
    let cases = bodies.map(|(name, body)| case(name, Expected::BadGateway, Reply::json(200, body)));
    cases.into()
}

/// Statuses that no Glance gives to any of these operations.
fn wrong_statuses() -> Vec<Case> {
    let both = r#"{"images": [], "id": "case-x-000"}"#;
    let mut cases: Vec<_> = [
        ("201", 201),
        ("202", 202),
        ("203", 203),
        ("206", 206),
        ("300", 300),
        ("405", 405),
        ("410", 410),
        ("418", 418),
        ("500", 500),
        ("501", 501),
        ("502", 502),
        ("504", 504),
        ("599", 599),
        ("999", 999),
    ]
    .into_iter()
    .map(|(name, status)| case(name, Expected::BadGateway, Reply::json(status, both)))
    .collect();
    cases.push(case("503", Expected::Unavailable, Reply::json(503, both)));
    cases.push(case(
        "204",
        Expected::BadGateway,
        headed("HTTP/1.1 204 X", ""),
    ));
    cases.push(case(
        "205",
        Expected::BadGateway,
        headed("HTTP/1.1 205 X\r\nContent-Length: 0", ""),
    ));
    cases.push(case(
        "304",
        Expected::BadGateway,
        headed("HTTP/1.1 304 X", ""),
    ));
    cases
}

/// Bodies that say they are compressed, some of them bombs.
fn encodings() -> Vec<Case> {
    let mut zeros = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let mebibyte = vec![b' '; 1 << 20];
    for _ in 0..64 {
        zeros.write_all(&mebibyte).unwrap();
    }
    let bomb = zeros.finish().unwrap();
    [
        "gzip",
        "deflate",
        "br",
        "zstd",
        "gzip, gzip",
        "x-unheard-of",
    ]
    .into_iter()
    .map(|encoding| {
        let header = format!("Content-Encoding: {encoding}\r\n");
        case(
            encoding,
            Expected::BadGateway,
            Reply::json_with(200, &header, &bomb),
        )
    })
    .collect()
}

/// Heads that are no HTTP, or too much of it.
fn wrong_heads() -> Vec<Case> {
    let mut many = "HTTP/1.1 200 X\r\n".to_owned();
    for number in 0..5000 {
        write!(many, "X-{number}: y\r\n").unwrap();
    }
    let large = format!("HTTP/1.1 200 X\r\nX: {}", "y".repeat(1 << 20));
    let heads: [(&str, &str); 14] = [
        ("http-0.9", "<html><body>It works!</body></html>\n"),
        ("ssh", "SSH-2.0-OpenSSH_9.6\r\n"),
        ("smtp", "220 mail ESMTP\r\n"),
        ("tls-alert", "\u{15}\u{3}\u{1}\u{0}\u{2}\u{2}\u{28}"),
        ("http-2", "HTTP/2 200\r\n\r\n"),
        ("http-3", "HTTP/3.0 200 X\r\nContent-Length: 0\r\n\r\n"),
        (
            "letters-in-status",
            "HTTP/1.1 2O0 OK\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            "short-status",
            "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
        ),
        ("zeros", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        (
            "space-in-name",
            "HTTP/1.1 200 X\r\nA B: c\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            "negative-length",
            "HTTP/1.1 200 X\r\nContent-Length: -1\r\n\r\n",
        ),
        (
            "endless-length",
            "HTTP/1.1 200 X\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        ),
        (
            "two-lengths",
            "HTTP/1.1 200 X\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}\n",
        ),
        ("thousands-of-headers", &many),
    ];
    let cases = heads.map(|(name, head)| case(name, Expected::BadGateway, bytes(head)));
    let mut cases = Vec::from(cases);
    cases.push(case(
        "header-of-a-mebibyte",
        Expected::BadGateway,
        bytes(large),
    ));
    let endless = Reply::Endless(b"HTTP/1.1 200 X\r\n".to_vec(), b"X-Y: z\r\n".repeat(1000));
    cases.push(case("endless-headers", Expected::BadGateway, endless));
    let switch = "HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";
    cases.push(case(
        "switching-protocols",
        Expected::BadGateway,
        bytes(switch),
    ));
    cases
}

/// A body that is not as long as its head says, or that never ends.
fn wrong_lengths() -> Vec<Case> {
    let length = |length: u64| format!("HTTP/1.1 200 X\r\nContent-Length: {length}");
    let chunked = "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked";
    let mebibyte = " ".repeat(1 << 20);
    let chunk = format!("100000\r\n{mebibyte}\r\n");
    let endless_chunks = Reply::Endless(format!("{chunked}\r\n\r\n").into(), chunk.into());
    let endless = Reply::Endless(b"HTTP/1.1 200 X\r\n\r\n".to_vec(), mebibyte.clone().into());
    let extension = Reply::Endless(format!("{chunked}\r\n\r\n1;").into(), mebibyte.into());
    let trailers = Reply::Endless(
        format!("{chunked}\r\n\r\n0\r\n").into(),
        b"X-Y: z\r\n".repeat(1000),
    );
    vec![
        case("too-short", Expected::BadGateway, headed(&length(5), IMAGE)),
        case("zero", Expected::BadGateway, headed(&length(0), IMAGE)),
        case(
            "too-long",
            Expected::Unavailable,
            headed(&length(1000), IMAGE),
        ),
        case(
            "far-too-long",
            Expected::BadGateway,
            headed(&length(1 << 60), IMAGE),
        ),
        case(
            "no-last-chunk",
            Expected::Unavailable,
            headed(chunked, "5\r\n{\"id\"\r\n"),
        ),
        case(
            "no-chunk",
            Expected::Unavailable,
            headed(chunked, "zz\r\n{\"id\"\r\n0\r\n\r\n"),
        ),
        case(
            "chunk-overflow",
            Expected::Unavailable,
            headed(chunked, "fffffffffffffffff\r\n"),
        ),
        case("endless-chunks", Expected::BadGateway, endless_chunks),
        case("endless-body", Expected::BadGateway, endless),
        case("endless-chunk-extension", Expected::Unavailable, extension),
        case("endless-trailers", Expected::Unavailable, trailers),
    ]
}

/// Answers that are slow, or end before they are over.
fn slow_and_short() -> Vec<Case> {
    let whole = format!(
        "HTTP/1.1 200 X\r\nContent-Length: {}\r\n\r\n{IMAGE}",
        IMAGE.len()
    );
    let at = |marker: &str| whole.find(marker).unwrap();
    let cut = |end: usize| bytes(&whole[..end]);
    let pause = Duration::from_millis(100);
    let body = at("{");
    let slow_body = Reply::Trickle(whole.clone().into(), pause);
    // At the pace of a network: a program built for tests reads them slower than they can be sent.
    let interim = Reply::Flood(
        b"HTTP/1.1 102 X\r\n\r\n".repeat(100),
        Duration::from_millis(2),
    );
    vec![
        case("close-at-once", Expected::Unavailable, bytes("")),
        case("close-in-status", Expected::Unavailable, cut(at("200"))),
        case("close-in-head", Expected::Unavailable, cut(at("Length"))),
        case("close-before-body", Expected::Unavailable, cut(body)),
        case("close-in-body", Expected::Unavailable, cut(body + 5)),
        case("silence", Expected::Unavailable, Reply::Silence),
        case("trickle", Expected::Unavailable, slow_body),
        case("interim-flood", Expected::Unavailable, interim),
    ]
}

/// Unusual HTTP that says what it should.
fn odd_but_true() -> Vec<Case> {
    let both = r#"{"images": [], "id": "case-x-000"}"#;
    let length = both.len();
    let interim = "HTTP/1.1 102 X\r\nA: b\r\n\r\n".repeat(100);
    let (before, after) = both.split_once(ID).unwrap();
    let tiny = |text: &str| -> String {
        let chunks = text.chars().map(|c| format!("01;x=y\r\n{c}\r\n"));
        chunks.collect()
    };
    let id = format!("{:02x};x=y\r\n{ID}\r\n", ID.len());
    let chunks = format!("{}{id}{}", tiny(before), tiny(after));
    let chunked =
        format!("HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\nA: b\r\n\r\n");
    let whole = format!("HTTP/1.1 200 X\r\nContent-Length: {length}\r\n\r\n{both}");
    vec![
        case("http-1.0", Expected::Ok, headed("HTTP/1.0 200 X", both)),
        case("no-reason", Expected::Ok, headed("HTTP/1.1 200", both)),
        case(
            "a-hundred-interim-answers",
            Expected::Ok,
            bytes(format!("{interim}{whole}")),
        ),
        case("tiny-chunks", Expected::Ok, bytes(chunked)),
        case(
            "more-than-the-body",
            Expected::Ok,
            bytes(format!("{whole}HTTP/1.1 200 X\r\n")),
        ),
        case("not-said-to-be-json", Expected::Ok, bytes(whole)),
    ]
}

pub fn cases() -> Vec<Case> {
    let mut cases = wrong_bodies();
    cases.extend(wrong_statuses());
    cases.extend(encodings());
    cases.extend(wrong_heads());
    cases.extend(wrong_lengths());
    cases.extend(slow_and_short());
    cases.extend(odd_but_true());
    cases
}
