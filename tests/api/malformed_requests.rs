//! Input from hell: what no client library sends. Each has a defined answer, and none makes the
//! gateway take one request for two, or two for one.

use serde_json::Value;
use test_support::TestGateway;
use test_support::client::{RawClient, Response, get};

mod content;

/// What becomes of one input.
enum Then {
    /// These answers, and the connection goes on.
    On(&'static [u16]),
    /// These answers, the last of which closes the connection whatever else was sent.
    Over(&'static [u16]),
    /// The HTTP library's own 400, without a body, and the end.
    Refused,
}

use Then::{On, Over, Refused};

fn gateway() -> TestGateway {
    TestGateway::start(&[])
}

/// Sends each input with a request behind it, and looks at all that comes back.
fn all_hold(inputs: &[(&str, Vec<u8>, Then)]) {
    let gateway = gateway();
    for (name, input, then) in inputs {
        let mut wire = RawClient::connect(gateway.base()).unwrap();
        wire.send([input.as_slice(), get("/v2.1").as_bytes()].concat())
            .unwrap();
        let mut answers = |statuses: &[u16]| {
            for status in statuses {
                let answer = wire
                    .receive()
                    .unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(answer.status, *status, "{name}: {answer:?}");
                is_told(name, &answer);
            }
        };
        match then {
            On(statuses) => {
                answers(statuses);
                answers(&[200]);
                wire.send(get("/v2.1")).unwrap();
                assert_eq!(wire.receive().unwrap().status, 200, "{name}");
            }
            Over(statuses) => {
                answers(statuses);
                assert!(wire.is_closed(), "{name}");
            }
            Refused => {
                let answer = wire
                    .receive()
                    .unwrap_or_else(|error| panic!("{name}: {error}"));
                let text = answer.text();
                assert_eq!(
                    (answer.status, text.as_str()),
                    (400, ""),
                    "{name}: {answer:?}"
                );
                assert!(answer.is_last() && wire.is_closed(), "{name}");
            }
        }
    }
}

/// An answer is HTTP without surprises, and a fault is one of Nova's.
fn is_told(name: &str, answer: &Response) {
    let headers = answer
        .headers
        .iter()
        .flat_map(|(name, value)| [name, value]);
    for text in headers.chain([&answer.status_line]) {
        assert!(
            text.bytes().all(|byte| (0x20..0x7f).contains(&byte)),
            "{name}: {text:?}"
        );
    }
    if answer
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("application/json"))
    {
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        if answer.status >= 400 {
            let fault = body.as_object().unwrap().values().next().unwrap();
            assert_eq!(fault["code"], answer.status, "{name}");
        }
    }
}

fn request(line: &str, headers: &[u8]) -> Vec<u8> {
    [line.as_bytes(), b"\r\nHost: x\r\n", headers, b"\r\n"].concat()
}

/// A write of metadata with these headers and this body.
fn post(headers: &str, body: &[u8]) -> Vec<u8> {
    let line = "POST /v2.1/images/x/metadata HTTP/1.1";
    [request(line, headers.as_bytes()), body.to_vec()].concat()
}

#[test]
fn strange_paths_name_no_image() {
    let row = |path: &'static str| (path, get(path).into_bytes(), On(&[404]));
    all_hold(&[
        row("/v2.1/images/.."),
        row("/v2.1/images/."),
        row("/v2.1/images/%2e%2e"),
        row("/v2.1/images/%2E%2e"),
        row("/v2.1/images/../../v2/schemas/image"),
        row("/v2.1/images/..%2Fschemas"),
        row("/v2.1/images/%2F..%2Fv1"),
        row("/v2.1/images/a%00b"),
        row("/v2.1/images/a%3Flimit=1"),
        row("/v2.1/images/a%23b"),
        row("/v2.1/images/%c0%ae%c0%ae"),
        row("/v2.1/images/%e0%80%af"),
        row("/v2.1/images/%ff%fe"),
        row("/v2.1/images/%f0%9f%98%80"),
        row("/v2.1/images/%ED%A0%80"),
        row("/v2.1/images/%"),
        row("/v2.1/images/%zz"),
        row("/v2.1/images/http:%2F%2F127.0.0.1:1%2F"),
        row("/v2.1/images/http://127.0.0.1:1/"),
        row("/v2.1/images/file:%2F%2F%2Fetc%2Fpasswd"),
        row("/v2.1/images/x%0d%0aSet-Cookie:%20a=b"),
        row("/v2.1/images/x/metadata/%0d%0a"),
        row("/v2.1/images;a=b"),
        row("/v2.1/..%2f/images"),
        row("/v2.1/%2e%2e/v2/images"),
    ]);
}

#[test]
fn a_request_target_is_a_path_or_is_refused() {
    let target = |target: &str| request(&format!("GET {target} HTTP/1.1"), b"");
    all_hold(&[
        ("raw UTF-8", target("/v2.1/images/ü"), Refused),
        ("angle brackets", target("/v2.1/im<ages>"), Refused),
        ("a space", target("/v2.1/im ages"), Refused),
        ("a fragment", target("/v2.1/images#x"), On(&[200])),
        (
            "a NUL in the query",
            target("/v2.1/images?limit=%00"),
            On(&[400]),
        ),
        (
            "absolute form",
            target("http://evil.example/v2.1"),
            On(&[200]),
        ),
        (
            "absolute form with a user",
            target("http://a:b@evil.example/v2.1"),
            On(&[200]),
        ),
        ("asterisk", request("OPTIONS * HTTP/1.1", b""), On(&[200])),
        (
            "authority",
            request("CONNECT x:1 HTTP/1.1", b""),
            Over(&[404]),
        ),
        ("no slash", target("v2.1"), On(&[404])),
        (
            "too long",
            target(&format!("/{}", "x".repeat(9000))),
            On(&[414]),
        ),
        ("an odd method", request("B@D /v2.1 HTTP/1.1", b""), Refused),
        ("no version", b"GET /v2.1\r\n\r\n".to_vec(), Refused),
        ("HTTP/1.2", request("GET /v2.1 HTTP/1.2", b""), Refused),
        ("HTTP/2.0", request("GET /v2.1 HTTP/2.0", b""), Refused),
        (
            "HTTP/2 preface",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            Refused,
        ),
        (
            "TLS",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
            Refused,
        ),
    ]);
}

#[test]
fn no_request_is_smuggled_by_its_length() {
    let refused = |name: &'static str, headers: &str| (name, post(headers, b"0\r\n\r\n"), Refused);
    all_hold(&[
        refused(
            "length, then chunked",
            "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        ),
        refused(
            "chunked, then length",
            "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        ),
        refused("two lengths", "Content-Length: 4\r\nContent-Length: 5\r\n"),
        refused(
            "the same length twice",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
        ),
        refused("a list of lengths", "Content-Length: 5, 5\r\n"),
        refused("a length with a sign", "Content-Length: +5\r\n"),
        refused("a negative length", "Content-Length: -1\r\n"),
        refused("a length in hex", "Content-Length: 0x5\r\n"),
        refused("no length", "Content-Length:\r\n"),
        refused(
            "a length beyond 64 bits",
            "Content-Length: 99999999999999999999999\r\n",
        ),
        refused(
            "chunked, identity",
            "Transfer-Encoding: chunked, identity\r\n",
        ),
        refused(
            "identity, chunked",
            "Transfer-Encoding: identity, chunked\r\n",
        ),
        refused("gzip, chunked", "Transfer-Encoding: gzip, chunked\r\n"),
        refused("xchunked", "Transfer-Encoding: xchunked\r\n"),
        refused(
            "chunked with a parameter",
            "Transfer-Encoding: chunked;q=1\r\n",
        ),
        refused("chunked after a tab", "Transfer-Encoding: \x0bchunked\r\n"),
        refused(
            "chunked twice",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ),
        refused(
            "a space before the colon",
            "Transfer-Encoding : chunked\r\n",
        ),
        refused("a folded line", "X-A: b\r\n Content-Length: 5\r\n"),
        refused("a header without a name", ": x\r\n"),
        refused("a header without a colon", "Content-Length 5\r\n"),
        refused("a NUL", "X-A: a\0b\r\n"),
        refused("two hosts", "Host: y\r\n"),
        (
            "a length beyond the bound",
            post("Content-Length: 18446744073709551615\r\n", b""),
            Over(&[413]),
        ),
        (
            "chunked in HTTP/1.0",
            request(
                "POST /v2.1/images/x/metadata HTTP/1.0",
                b"Transfer-Encoding: chunked\r\n",
            ),
            Refused,
        ),
        (
            "bare line feeds",
            b"GET /v2.1 HTTP/1.1\nHost: x\n\n".to_vec(),
            On(&[200]),
        ),
        (
            "bare carriage returns",
            b"GET /v2.1 HTTP/1.1\rHost: x\r\r".to_vec(),
            Refused,
        ),
        ("no host", b"GET /v2.1 HTTP/1.1\r\n\r\n".to_vec(), Refused),
    ]);
}

#[test]
fn chunks_are_read_as_they_are_framed_or_refused() {
    let chunked = |body: &[u8]| post("Transfer-Encoding: chunked\r\n", body);
    let refused = |name: &'static str, body: &[u8]| (name, chunked(body), Over(&[400]));
    let spelt = post("Transfer-Encoding: CHUNKED\r\n", b"2\r\n{}\r\n0\r\n\r\n");
    all_hold(&[
        ("plain", chunked(b"2\r\n{}\r\n0\r\n\r\n"), On(&[400])),
        ("in capitals", spelt, On(&[400])),
        (
            "extensions",
            chunked(b"2;a=b;c=\"d\"\r\n{}\r\n0\r\n\r\n"),
            On(&[400]),
        ),
        (
            "trailers",
            chunked(b"2\r\n{}\r\n0\r\nX-Auth-Token: t\r\n\r\n"),
            On(&[400]),
        ),
        refused("a size that is none", b"zz\r\n{}\r\n0\r\n\r\n"),
        refused(
            "a size beyond 64 bits",
            b"ffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        ),
        refused("a negative size", b"-2\r\n{}\r\n0\r\n\r\n"),
        refused("a size with a prefix", b"0x2\r\n{}\r\n0\r\n\r\n"),
        refused("a size after a space", b" 2\r\n{}\r\n0\r\n\r\n"),
        refused("a size with an underscore", b"1_0\r\n{}\r\n0\r\n\r\n"),
        refused("a chunk longer than its size", b"2\r\n{}XX0\r\n\r\n"),
        refused("bare line feeds", b"2\n{}\n0\n\n"),
        refused("a line feed in an extension", b"2;\nxx\r\n{}\r\n0\r\n\r\n"),
    ]);
}

#[test]
fn the_rest_of_http_is_answered_as_it_should_be() {
    let headers = |count: usize| "A: b\r\n".repeat(count);
    let version = |headers: &str| request("GET /v2.1 HTTP/1.1", headers.as_bytes());
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let h2c = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n";
    let old = |headers: &str| format!("GET /v2.1 HTTP/1.0\r\n{headers}\r\n").into_bytes();
    let body = "Content-Length: 2\r\n";
    all_hold(&[
        (
            "empty lines before",
            [b"\r\n\r\n".to_vec(), version("")].concat(),
            On(&[200]),
        ),
        (
            "many at once",
            get("/v2.1").repeat(30).into_bytes(),
            On(&[200; 30]),
        ),
        (
            "HTTP/1.0 that stays",
            old("Connection: keep-alive\r\n"),
            On(&[200]),
        ),
        (
            "expectation",
            post(&format!("Expect: 100-continue\r\n{body}"), b"{}"),
            On(&[400]),
        ),
        (
            "another expectation",
            post(&format!("Expect: x\r\n{body}"), b"{}"),
            On(&[400]),
        ),
        (
            "a body to GET",
            [version("Content-Length: 5\r\n"), b"hello".to_vec()].concat(),
            Over(&[200]),
        ),
        ("upgrade", version(upgrade), On(&[200])),
        (
            "upgrade with a body",
            post(&format!("{upgrade}{body}"), b"{}"),
            On(&[400]),
        ),
        ("upgrade to HTTP/2", version(h2c), On(&[200])),
        (
            "a header for the next hop",
            version("Connection: X-Auth-Token\r\n"),
            On(&[200]),
        ),
        ("96 headers", version(&headers(95)), On(&[200])),
        ("97 headers", version(&headers(96)), Over(&[431])),
        (
            "a head of 140 KiB",
            version(&format!("A: {}\r\n", "b".repeat(140 << 10))),
            Over(&[431]),
        ),
        (
            "a token twice",
            request(
                "GET /v2.1/images HTTP/1.1",
                b"X-Auth-Token: a\r\nX-Auth-Token: b\r\n",
            ),
            On(&[200]),
        ),
        ("bytes beyond ASCII", version("X-A: \u{fc}\r\n"), On(&[200])),
        (
            "an escape sequence",
            version("X-A: \u{1b}[31m\r\n"),
            Refused,
        ),
        (
            "a version of such bytes",
            request(
                "GET /v2.1 HTTP/1.1",
                b"OpenStack-API-Version: compute \xff\r\n",
            ),
            On(&[400]),
        ),
    ]);
}

#[test]
fn http_1_0_is_over_with_its_answer() {
    let gateway = gateway();
    let mut wire = RawClient::connect(gateway.base()).unwrap();
    wire.send("GET /v2.1/images/x HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(wire.receive().unwrap().status, 404);
    assert!(wire.is_closed());
    // Without a Host, links name the address that was reached.
    let mut wire = RawClient::connect(gateway.base()).unwrap();
    wire.send("GET /v2.1 HTTP/1.0\r\n\r\n").unwrap();
    let text = String::from_utf8(wire.rest().unwrap()).unwrap();
    assert!(
        text.contains(&format!("\"{}/v2.1/\"", gateway.base())),
        "{text}"
    );
}
