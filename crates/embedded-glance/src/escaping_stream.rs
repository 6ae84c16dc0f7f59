//! A client's connection whose request lines are made readable for the HTTP library.
//!
//! Clients send `"`, `<` and `>` in a query as they are, and Glance's server takes them. The HTTP
//! library refuses such a request line without an answer, so these characters are escaped on the
//! way to it. To find the request lines, the framing of the requests is followed.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of one read.
const READ_SIZE: usize = 16 << 10;
/// As much of a header line as is looked at.
const LINE_LIMIT: usize = 256;

/// Where in the requests of a connection the next byte is.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    RequestLine {
        is_empty: bool,
    },
    /// The line so far, in lower case.
    Header(Vec<u8>),
    Body(u64),
    /// The line so far.
    ChunkSize(Vec<u8>),
    Chunk(u64),
    /// Whether the line is empty so far.
    Trailer {
        is_empty: bool,
    },
    /// The framing is not understood: the rest is left as it is.
    Unknown,
}

/// What the headers of a request say of its body.
#[derive(Debug, Default, PartialEq, Eq)]
struct Framing {
    length: u64,
    is_chunked: bool,
    is_unclear: bool,
}

/// Escapes what is fed to it.
#[derive(Debug)]
struct Escaper {
    place: Place,
    framing: Framing,
}

impl Default for Escaper {
    fn default() -> Self {
        Self {
            place: Place::RequestLine { is_empty: true },
            framing: Framing::default(),
        }
    }
}

impl Escaper {
    fn feed(&mut self, mut input: &[u8], output: &mut Vec<u8>) {
        while let Some((byte, rest)) = input.split_first() {
            let bulk = match &mut self.place {
                Place::Body(left) | Place::Chunk(left) => {
                    let taken = usize::try_from(*left)
                        .unwrap_or(usize::MAX)
                        .min(input.len());
                    *left -= taken as u64;
                    taken
                }
                Place::Unknown => input.len(),
                Place::RequestLine { .. }
                | Place::Header(_)
                | Place::ChunkSize(_)
                | Place::Trailer { .. } => 0,
            };
            if bulk > 0 {
                let (taken, rest) = input.split_at(bulk);
                output.extend_from_slice(taken);
                input = rest;
                match self.place {
                    Place::Body(0) => self.end_request(),
                    Place::Chunk(0) => self.place = Place::ChunkSize(Vec::new()),
                    _ => {}
                }
                continue;
            }
            self.take(*byte, output);
            input = rest;
        }
    }

    fn take(&mut self, byte: u8, output: &mut Vec<u8>) {
        match (&mut self.place, byte) {
            (Place::RequestLine { .. }, b'"') => output.extend_from_slice(b"%22"),
            (Place::RequestLine { .. }, b'<') => output.extend_from_slice(b"%3C"),
            (Place::RequestLine { .. }, b'>') => output.extend_from_slice(b"%3E"),
            _ => output.push(byte),
        }
        match (&mut self.place, byte) {
            (Place::RequestLine { is_empty: false }, b'\n') => {
                self.place = Place::Header(Vec::new());
            }
            // Empty lines before a request do not count.
            (Place::RequestLine { .. }, b'\r' | b'\n')
            | (Place::Body(_) | Place::Chunk(_) | Place::Unknown, _) => {}
            (Place::RequestLine { is_empty }, _) => *is_empty = false,
            (Place::Header(line), b'\n') => {
                let line = std::mem::take(line);
                self.end_header(&line);
            }
            (Place::ChunkSize(line), b'\n') => {
                let line = std::mem::take(line);
                self.end_chunk_size(&line);
            }
            (Place::Header(line) | Place::ChunkSize(line), byte) => {
                if line.len() < LINE_LIMIT {
                    line.push(byte.to_ascii_lowercase());
                }
            }
            (Place::Trailer { is_empty: true }, b'\n') => self.end_request(),
            (Place::Trailer { is_empty }, b'\n') => *is_empty = true,
            (Place::Trailer { is_empty }, byte) => *is_empty &= byte == b'\r',
        }
    }

