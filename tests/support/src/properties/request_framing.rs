//! Framing. The first byte says in which pieces the rest arrives at a connection.

use actix_http::ServiceConfig;
use actix_http::h1::{Codec, Message, MessageType};
use bytes::{Buf, BytesMut};
use nova_image_proxy::server::request_framing::{RequestFraming, Scan};
use tokio_util::codec::Decoder;

/// The end of each request is where the HTTP library's own parser finds it, and so is whether another may follow.
///
/// # Panics
/// The input breaks a rule.
pub fn holds(data: &[u8]) {
    let Some((&seed, input)) = data.split_first() else {
        return;
    };
    let mut library = Library::default();
    let mut framing = RequestFraming::default();
    let mut held = BytesMut::new();
    for piece in input.chunks(piece_size(seed, input.len())) {
        held.extend_from_slice(piece);
        loop {
            let scan = framing.scan(&mut held);
            let (Scan::Partial(length) | Scan::Complete(length) | Scan::Invalid(length)) = scan;
            let outcome = library.read(&held[..length]);
            held.advance(length);
            match (scan, outcome) {
                // The library may refuse a request for its own reasons, and ends the connection then.
                (Scan::Complete(_) | Scan::Partial(_), Outcome::Refused) => return,
                (Scan::Complete(_), outcome) => {
                    assert_eq!(outcome, Outcome::Ended, "the library waits for more");
                    assert!(library.is_empty(), "the library sees another request");
                    assert_eq!(library.is_keep_alive(), framing.is_keep_alive());
                    if !framing.is_keep_alive() {
                        return;
                    }
                    framing = RequestFraming::default();
                    library.next();
                }
                (Scan::Partial(_), outcome) => {
                    assert_eq!(outcome, Outcome::Incomplete, "the library has a request");
                    break;
                }
                (Scan::Invalid(_), outcome) => {
                    assert_eq!(outcome, Outcome::Refused, "the library takes it");
                    return;
                }
            }
        }
    }
}

/// All at once, byte by byte, or in between.
fn piece_size(seed: u8, length: usize) -> usize {
    match seed {
        b'0'..=b'9' => usize::from(seed - b'0') + 1,
        _ => length.max(1),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Incomplete,
    Ended,
    Refused,
}

thread_local! {
    /// It brings a clock, which is a task.
    static CONFIG: ServiceConfig = {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        tokio::task::LocalSet::new()
            .block_on(&runtime.expect("no runtime"), async { ServiceConfig::default() })
    };
}

/// The HTTP library's parser.
struct Library {
    codec: Codec,
    buffer: BytesMut,
    outcome: Option<Outcome>,
}

impl Default for Library {
    fn default() -> Self {
        Self {
            codec: Codec::new(CONFIG.with(ServiceConfig::clone)),
            buffer: BytesMut::new(),
            outcome: None,
        }
    }
}

impl Library {
    fn next(&mut self) {
        self.outcome = None;
    }

    /// The response to CONNECT ends the connection, since everything behind it is an unread body.
    fn is_keep_alive(&self) -> bool {
        self.codec.keep_alive() && self.codec.message_type() != MessageType::Stream
    }

    fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    fn read(&mut self, bytes: &[u8]) -> Outcome {
        self.buffer.extend_from_slice(bytes);
        while self.outcome.is_none() {
            self.outcome = match self.codec.decode(&mut self.buffer) {
                Ok(Some(Message::Item(request))) => {
                    let head = request.head();
                    assert!(!head.expect(), "the library would invite the body");
                    assert!(
                        !head.upgrade() && !self.codec.upgrade(),
                        "the library would upgrade"
                    );
                    match self.codec.message_type() {
                        // A stream is a CONNECT: whatever follows is its body.
                        MessageType::None | MessageType::Stream => Some(Outcome::Ended),
                        MessageType::Payload => None,
                    }
                }
                Ok(Some(Message::Chunk(Some(_)))) => None,
                Ok(Some(Message::Chunk(None))) => Some(Outcome::Ended),
                Ok(None) => return Outcome::Incomplete,
                Err(_) => Some(Outcome::Refused),
            };
        }
        self.outcome.unwrap_or(Outcome::Incomplete)
    }
}
