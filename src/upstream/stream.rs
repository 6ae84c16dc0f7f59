//! Exchanges whose bodies are streams, both ways, as long as they move.
//!
//! There is no deadline for the whole of one. The upstream server must do something within an idle time
//! whenever it is its turn: take a chunk of the request, begin its response, or send more of it.
//!
//! A request is sent again only when nothing of it was sent, or when it is a read without a body and nothing
//! of a response came.

use super::endpoint_pool::CallResult;
use super::exchange::TransportError;
use super::load_balancer::{Attempt, LoadBalancer, RetryOptions};
use super::request_body::{RequestBody, RequestBodyError};
use super::retry::{Idempotency, RetryDecision};
use super::streaming_client::StreamingClient;
use crate::telemetry::metrics::{CallOutcome, CallTimer};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use hyper::body::{Body as _, Incoming};
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;
use thiserror::Error;
use url::Url;

/// Why there is no response, or no end of it.
#[derive(Debug, Clone, Error)]
pub enum StreamError {
    /// The client's side failed.
    #[error(transparent)]
    RequestBody(#[from] RequestBodyError),
    /// The upstream side failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

/// A response whose body is still to come.
#[derive(Debug)]
pub struct StreamedResponse<'b> {
    /// The status line's code.
    pub status: StatusCode,
    /// All headers as received.
    pub headers: HeaderMap,
    /// The index of the endpoint.
    pub endpoint: usize,
    body: Incoming,
    request_body: RequestBody,
    idle_timeout: Duration,
    attempt: Attempt<'b>,
    timer: Option<CallTimer>,
}

impl LoadBalancer {
    /// Sends a request to one of the endpoints and waits for the head of the response. `request` builds the
    /// request for the endpoint with an index, anew for each attempt; `body` is its body.
    pub async fn stream<'b>(
        &'b self,
        client: &StreamingClient,
        request: impl Fn(usize) -> Result<(&'b Url, Request<()>), TransportError>,
        body: RequestBody,
        idle_timeout: Duration,
    ) -> Result<StreamedResponse<'b>, StreamError> {
        self.count_request();
        let mut tried = Vec::new();
        let mut attempt = self.begin(&tried, idempotency(&request(0)?.1, &body), None)?;
        loop {
            let index = attempt.endpoint();
            let (endpoint, head) = request(index)?;
            let options = RetryOptions {
                idempotency: idempotency(&head, &body),
                preferred_endpoint: None,
                deadline: None,
            };
            let request = head.map(|()| body.clone());
            body.upstream_moved();
            let opened = attempt.open(client, endpoint, request, &body, idle_timeout);
            let error = match opened.await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            tried.push(index);
            let decision = decide(&error, options.idempotency, body.is_touched());
            let Some(next) = self.next(decision, &tried, options) else {
                body.close();
                return Err(error);
            };
            if !next.backoff.is_zero() {
                tokio::time::sleep(next.backoff).await;
            }
            attempt = next.attempt;
        }
    }
}

/// A read without a body is safe to repeat.
fn idempotency(request: &Request<()>, body: &RequestBody) -> Idempotency {
    let is_read = matches!(*request.method(), http::Method::GET | http::Method::HEAD);
    if is_read && body.is_empty() {
        Idempotency::Safe
    } else {
        Idempotency::Unsafe
    }
}

/// Where a request without a response may be sent again.
fn decide(error: &StreamError, idempotency: Idempotency, is_body_touched: bool) -> RetryDecision {
    match (error, idempotency) {
        (StreamError::Transport(TransportError::Connect(_)), _) if !is_body_touched => {
            RetryDecision::Anywhere
        }
        // An idle connection that the server closed at the moment of its use, for example.
        (StreamError::Transport(TransportError::Interrupted(_)), Idempotency::Safe) => {
            RetryDecision::Anywhere
        }
        (StreamError::Transport(_) | StreamError::RequestBody(_), _) => RetryDecision::No,
    }
}

