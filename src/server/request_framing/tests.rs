use super::*;
use rstest::rstest;

/// The end of the first request, wherever the bytes are cut in two.
fn scan(input: &str) -> (Scan, RequestFraming) {
    let mut whole = input.as_bytes().to_vec();
    let mut framing = RequestFraming::default();
    let scan = framing.scan(&mut whole);
    for cut in 0..=input.len() {
        let mut bytes = input.as_bytes().to_vec();
        let mut pieces = RequestFraming::default();
        let again = match pieces.scan(bytes.get_mut(..cut).unwrap()) {
            Scan::Partial(first) => match pieces.scan(bytes.get_mut(first..).unwrap()) {
                Scan::Partial(more) => Scan::Partial(first + more),
                Scan::Complete(more) => Scan::Complete(first + more),
                Scan::Invalid(more) => Scan::Invalid(first + more),
            },
            done => done,
        };
        // Of what is refused it does not matter how much goes to the library.
        if !matches!((scan, again), (Scan::Invalid(_), Scan::Invalid(_))) {
            assert_eq!(again, scan, "cut at {cut}");
        }
        assert_eq!(pieces.is_keep_alive(), framing.is_keep_alive());
        if matches!(scan, Scan::Complete(_)) {
            assert_eq!(bytes, whole, "cut at {cut}");
        }
    }
    (scan, framing)
}

#[rstest]
#[case::no_body("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "")]
#[case::bare_line_feeds("GET / HTTP/1.1\nHost: x\n\n", "")]
#[case::empty_lines_before("\r\n\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", "")]
#[case::length("POST / HTTP/1.1\r\ncontent-LENGTH: 5\r\n\r\n", "hello")]
#[case::length_of_nothing("POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "")]
#[case::chunks(
    "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n",
    "2\r\n{}\r\n0\r\n\r\n"
)]
#[case::extensions(
    "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a ;b=c\r\n0123456789\r\n00\r\n\r\n"
)]
#[case::trailers(
    "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "0\r\nA: b\r\nC: d\r\n\r\n"
)]
fn a_request_ends_behind_its_body(#[case] head: &str, #[case] body: &str) {
    let request = format!("{head}{body}");
    let (end, framing) = scan(&format!("{request}GET /next HTTP/1.1\r\n"));
    assert_eq!(end, Scan::Complete(request.len()));
    assert!(framing.is_keep_alive());
    for cut in 0..request.len() {
        let (end, _) = scan(request.get(..cut).unwrap());
        assert!(
            matches!(end, Scan::Partial(passed) if passed <= cut),
            "{cut}: {end:?}"
        );
    }
}

#[rstest]
#[case("GET / HTTP/1.1\r\n", true)]
#[case("GET / HTTP/1.1\r\nConnection: close\r\n", false)]
#[case("GET / HTTP/1.1\r\nConnection: keep-alive, CLOSE\r\n", false)]
#[case(
    "GET / HTTP/1.1\r\nConnection: close\r\nConnection: keep-alive\r\n",
    false
)]
#[case("GET / HTTP/1.1\r\nConnection: closed\r\n", true)]
#[case("GET / HTTP/1.0\r\n", false)]
#[case("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n", true)]
#[case("GET / HTTP/1.0\r\nConnection: upgrade, keep-alive\r\n", true)]
#[case("CONNECT x:1 HTTP/1.1\r\n", false)]
fn the_head_says_whether_another_request_may_follow(#[case] head: &str, #[case] keeps: bool) {
    let (end, framing) = scan(&format!("{head}\r\n"));
    assert_eq!(end, Scan::Complete(head.len() + 2));
    assert_eq!(framing.is_keep_alive(), keeps);
}

#[rstest]
#[case::no_version("GET /\r\n")]
#[case::another_version("GET / HTTP/2.0\r\n")]
#[case::tls("\u{16}\u{3}\u{1}\u{2}")]
#[case::two_lengths("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n")]
#[case::sign("POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n")]
#[case::no_length("POST / HTTP/1.1\r\nContent-Length:\r\n\r\n")]
#[case::huge_length("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n")]
#[case::both("POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n")]
#[case::coding("POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n")]
#[case::old_chunks("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n")]
#[case::chunk_size("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx")]
#[case::huge_chunk("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n11111111111111111")]
#[case::chunk_line_feed("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\n")]
#[case::chunk_overrun("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab")]
fn nothing_follows_a_request_that_is_refused(#[case] input: &str) {
    let (end, framing) = scan(input);
    assert_eq!(end, Scan::Invalid(input.len()));
    assert!(!framing.is_keep_alive());
}

#[rstest]
#[case("Upgrade: websocket", "Upgrade:          ")]
#[case(
    "Connection: Upgrade, HTTP2-Settings",
    "Connection:        , HTTP2-Settings"
)]
#[case("Expect: 100-Continue", "Expect:             ")]
#[case("Expect: x", "Expect: x")]
#[case("Upgrade: \u{e9}", "Upgrade: \u{e9}")]
#[case("Upgrade-Insecure-Requests: 1", "Upgrade-Insecure-Requests: 1")]
fn headers_that_the_gateway_declines_are_blanked(#[case] sent: &str, #[case] read: &str) {
    let mut bytes = format!("GET / HTTP/1.1\r\n{sent}\r\n\r\n").into_bytes();
    RequestFraming::default().scan(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    assert_eq!(text, format!("GET / HTTP/1.1\r\n{read}\r\n\r\n"));
}

#[rstest]
#[case(
    "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    true
)]
#[case(
    "POST / HTTP/1.1\r\nExpect: a, 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n",
    true
)]
#[case(
    "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    false
)]
#[case("POST / HTTP/1.1\r\nExpect: 100-continue\r\n\r\n", false)]
fn a_client_may_wait_for_an_invitation(#[case] head: &str, #[case] waits: bool) {
    let (_, framing) = scan(head);
    assert_eq!(framing.expects_continue(), waits);
}

#[test]
fn a_head_has_a_largest_size() {
    let line = format!("GET / HTTP/1.1\r\nA: {}", "b".repeat(MAX_HEAD_BYTES));
    let mut bytes = line.into_bytes();
    let length = bytes.len();
    let mut framing = RequestFraming::default();
    assert_eq!(framing.scan(&mut bytes), Scan::Invalid(length));
    let mut lines = "GET / HTTP/1.1\r\n".to_owned();
    while lines.len() < MAX_HEAD_BYTES {
        lines.push_str("Name: value\r\n");
    }
    let mut bytes = lines.into_bytes();
    bytes.push(b'x');
    let length = bytes.len();
    let mut framing = RequestFraming::default();
    assert_eq!(framing.scan(&mut bytes), Scan::Invalid(length));
}
