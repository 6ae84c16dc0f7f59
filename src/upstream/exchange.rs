//! One request, one bounded response.

use crate::util::byte_budget::{BudgetExceeded, ByteBudget, ByteReservation};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use std::error::Error;
use tokio::time::{Instant, timeout_at};

/// The initial buffer follows the announced length up to this many bytes; a larger body grows it on arrival.
const INITIAL_BUFFER: usize = 4 << 20;

/// A body with an error status is read up to this many bytes; the rest is dropped.
pub const MAX_ERROR_BODY: usize = 64 << 10;

/// Limits of one exchange.
#[derive(Debug, Clone, Copy)]
pub struct ExchangeLimits {
    /// When the whole response must have arrived, body included.
    pub deadline: Instant,
    /// The largest body accepted, in bytes.
    pub max_body: usize,
}

/// A complete response, whatever its status.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status line's code.
    pub status: StatusCode,
    /// All headers as received.
    pub headers: HeaderMap,
    /// The whole body of a success, at most [`ExchangeLimits::max_body`] bytes; of any other status the
    /// first [`MAX_ERROR_BODY`] bytes. It counts in the client's budget until its last clone is dropped.
    pub body: Bytes,
}

/// Why there is no response. No variant carries the URL or a header, so none can carry a token.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TransportError {
    /// No connection: nothing of the request has left this process.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The deadline passed; the server may or may not have acted.
    #[error("no complete response in time")]
    Timeout,
    /// The response is larger than allowed.
    #[error("the response is larger than {limit} bytes")]
    TooLarge {
        /// The limit in force, in bytes.
        limit: usize,
    },
    /// The responses that are received or in use leave too little memory for this one; the server may have
    /// acted.
    #[error("responses hold too much memory: {0}")]
    MemoryFull(#[from] BudgetExceeded),
    /// The connection broke; the server may have acted.
    #[error("the exchange was interrupted: {0}")]
    Interrupted(String),
    /// The response is not HTTP, or its head is too large; the server may have acted.
    #[error("the response is not HTTP: {0}")]
    InvalidHttp(String),
}

impl TransportError {
    fn from_reqwest(error: reqwest::Error) -> Self {
        let error = error.without_url();
        if error.is_timeout() && !error.is_connect() {
            return Self::Timeout;
        }
        Self::of_cause(&error, error.is_connect())
    }

