//! Whole raw requests: the bytes of a connection, before a gateway with a Glance that has every image.

use nova_image_proxy::server::request_framing::{RequestFraming, Scan};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::TestGateway;

/// How often the Glance failed, as it does for images whose id begins so.
static FAILURES: AtomicU64 = AtomicU64::new(0);
const FAILING: &str = "fail";

/// Each complete request is answered, in order and with HTTP; nothing behind the last one is; no answer is a 5xx unless
/// Glance failed.
///
/// # Panics
/// The input breaks a rule.
pub fn holds(data: &[u8]) {
    static GATEWAY: OnceLock<TestGateway> = OnceLock::new();
    let gateway = GATEWAY.get_or_init(gateway).address();
    let failures = FAILURES.load(Ordering::Relaxed);
    let output = exchange(gateway, data).expect("the exchange broke");
    let may_fail = FAILURES.load(Ordering::Relaxed) > failures;
    let (requests, rest) = requests(data);
    let mut output = output.as_slice();
    let mut is_over = false;
    for request in &requests {
        if is_over {
            break;
        }
        let answer = final_answer(&mut output, request.is_head);
        let answer = answer.unwrap_or_else(|| panic!("no answer to {request:?}"));
        if answer.is_library_s() {
            is_over = true;
            continue;
        }
        assert_eq!(
            answer.is_http_1_0, request.is_http_1_0,
            "{answer:?} to {request:?}"
        );
        assert!(answer.status < 500 || may_fail, "{answer:?} to {request:?}");
        assert!(
            request.is_keep_alive || answer.is_last,
            "{answer:?} to {request:?}"
        );
        is_over = answer.is_last;
    }
    if !is_over && rest == Rest::Some {
        // A request that is not complete, or refused, may be answered before its end.
        if let Some(answer) = final_answer(&mut output, false) {
            assert!(answer.status < 500 || may_fail, "{answer:?}");
            assert!(answer.is_last || answer.is_library_s(), "{answer:?}");
        }
    }
    assert!(
        output.is_empty(),
        "more: {}",
        String::from_utf8_lossy(output)
    );
}

#[derive(Debug)]
struct Request {
    is_head: bool,
    is_http_1_0: bool,
    is_keep_alive: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    None,
    Some,
}

/// The complete requests up to the last one of the connection, and whether something of another follows.
fn requests(data: &[u8]) -> (Vec<Request>, Rest) {
    let mut input = data.to_vec();
    let mut requests = Vec::new();
    while !input.is_empty() {
        let mut framing = RequestFraming::default();
        let Scan::Complete(length) = framing.scan(&mut input) else {
            return (requests, Rest::Some);
        };
        let rest = input.split_off(length);
        let text = input.trim_ascii_start();
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        requests.push(Request {
            is_head: text.starts_with(b"HEAD "),
            is_http_1_0: line.trim_ascii_end().ends_with(b"HTTP/1.0"),
            is_keep_alive: framing.is_keep_alive(),
        });
        if !framing.is_keep_alive() {
            return (requests, Rest::None);
        }
        input = rest;
    }
    (requests, Rest::None)
}

#[derive(Debug)]
struct Answer {
    status: u16,
    is_http_1_0: bool,
    is_last: bool,
    is_empty: bool,
}

impl Answer {
    /// The HTTP library refuses a request itself, with the version and the `Connection` of the one before it, and ends
    /// the connection.
    fn is_library_s(&self) -> bool {
        matches!(self.status, 400 | 431) && self.is_empty
    }
}

/// The next answer that is no interim one.
fn final_answer(output: &mut &[u8], is_head: bool) -> Option<Answer> {
    while !output.is_empty() {
        let answer = answer(output, is_head);
        if answer.status != 100 {
            return Some(answer);
        }
    }
    None
}

