//! A keep-alive connection as bytes: several requests, each answer read to its end.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Longest wait for anything; machines that run tests are slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// One connection to a gateway.
pub struct Wire(BufReader<TcpStream>);

/// An answer as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// The head, lines separated by `\n`.
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "));
        lines
            .find(|(each, _)| each.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// Whether the server says that it is the last one.
    pub fn is_last(&self) -> bool {
        self.header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Wire {
    /// Connects to `http://host:port`.
    pub fn connect(base: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(base.trim_start_matches("http://"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.get_mut().write_all(bytes.as_ref())
    }

    /// The next answer, interim ones (1xx) included.
    pub fn answer(&mut self) -> io::Result<Answer> {
        self.answer_to("GET")
    }

    /// The next answer, to a request of this method: that to a HEAD has no body.
    pub fn answer_to(&mut self, method: &str) -> io::Result<Answer> {
        let mut head = String::new();
        loop {
            let mut line = Vec::new();
            if self.0.read_until(b'\n', &mut line)? == 0 {
                let so_far = format!("the end after {head:?}");
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, so_far));
            }
            let line = String::from_utf8_lossy(&line);
            match line.trim_end() {
                "" => break,
                line => head.extend([line, "\n"]),
            }
        }
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no HTTP: {head}")))?;
        let mut answer = Answer {
            status,
            head,
            body: Vec::new(),
        };
        if method == "HEAD" {
            return Ok(answer);
        }
        if let Some(length) = answer.header("content-length") {
            answer
                .body
                .resize(length.parse().map_err(io::Error::other)?, 0);
            self.0.read_exact(&mut answer.body)?;
        } else if status >= 200 && status != 204 {
            self.0.read_to_end(&mut answer.body)?;
        }
        Ok(answer)
    }

    /// All that comes until the server closes.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest)?;
        Ok(rest)
    }

    /// Whether the server has closed it, or does before long: an end or a reset, and no byte.
    pub fn is_closed(&mut self) -> bool {
        match self.0.fill_buf() {
            Ok(bytes) => bytes.is_empty(),
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        self.0.get_ref()
    }
}

/// `GET path`, with what a proper client sends along.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: gateway\r\nX-Auth-Token: t\r\n\r\n")
}
