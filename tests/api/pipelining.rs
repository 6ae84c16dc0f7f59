//! Two requests on one connection, in one packet and in two: each gets its own answer, and nothing behind the last
//! request of a connection is executed.

use std::thread::sleep;
use std::time::Duration;
use test_support::client::RawClient;
use test_support::{FakeGlance, TestGateway};

/// Long enough for a second packet to come while the first request waits for Glance.
const GLANCE_DELAY: Duration = Duration::from_millis(30);

/// The cache keeps images by their canonical ids.
const HIT: &str = "11111111-2222-4333-8444-555555555555";

/// One kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Hit,
    Miss,
    Write,
    Head,
    Http10,
    Http10KeepAlive,
    Close,
    Upgrade,
    Expect,
    TooLarge,
    Malformed,
}

use Kind::{
    Close, Expect, Head, Hit, Http10, Http10KeepAlive, Malformed, Miss, TooLarge, Upgrade, Write,
};

const KINDS: [Kind; 11] = [
    Hit,
    Miss,
    Write,
    Head,
    Http10,
    Http10KeepAlive,
    Close,
    Upgrade,
    Expect,
    TooLarge,
    Malformed,
];

impl Kind {
    fn bytes(self, id: &str) -> Vec<u8> {
        let get = |version: &str, headers: &str| {
            format!(
                "GET /v2.1/images/{id} HTTP/{version}\r\nHost: x\r\nX-Auth-Token: t\r\n{headers}\r\n"
            )
        };
        let post = |headers: &str, length: usize, body: &str| {
            format!(
                "POST /v2.1/images/{id}/metadata HTTP/1.1\r\nHost: x\r\nX-Auth-Token: t\r\n\
                 Content-Type: application/json\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
            )
        };
        let body = r#"{"metadata": {"k": "v"}}"#;
        match self {
            Hit => get("1.1", "").replace(&format!("/{id} "), &format!("/{HIT} ")),
            Miss => get("1.1", ""),
            Write => post("", body.len(), body),
            Head => get("1.1", "").replace("GET", "HEAD"),
            Http10 => get("1.0", ""),
            Http10KeepAlive => get("1.0", "Connection: keep-alive\r\n"),
            Close => get("1.1", "Connection: close\r\n"),
            Upgrade => get(
                "1.1",
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
            ),
            Expect => post("Expect: 100-continue\r\n", body.len(), body),
            TooLarge => post("", 200_000, ""),
            Malformed => get("1.1", "no colon\r\n"),
        }
        .into_bytes()
    }

    fn goes_on(self) -> bool {
        !matches!(self, Http10 | Close | TooLarge | Malformed)
    }

    /// Whether Glance hears of it.
    fn reaches_glance(self) -> bool {
        !matches!(self, Hit | Head | TooLarge | Malformed)
    }

