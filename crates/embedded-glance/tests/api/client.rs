//! HTTP/1.1 as bytes on a socket, so that a request is exactly what was recorded.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;
use url::Url;

/// Longest time for a part of a response.
const TIMEOUT: Duration = Duration::from_secs(60);
const CHUNK: usize = 65536;

pub struct Request<'a> {
    pub method: &'a str,
    /// The target, as it is sent.
    pub target: &'a str,
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
    pub chunked: bool,
    /// How much more is announced than sent; the connection is then closed without a response.
    pub cut: Option<usize>,
}

pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// Sends a request on a connection of its own; none without a response.
pub fn send(host: &str, request: &Request) -> io::Result<Option<Response>> {
    let stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut head = format!(
        "{} {} HTTP/1.1\r\nHost: {host}\r\n",
        request.method, request.target
    );
    for (name, value) in &request.headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    let mut bytes = Vec::new();
    match &request.body {
        Some(body) if request.chunked => {
            head.push_str("Transfer-Encoding: chunked\r\n");
            for piece in body.chunks(CHUNK) {
                write!(bytes, "{:x}\r\n", piece.len())?;
                bytes.extend_from_slice(piece);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        }
        Some(body) => {
            let announced = body.len() + request.cut.unwrap_or(0);
            head.extend(["Content-Length: ", &announced.to_string(), "\r\n"]);
            bytes.extend_from_slice(body);
        }
        None => {}
    }
    head.push_str("\r\n");
    (&stream).write_all(head.as_bytes())?;
    // A server may answer, and close, before it has read all of a body.
    let _unread = (&stream).write_all(&bytes);
    if request.cut.is_some() {
        // Time for what was sent to be read, and for the end to be noticed.
        std::thread::sleep(Duration::from_millis(300));
        drop(stream);
        std::thread::sleep(Duration::from_millis(700));
        return Ok(None);
    }
    receive(BufReader::new(stream), request.method == "HEAD").map(Some)
}

pub fn receive(mut reader: BufReader<TcpStream>, is_head: bool) -> io::Result<Response> {
    let status = line(&mut reader)?;
    let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    let mut headers = Vec::new();
    loop {
        let line = line(&mut reader)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let header = |name: &str| headers.iter().find(|(own, _)| own == name);
    let length = header("content-length").and_then(|(_, length)| length.parse::<u64>().ok());
    let mut body = Vec::new();
    if !is_head && header("transfer-encoding").is_some() {
        loop {
            let size = usize::from_str_radix(line(&mut reader)?.trim(), 16);
            let size = size.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            let start = body.len();
            body.resize(start + size, 0);
            reader.read_exact(&mut body[start..])?;
            line(&mut reader)?;
            if size == 0 {
                break;
            }
        }
    } else if !is_head && status != 204 {
        reader.take(length.unwrap_or(0)).read_to_end(&mut body)?;
    }
    Ok(Response {
        status,
        headers,
        body,
    })
}

/// One request, with a body of JSON unless a header says otherwise.
pub fn ask(
    base: &Url,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: Option<&str>,
) -> Response {
    let mut headers: Vec<(String, String)> = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    if body.is_some() && !headers.iter().any(|(name, _)| name == "Content-Type") {
        headers.push(("Content-Type".to_owned(), "application/json".to_owned()));
    }
    let request = Request {
        method,
        target,
        headers,
        body: body.map(|body| body.as_bytes().to_vec()),
        chunked: false,
        cut: None,
    };
    let host = &base[url::Position::BeforeHost..url::Position::AfterPort];
    send(host, &request).unwrap().unwrap()
}

impl Response {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()))
    }
}

fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut bytes = Vec::new();
    reader.read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}
