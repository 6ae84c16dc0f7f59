//! A server in Glance's place that writes whatever bytes it is told to.

use crate::server::{Received, Server};
use std::io::{self, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

/// What is written to a connection after a request was read; then it is closed.
#[derive(Debug, Clone)]
pub enum Wire {
    Bytes(Vec<u8>),
    /// The first once, the second until nobody reads any more.
    Endless(Vec<u8>, Vec<u8>),
    /// The same again and again, with a pause before each.
    Flood(Vec<u8>, Duration),
    /// Byte by byte, with a pause before each.
    Trickle(Vec<u8>, Duration),
    /// A whole answer, then a pause before the connection is closed without a word of it.
    ThenSilentClose(Vec<u8>, Duration),
    /// Nothing; the connection stays open until the other side closes it.
    Silence,
}

/// Writes what the script says to each request.
pub fn start(script: impl Fn(&Received) -> Wire + Send + Sync + 'static) -> Server {
    Server::start(move |request, stream| script(request).write(stream))
}

impl Wire {
    fn write(&self, mut stream: &TcpStream) -> io::Result<()> {
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
}

/// A whole answer with a length.
pub fn answer(status: u16, body: impl AsRef<[u8]>) -> Wire {
    answer_with(status, "", body)
}

/// The same with more header lines, each with its `\r\n`.
pub fn answer_with(status: u16, headers: &str, body: impl AsRef<[u8]>) -> Wire {
    let body = body.as_ref();
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nConnection: close\r\n\
         {headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    Wire::Bytes([head.as_bytes(), body].concat())
}
