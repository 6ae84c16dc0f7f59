//! HTTP/1.1 as bytes on a socket: tests send what no client library would, such as odd paths, a header
//! twice, or a body that is not what its headers say.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// The content type of a Glance v2 image change.
pub const IMAGE_PATCH: &str = "application/openstack-images-v2.1-json-patch";

const TIMEOUT: Duration = Duration::from_secs(60);

/// What goes on the wire. `Host`, `Content-Length` and `Connection: close` are added where absent.
#[derive(Debug, Clone, Default)]
pub struct Request<'a> {
    pub method: &'a str,
    /// The request target, unescaped.
    pub path: &'a str,
    pub headers: Vec<(&'a str, &'a str)>,
    pub body: Option<&'a [u8]>,
}

/// What came back. Interim (1xx) answers are passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// In the order sent.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(each, _)| each.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {} {}", self.status, self.text()))
    }
}

/// Sends one request on a connection of its own to `http://host:port`.
///
/// # Errors
/// The connection fails, ends early, or what comes back is not HTTP.
pub fn send(base: &str, request: &Request) -> io::Result<Answer> {
    let host = authority(base);
    let stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    // A server may answer, and close, before it has read all of a body.
    let _unread = (&stream).write_all(&encode(host, request));
    receive(&mut BufReader::new(stream), request.method == "HEAD")
}

/// One request to `http://host:port`, with a body of JSON where there is one.
///
/// # Panics
/// There is no answer.
pub fn ask(
    base: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&str>,
) -> Answer {
    let mut headers = headers.to_vec();
    if body.is_some() {
        headers.push(("Content-Type", "application/json"));
    }
    let request = Request {
        method,
        path,
        headers,
        body: body.map(str::as_bytes),
    };
    send(base, &request).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

/// One request with a body, to an absolute URL.
pub fn call(method: &str, url: &str, token: Option<&str>, kind: &str, body: &[u8]) -> Answer {
    let (base, path) = split(url);
    let mut headers = vec![("Content-Type", kind)];
    headers.extend(token.map(|token| ("X-Auth-Token", token)));
    let request = Request {
        method,
        path,
        headers,
        body: Some(body),
    };
    send(base, &request).unwrap_or_else(|error| panic!("{method} {url}: {error}"))
}

/// `http://host:port` and the rest of an absolute URL.
pub fn split(url: &str) -> (&str, &str) {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    url.split_at(
        url[after_scheme..]
            .find('/')
            .map_or(url.len(), |at| after_scheme + at),
    )
}

/// `host:port` of `http://host:port`.
pub fn authority(base: &str) -> &str {
    base.strip_prefix("http://")
        .unwrap_or(base)
        .trim_end_matches('/')
}

fn encode(host: &str, request: &Request) -> Vec<u8> {
    let has = |name: &str| {
        request
            .headers
            .iter()
            .any(|(each, _)| each.eq_ignore_ascii_case(name))
    };
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.path);
    let mut line = |name: &str, value: &str| head.extend([name, ": ", value, "\r\n"]);
    if !has("host") {
        line("Host", host);
    }
    for (name, value) in &request.headers {
        line(name, value);
    }
    if let Some(body) = request.body
        && !has("content-length")
        && !has("transfer-encoding")
    {
        line("Content-Length", &body.len().to_string());
    }
    line("Connection", "close");
    head.push_str("\r\n");
    [head.as_bytes(), request.body.unwrap_or_default()].concat()
}

fn receive(stream: &mut impl BufRead, head_only: bool) -> io::Result<Answer> {
    loop {
        let (status, headers) = receive_head(stream)?;
        if (100..200).contains(&status) {
            continue;
        }
        let mut answer = Answer {
            status,
            headers,
            body: Vec::new(),
        };
        if !head_only && status != 204 && status != 304 {
            answer.body = receive_body(stream, &answer)?;
        }
        return Ok(answer);
    }
}

fn receive_head(stream: &mut impl BufRead) -> io::Result<(u16, Vec<(String, String)>)> {
    let first = receive_line(stream)?;
    let status = first.split(' ').nth(1).and_then(|text| text.parse().ok());
    let status = status.ok_or_else(|| invalid(&format!("status line {first:?}")))?;
    let mut headers = Vec::new();
    loop {
        let line = receive_line(stream)?;
        if line.is_empty() {
            return Ok((status, headers));
        }
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| invalid(&format!("header {line:?}")))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

fn receive_body(stream: &mut impl BufRead, answer: &Answer) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if answer
        .header("transfer-encoding")
        .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    {
        loop {
            let line = receive_line(stream)?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| invalid("chunk size"))?;
            let start = body.len();
            body.resize(start + size, 0);
            stream.read_exact(&mut body[start..])?;
            receive_line(stream)?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
    match answer.header("content-length") {
        Some(length) => {
            let length = length.parse().map_err(|_| invalid("content-length"))?;
            body.resize(length, 0);
            stream.read_exact(&mut body)?;
        }
        None => {
            stream.read_to_end(&mut body)?;
        }
    }
    Ok(body)
}

fn receive_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "closed without an answer",
        ));
    }
    Ok(String::from_utf8_lossy(&line)
        .trim_end_matches('\r')
        .to_owned())
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP: {what}"))
}