impl<'b> Attempt<'b> {
    async fn open(
        mut self,
        client: &StreamingClient,
        endpoint: &Url,
        request: Request<RequestBody>,
        body: &RequestBody,
        idle_timeout: Duration,
    ) -> Result<StreamedResponse<'b>, StreamError> {
        let timer = client.begin(endpoint);
        let result = tokio::select! {
            result = client.send(self.connection(), request) => result,
            () = body.upstream_idle(idle_timeout) => Err(TransportError::Timeout),
        };
        let error = match result {
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                TransportError::InvalidHttp("a switch of protocols that was not asked for".into())
            }
            Ok(response) => return Ok(self.opened(response, body, idle_timeout, timer)),
            Err(error) => error,
        };
        if let Some(failure) = body.failure() {
            return Err(failure.into());
        }
        match &error {
            TransportError::Interrupted(_) => self.interrupted(),
            _ => self.set_result(CallResult::Failure),
        }
        timer.end(outcome(&error));
        Err(error.into())
    }

    fn opened(
        mut self,
        response: http::Response<Incoming>,
        request_body: &RequestBody,
        idle_timeout: Duration,
        timer: CallTimer,
    ) -> StreamedResponse<'b> {
        let (head, body) = response.into_parts();
        let is_gateway_error = matches!(head.status.as_u16(), 502..=504);
        self.set_result(if is_gateway_error {
            CallResult::Failure
        } else {
            CallResult::Success
        });
        // The head says whether the endpoint works; a transfer may go on for hours.
        let attempt = self.balancer().hold(self.endpoint());
        drop(self);
        StreamedResponse {
            status: head.status,
            headers: head.headers,
            endpoint: attempt.endpoint(),
            body,
            request_body: request_body.clone(),
            idle_timeout,
            attempt,
            timer: Some(timer),
        }
    }
}

impl StreamedResponse<'_> {
    /// The next chunk of the body; `None` at its end. Trailers are dropped.
    pub async fn next_chunk(&mut self) -> Option<Result<Bytes, StreamError>> {
        // Until now the client had to take the chunk before.
        self.request_body.upstream_moved();
        loop {
            let body = &mut self.body;
            let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx));
            let frame = tokio::select! {
                frame = frame => frame,
                () = self.request_body.upstream_idle(self.idle_timeout) => {
                    return Some(Err(self.failed(TransportError::Timeout)));
                }
            };
            match frame {
                Some(Ok(frame)) => {
                    self.request_body.upstream_moved();
                    if let Ok(chunk) = frame.into_data() {
                        return Some(Ok(chunk));
                    }
                }
                Some(Err(error)) => {
                    let error = TransportError::of_cause(&error, false);
                    return Some(Err(self.failed(error)));
                }
                None => {
                    if let Some(timer) = self.timer.take() {
                        timer.end(CallOutcome::of_status(self.status.as_u16()));
                    }
                    return None;
                }
            }
        }
    }

    fn failed(&mut self, error: TransportError) -> StreamError {
        if let Some(failure) = self.request_body.failure() {
            return failure.into();
        }
        if let Some(timer) = self.timer.take() {
            timer.end(outcome(&error));
        }
        self.attempt.set_result(CallResult::Failure);
        error.into()
    }
}

/// The exchange is over: the client need not send the rest of its body.
impl Drop for StreamedResponse<'_> {
    fn drop(&mut self) {
        self.request_body.close();
    }
}

fn outcome(error: &TransportError) -> CallOutcome {
    match error {
        TransportError::Connect(_) => CallOutcome::Connect,
        TransportError::Timeout => CallOutcome::Timeout,
        TransportError::TooLarge { .. } | TransportError::MemoryFull(_) => CallOutcome::TooLarge,
        TransportError::Interrupted(_) | TransportError::InvalidHttp(_) => CallOutcome::Interrupted,
    }
}
