//! Where a request ends among the bytes of a connection.
//!
//! The rules are those of the HTTP library's own parser (actix-http): a line of the head ends with
//! a line feed, a body is framed by `Content-Length` or by chunks. Where the two could disagree about a
//! request, the library rejects it, and [`Scan::Invalid`] means that nothing behind it is a request.
//!
//! Two headers are blanked in place, so that the library does not act on them: `Upgrade`, since the gateway
//! declines every upgrade and RFC 9110 (7.8) lets the connection go on, and `Expect: 100-continue`, since the
//! library would invite a body before the token and the length are checked.

use std::ops::Range;

/// A head of this many bytes is too large for the HTTP library, which answers 431.
pub const MAX_HEAD_BYTES: usize = 131_072;

/// How far the bytes of a request were understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// This many bytes belong to the request, and more of it follow.
    Partial(usize),
    /// The request ends after this many bytes.
    Complete(usize),
    /// The HTTP library refuses the request once it has this many bytes.
    Invalid(usize),
}

/// The end of one request, found piece by piece.
#[derive(Debug, Default)]
pub struct RequestFraming {
    state: State,
    head: Head,
    /// Bytes of the unfinished line that are known to hold no line feed.
    searched: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    RequestLine,
    Headers,
    /// So many bytes of the body are still to come.
    Length(u64),
    Chunked(ChunkState),
    Complete,
    Invalid,
}

/// The parts of a chunked body, as the HTTP library distinguishes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChunkState {
    SizeFirst,
    SizeRest(u64),
    SizeSpace(u64),
    Extension(u64),
    SizeLf(u64),
    Data(u64),
    DataCr,
    DataLf,
    /// The start of a trailer line, or of the empty line that ends the body.
    LineStart,
    Trailer,
    TrailerLf,
    EndLf,
}

#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact about a head")]
struct Head {
    bytes: usize,
    is_http_1_0: bool,
    is_connect: bool,
    connection: Option<Persistence>,
    content_length: Option<u64>,
    is_chunked: bool,
    expects_continue: bool,
    /// The HTTP library refuses it when it is whole.
    is_invalid: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Persistence {
    Close,
    KeepAlive,
}

impl RequestFraming {
    /// Reads on. `bytes` begin behind those that earlier scans counted; the scan may blank headers in them.
    pub fn scan(&mut self, bytes: &mut [u8]) -> Scan {
        let mut at = 0;
        while let Some(rest) = bytes.get_mut(at..) {
            let step = match self.state {
                State::RequestLine | State::Headers => self.line(rest),
                State::Length(left) => self.length(left, rest.len()),
                State::Chunked(state) => self.chunk(state, rest),
                State::Complete => return Scan::Complete(at),
                State::Invalid => return Scan::Invalid(at),
            };
            match step {
                Some(taken) => at += taken,
                None => break,
            }
        }
        Scan::Partial(at)
    }

    /// Whether the connection may bring another request behind this one, as far as the head shows.
    #[must_use]
    pub fn is_keep_alive(&self) -> bool {
        match (self.state, self.head.connection) {
            (State::Invalid, _) | (_, Some(Persistence::Close)) => false,
            _ if self.head.is_tunnel() => false,
            (_, Some(Persistence::KeepAlive)) => true,
            (_, None) => !self.head.is_http_1_0,
        }
    }

    /// Whether the client waits for `100 Continue` before it sends the body. Known when the head is whole.
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        self.head.expects_continue && matches!(self.state, State::Length(_) | State::Chunked(_))
    }

    /// One line of the head, if it is whole.
    fn line(&mut self, bytes: &mut [u8]) -> Option<usize> {
        let unsearched = bytes.get(self.searched..).unwrap_or_default();
        let Some(found) = memchr::memchr(b'\n', unsearched) else {
            let too_long = self.head.bytes + bytes.len() >= MAX_HEAD_BYTES;
            let garbled = self.state == State::RequestLine && has_control(unsearched);
            if too_long || garbled {
                self.state = State::Invalid;
                return Some(bytes.len());
            }
            self.searched = bytes.len();
            return None;
        };
        let length = self.searched + found + 1;
        self.searched = 0;
        self.head.bytes += length;
        if let Some(line) = bytes.get_mut(..length - 1) {
            let end = line.len() - usize::from(line.ends_with(b"\r"));
            self.state = match (self.state, line.get_mut(..end).unwrap_or_default()) {
                // Empty lines before a request are skipped.
                (State::RequestLine, []) => State::RequestLine,
                (State::RequestLine, line) => self.head.request_line(line),
                (_, []) => self.head.body(),
                (state, line) => {
                    self.head.header(line);
                    state
                }
            };
        }
        Some(length)
    }

    fn length(&mut self, left: u64, available: usize) -> Option<usize> {
        if available == 0 {
            return None;
        }
        let taken = usize::try_from(left).map_or(available, |left| left.min(available));
        self.state = match left - taken as u64 {
            0 => State::Complete,
            left => State::Length(left),
        };
        Some(taken)
    }

    fn chunk(&mut self, state: ChunkState, bytes: &[u8]) -> Option<usize> {
        let byte = *bytes.first()?;
        if let ChunkState::Data(left) = state {
            let taken = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
            self.state = State::Chunked(match left - taken as u64 {
                0 => ChunkState::DataCr,
                left => ChunkState::Data(left),
            });
            return Some(taken);
        }
        self.state = match (state, byte) {
            (ChunkState::EndLf, b'\n') => State::Complete,
            _ => state.next(byte).map_or(State::Invalid, State::Chunked),
        };
        Some(1)
    }
}

