//! Tells a connection when a request is being answered and when its response is written.

use super::connection::{Connection, Expectation, ResponseGuard};
use actix_web::Error;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, Service, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::http::ConnectionType;
use bytes::Bytes;
use futures_util::Stream;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Has `service` answer the request, and tracks the response to the end of its body.
pub fn track<S>(
    request: ServiceRequest,
    service: &S,
) -> impl Future<Output = Result<ServiceResponse<TrackedBody>, Error>> + use<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse, Error = Error>,
{
    let connection = request.conn_data::<Connection>().cloned();
    let guard = connection.as_ref().map(Connection::begin_response);
    let request = match &connection {
        Some(connection) if connection.expectation() == Expectation::Pending => {
            invite_when_read(request, connection.clone())
        }
        Some(_) | None => request,
    };
    let response = service.call(request);
    async move {
        let mut response = response.await?;
        if let Some(connection) = &connection
            && connection.expectation() == Expectation::Pending
        {
            connection.set_expectation(Expectation::Declined);
        }
        if connection.as_ref().is_some_and(is_last) {
            let head = response.response_mut().head_mut();
            head.set_connection_type(ConnectionType::Close);
        }
        Ok(response.map_body(|_, body| TrackedBody {
            body,
            _guard: guard,
        }))
    }
}

/// Whether the response ends its connection. A client that was not invited to send its body may leave it out or
/// send it all the same: where the next request would begin is not known.
fn is_last(connection: &Connection) -> bool {
    connection.is_last()
        || connection.tracker().draining().is_some()
        || connection.expectation() == Expectation::Declined
}

fn invite_when_read(request: ServiceRequest, connection: Connection) -> ServiceRequest {
    let (request, body) = request.into_parts();
    let payload = Box::pin(InvitedBody { body, connection });
    ServiceRequest::from_parts(request, Payload::Stream { payload })
}

/// The body of a request with `Expect: 100-continue`.
struct InvitedBody {
    body: Payload,
    connection: Connection,
}

impl Stream for InvitedBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.body).poll_next(cx);
        if self.connection.expectation() == Expectation::Pending {
            // The stream flushes after each turn of the HTTP library, and sends the invitation then.
            self.connection.set_expectation(if next.is_pending() {
                Expectation::Wanted
            } else {
                Expectation::Settled
            });
        }
        next
    }
}

/// A response's body; the response is over when this is dropped.
pub struct TrackedBody {
    body: BoxBody,
    _guard: Option<ResponseGuard>,
}

impl MessageBody for TrackedBody {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}
