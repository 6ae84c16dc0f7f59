//! What a fake server writes to a connection.

use std::io::{self, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

/// What is written to a connection after a request was read; then it is closed.
#[derive(Debug, Clone)]
pub enum Reply {
    Bytes(Vec<u8>),
    /// The first once, the second until the client stops reading.
    Endless(Vec<u8>, Vec<u8>),
    /// The same again and again, with a pause before each.
    Flood(Vec<u8>, Duration),
    /// Byte by byte, with a pause before each.
    Trickle(Vec<u8>, Duration),
    /// A whole response, then a pause before the connection is closed without an announcement.
    ThenSilentClose(Vec<u8>, Duration),
    /// Nothing; the connection stays open until the other side closes it.
    Silence,
}

impl Reply {
    pub(crate) fn write(&self, mut stream: &TcpStream) -> io::Result<()> {
        match self {
            Self::Bytes(bytes) => stream.write_all(bytes),
            Self::Endless(first, rest) => {
                stream.write_all(first)?;
                loop {
                    stream.write_all(rest)?;
                }
            }
            Self::Flood(bytes, pause) => loop {
                thread::sleep(*pause);
                stream.write_all(bytes)?;
            },
            Self::Trickle(bytes, pause) => bytes.iter().try_for_each(|byte| {
                thread::sleep(*pause);
                stream.write_all(&[*byte])
            }),
            Self::ThenSilentClose(bytes, pause) => {
                stream.write_all(bytes)?;
                thread::sleep(*pause);
                Ok(())
            }
            Self::Silence => io::copy(&mut stream, &mut io::sink()).map(drop),
        }
    }

    /// A whole response of JSON, with its length.
    pub fn json(status: u16, body: impl AsRef<[u8]>) -> Self {
        Self::json_with(status, "", body)
    }

    /// The same with more header lines, each with its `\r\n`.
    pub fn json_with(status: u16, headers: &str, body: impl AsRef<[u8]>) -> Self {
        Self::with_content_type("application/json", status, headers, body)
    }

    /// A whole page of HTML, with more header lines, each with its `\r\n`.
    pub(crate) fn html_with(status: u16, headers: &str, body: impl AsRef<[u8]>) -> Self {
        Self::with_content_type("text/html; charset=UTF-8", status, headers, body)
    }

    fn with_content_type(
        content_type: &str,
        status: u16,
        headers: &str,
        body: impl AsRef<[u8]>,
    ) -> Self {
        let body = body.as_ref();
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nConnection: close\r\n\
             {headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        Self::Bytes([head.as_bytes(), body].concat())
    }
}