impl ChunkState {
    /// The state behind one byte of the framing; none where the byte does not belong there.
    fn next(self, byte: u8) -> Option<Self> {
        let digit = char::from(byte).to_digit(16).map(u64::from);
        match (self, byte) {
            (Self::SizeFirst, _) => digit.map(Self::SizeRest),
            (Self::SizeRest(size) | Self::SizeSpace(size), b'\t' | b' ') => {
                Some(Self::SizeSpace(size))
            }
            (Self::SizeRest(size) | Self::SizeSpace(size), b';') => Some(Self::Extension(size)),
            (Self::SizeRest(size) | Self::SizeSpace(size) | Self::Extension(size), b'\r') => {
                Some(Self::SizeLf(size))
            }
            (Self::SizeRest(size), _) => {
                let size = size.checked_mul(16)?.checked_add(digit?)?;
                Some(Self::SizeRest(size))
            }
            (Self::Extension(_), 0..=8 | 10..=31 | 127) => None,
            (Self::Extension(size), _) => Some(Self::Extension(size)),
            (Self::SizeLf(0) | Self::TrailerLf, b'\n') => Some(Self::LineStart),
            (Self::SizeLf(size), b'\n') => Some(Self::Data(size)),
            (Self::DataCr, b'\r') => Some(Self::DataLf),
            (Self::DataLf, b'\n') => Some(Self::SizeFirst),
            (Self::LineStart, b'\r') => Some(Self::EndLf),
            (Self::Trailer, b'\r') => Some(Self::TrailerLf),
            (Self::LineStart | Self::Trailer, _) => Some(Self::Trailer),
            (
                Self::SizeSpace(_)
                | Self::SizeLf(_)
                | Self::Data(_)
                | Self::DataCr
                | Self::DataLf
                | Self::TrailerLf
                | Self::EndLf,
                _,
            ) => None,
        }
    }
}

impl Head {
    fn request_line(&mut self, line: &[u8]) -> State {
        self.is_connect = line.starts_with(b"CONNECT ");
        self.is_http_1_0 = line.ends_with(b" HTTP/1.0");
        if self.is_http_1_0 || line.ends_with(b" HTTP/1.1") {
            State::Headers
        } else {
            State::Invalid
        }
    }

    fn header(&mut self, line: &mut [u8]) {
        let Some(colon) = memchr::memchr(b':', line) else {
            self.is_invalid = true;
            return;
        };
        let (name, value) = line.split_at_mut(colon);
        let value = value.get_mut(1..).unwrap_or_default();
        let is = |expected: &str| name.eq_ignore_ascii_case(expected.as_bytes());
        match name.len() {
            6 if is("expect") => self.expect(value),
            7 if is("upgrade") && is_text(value) => value.fill(b' '),
            10 if is("connection") && is_text(value) => self.connection(value),
            14 if is("content-length") => self.content_length(value),
            17 if is("transfer-encoding") => {
                let chunked = value.trim_ascii().eq_ignore_ascii_case(b"chunked");
                self.is_invalid |= self.is_chunked || self.is_http_1_0 || !chunked;
                self.is_chunked = true;
            }
            _ => {}
        }
    }

    fn expect(&mut self, value: &mut [u8]) {
        let mut expectations = value.split(|byte| *byte == b',');
        let expected = |item: &[u8]| item.trim_ascii().eq_ignore_ascii_case(b"100-continue");
        if !self.is_http_1_0
            && expectations.any(expected)
            && !has_control(value)
            && !value.contains(&b'\r')
        {
            self.expects_continue = true;
            value.fill(b' ');
        }
    }

    fn connection(&mut self, value: &mut [u8]) {
        for range in list_items(value) {
            let Some(option) = value.get_mut(range) else {
                continue;
            };
            let name = option.trim_ascii();
            if name.eq_ignore_ascii_case(b"close") {
                self.connection = Some(Persistence::Close);
            } else if name.eq_ignore_ascii_case(b"keep-alive") {
                self.connection.get_or_insert(Persistence::KeepAlive);
            } else if name.eq_ignore_ascii_case(b"upgrade") {
                option.fill(b' ');
            }
        }
    }

    fn content_length(&mut self, value: &[u8]) {
        let digits = std::str::from_utf8(value.trim_ascii()).unwrap_or_default();
        let length = digits.parse().ok();
        // A number may have a sign for the parser, but not for HTTP.
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit()) && length.is_some();
        self.is_invalid |= !is_number || self.content_length.is_some();
        self.content_length = length;
    }

    /// Everything behind the head is the body of the HTTP library's idea of a tunnel.
    fn is_tunnel(&self) -> bool {
        self.is_connect && !self.is_chunked && self.content_length.unwrap_or(0) == 0
    }

    /// The head is whole.
    fn body(&self) -> State {
        match (self.is_chunked, self.content_length) {
            _ if self.is_invalid => State::Invalid,
            (true, Some(_)) => State::Invalid,
            (true, None) => State::Chunked(ChunkState::SizeFirst),
            (false, None | Some(0)) => State::Complete,
            (false, Some(length)) => State::Length(length),
        }
    }
}

/// The places of a comma-separated list's items.
fn list_items(value: &[u8]) -> impl Iterator<Item = Range<usize>> + use<> {
    let mut start = 0;
    let commas: smallvec::SmallVec<[usize; 4]> = memchr::memchr_iter(b',', value).collect();
    commas.into_iter().chain([value.len()]).map(move |end| {
        let range = start..end;
        start = end + 1;
        range
    })
}

/// A header value of visible ASCII: the HTTP library looks into no other.
fn is_text(value: &[u8]) -> bool {
    value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
}

/// Whether there is a byte that no HTTP parser takes in a line, but for a carriage return.
fn has_control(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .any(|byte| matches!(byte, 0..=8 | 10..=12 | 14..=31 | 127))
}

#[cfg(test)]
mod tests;
