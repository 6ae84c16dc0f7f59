//! Requests that pass through to Nova, as Nova hears them and as clients see the answers.

use rstest::rstest;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};
use test_support::TestGateway;
use test_support::client::{self, RawClient, Request};
use test_support::recording_upstream::Upstream;

/// A gateway before `nova`, whose Glance is embedded and open to every caller.
fn gateway(nova: &Upstream, settings: &[(&str, &str)]) -> TestGateway {
    let url = nova.url();
    let mut all = vec![
        ("AUTH__MODE", "none"),
        ("GLANCE__MODE", "embedded"),
        ("COMPUTE__ENDPOINTS", url.as_str()),
    ];
    all.extend_from_slice(settings);
    TestGateway::start(&all)
}

fn nova(answer: &'static [u8]) -> Upstream {
    Upstream::start(move |heard, stream| {
        // The gateway itself asks for Nova's version.
        if heard
            .all("user-agent")
            .any(|agent| agent.starts_with("nova-image-proxy"))
        {
            return write_all(stream, b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n");
        }
        write_all(stream, answer)
    })
}

fn write_all(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)
}

/// What clients' requests were heard; the gateway's own are left out.
fn heard(nova: &Upstream) -> Vec<test_support::recording_upstream::Heard> {
    let own = |heard: &test_support::recording_upstream::Heard| {
        heard
            .all("user-agent")
            .any(|agent| agent.starts_with("nova-image-proxy"))
    };
    nova.heard()
        .into_iter()
        .filter(|heard| !own(heard))
        .collect()
}

fn request<'a>(method: &'a str, path: &'a str, headers: &[(&'a str, &'a str)]) -> Request<'a> {
    Request {
        method,
        path,
        headers: headers.to_vec(),
        body: None,
    }
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/x\r\nX-One: 1\r\nX-One: 2\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn a_request_goes_on_as_it_came_and_the_answer_too() {
    let nova = nova(OK);
    let gateway = gateway(&nova, &[]);
    let headers = [
        ("X-Auth-Token", "secret"),
        ("Accept", "a"),
        ("Accept", "b"),
        ("X-Latin", "\u{e9}"),
        ("OpenStack-API-Version", "compute 2.87"),
    ];
    let path = "/v2.1/servers/a%2Fb/../%2e%2e//c;d?x=%20&y=[1]";
    let answer = client::send(gateway.base(), &request("GET", path, &headers)).unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    let ones: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| name == "x-one")
        .collect();
    assert_eq!(
        ones.iter()
            .map(|(_, value)| value.as_str())
            .collect::<Vec<_>>(),
        ["1", "2"]
    );
    let heard = heard(&nova).remove(0);
    assert_eq!(heard.line, format!("GET {path} HTTP/1.1"));
    assert_eq!(heard.header("x-auth-token"), Some("secret"));
    assert_eq!(heard.all("accept").collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(
        heard.header("host"),
        Some(client::authority(gateway.base()))
    );
    assert_eq!(heard.header("via"), Some("1.1 nova-image-proxy"));
    assert_eq!(heard.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(heard.header("x-forwarded-proto"), Some("http"));
    assert_eq!(heard.header("connection"), None);
    // Nothing is added that a client could not have meant.
    assert_eq!(heard.header("user-agent"), None);
    assert_eq!(heard.header("content-length"), None);
    assert_eq!(heard.header("transfer-encoding"), None);
}

/// Image routes are answered here, with Nova's own documents and every other route of Nova's beside them.
#[test]
fn image_routes_stay_here() {
    let nova = nova(OK);
    let gateway = gateway(&nova, &[("SERVER__PATH_PREFIX", "/compute")]);
    for (method, path, is_novas) in [
        ("GET", "/compute/v2.1/images", false),
        ("GET", "/compute/v2.1/images/detail", false),
        ("GET", "/compute/v2/images/nonesuch/metadata", false),
        ("GET", "/compute", true),
        ("GET", "/compute/", true),
        ("GET", "/compute/v2.1/", true),
        ("GET", "/compute/v2.1/flavors", true),
        ("PUT", "/compute/v2.1/images", true),
        ("OPTIONS", "/compute/v2.1/images", true),
        ("PROPFIND", "/compute/x", true),
        ("GET", "/v2.1/images", false),
        ("GET", "/computes", false),
        ("OPTIONS", "*", false),
    ] {
        let before = heard(&nova).len();
        let answer = client::send(gateway.base(), &request(method, path, &[])).unwrap();
        let passed = heard(&nova).len() - before;
        assert_eq!(
            passed,
            usize::from(is_novas),
            "{method} {path}: {}",
            answer.status
        );
        if let Some(heard) = heard(&nova).last()
            && is_novas
        {
            let below = path.strip_prefix("/compute").unwrap();
            let target = if below.is_empty() { "/" } else { below };
            assert_eq!(heard.line, format!("{method} {target} HTTP/1.1"));
            assert_eq!(heard.header("x-forwarded-prefix"), Some("/compute"));
        }
    }
}

/// What a hostile client sends in its headers, and what Nova hears of it.
#[rstest]
#[case::token_named(&[("Connection", "X-Auth-Token, X-Hop"), ("X-Auth-Token", "t"), ("X-Hop", "h")],
    &[("x-auth-token", Some("t")), ("x-hop", None), ("connection", None)])]
