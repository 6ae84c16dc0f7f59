//! HTTP/1.1 as bytes on a socket: tests send what no client library would, such as odd paths, a header
//! twice, or a body that is not what its headers say.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// The content type of a Glance v2 image change.
pub const IMAGE_PATCH: &str = "application/openstack-images-v2.1-json-patch";

/// The longest wait for a byte; machines that run tests are slow.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What goes on the wire. `Host` and `Content-Length` are added where absent.
#[derive(Debug, Clone, Default)]
pub struct Request<'a> {
    pub method: &'a str,
    /// The request target, unescaped.
    pub path: &'a str,
    pub headers: Vec<(&'a str, &'a str)>,
    pub body: Option<&'a [u8]>,
}

/// A response as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status_line: String,
    pub status: u16,
    /// In the order sent.
    pub headers: Vec<(String, String)>,
    /// Without the framing of its chunks.
    pub body: Vec<u8>,
}

/// A connection that stays open.
#[derive(Debug)]
pub struct RawClient {
    host: String,
    stream: BufReader<TcpStream>,
}

impl<'a> Request<'a> {
    /// `GET path`, with no header of its own.
    pub fn get(path: &'a str) -> Self {
        Self {
            method: "GET",
            path,
            ..Self::default()
        }
    }

    fn has(&self, header: &str) -> bool {
        let mut headers = self.headers.iter();
        headers.any(|(name, _)| name.eq_ignore_ascii_case(header))
    }

    fn encode(&self, host: &str) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        let mut line = |name: &str, value: &str| head.extend([name, ": ", value, "\r\n"]);
        if !self.has("host") {
            line("Host", host);
        }
        for (name, value) in &self.headers {
            line(name, value);
        }
        if let Some(body) = self.body
            && !self.has("content-length")
            && !self.has("transfer-encoding")
        {
            line("Content-Length", &body.len().to_string());
        }
        head.push_str("\r\n");
        [head.as_bytes(), self.body.unwrap_or_default()].concat()
    }
}

impl Response {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(each, _)| each.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Whether the server says that it closes the connection.
    pub fn is_last(&self) -> bool {
        self.header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {} {}", self.status, self.text()))
    }
}

impl RawClient {
    /// Connects to `http://host:port`.
    pub fn connect(base: &str) -> io::Result<Self> {
        let host = authority(base);
        let stream = TcpStream::connect(host)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            host: host.to_owned(),
            stream: BufReader::new(stream),
        })
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes.as_ref())
    }

    /// Sends a request, and waits for nothing.
    pub fn send_request(&mut self, request: &Request) -> io::Result<()> {
        let bytes = request.encode(&self.host);
        self.send(bytes)
    }

    /// The next response, interim ones (1xx) included.
    pub fn receive(&mut self) -> io::Result<Response> {
        self.receive_to("GET")
    }

    /// The next response, to a request of this method: that to a HEAD has no body.
    pub fn receive_to(&mut self, method: &str) -> io::Result<Response> {
        let mut response = receive_head(&mut self.stream)?;
        let has_body = method != "HEAD" && response.status >= 200;
        if has_body && ![204, 304].contains(&response.status) {
            response.body = receive_body(&mut self.stream, &response)?;
        }
        Ok(response)
    }

    /// Gets a path and returns the response.
    ///
    /// # Panics
    /// There is none.
    pub fn get(&mut self, path: &str) -> Response {
        self.exchange(&Request::get(path))
    }

    /// Puts a JSON body and returns the response.
    ///
    /// # Panics
    /// There is none.
    pub fn put(&mut self, path: &str, body: &Value) -> Response {
        self.exchange(&Request {
            method: "PUT",
            path,
            headers: vec![("Content-Type", "application/json")],
            body: Some(body.to_string().as_bytes()),
        })
    }

    /// Sends a request and returns the final response.
    ///
    /// # Panics
    /// There is none.
    pub fn exchange(&mut self, request: &Request) -> Response {
        self.send_request(request)
            .and_then(|()| self.receive_final(request.method))
            .unwrap_or_else(|error| panic!("{} {}: {error}", request.method, request.path))
    }

    fn receive_final(&mut self, method: &str) -> io::Result<Response> {
        loop {
            let response = self.receive_to(method)?;
            if response.status >= 200 {
                return Ok(response);
            }
        }
    }

    /// Everything until the server closes.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest)?;
        Ok(rest)
    }

    /// Whether the server has closed the connection, or does before long: an end or a reset, and no byte.
    pub fn is_closed(&mut self) -> bool {
        match self.stream.fill_buf() {
            Ok(bytes) => bytes.is_empty(),
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        self.stream.get_ref()
    }
}

/// The bytes of `GET path` with a token and all headers that HTTP/1.1 requires.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: gateway\r\nX-Auth-Token: t\r\n\r\n")
}

/// Sends one request on a connection of its own to `http://host:port`.
///
/// # Errors
/// The connection fails, ends early, or what comes back is not HTTP.
pub fn send(base: &str, request: &Request) -> io::Result<Response> {
    let mut client = RawClient::connect(base)?;
    let mut request = request.clone();
    request.headers.push(("Connection", "close"));
    // A server may answer, and close, before it has read all of a body.
    let _unread = client.send_request(&request);
    client.receive_final(request.method)
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
) -> Response {
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
pub fn call(method: &str, url: &str, token: Option<&str>, kind: &str, body: &[u8]) -> Response {
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

fn receive_head(stream: &mut impl BufRead) -> io::Result<Response> {
    let status_line = receive_line(stream)?;
    let status = status_line
        .split(' ')
        .nth(1)
        .and_then(|text| text.parse().ok());
    let status = status.ok_or_else(|| invalid(&format!("status line {status_line:?}")))?;
    let mut headers = Vec::new();
    loop {
        let line = receive_line(stream)?;
        if line.is_empty() {
            return Ok(Response {
                status_line,
                status,
                headers,
                body: Vec::new(),
            });
        }
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| invalid(&format!("header {line:?}")))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

fn receive_body(stream: &mut impl BufRead, response: &Response) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if response
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
    match response.header("content-length") {
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
