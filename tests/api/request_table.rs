//! Raw requests for every operation of the route table: one line of [`TABLE`] for each way in which a request can
//! differ from a plain one. A line says what is answered, what Glance hears, and whether the connection goes on.
//!
//! All lines run twice: before a Glance that records what it hears, and before the embedded one.

use serde_json::Value;
use std::time::Duration;
use test_support::client::{RawClient, Response, get};
use test_support::{FakeGlance, TestGateway};

/// How a request differs from a plain one.
#[derive(Debug, Clone, Copy)]
enum Change {
    /// These header lines are added.
    Headers(&'static str),
    /// The body is framed and sent so.
    Body(&'static str, &'static [u8]),
    /// The bytes before the request.
    Before(&'static [u8]),
    /// The version in the request line.
    Version(&'static str),
    /// The `Host` header, with its line end.
    Host(&'static str),
    /// Another method, on the same path.
    Method(&'static str),
    /// What stands behind the path.
    Behind(&'static str),
}

/// What must be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answered {
    /// As a plain request.
    Plain,
    /// With this status, and a fault of Nova's.
    Fault(u16),
    /// As a plain request by operations without a body; with this fault by the others.
    PlainOrFault(u16),
    /// With this status by the HTTP library, without a body.
    Bare(u16),
}

/// What Glance hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// What it hears of a plain request; nothing where the operation faults.
    Plain,
    Nothing,
}

/// Whether the connection takes another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connection {
    GoesOn,
    Closes,
    /// As the answer says: a body that no operation reads may have arrived before the answer or not.
    AsAnswered,
}

use Answered::{Bare, Fault, Plain, PlainOrFault};
use Change::{Before, Behind, Body, Headers, Host, Method, Version};
use Connection::{AsAnswered, Closes, GoesOn};

type Row = (&'static str, Change, Answered, Heard, Connection);

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
const LONG_HOST: &str = concat!(
    "Host: hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh",
    "hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh",
    "hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh\r\n"
);

#[rustfmt::skip]
const TABLE: &[Row] = &[
    ("nothing",                    Headers(""),                                                            Plain, Heard::Plain, GoesOn),
    ("empty lines before",         Before(b"\r\n\n\r\n"),                                                  Plain, Heard::Plain, GoesOn),
    ("HTTP/1.0",                   Version("1.0"),                                                         Plain, Heard::Plain, Closes),
    ("HTTP/1.2",                   Version("1.2"),                                                         Bare(400), Heard::Nothing, Closes),
    ("HTTP/2",                     Version("2.0"),                                                         Bare(400), Heard::Nothing, Closes),
    ("close",                      Headers("Connection: close\r\n"),                                       Plain, Heard::Plain, Closes),
    ("close among others",         Headers("Connection: x, Close\r\n"),                                    Plain, Heard::Plain, Closes),
    ("h2c",                        Headers("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"), Plain, Heard::Plain, GoesOn),
    ("websocket",                  Headers("Connection: Upgrade\r\nUpgrade: websocket\r\n"),               Plain, Heard::Plain, GoesOn),
    ("an upgrade unasked",         Headers("Upgrade: websocket\r\n"),                                      Plain, Heard::Plain, GoesOn),
    ("another expectation",        Headers("Expect: the unexpected\r\n"),                                  Plain, Heard::Plain, GoesOn),
    ("a header for the next hop",  Headers("Connection: X-Auth-Token\r\n"),                                Plain, Heard::Plain, GoesOn),
    ("bytes beyond ASCII",         Headers("X-A: \u{fc}\r\n"),                                             Plain, Heard::Plain, GoesOn),
    ("a query for nothing",        Behind("?"),                                                            Plain, Heard::Plain, GoesOn),
    ("a control character",        Headers("X-A: \u{1b}[31m\r\n"),                                         Bare(400), Heard::Nothing, Closes),
    ("a NUL",                      Headers("X-A: a\0b\r\n"),                                               Bare(400), Heard::Nothing, Closes),
    ("a folded line",              Headers("X-A: b\r\n c\r\n"),                                            Bare(400), Heard::Nothing, Closes),
    ("a header without a colon",   Headers("X-A\r\n"),                                                     Bare(400), Heard::Nothing, Closes),
    ("a header without a name",    Headers(": x\r\n"),                                                     Bare(400), Heard::Nothing, Closes),
    ("a space before the colon",   Headers("X-A : b\r\n"),                                                 Bare(400), Heard::Nothing, Closes),
    ("two hosts",                  Headers("Host: y\r\n"),                                                 Bare(400), Heard::Nothing, Closes),
    ("no host",                    Host(""),                                                               Bare(400), Heard::Nothing, Closes),
    ("an empty host",              Host("Host:\r\n"),                                                      Plain, Heard::Plain, GoesOn),
    ("an IPv6 host",               Host("Host: [::1]:8774\r\n"),                                           Plain, Heard::Plain, GoesOn),
    ("a host with a path",         Host("Host: a/b\r\n"),                                                  Fault(400), Heard::Nothing, AsAnswered),
    ("a host that is no port",     Host("Host: a:b\r\n"),                                                  Fault(400), Heard::Nothing, AsAnswered),
    ("a host of 262 bytes",        Host(LONG_HOST),                                                        Fault(400), Heard::Nothing, AsAnswered),
    ("an odd method",              Method("B@D"),                                                          Bare(400), Heard::Nothing, Closes),
    ("a space in the target",      Behind("?a b"),                                                         Bare(400), Heard::Nothing, Closes),
    ("length and chunks",          Body("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"), Bare(400), Heard::Nothing, Closes),
    ("two lengths",                Body("Content-Length: 5\r\nContent-Length: 5\r\n", b"hello"),           Bare(400), Heard::Nothing, Closes),
    ("a list of lengths",          Body("Content-Length: 5, 5\r\n", b"hello"),                             Bare(400), Heard::Nothing, Closes),
    ("a length with a sign",       Body("Content-Length: +5\r\n", b"hello"),                               Bare(400), Heard::Nothing, Closes),
    ("a length in hex",            Body("Content-Length: 0x5\r\n", b"hello"),                              Bare(400), Heard::Nothing, Closes),
    ("a length of nothing",        Body("Content-Length:\r\n", b""),                                       Bare(400), Heard::Nothing, Closes),
    ("a length beyond 64 bits",    Body("Content-Length: 99999999999999999999\r\n", b""),                  Bare(400), Heard::Nothing, Closes),
    ("a length beyond the limit",  Body("Content-Length: 18446744073709551615\r\n", b""),                  Fault(413), Heard::Nothing, Closes),
    ("two codings",                Body("Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"),             Bare(400), Heard::Nothing, Closes),
    ("chunked twice",              Body("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"), Bare(400), Heard::Nothing, Closes),
    ("chunks of no JSON",          Body(CHUNKED, b"1\r\nx\r\n0\r\n\r\n"),                                  PlainOrFault(400), Heard::Plain, GoesOn),
    ("a body of no JSON",          Body("Content-Length: 1\r\n", b"x"),                                    PlainOrFault(400), Heard::Plain, AsAnswered),
];

/// Method, path and plain status of each operation, and whether it takes a body.
const OPERATIONS: [(&str, &str, u16, bool); 10] = [
    ("GET", "/v2.1/images", 200, false),
    ("GET", "/v2.1/images/detail", 200, false),
    ("GET", "/v2.1/images/ID", 200, false),
    ("GET", "/v2.1/images/ID/metadata", 200, false),
    ("GET", "/v2.1/images/ID/metadata/k", 200, false),
    ("POST", "/v2.1/images/ID/metadata", 200, true),
    ("PUT", "/v2.1/images/ID/metadata", 200, true),
    ("PUT", "/v2.1/images/ID/metadata/k", 200, true),
    ("DELETE", "/v2.1/images/ID/metadata/k", 204, false),
    ("DELETE", "/v2.1/images/ID", 204, false),
];

struct Operation {
    method: &'static str,
    path: String,
    status: u16,
    takes_body: bool,
}

impl Operation {
    /// The operation's plain body.
    fn body(&self) -> &'static str {
        match (self.takes_body, self.path.ends_with("/k")) {
            (false, _) => "",
            (true, true) => r#"{"meta": {"k": "v"}}"#,
            (true, false) => r#"{"metadata": {"k": "v"}}"#,
        }
    }

    fn request(&self, change: Change) -> Vec<u8> {
        let (mut before, mut method, mut behind, mut version) = (&b""[..], self.method, "", "1.1");
        let (mut host, mut headers) = ("Host: x\r\n", String::new());
        let mut body = self.body().as_bytes();
        let mut framing = match body.len() {
            0 => String::new(),
            length => format!("Content-Length: {length}\r\n"),
        };
        match change {
            Headers(added) => headers.push_str(added),
            Body(framed, sent) => (framing, body) = (framed.to_owned(), sent),
            Before(bytes) => before = bytes,
            Version(other) => version = other,
            Host(line) => host = line,
            Method(other) => method = other,
            Behind(text) => behind = text,
        }
        if self.takes_body {
            headers.push_str("Content-Type: application/json\r\n");
        }
        let head = format!(
            "{method} {}{behind} HTTP/{version}\r\n{host}X-Auth-Token: t\r\n{headers}{framing}\r\n",
            self.path
        );
        [before, head.as_bytes(), body].concat()
    }
}

/// An answer is HTTP without surprises, and a fault is one of Nova's.
fn check(name: &str, answer: &Response, expected: Answered, operation: &Operation) -> bool {
    let status = match expected {
        PlainOrFault(status) if operation.takes_body => status,
        Plain | PlainOrFault(_) => operation.status,
        Fault(status) | Bare(status) => status,
    };
    assert_eq!(answer.status, status, "{name}: {answer:?}");
    match expected {
        Bare(_) => assert_eq!(answer.text(), "", "{name}"),
        Plain | Fault(_) | PlainOrFault(_) if status >= 400 => {
            let fault = answer.json();
            let fault = fault.as_object().and_then(|fault| fault.values().next());
            assert_eq!(
                fault.map(|fault| &fault["code"]),
                Some(&Value::from(status)),
                "{name}"
            );
        }
        Plain | Fault(_) | PlainOrFault(_) => {}
    }
    status < 400
}

/// Runs one row for one operation; says whether the operation was done.
fn run(gateway: &TestGateway, operation: &Operation, row: &Row) -> bool {
    let &(what, change, answered, _, connection) = row;
    let name = format!("{} {}, {what}", operation.method, operation.path);
    let mut wire = RawClient::connect(gateway.base()).unwrap();
    let request = operation.request(change);
    // The next request comes in the same packet.
    wire.send([request, get("/v2.1").into_bytes()].concat())
        .unwrap();
    let answer = wire
        .receive()
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let done = check(&name, &answer, answered, operation);
    let goes_on = match connection {
        GoesOn => true,
        Closes => false,
        AsAnswered => !answer.is_last(),
    };
    if goes_on {
        assert!(!answer.is_last(), "{name}: {answer:?}");
        for _ in 0..2 {
            let next = wire
                .receive()
                .unwrap_or_else(|error| panic!("{name}: then {error}"));
            assert_eq!((next.status, next.is_last()), (200, false), "{name}");
            wire.send(get("/v2.1")).unwrap();
        }
    } else {
        assert!(
            answer.is_last() || answer.status_line.starts_with("HTTP/1.0"),
            "{name}: {answer:?}"
        );
        assert!(wire.is_closed(), "{name}");
    }
    done
}

fn operations(id: &str) -> impl Iterator<Item = Operation> {
    OPERATIONS
        .map(|(method, path, status, takes_body)| Operation {
            method,
            path: path.replace("ID", id),
            status,
            takes_body,
        })
        .into_iter()
}

/// What Glance heard since the last time.
fn heard(glance: &FakeGlance) -> Vec<String> {
    let calls = std::mem::take(&mut *glance.received());
    let line = |call: &test_support::fake_server::ReceivedRequest| {
        format!("{} {}", call.method, call.path)
    };
    calls.iter().map(line).collect()
}

#[test]
fn every_operation_takes_every_row() {
    let glance = FakeGlance::start(Duration::ZERO);
    let url = glance.url();
    let settings = [
        ("AUTH__MODE", "passthrough"),
        ("CACHE__ENABLED", "false"),
        ("GLANCE__ENDPOINTS", url.as_str()),
    ];
    let gateway = TestGateway::start(&settings);
    for operation in operations("11111111-2222-4333-8444-555555555555") {
        let mut plain = Vec::new();
        for row in TABLE {
            let done = run(&gateway, &operation, row);
            let calls = heard(&glance);
            if plain.is_empty() {
                plain.clone_from(&calls);
                assert!(!plain.is_empty(), "{}", operation.path);
            }
            let expected = if row.3 == Heard::Plain && done {
                &plain[..]
            } else {
                &[]
            };
            assert_eq!(
                calls, expected,
                "{} {}, {}",
                operation.method, operation.path, row.0
            );
        }
    }
}

/// The same with images that exist in a Glance that keeps them; deletions come last, and each takes its own image.
#[test]
fn the_embedded_glance_gives_the_same_answers() {
    let gateway = TestGateway::start(&[]);
    let id = "e3bedded-0000-4000-8000-000000000004";
    let item = format!(
        "PUT /v2.1/images/{id}/metadata/k HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: 20\r\n\r\n{{\"meta\": {{\"k\": \"v\"}}}}"
    );
    for operation in operations(id).filter(|operation| operation.method != "DELETE") {
        let mut wire = RawClient::connect(gateway.base()).unwrap();
        wire.send(&item).unwrap();
        assert_eq!(wire.receive().unwrap().status, 200);
        for row in TABLE {
            run(&gateway, &operation, row);
        }
    }
    for row in TABLE {
        let mut wire = RawClient::connect(gateway.base()).unwrap();
        wire.send(&item).unwrap();
        assert_eq!(wire.receive().unwrap().status, 200);
        for operation in operations(id).filter(|operation| operation.path.ends_with("/k")) {
            if operation.method == "DELETE" {
                run(&gateway, &operation, row);
            }
        }
    }
}