#[case::forged(&[("X-Forwarded-For", "1.2.3.4"), ("Forwarded", "for=1.2.3.4;host=evil"),
    ("X-Forwarded-Host", "evil"), ("X-Forwarded-Proto", "https"), ("X-Real-IP", "1.2.3.4")],
    &[("x-forwarded-for", Some("127.0.0.1")), ("forwarded", None), ("x-forwarded-proto", Some("http")),
      ("x-real-ip", None)])]
#[case::forged_and_named(&[("Connection", "x-forwarded-for, host, content-length, via")],
    &[("x-forwarded-for", Some("127.0.0.1")), ("via", Some("1.1 nova-image-proxy"))])]
#[case::hop_by_hop(&[("TE", "trailers"), ("Keep-Alive", "timeout=1"), ("Proxy-Connection", "x"),
    ("Proxy-Authorization", "x"), ("Upgrade", "websocket"), ("Connection", "upgrade")],
    &[("te", None), ("keep-alive", None), ("proxy-connection", None), ("proxy-authorization", None),
      ("upgrade", None), ("connection", None)])]
#[case::id_of_its_own(&[("X-OpenStack-Request-ID", "garbage")], &[("x-openstack-request-id", Some("garbage"))])]
fn hostile_headers_do_not_reach_nova(
    #[case] headers: &[(&str, &str)],
    #[case] expected: &[(&str, Option<&str>)],
) {
    let nova = nova(OK);
    let gateway = gateway(&nova, &[]);
    let answer = client::send(gateway.base(), &request("GET", "/v2.1/servers", headers)).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let heard = heard(&nova).remove(0);
    for (name, value) in expected {
        assert_eq!(heard.header(name), *value, "{name}: {heard:?}");
    }
}

/// A request whose end is not clear never reaches Nova.
#[rstest]
#[case::both("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")]
#[case::two_lengths("Content-Length: 5\r\nContent-Length: 6\r\n")]
#[case::sign("Content-Length: +5\r\n")]
#[case::two_encodings("Transfer-Encoding: gzip, chunked\r\n")]
#[case::space("Content-Length : 5\r\n")]
fn an_unclear_framing_is_refused(#[case] headers: &str) {
    let nova = nova(OK);
    let gateway = gateway(&nova, &[]);
    let mut wire = RawClient::connect(gateway.base()).unwrap();
    let head = format!("POST /v2.1/servers HTTP/1.1\r\nHost: x\r\n{headers}\r\nhello");
    wire.send(head).unwrap();
    assert_eq!(wire.receive().unwrap().status, 400);
    assert!(heard(&nova).is_empty());
}