fn answer(output: &mut &[u8], is_head: bool) -> Answer {
    let mut line = || {
        let mut line = Vec::new();
        output.read_until(b'\n', &mut line).expect("memory");
        let line = String::from_utf8(line).expect("a line beyond ASCII");
        let text = line.strip_suffix("\r\n").expect("a line without its end");
        assert!(
            text.bytes().all(|byte| (0x20..0x7f).contains(&byte)),
            "{text:?}"
        );
        text.to_owned()
    };
    let status_line = line();
    let mut words = status_line.splitn(3, ' ');
    let version = words.next().expect("no version").to_owned();
    assert!(
        ["HTTP/1.0", "HTTP/1.1"].contains(&version.as_str()),
        "{status_line}"
    );
    let status = words.next().and_then(|code| code.parse().ok());
    let status: u16 = status.expect("no status");
    let (mut length, mut connection) = (None, None);
    loop {
        let header = line();
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(": ").expect("no header");
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                assert!(length.is_none(), "two lengths");
                length = Some(value.parse::<usize>().expect("no length"));
            }
            "connection" => connection = Some(value.to_ascii_lowercase()),
            "transfer-encoding" => panic!("an answer in chunks"),
            _ => {}
        }
    }
    let has_body = !is_head && status >= 200 && status != 204;
    assert!(
        length.is_some() || !has_body,
        "an answer without a length: {status_line}"
    );
    let length = if has_body { length.unwrap_or(0) } else { 0 };
    assert!(output.len() >= length, "a short answer: {status_line}");
    *output = &output[length..];
    let is_http_1_0 = version == "HTTP/1.0";
    let is_last = match connection.as_deref() {
        Some("close") => true,
        Some("keep-alive") => false,
        Some(other) => panic!("connection: {other}"),
        None => is_http_1_0,
    };
    Answer {
        status,
        is_http_1_0,
        is_last,
        is_empty: length == 0,
    }
}

/// All that comes back until the gateway closes.
fn exchange(gateway: SocketAddr, data: &[u8]) -> io::Result<Vec<u8>> {
    static CONNECTIONS: AtomicU32 = AtomicU32::new(0);
    // Many loopback addresses, since each has only so many ports.
    let number = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
    let [.., high, low] = (number % 60_000).to_be_bytes();
    let source = SocketAddrV4::new(Ipv4Addr::new(127, 1, high, low), 0);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SockAddr::from(source))?;
    socket.connect(&SockAddr::from(gateway))?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    // The gateway may have answered and closed before all is sent.
    let _sent = stream.write_all(data);
    let _ended = stream.shutdown(Shutdown::Write);
    let mut output = Vec::new();
    stream.read_to_end(&mut output)?;
    Ok(output)
}

fn gateway() -> TestGateway {
    let glance = glance();
    TestGateway::start(&[
        ("SERVER__WORKERS", "1"),
        ("ADMIN__LISTEN", "off"),
        ("AUTH__MODE", "passthrough"),
        ("LOG__ACCESS", "false"),
        ("GLANCE__RETRIES", "0"),
        ("GLANCE__ENDPOINTS", glance.as_str()),
    ])
}

/// A Glance that has every image and takes every change, but for those that fail.
fn glance() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("no listener");
    let address = listener.local_addr().expect("no address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || stream.and_then(|stream| serve(&stream)));
        }
    });
    format!("http://{address}")
}

fn serve(mut stream: &TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.split_once(':') else {
                break;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        io::copy(&mut reader.by_ref().take(length), &mut io::sink())?;
        let (status, body) = glance_answer(&line);
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all([head, body].concat().as_bytes())?;
    }
}

fn glance_answer(request_line: &str) -> (u16, String) {
    let mut words = request_line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next());
    let path = target.unwrap_or_default().split('?').next();
    match path.unwrap_or_default().strip_prefix("/v2/images/") {
        Some(id) if id.starts_with(FAILING) => {
            FAILURES.fetch_add(1, Ordering::Relaxed);
            (500, "{}".to_owned())
        }
        Some(_) if method == "DELETE" => (204, String::new()),
        Some(id) => (
            200,
            format!(r#"{{"id": "{id}", "status": "active", "k": "v"}}"#),
        ),
        None => (
            200,
            r#"{"images": [{"id": "x", "status": "active"}]}"#.to_owned(),
        ),
    }
}
