//! One request, one bounded response.

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
    /// first [`MAX_ERROR_BODY`] bytes.
    pub body: Bytes,
}

/// Why there is no response. No variant carries the URL or a header, so none can carry a token.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TransportError {
    /// No connection: nothing of the request has left this process.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The deadline passed; the server may or may not have acted.
    #[error("no complete answer in time")]
    Timeout,
    /// The response is larger than allowed.
    #[error("the response is larger than {limit} bytes")]
    TooLarge {
        /// The limit in force, in bytes.
        limit: usize,
    },
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
) -> Result<Response, TransportError> {
    timeout_at(limits.deadline, collect(client, request, limits.max_body))
        .await
        .unwrap_or(Err(TransportError::Timeout))
}

async fn collect(
    client: &reqwest::Client,
    request: reqwest::Request,
    max_body: usize,
) -> Result<Response, TransportError> {
    let mut response = client
        .execute(request)
        .await
        .map_err(TransportError::from_reqwest)?;
    let body = if response.status().is_success() {
        whole_body(&mut response, max_body).await?
    } else {
        start_of_body(&mut response, max_body.min(MAX_ERROR_BODY)).await?
    };
    Ok(Response {
        status: response.status(),
        headers: std::mem::take(response.headers_mut()),
        body,
    })
}

/// The body, or an error when it has more than `limit` bytes.
async fn whole_body(
    response: &mut reqwest::Response,
    limit: usize,
) -> Result<Bytes, TransportError> {
    let announced = response.content_length().unwrap_or(0);
    if announced > limit as u64 {
        return Err(TransportError::TooLarge { limit });
    }
    let mut body =
        BytesMut::with_capacity(usize::try_from(announced).unwrap_or(0).min(INITIAL_BUFFER));
    while let Some(chunk) = next_chunk(response).await? {
        if body.len() + chunk.len() > limit {
            return Err(TransportError::TooLarge { limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// The first `limit` bytes of the body; the rest is left unread, and the connection is closed.
async fn start_of_body(
    response: &mut reqwest::Response,
    limit: usize,
) -> Result<Bytes, TransportError> {
    let mut body = BytesMut::new();
    while body.len() < limit
        && let Some(chunk) = next_chunk(response).await?
    {
        let wanted = chunk.len().min(limit - body.len());
        body.extend_from_slice(&chunk.slice(..wanted));
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
        let server = MockServer::start().await;
        Mock::given(any()).respond_with(answer).mount(&server).await;
        let client = crate::upstream::client(crate::upstream::ClientSettings::default()).unwrap();
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