    fn end_header(&mut self, line: &[u8]) {
        let line = line.trim_ascii();
        if line.is_empty() {
            let framing = std::mem::take(&mut self.framing);
            self.place = match framing {
                Framing {
                    is_unclear: true, ..
                } => Place::Unknown,
                Framing {
                    is_chunked: true, ..
                } => Place::ChunkSize(Vec::new()),
                Framing { length: 0, .. } => Place::RequestLine { is_empty: true },
                Framing { length, .. } => Place::Body(length),
            };
            return;
        }
        self.place = Place::Header(Vec::new());
        let text = String::from_utf8_lossy(line);
        let Some((name, value)) = text.split_once(':') else {
            return;
        };
        match name.trim() {
            "content-length" => match value.trim().parse() {
                Ok(length) => self.framing.length = length,
                Err(_) => self.framing.is_unclear = true,
            },
            "transfer-encoding" if value.trim() == "chunked" => self.framing.is_chunked = true,
            "transfer-encoding" | "upgrade" => self.framing.is_unclear = true,
            _ => {}
        }
    }

    fn end_chunk_size(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let digits = line.split(';').next().unwrap_or_default().trim();
        self.place = match u64::from_str_radix(digits, 16) {
            Ok(0) => Place::Trailer { is_empty: true },
            // The line break behind the data as well.
            Ok(size) => Place::Chunk(size.saturating_add(2)),
            Err(_) => Place::Unknown,
        };
    }

    fn end_request(&mut self) {
        *self = Self::default();
    }
}

/// A connection that is read through an [`Escaper`].
pub(super) struct EscapingStream<S> {
    inner: S,
    escaper: Escaper,
    /// Escaped bytes that were not taken yet, from `taken` on.
    pending: Vec<u8>,
    taken: usize,
}

impl<S> EscapingStream<S> {
    pub(super) fn new(inner: S) -> Self {
        Self {
            inner,
            escaper: Escaper::default(),
            pending: Vec::new(),
            taken: 0,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for EscapingStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.taken == this.pending.len() {
            let mut bytes = [0; READ_SIZE];
            let mut read = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut read))?;
            this.pending.clear();
            this.taken = 0;
            this.escaper.feed(read.filled(), &mut this.pending);
        }
        let ready = this.pending.get(this.taken..).unwrap_or_default();
        let count = ready.len().min(buf.remaining());
        buf.put_slice(ready.get(..count).unwrap_or_default());
        this.taken += count;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for EscapingStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn escaped(pieces: &[&[u8]]) -> String {
        let mut escaper = Escaper::default();
        let mut output = Vec::new();
        for piece in pieces {
            escaper.feed(piece, &mut output);
        }
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn only_request_lines_are_escaped() {
        let body = "{\"a\": \"<>\"}\r\nGET /\" HTTP/1.1\r\n";
        let first = format!(
            "POST /?a=\"b\" HTTP/1.1\r\nX: \"<>\"\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let chunked = "PUT /<> HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=\"\r\n\"<>\r\n0\r\nT: \"\r\n\r\n";
        let last = "\r\nGET /\" HTTP/1.1\r\n\r\n";
        let all = [&first, chunked, last].concat();
        let expected = [
            &first.replacen("\"b\"", "%22b%22", 1),
            &chunked.replacen("<>", "%3C%3E", 1),
            "\r\nGET /%22 HTTP/1.1\r\n\r\n",
        ]
        .concat();
        assert_eq!(escaped(&[all.as_bytes()]), expected);
        let bytes: Vec<&[u8]> = all.as_bytes().chunks(1).collect();
        assert_eq!(escaped(&bytes), expected);
    }

    #[test]
    fn what_follows_an_unclear_length_is_left_alone() {
        let text = "GET / HTTP/1.1\r\nContent-Length: x\r\n\r\nGET /\" HTTP/1.1\r\n\r\n";
        assert_eq!(escaped(&[text.as_bytes()]), text);
    }

    proptest! {
        #[test]
        fn without_the_characters_nothing_changes(text in "[a-zA-Z0-9 :;/\r\n]{0,200}") {
            prop_assert_eq!(escaped(&[text.as_bytes()]), text);
        }
    }
}
