//! One request, one bounded answer.

use super::instrumented_client::{InstrumentedClient, outcome};
use crate::telemetry::trace_context;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use std::error::Error;
use tokio::time::{Instant, timeout_at};

/// An announced length is believed up to this many bytes; a larger body grows the buffer as it comes.
const INITIAL_BUFFER: usize = 4 << 20;

/// What one exchange may cost.
#[derive(Debug, Clone, Copy)]
pub struct ExchangeLimits {
    /// When the whole answer must be there, body included.
    pub deadline: Instant,
    /// The largest body taken, in bytes.
    pub max_body: usize,
}

/// A complete answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status line's code.
    pub status: StatusCode,
    /// All headers as received.
    pub headers: HeaderMap,
    /// The whole body, at most [`ExchangeLimits::max_body`] bytes.
    pub body: Bytes,
}

/// Why there is no answer. No variant carries the URL or a header, so none can carry a token.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TransportError {
    /// No connection: nothing of the request has left this process.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The deadline passed; the other side may or may not have acted.
    #[error("no complete answer in time")]
    Timeout,
    /// The answer is larger than allowed.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// The limit in force, in bytes.
        limit: usize,
    },
    /// The connection broke; the other side may have acted.
    #[error("the exchange broke off: {0}")]
    Interrupted(String),
    /// What came is not HTTP, or more of a head than anybody reads; the other side may have acted.
    #[error("the answer is not HTTP: {0}")]
    InvalidHttp(String),
}

impl TransportError {
    fn from_reqwest(error: reqwest::Error) -> Self {
        let error = error.without_url();
        if error.is_timeout() && !error.is_connect() {
            return Self::Timeout;
        }
        let cause = innermost(&error);
        if error.is_connect() {
            Self::Connect(cause)
        } else if chain(&error).any(is_no_http) {
            Self::InvalidHttp(cause)
        } else {
            Self::Interrupted(cause)
        }
    }
}

/// reqwest's own message only names the phase; the cause an operator needs is at the chain's end.
fn innermost(error: &reqwest::Error) -> String {
    chain(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

fn chain(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}

fn is_no_http(cause: &(dyn Error + 'static)) -> bool {
    cause
        .downcast_ref::<hyper::Error>()
        .is_some_and(hyper::Error::is_parse)
}

/// Sends `request` and collects the answer within `limits`.
pub async fn exchange(
    client: &InstrumentedClient,
    mut request: reqwest::Request,
    limits: ExchangeLimits,
) -> Result<Response, TransportError> {
    // `timeout_at` would send a request first and look at the clock then.
    if limits.deadline <= Instant::now() {
        return Err(TransportError::Timeout);
    }
    let headers = request.headers_mut();
    trace_context::for_each_header(|name, value| {
        if let Ok(value) = http::HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    });
    let call = client.metrics().begin(request.url());
    let answer = timeout_at(limits.deadline, collect(client, request, limits.max_body))
        .await
        .unwrap_or(Err(TransportError::Timeout));
    call.end(outcome(&answer));
    answer
}

async fn collect(
    client: &reqwest::Client,
    request: reqwest::Request,
    limit: usize,
) -> Result<Response, TransportError> {
    let mut response = client
        .execute(request)
        .await
        .map_err(TransportError::from_reqwest)?;
    let announced = response.content_length().unwrap_or(0);
    if announced > limit as u64 {
        return Err(TransportError::TooLarge { limit });
    }
    let mut body =
        BytesMut::with_capacity(usize::try_from(announced).unwrap_or(0).min(INITIAL_BUFFER));
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(TransportError::from_reqwest)?
    {
        if body.len() + chunk.len() > limit {
            return Err(TransportError::TooLarge { limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Response {
        status: response.status(),
        headers: std::mem::take(response.headers_mut()),
        body: body.freeze(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

    async fn ask(answer: ResponseTemplate, max_body: usize) -> Result<Response, TransportError> {
        let server = MockServer::start().await;
        Mock::given(any()).respond_with(answer).mount(&server).await;
        let client = crate::upstream::client(crate::upstream::ClientSettings::default()).unwrap();
        let request = client.get(server.uri()).build().unwrap();
        let limits = ExchangeLimits {
            deadline: Instant::now() + Duration::from_millis(500),
            max_body,
        };
        exchange(&client, request, limits).await
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
        let request = client.get(server.uri()).build().unwrap();
        let limits = ExchangeLimits {
            deadline: Instant::now(),
            max_body: 10,
        };
        let answer = exchange(&client, request, limits).await;
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
        let request = client
            .get(format!("http://127.0.0.1:{port}/"))
            .build()
            .unwrap();
        let limits = ExchangeLimits {
            deadline: Instant::now() + Duration::from_secs(5),
            max_body: 10,
        };
        let error = exchange(&client, request, limits).await.unwrap_err();
        assert!(matches!(error, TransportError::Connect(_)), "{error}");
        assert!(!error.to_string().contains("127.0.0.1"), "{error}");
    }
}