#[test]
fn a_proxy_that_is_trusted_says_where_a_request_came_from() {
    let nova = nova(OK);
    let gateway = gateway(&nova, &[("SERVER__TRUSTED_PROXIES", "127.0.0.1")]);
    let headers = [
        ("X-Forwarded-For", "198.51.100.1, 192.0.2.7"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "cloud.example"),
        ("Via", "1.1 edge"),
    ];
    client::send(gateway.base(), &request("GET", "/v2.1/servers", &headers)).unwrap();
    let heard = heard(&nova).remove(0);
    assert_eq!(
        heard.header("x-forwarded-for"),
        Some("192.0.2.7, 127.0.0.1")
    );
    assert_eq!(heard.header("x-forwarded-proto"), Some("https"));
    assert_eq!(heard.header("x-forwarded-host"), Some("cloud.example"));
    assert_eq!(
        heard.header("host"),
        Some(client::authority(gateway.base()))
    );
    assert_eq!(
        heard.all("via").collect::<Vec<_>>(),
        ["1.1 edge", "1.1 nova-image-proxy"]
    );
}

#[test]
fn a_loop_ends_at_once() {
    let nova = nova(OK);
    let gateway = gateway(&nova, &[]);
    let headers = [("Via", "1.1 edge, 1.1 nova-image-proxy")];
    let answer = client::send(gateway.base(), &request("GET", "/v2.1/servers", &headers)).unwrap();
    assert_eq!(answer.status, 508);
    assert_eq!(answer.json()["error"]["code"], 508);
    assert!(heard(&nova).is_empty());
}

