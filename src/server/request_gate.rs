//! Gives the HTTP library one request at a time.
//!
//! actix-http decodes pipelined requests while an earlier one waits, and then answers the earlier one by the
//! later one's method, version and `Connection`; it also executes requests behind a `close`, which RFC 9112 (9.6)
//! forbids. The gate stands between the socket and the library: the bytes behind the first request stay here
//! until its response is out, and for good where the connection ends with that response.

use super::request_framing::{RequestFraming, Scan};
use bytes::{Buf as _, BytesMut};
use tokio::io::ReadBuf;

/// Bytes of pipelined requests that are read ahead; the rest waits in the kernel.
const MAX_PIPELINED_BYTES: usize = 16 << 10;

/// The input of one connection, divided into requests.
#[derive(Debug, Default)]
pub struct RequestGate {
    framing: RequestFraming,
    phase: Phase,
    /// Input that the library has not got.
    held: BytesMut,
    /// So many bytes at the start of `held` belong to the current request.
    admitted: usize,
    /// Requests of which the library has every byte.
    completed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    /// The current request is not complete.
    #[default]
    Open,
    /// It is complete, and the next one waits for its response.
    AwaitingResponse,
    /// No further request is read from this connection.
    Closed,
}

impl RequestGate {
    /// Takes input that was read into the library's own buffer: returns how many bytes at its start may stay there,
    /// and holds the rest. Only while [`Self::is_direct`].
    pub fn admit(&mut self, bytes: &mut [u8]) -> usize {
        let admitted = self.scan(bytes);
        self.held
            .extend_from_slice(bytes.get(admitted..).unwrap_or_default());
        admitted
    }

    /// Takes input behind the held bytes.
    pub fn hold(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        self.advance();
    }

    /// Moves admitted input into the library's buffer; returns whether there was any.
    pub fn release(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let length = self.admitted.min(buffer.remaining());
        if length == 0 {
            return false;
        }
        buffer.put_slice(self.held.get(..length).unwrap_or_default());
        self.held.advance(length);
        self.admitted -= length;
        if self.held.is_empty() {
            // Few connections ever hold anything.
            self.held = BytesMut::new();
        }
        true
    }

    /// The library has sent this many responses to their end: returns whether the next request may come now.
    pub fn responded(&mut self, responses: u64) -> bool {
        let is_next = self.phase == Phase::AwaitingResponse && responses >= self.completed;
        if is_next {
            self.framing = RequestFraming::default();
            self.phase = Phase::Open;
            self.advance();
        }
        is_next
    }

    /// Whether the socket can be read into the library's buffer at once.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.phase == Phase::Open && self.held.is_empty()
    }

    /// Whether the current request is not complete.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether no further request is read from this connection.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Whether a client has sent more than the current request.
    #[must_use]
    pub fn has_pipelined(&self) -> bool {
        self.phase != Phase::Open && self.held.len() > self.admitted
    }

    /// Whether the socket is read at all.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        self.phase == Phase::Open || self.held.len() < MAX_PIPELINED_BYTES
    }

    /// Whether the client waits for `100 Continue` before it sends the current request's body.
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        self.framing.expects_continue()
    }

    /// Goes on where the held input allows.
    fn advance(&mut self) {
        if self.phase != Phase::Open {
            return;
        }
        let mut held = std::mem::take(&mut self.held);
        let admitted = self.scan(held.get_mut(self.admitted..).unwrap_or_default());
        self.admitted += admitted;
        self.held = held;
    }

    /// How many of the bytes belong to the current request.
    fn scan(&mut self, bytes: &mut [u8]) -> usize {
        match self.framing.scan(bytes) {
            Scan::Partial(length) => length,
            Scan::Complete(length) => {
                self.completed += 1;
                self.phase = if self.framing.is_keep_alive() {
                    Phase::AwaitingResponse
                } else {
                    Phase::Closed
                };
                length
            }
            Scan::Invalid(length) => {
                self.phase = Phase::Closed;
                length
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
    const CLOSE: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

    /// The input that the library gets, in pieces of this size at most.
    fn released(gate: &mut RequestGate, size: usize) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let mut space = vec![0; size];
            let mut buffer = ReadBuf::new(&mut space);
            if !gate.release(&mut buffer) {
                return all;
            }
            all.extend_from_slice(buffer.filled());
        }
    }

    #[test]
    fn a_request_waits_for_the_response_before_it() {
        let mut gate = RequestGate::default();
        let mut input = [POST, GET, POST].concat();
        assert_eq!(gate.admit(&mut input), POST.len());
        assert!(gate.has_pipelined() && !gate.is_open());
        assert!(released(&mut gate, 100).is_empty());
        assert!(!gate.responded(0));
        assert!(released(&mut gate, 100).is_empty());
        assert!(gate.responded(1));
        assert_eq!(released(&mut gate, 7), GET);
        assert!(gate.responded(2));
        assert_eq!(released(&mut gate, 7), POST);
        assert!(gate.responded(3));
        assert!(gate.is_direct());
    }

    #[test]
    fn pieces_of_a_request_pass_as_they_come() {
        let mut gate = RequestGate::default();
        let (first, rest) = POST.split_at(20);
        assert_eq!(gate.admit(&mut first.to_vec()), 17);
        assert!(!gate.is_direct());
        gate.hold(rest);
        gate.hold(GET);
        assert_eq!(released(&mut gate, 1000), POST.get(17..).unwrap());
        assert!(gate.responded(1));
        assert_eq!(released(&mut gate, 1000), GET);
    }

    #[test]
    fn nothing_passes_behind_the_last_request() {
        for last in [CLOSE, b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/2.0\r\n"] {
            let mut gate = RequestGate::default();
            let mut input = [last, GET].concat();
            assert_eq!(gate.admit(&mut input), last.len());
            assert!(!gate.responded(9));
            gate.hold(GET);
            assert!(released(&mut gate, 100).is_empty());
        }
    }

    #[test]
    fn a_client_cannot_send_ahead_without_end() {
        let mut gate = RequestGate::default();
        assert_eq!(gate.admit(&mut GET.to_vec()), GET.len());
        while gate.wants_input() {
            gate.hold(GET);
        }
        assert!(gate.held.len() < MAX_PIPELINED_BYTES + GET.len());
    }
}