    /// An exchange that failed for `error`, whose text must hold no URL.
    pub(super) fn of_cause(error: &(dyn Error + 'static), is_connect: bool) -> Self {
        let cause = innermost(error);
        if is_connect {
            Self::Connect(cause)
        } else if chain(error).any(is_parse_error) {
            Self::InvalidHttp(cause)
        } else {
            Self::Interrupted(cause)
        }
    }
}

/// A client's own message only names the phase; the cause that helps an operator is the chain's last.
fn innermost(error: &(dyn Error + 'static)) -> String {
    chain(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

fn chain<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}

fn is_parse_error(cause: &(dyn Error + 'static)) -> bool {
    cause
        .downcast_ref::<hyper::Error>()
        .is_some_and(hyper::Error::is_parse)
}

/// Sends `request` and collects the response within `limits`.
pub(super) async fn send(
    client: &reqwest::Client,
    request: reqwest::Request,
    limits: ExchangeLimits,
    memory: &ByteBudget,
) -> Result<Response, TransportError> {
    let response = collect(client, request, limits.max_body, memory);
    timeout_at(limits.deadline, response)
        .await
        .unwrap_or(Err(TransportError::Timeout))
}

async fn collect(
    client: &reqwest::Client,
    request: reqwest::Request,
    max_body: usize,
    memory: &ByteBudget,
) -> Result<Response, TransportError> {
    let mut response = client
        .execute(request)
        .await
        .map_err(TransportError::from_reqwest)?;
    let body = if response.status().is_success() {
        whole_body(&mut response, max_body, memory).await?
    } else {
        start_of_body(&mut response, max_body.min(MAX_ERROR_BODY), memory).await?
    };
    Ok(Response {
        status: response.status(),
        headers: std::mem::take(response.headers_mut()),
        body,
    })
}

/// A body that grows within a budget.
struct BodyBuffer {
    bytes: BytesMut,
    memory: ByteReservation,
    /// The largest size, in bytes.
    limit: usize,
}

impl BodyBuffer {
    /// An empty body with room for `announced` bytes, or [`INITIAL_BUFFER`] if that is less.
    fn new(announced: u64, limit: usize, memory: &ByteBudget) -> Result<Self, TransportError> {
        let capacity = usize::try_from(announced).unwrap_or(usize::MAX);
        let capacity = capacity.min(INITIAL_BUFFER).min(limit);
        let mut memory = memory.reservation();
        memory.grow_to(capacity)?;
        Ok(Self {
            bytes: BytesMut::with_capacity(capacity),
            memory,
            limit,
        })
    }

    /// Appends `chunk`, with which the body must be within its limit.
    fn push(&mut self, chunk: &[u8]) -> Result<(), TransportError> {
        let length = self.bytes.len() + chunk.len();
        if length > self.bytes.capacity() {
            let capacity = (2 * self.bytes.capacity()).min(self.limit).max(length);
            self.memory.grow_to(capacity)?;
            self.bytes.reserve(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    /// The body; its memory counts until the last clone is dropped.
    fn freeze(self) -> Bytes {
        if self.bytes.is_empty() {
            return Bytes::new();
        }
        Bytes::from_owner(CountedBody {
            bytes: self.bytes,
            _memory: self.memory,
        })
    }
}

struct CountedBody {
    bytes: BytesMut,
    _memory: ByteReservation,
}

impl AsRef<[u8]> for CountedBody {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The body, or an error when it has more than `limit` bytes.
async fn whole_body(
    response: &mut reqwest::Response,
    limit: usize,
    memory: &ByteBudget,
) -> Result<Bytes, TransportError> {
    let announced = response.content_length().unwrap_or(0);
    if announced > limit as u64 {
        return Err(TransportError::TooLarge { limit });
    }
    let mut body = BodyBuffer::new(announced, limit, memory)?;
    while let Some(chunk) = next_chunk(response).await? {
        if body.bytes.len() + chunk.len() > limit {
            return Err(TransportError::TooLarge { limit });
        }
        body.push(&chunk)?;
    }
    Ok(body.freeze())
}

/// The first `limit` bytes of the body; the rest is left unread, and the connection is closed.
async fn start_of_body(
    response: &mut reqwest::Response,
    limit: usize,
    memory: &ByteBudget,
) -> Result<Bytes, TransportError> {
    let mut body = BodyBuffer::new(0, limit, memory)?;
    while body.bytes.len() < limit
        && let Some(chunk) = next_chunk(response).await?
    {
        let wanted = chunk.len().min(limit - body.bytes.len());
        body.push(&chunk.slice(..wanted))?;
    }
    Ok(body.freeze())
}

async fn next_chunk(response: &mut reqwest::Response) -> Result<Option<Bytes>, TransportError> {
    response.chunk().await.map_err(TransportError::from_reqwest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

    fn get(url: &str) -> reqwest::Request {
        reqwest::Request::new(http::Method::GET, url.parse().unwrap())
    }

    async fn ask(answer: ResponseTemplate, max_body: usize) -> Result<Response, TransportError> {
        ask_within(&ByteBudget::new(usize::MAX), answer, max_body).await
    }

    async fn ask_within(
        memory: &ByteBudget,
        answer: ResponseTemplate,
        max_body: usize,
    ) -> Result<Response, TransportError> {
        let server = MockServer::start().await;
        Mock::given(any()).respond_with(answer).mount(&server).await;
        let client = crate::upstream::client(crate::upstream::ClientSettings::default()).unwrap();
        let client = client.with_memory(memory);
        let request = get(&server.uri());
        let limits = ExchangeLimits {
            deadline: Instant::now() + Duration::from_millis(500),
            max_body,
        };
        client.send(request, limits).await
    }

    #[tokio::test]
    async fn a_body_up_to_the_limit_is_taken_and_one_byte_more_is_not() {
        let body = ResponseTemplate::new(200).set_body_string("12345");
        assert_eq!(ask(body.clone(), 5).await.unwrap().body, "12345");
        assert!(matches!(
            ask(body, 4).await,
            Err(TransportError::TooLarge { limit: 4 })
        ));
    }

    #[tokio::test]
    async fn of_an_error_the_first_64_kib_are_read() {
        let body = ResponseTemplate::new(400).set_body_string("x".repeat(10 << 20));
        assert_eq!(ask(body, 1 << 30).await.unwrap().body.len(), MAX_ERROR_BODY);
        let small = ResponseTemplate::new(503).set_body_string("12345");
        assert_eq!(ask(small.clone(), 4).await.unwrap().body, "1234");
        assert_eq!(ask(small, 5).await.unwrap().body, "12345");
    }

    #[tokio::test]
    async fn bodies_in_use_are_within_the_budget_and_others_are_refused() {
        let memory = ByteBudget::new(100_000);
        let body = |bytes| ResponseTemplate::new(200).set_body_string("x".repeat(bytes));
        let ask = async |bytes| ask_within(&memory, body(bytes), 1 << 20).await;
        let one = ask(60_000).await.unwrap();
        assert_eq!((one.body.len(), memory.used()), (60_000, 60_000));
        let refused = ask(60_000).await;
        assert!(matches!(refused, Err(TransportError::MemoryFull(_))));
        assert_eq!(memory.used(), 60_000);
        let other = ask(40_000).await.unwrap();
        let clone = one.body.slice(1..2);
        drop(one);
        assert_eq!(memory.used(), 100_000);
        drop(clone);
        assert_eq!(memory.used(), 40_000);
        drop(other);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn a_body_that_grows_reserves_its_whole_buffer_before_it_has_it() {
        let memory = ByteBudget::new(2500);
        let mut body = BodyBuffer::new(0, 10_000, &memory).unwrap();
        while body.push(&[0; 100]).is_ok() {
            assert!(body.bytes.capacity() as u64 <= memory.used());
        }
        assert!(body.bytes.len() >= 1200, "{}", body.bytes.len());
        assert!(memory.used() <= 2500);
        let mut body = BodyBuffer::new(0, 150, &ByteBudget::new(150)).unwrap();
        body.push(&[0; 100]).unwrap();
        body.push(&[0; 50]).unwrap();
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_not_followed() {
        let away = ResponseTemplate::new(302).insert_header("location", "http://127.0.0.1:1/");
        assert_eq!(ask(away, 100).await.unwrap().status, StatusCode::FOUND);
    }

    #[tokio::test]
    async fn the_deadline_covers_a_slow_answer() {
        let slow = ResponseTemplate::new(200).set_delay(Duration::from_secs(30));
        assert!(matches!(ask(slow, 100).await, Err(TransportError::Timeout)));
    }

    #[tokio::test]
    async fn nothing_is_sent_after_the_deadline() {
        let server = MockServer::start().await;
        let client = crate::upstream::client(crate::upstream::ClientSettings::default()).unwrap();
        let request = get(&server.uri());
        let limits = ExchangeLimits {
            deadline: Instant::now(),
            max_body: 10,
        };
        let answer = client.send(request, limits).await;
        assert!(matches!(answer, Err(TransportError::Timeout)));
        assert!(server.received_requests().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_refused_connection_is_told_apart_because_nothing_was_sent() {
        let client = crate::upstream::client(crate::upstream::ClientSettings::default()).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let request = get(&format!("http://127.0.0.1:{port}/"));
        let limits = ExchangeLimits {
            deadline: Instant::now() + Duration::from_secs(5),
            max_body: 10,
        };
        let error = client.send(request, limits).await.unwrap_err();
        assert!(matches!(error, TransportError::Connect(_)), "{error}");
        assert!(!error.to_string().contains("127.0.0.1"), "{error}");
    }
}