#[rstest]
#[case::length("Content-Length: 10\r\n\r\n0123456789", Some("content-length"))]
#[case::chunked(
    "Transfer-Encoding: chunked\r\n\r\n4\r\n0123\r\n6;x=y\r\n456789\r\n0\r\nTrailer: x\r\n\r\n",
    Some("transfer-encoding")
)]
#[case::no_bytes("Content-Length: 0\r\n\r\n", Some("content-length"))]
fn a_body_arrives_with_its_framing(
    #[case] rest: &str,
    #[case] framing: Option<&str>,
    #[values("POST", "GET", "DELETE")] method: &str,
) {
    let nova = nova(OK);
    let gateway = gateway(&nova, &[]);
    let mut wire = RawClient::connect(gateway.base()).unwrap();
    let head = format!("{method} /v2.1/servers HTTP/1.1\r\nHost: x\r\n");
    wire.send(format!("{head}{rest}")).unwrap();
    assert_eq!(wire.receive().unwrap().text(), "hello");
    let heard = heard(&nova).remove(0);
    let body = if rest.contains(": 0\r\n") {
        ""
    } else {
        "0123456789"
    };
    assert_eq!(String::from_utf8_lossy(&heard.body), body);
    for name in ["content-length", "transfer-encoding"] {
        assert_eq!(
            heard.header(name).is_some(),
            framing == Some(name),
            "{heard:?}"
        );
    }
    // The connection goes on.
    wire.send("GET /v2.1/flavors HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    assert_eq!(wire.receive().unwrap().status, 200);
}

#[rstest]
#[case::length("200 OK\r\nContent-Length: 4", "body", "content-length: 4", "body")]
#[case::chunked(
    "200 OK\r\nTransfer-Encoding: chunked",
    "2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n",
    "transfer-encoding: chunked",
    "2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n"
)]
#[case::until_the_end(
    "200 OK\r\nConnection: close",
    "body",
    "transfer-encoding: chunked",
    "4\r\nbody\r\n0\r\n\r\n"
)]
#[case::no_content("204 No Content", "", "", "")]
#[case::not_modified(
    "304 Not Modified\r\nContent-Length: 9\r\nETag: x",
    "",
    "content-length: 9",
    ""
)]
#[case::empty("202 Accepted\r\nContent-Length: 0", "", "content-length: 0", "")]
#[case::early_hints(
    "103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1",
    "x",
    "content-length: 1",
    "x"
)]
fn an_answer_arrives_with_its_framing(
    #[case] head: &str,
    #[case] body: &str,
    #[case] framing: &str,
    #[case] arrives: &str,
) {
    let answer = format!("HTTP/1.1 {head}\r\n\r\n{body}");
    let closes = head.contains("close");
    let nova = Upstream::start(move |_, stream| {
        write_all(stream, answer.as_bytes())?;
        if closes {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    });
    let gateway = gateway(&nova, &[]);
    let mut wire = RawClient::connect(gateway.base()).unwrap();
    wire.send("GET /v2.1/servers HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    wire.send("GET /v2.1/servers HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let all = String::from_utf8(wire.rest().unwrap()).unwrap();
    // Two answers on one connection: the first one has an end.
    let (first, second) = all[10..].split_once("HTTP/1.1 ").unwrap();
    for one in [first, second] {
        let (head, body) = one.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, arrives, "{all}");
        assert!(framing.is_empty() || head.contains(framing), "{all}");
        let framings =
            head.matches("content-length").count() + head.matches("transfer-encoding").count();
        assert_eq!(framings, usize::from(!framing.is_empty()), "{all}");
    }
}

#[test]
fn a_head_has_the_length_and_no_body() {
    let nova = nova(b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n");
    let gateway = gateway(&nova, &[]);
    let mut wire = RawClient::connect(gateway.base()).unwrap();
    for _ in 0..2 {
        wire.send("HEAD /v2.1/servers HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        let answer = wire.receive_to("HEAD").unwrap();
        assert_eq!(answer.header("content-length"), Some("1234"));
    }
}

/// A side that breaks breaks the other: what is cut never looks complete.
#[rstest]
#[case::length("Content-Length: 100000\r\n\r\nsome")]
#[case::chunked("Transfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n")]
#[case::in_a_chunk("Transfer-Encoding: chunked\r\n\r\nFF\r\nsome")]
fn an_answer_that_breaks_off_breaks_off_for_the_client(#[case] rest: &str) {
    let answer = format!("HTTP/1.1 200 OK\r\n{rest}");
    let nova = Upstream::start(move |_, stream| {
        write_all(stream, answer.as_bytes())?;
        Err(io::ErrorKind::ConnectionAborted.into())
    });
    let gateway = gateway(&nova, &[]);
    let sent = request("GET", "/v2.1/servers", &[]);
    let error = client::send(gateway.base(), &sent).unwrap_err();
    assert!(
        matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
        ),
        "{error}"
    );
}

#[test]
fn a_client_that_leaves_in_its_body_breaks_the_request() {
    let (told, ended) = std::sync::mpsc::channel();
    let nova = Upstream::streaming(move |heard, reader| {
        if heard.line.starts_with("POST") {
            let mut body = Vec::new();
            let read = reader.take(1000).read_to_end(&mut body);
            told.send((read.is_ok(), body)).unwrap();
        }
        Err(io::ErrorKind::ConnectionAborted.into())
    });
    let gateway = gateway(&nova, &[]);
    let mut wire = RawClient::connect(gateway.base()).unwrap();
    wire.send("POST /v2.1/servers HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf")
        .unwrap();
    sleep(Duration::from_millis(200));
    drop(wire);
    let (_, body) = ended.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(body, b"half");
}

/// uWSGI's `http-socket` closes each connection without saying so.
#[test]
fn a_write_behind_a_read_is_sent_once_to_a_server_that_closes_silently() {
    let nova = Upstream::start(|_, stream| {
        write_all(stream, OK)?;
        Err(io::ErrorKind::ConnectionAborted.into())
    });
    let gateway = gateway(&nova, &[]);
    let mut wire = RawClient::connect(gateway.base()).unwrap();
    for round in 0..30 {
        for request in [
            "GET /v2.1/flavors HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            format!(
                "POST /v2.1/servers?{round} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}"
            ),
        ] {
            wire.send(request).unwrap();
            assert_eq!(wire.receive().unwrap().status, 200);
        }
    }
    let posts = heard(&nova)
        .iter()
        .filter(|heard| heard.line.starts_with("POST"))
        .count();
    assert_eq!(posts, 30);
}

/// A server that has read a POST and says nothing may have carried it out.
#[test]
fn a_write_is_never_sent_twice_and_a_read_is() {
    let nova = Upstream::start(|_, _| Err(io::ErrorKind::ConnectionAborted.into()));
    let gateway = gateway(&nova, &[]);
    let post = Request {
        body: Some(b"{}"),
        ..request("POST", "/v2.1/servers", &[])
    };
    let delete = request("DELETE", "/v2.1/servers/x", &[]);
    for (sent, times) in [
        (post, 1..=1),
        (delete, 1..=1),
        (request("GET", "/v2.1/servers", &[]), 2..=3),
    ] {
        let before = heard(&nova).len();
        let answer = client::send(gateway.base(), &sent).unwrap();
        assert_eq!(answer.status, 502);
        assert!(!answer.text().contains("127.0.0.1"));
        let count = heard(&nova).len() - before;
        assert!(times.contains(&count), "{}: {count} times", sent.method);
    }
}

#[test]
fn of_several_servers_a_dead_one_is_passed_over_by_writes_too() {
    let nova = nova(OK);
    let dead = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let both = format!("{dead},{}/v2.1", nova.url());
    let gateway = gateway(&nova, &[("COMPUTE__ENDPOINTS", &both)]);
    for _ in 0..6 {
        let post = Request {
            body: Some(b"{}"),
            ..request("POST", "/v2.1/servers", &[])
        };
        assert_eq!(client::send(gateway.base(), &post).unwrap().status, 200);
    }
    assert_eq!(heard(&nova).len(), 6);
    assert!(
        heard(&nova)
            .iter()
            .all(|heard| heard.line == "POST /v2.1/servers HTTP/1.1")
    );
}

#[test]
fn a_server_that_does_nothing_is_a_504_and_a_client_that_sends_nothing_a_408() {
    let nova = Upstream::streaming(|_, reader| reader.read_to_end(&mut Vec::new()).map(drop));
    let gateway = gateway(&nova, &[("COMPUTE__IDLE_TIMEOUT", "300ms")]);
    let started = Instant::now();
    let answer = client::send(gateway.base(), &request("GET", "/v2.1/servers", &[])).unwrap();
    assert_eq!(answer.status, 504);
    let mut wire = RawClient::connect(gateway.base()).unwrap();
    wire.send("POST /v2.1/servers HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf")
        .unwrap();
    let answer = wire.receive().unwrap();
    assert_eq!(answer.status, 408);
    assert!(answer.is_last());
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn an_answer_that_stalls_breaks_and_a_slow_one_does_not() {
    let nova = Upstream::start(|heard, stream| {
        write_all(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")?;
        for _ in 0..10 {
            sleep(Duration::from_millis(150));
            write_all(stream, b"x")?;
            if heard.line.contains("stall") {
                sleep(Duration::from_secs(30));
            }
        }
        Ok(())
    });
    let gateway = gateway(&nova, &[("COMPUTE__IDLE_TIMEOUT", "1s")]);
    let slow = client::send(gateway.base(), &request("GET", "/v2.1/slow", &[])).unwrap();
    assert_eq!(slow.text(), "xxxxxxxxxx");
    client::send(gateway.base(), &request("GET", "/v2.1/stall", &[])).unwrap_err();
}

#[test]
fn too_many_at_a_time_are_a_503_with_an_advice() {
    let nova = Upstream::start(|_, stream| {
        sleep(Duration::from_secs(2));
        write_all(stream, OK)
    });
    let gateway = gateway(&nova, &[("COMPUTE__MAX_IN_FLIGHT", "1")]);
    let mut first = RawClient::connect(gateway.base()).unwrap();
    first
        .send("GET /v2.1/servers HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    sleep(Duration::from_millis(500));
    let answer = client::send(gateway.base(), &request("GET", "/v2.1/servers", &[])).unwrap();
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("5"))
    );
    // Image routes have limits of their own.
    let images = client::send(gateway.base(), &request("GET", "/v2.1/images", &[])).unwrap();
    assert_eq!(images.status, 200);
    assert_eq!(first.receive().unwrap().status, 200);
}

/// `100 Continue` comes when Nova is being asked, and not before a refusal.
#[test]
fn a_client_is_invited_to_send_its_body_when_nova_takes_it() {
    let nova = nova(OK);
    let gateway = gateway(&nova, &[]);
    let head =
        "POST /v2.1/servers HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n";
    let mut wire = RawClient::connect(gateway.base()).unwrap();
    wire.send(format!("{head}\r\n")).unwrap();
    let started = Instant::now();
    assert_eq!(wire.receive_to("HEAD").unwrap().status, 100);
    assert!(started.elapsed() < Duration::from_secs(5));
    wire.send("body").unwrap();
    assert_eq!(wire.receive().unwrap().status, 200);
    let heard = heard(&nova).remove(0);
    assert_eq!(
        (heard.header("expect"), heard.body.as_slice()),
        (None, b"body".as_slice())
    );
    let mut wire = RawClient::connect(gateway.base()).unwrap();
    wire.send(format!("{head}Via: 1.1 nova-image-proxy\r\n\r\n"))
        .unwrap();
    assert_eq!(wire.receive().unwrap().status, 508);
}

/// An action may make an image, and a deleted server may take one along.
#[test]
fn a_passed_action_makes_cached_lists_old() {
    let nova = nova(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
    let gateway = gateway(&nova, &[("CACHE__TTL", "1h")]);
    let list = || {
        let answer = client::send(gateway.base(), &request("GET", "/v2.1/images", &[])).unwrap();
        answer.header("cache-status").map(str::to_owned)
    };
    let is_hit = |status: Option<String>| status.is_some_and(|status| status.contains("; hit"));
    assert!(!is_hit(list()));
    assert!(is_hit(list()), "the list is not cached");
    for (method, path) in [
        ("POST", "/v2.1/servers/a/action"),
        ("DELETE", "/v2.1/servers/a"),
    ] {
        client::send(gateway.base(), &request(method, path, &[])).unwrap();
        assert!(!is_hit(list()), "{method} {path}");
        assert!(is_hit(list()));
    }
    client::send(gateway.base(), &request("POST", "/v2.1/servers", &[])).unwrap();
    assert!(is_hit(list()));
}

/// Nova's highest microversion is the gateway's, as soon as it is known.
#[test]
fn the_highest_microversion_is_nova_s() {
    let nova = Upstream::start(|_, stream| {
        let body = r#"{"version": {"id": "v2.1", "version": "2.60", "min_version": "2.1"}}"#;
        let length = body.len();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
        write_all(stream, answer.as_bytes())
    });
    let gateway = gateway(&nova, &[]);
    let started = Instant::now();
    loop {
        let headers = [("X-OpenStack-Nova-API-Version", "2.61")];
        let answer =
            client::send(gateway.base(), &request("GET", "/v2.1/images", &headers)).unwrap();
        if answer.status == 406 {
            break;
        }
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "{}",
            answer.status
        );
        sleep(Duration::from_millis(50));
    }
}