    /// Reads the answer and checks it.
    fn check(self, wire: &mut RawClient, id: &str, name: &str) {
        let method = if self == Head { "HEAD" } else { "GET" };
        let mut answer = wire
            .receive_to(method)
            .unwrap_or_else(|error| panic!("{name}: {self:?}: {error}"));
        if self == Expect && answer.status == 100 {
            answer = wire.receive().unwrap();
        }
        let status = match self {
            Head => 404,
            TooLarge => 413,
            Malformed => 400,
            Hit | Miss | Write | Http10 | Http10KeepAlive | Close | Upgrade | Expect => 200,
        };
        assert_eq!(answer.status, status, "{name}: {self:?}: {answer:?}");
        if self == Malformed {
            // The HTTP library's own answer, with the version and the `Connection` of the request before it.
            assert_eq!(answer.text(), "", "{name}");
            return;
        }
        let version = match self {
            Http10 | Http10KeepAlive => "HTTP/1.0 ",
            _ => "HTTP/1.1 ",
        };
        assert!(
            answer.status_line.starts_with(version),
            "{name}: {answer:?}"
        );
        let text = answer.text();
        let expected = match self {
            Hit => format!(r#""id": "{HIT}""#),
            Write | Expect => r#""k": "v""#.to_owned(),
            Head | Malformed => String::new(),
            TooLarge => "overLimit".to_owned(),
            Miss | Http10 | Http10KeepAlive | Close | Upgrade => format!(r#""id": "{id}""#),
        };
        let text = text.replace("\":\"", "\": \"");
        assert!(text.contains(&expected), "{name}: {self:?}: {text}");
        if self == Head {
            assert_eq!(text, "", "{name}: {self:?}");
        }
        let says_close = answer.is_last() || matches!(self, Http10);
        assert_eq!(says_close, !self.goes_on(), "{name}: {self:?}: {answer:?}");
    }
}

fn heard(glance: &FakeGlance, id: &str) -> bool {
    let path = format!("/v2/images/{id}");
    glance.received().iter().any(|call| call.path == path)
}

fn check_pair(
    gateway: &TestGateway,
    glance: &FakeGlance,
    first: Kind,
    second: Kind,
    packets: usize,
) {
    let name = format!("{first:?} and {second:?} in {packets}");
    let ids = [1, 2].map(|number| format!("{first:?}-{second:?}-{packets}-{number}"));
    let (one, other) = (first.bytes(&ids[0]), second.bytes(&ids[1]));
    let mut wire = RawClient::connect(gateway.base()).unwrap();
    if packets == 1 {
        wire.send([one, other].concat()).unwrap();
    } else {
        wire.send(one).unwrap();
        sleep(GLANCE_DELAY / 3);
        // The gateway may have answered and closed.
        let _sent = wire.send(other);
    }
    first.check(&mut wire, &ids[0], &name);
    if first.goes_on() {
        second.check(&mut wire, &ids[1], &name);
        assert_eq!(heard(glance, &ids[1]), second.reaches_glance(), "{name}");
        if second.goes_on() {
            wire.send(Hit.bytes("-")).unwrap();
            Hit.check(&mut wire, "-", &name);
            return;
        }
    }
    assert!(wire.is_closed(), "{name}");
    if !first.goes_on() {
        assert!(!heard(glance, &ids[1]), "{name}: executed behind the last");
    }
}

#[test]
fn every_request_of_a_connection_gets_its_own_answer() {
    let glance = FakeGlance::start(GLANCE_DELAY);
    let url = glance.url();
    let settings = [
        ("AUTH__MODE", "passthrough"),
        ("GLANCE__ENDPOINTS", url.as_str()),
    ];
    let gateway = TestGateway::start(&settings);
    let mut wire = RawClient::connect(gateway.base()).unwrap();
    wire.send(Hit.bytes("-")).unwrap();
    Hit.check(&mut wire, "-", "warm-up");
    std::thread::scope(|scope| {
        for first in KINDS {
            let (gateway, glance) = (&gateway, &glance);
            scope.spawn(move || {
                for second in KINDS {
                    for packets in [1, 2] {
                        check_pair(gateway, glance, first, second, packets);
                    }
                }
            });
        }
    });
}

#[test]
fn requests_that_were_sent_ahead_are_answered_after_the_client_ended_its_side() {
    let glance = FakeGlance::start(GLANCE_DELAY);
    let url = glance.url();
    let settings = [
        ("AUTH__MODE", "passthrough"),
        ("GLANCE__ENDPOINTS", url.as_str()),
    ];
    let gateway = TestGateway::start(&settings);
    let mut wire = RawClient::connect(gateway.base()).unwrap();
    let ids = ["one", "two", "three"];
    let all: Vec<u8> = ids.iter().flat_map(|id| Miss.bytes(id)).collect();
    wire.send(all).unwrap();
    wire.stream().shutdown(std::net::Shutdown::Write).unwrap();
    for id in &ids[..2] {
        Miss.check(&mut wire, id, "half-closed");
    }
    // The last one ends the connection.
    Close.check(&mut wire, ids[2], "half-closed");
    assert!(wire.is_closed());
}

/// More than the gateway reads ahead.
#[test]
fn a_long_pipeline_is_answered_in_order() {
    let glance = FakeGlance::start(Duration::ZERO);
    let url = glance.url();
    let settings = [
        ("AUTH__MODE", "passthrough"),
        ("GLANCE__ENDPOINTS", url.as_str()),
    ];
    let gateway = TestGateway::start(&settings);
    let mut wire = RawClient::connect(gateway.base()).unwrap();
    let ids: Vec<String> = (0..600).map(|number| format!("image-{number}")).collect();
    let all: Vec<u8> = ids.iter().flat_map(|id| Miss.bytes(id)).collect();
    assert!(all.len() > 30_000);
    wire.send(all).unwrap();
    for id in &ids {
        Miss.check(&mut wire, id, "pipeline");
    }
}
