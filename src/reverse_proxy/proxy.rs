//! One request passed through: from the client's connection to the service and back.

use super::body::{ResponseBodySender, StreamedBody, send_request_body};
use super::error::ProxyError;
use super::headers::{self, ForwardedFrom};
use super::invalidation::{Affected, Service};
use super::target::Endpoint;
use crate::cache::PendingWrite;
use crate::config;
use crate::glance::WriteOutcome;
use crate::http::api::Api;
use crate::http::body::{self, BodyLimits};
use crate::http::client_address::client_address;
use crate::http::concurrency_limit::ConcurrencyLimit;
use crate::http::context::RequestContext;
use crate::http::limits;
use crate::http::path_prefix;
use crate::http::response::{Body, Response};
use crate::http::{HttpError, RequestIds};
use crate::images::{ImageService, Turn};
use crate::telemetry::metrics::ApiLabels;
use crate::upstream::runtime::Spawner;
use crate::upstream::{
    LoadBalancer, RequestBody, StreamError, StreamedResponse, StreamingClient, TransportError,
};
use crate::util::byte_budget::ByteBudget;
use actix_web::HttpRequest;
use actix_web::body::{BodySize, BoxBody};
use actix_web::http::StatusCode;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

const GLOBAL_REQUEST_ID: HeaderName = HeaderName::from_static("x-openstack-request-id");

const NOVA_LABELS: ApiLabels = ApiLabels {
    api: "passthrough",
    routes: &["nova"],
    versions: &["none"],
};

const GLANCE_LABELS: ApiLabels = ApiLabels {
    api: "passthrough",
    routes: &["glance"],
    versions: &["none"],
};

/// The limits of a proxy.
#[derive(Debug, Clone, Copy)]
pub struct ProxySettings {
    /// Longest time in which neither side of a transfer moves, and longest wait for a response to begin.
    pub idle_timeout: Duration,
    /// Most requests at a time; of Glance's, uploads and downloads alone count.
    pub max_in_flight: usize,
}

/// Passes requests to one service, whatever they are.
#[derive(Debug)]
pub struct ReverseProxy {
    service: Service,
    server: config::Server,
    settings: ProxySettings,
    upstream: Arc<Upstream>,
    limit: Arc<ConcurrencyLimit>,
    request_memory: ByteBudget,
    spawner: Spawner,
}

/// The service's endpoints, and how they are called.
#[derive(Debug)]
pub struct Upstream {
    /// Where the service is.
    pub endpoints: Vec<Endpoint>,
    /// Chooses among them, by their indices.
    pub balancer: Arc<LoadBalancer>,
    /// Calls them.
    pub client: StreamingClient,
    /// Is told of changes of images that pass.
    pub images: Arc<ImageService>,
}

/// A request without its body, ready to go on.
#[derive(Debug)]
struct PassedRequest {
    method: Method,
    /// One for each endpoint.
    uris: Vec<Uri>,
    headers: HeaderMap,
    affected: Affected,
    /// When a write must have got its turn.
    deadline: Instant,
}

/// The head of a response, and the channel that its body comes through.
#[derive(Debug)]
struct PassedResponse {
    status: StatusCode,
    headers: HeaderMap,
    endpoint: usize,
    body: StreamedBody,
}

impl ReverseProxy {
    /// A proxy to `service` for the listener with the settings `server`.
    #[must_use]
    pub fn new(
        service: Service,
        server: config::Server,
        settings: ProxySettings,
        upstream: Upstream,
        request_memory: ByteBudget,
        spawner: Spawner,
    ) -> Self {
        Self {
            service,
            server,
            settings,
            upstream: Arc::new(upstream),
            limit: Arc::default(),
            request_memory,
            spawner,
        }
    }

    /// The requests that are being passed through, bodies included.
    #[must_use]
    pub fn concurrency_limit(&self) -> &Arc<ConcurrencyLimit> {
        &self.limit
    }

    async fn pass(
        &self,
        mut context: RequestContext<'_>,
        path: &str,
    ) -> Result<Response, ProxyError> {
        let permit = if self.service.is_limited(path) {
            Some(self.limit.try_acquire(self.settings.max_in_flight)?)
        } else {
            None
        };
        let request = self.request(&context, path)?;
        let (sender, body) = match framing(context.request) {
            Framing::Empty => (None, RequestBody::empty()),
            // A slow client must not hold the image's turn.
            Framing::Body if request.affected.patched().is_some() => {
                let body = self.whole_body(&mut context).await?;
                (None, RequestBody::full(body.into_bytes()))
            }
            Framing::Body => {
                let (sender, body) = RequestBody::channel();
                (Some(sender), body)
            }
        };
        let upstream = Arc::clone(&self.upstream);
        let permits = (permit, Arc::clone(&context.permit));
        let idle_timeout = self.settings.idle_timeout;
        let (head, response) = oneshot::channel();
        let exchange = async move {
            let _permits = permits;
            upstream.exchange(request, body, idle_timeout, head).await;
        };
        self.spawner.spawn(context.ids.task_scope().run(exchange));
        let waiting = context.observer.upstream_time().start();
        let response = match sender {
            Some(sender) => {
                let sending = send_request_body(context.payload, sender, idle_timeout);
                response_while(Box::pin(sending), response).await
            }
            None => response.await,
        };
        drop(waiting);
        let response = response.map_err(|_| HttpError::Internal)??;
        if let Some(endpoint) = self.upstream.endpoints.get(response.endpoint) {
            context.observer.upstream(endpoint.as_str());
        }
        Ok(response.into_response())
    }

    /// The body of a small request, within the limits of the gateway's own requests.
    async fn whole_body(
        &self,
        context: &mut RequestContext<'_>,
    ) -> Result<body::RequestBody, HttpError> {
        limits::check_content_length(context.request, self.server.max_body)?;
        let limits = BodyLimits {
            max: self.server.max_body,
            timeout: self.server.body_timeout,
            memory: &self.request_memory,
        };
        body::read(context, limits).await
    }

    fn request(
        &self,
        context: &RequestContext<'_>,
        path: &str,
    ) -> Result<PassedRequest, ProxyError> {
        let request = context.request;
        let query = request.uri().query().map(|query| format!("?{query}"));
        let target = format!("{path}{}", query.unwrap_or_default());
        let uris = self
            .upstream
            .endpoints
            .iter()
            .map(|endpoint| endpoint.uri(&target));
        let uris: Result<_, _> = uris.collect();
        let method = Method::from_bytes(request.method().as_str().as_bytes());
        let chain = forwarded_for(context, &self.server);
        let origin = &context.origin;
        let from = ForwardedFrom {
            chain: &chain,
            scheme: origin.scheme(),
            host: origin.host(),
            prefix: origin.prefix(),
        };
        let mut headers = headers::of_request(received(request), from)?;
        if headers.get(CONTENT_LENGTH).is_none() && framing(request) == Framing::Body {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        headers
            .entry(GLOBAL_REQUEST_ID)
            .or_insert_with(|| context.ids.upstream());
        Ok(PassedRequest {
            affected: self.service.affected(request.method().as_str(), path),
            deadline: context.timing.deadline,
            method: method.map_err(|_| ProxyError::InvalidTarget)?,
            uris: uris.map_err(|_| ProxyError::InvalidTarget)?,
            headers,
        })
    }
}

impl Api for ReverseProxy {
    /// The path below the listener's prefix.
    type Route<'p> = &'p str;

    fn labels(&self) -> ApiLabels {
        match self.service {
            Service::Nova => NOVA_LABELS,
            Service::Glance => GLANCE_LABELS,
        }
    }

    fn match_route<'p>(&self, method: &str, path: &'p str) -> Option<&'p str> {
        let path = path_prefix::strip(path, &self.server.path_prefix)?;
        (method != "CONNECT").then_some(path)
    }

    fn route_label(&self, _: &&str) -> usize {
        0
    }

    async fn handle<'r>(&'r self, context: RequestContext<'r>, path: &'r str) -> Response {
        let ids = context.ids;
        match self.pass(context, path).await {
            Ok(response) => response,
            Err(error) => error.response(ids),
        }
    }

    fn render_error(&self, error: HttpError, ids: &RequestIds) -> Response {
        ProxyError::from(error).response(ids)
    }
}

impl Upstream {
    /// Makes the exchange, from the first byte of the request to the last one of the response.
    async fn exchange(
        &self,
        request: PassedRequest,
        body: RequestBody,
        idle_timeout: Duration,
        mut head: oneshot::Sender<Result<PassedResponse, ProxyError>>,
    ) {
        let turn = tokio::select! {
            turn = self.turn(&request) => turn,
            // The client has left.
            () = head.closed() => return,
        };
        let turn = match turn {
            Ok(turn) => turn,
            Err(error) => {
                let _left = head.send(Err(error));
                return;
            }
        };
        let mut write = self.begin_write(&request.affected);
        let opening = self.open(&request, body, idle_timeout);
        let opened = tokio::select! {
            opened = opening => Some(opened),
            // A PATCH that Glance has begun holds the image's turn to its end.
            () = head.closed(), if turn.is_none() => None,
        };
        if let (Some(write), Some(opened)) = (&mut write, &opened) {
            write.answered(outcome(opened));
        }
        if let Some(write) = write {
            write.commit().await;
        }
        drop(turn);
        let Some(opened) = opened else {
            return;
        };
        if let Ok(response) = &opened
            && request.affected == Affected::ListsOnSuccess
            && response.status.is_success()
        {
            self.images.invalidate_lists().await;
        }
        let response = match opened {
            Ok(response) => response,
            Err(error) => {
                let _left = head.send(Err(error.into()));
                return;
            }
        };
        let is_head = request.method == Method::HEAD;
        let (sender, passed) = PassedResponse::of(&response, is_head);
        if head.send(Ok(passed)).is_ok() {
            transfer(response, sender).await;
        }
    }

    /// Waits until no other write to the image is under way, where Glance would lose one of both.
    async fn turn(&self, request: &PassedRequest) -> Result<Option<Turn<'_>>, ProxyError> {
        let Some(id) = request.affected.patched() else {
            return Ok(None);
        };
        let mut turn = self
            .images
            .lock_for_passed_patch(id, request.deadline)
            .await?;
        turn.sending();
        Ok(Some(turn))
    }

    fn begin_write(&self, affected: &Affected) -> Option<PendingWrite> {
        let mut write = self.images.begin_passed_write(affected.written()?);
        write.sending();
        Some(write)
    }

    async fn open(
        &self,
        request: &PassedRequest,
        body: RequestBody,
        idle_timeout: Duration,
    ) -> Result<StreamedResponse<'_>, StreamError> {
        let build = |index: usize| {
            let (Some(endpoint), Some(uri)) = (self.endpoints.get(index), request.uris.get(index))
            else {
                return Err(TransportError::Connect("no endpoint".to_owned()));
            };
            let mut built = Request::new(());
            *built.method_mut() = request.method.clone();
            *built.uri_mut() = uri.clone();
            built.headers_mut().clone_from(&request.headers);
            Ok((endpoint.url(), built))
        };
        self.balancer
            .stream(&self.client, build, body, idle_timeout)
            .await
    }
}

/// What a write that passed has come to.
fn outcome(opened: &Result<StreamedResponse<'_>, StreamError>) -> WriteOutcome {
    match opened {
        Ok(response) => match response.status.as_u16() {
            401 | 403 | 404 => WriteOutcome::NotApplied,
            // A proxy's word for an exchange behind it that broke or timed out.
            502 | 504 => WriteOutcome::Unknown,
            _ => WriteOutcome::Answered,
        },
        Err(StreamError::Transport(TransportError::Connect(_))) => WriteOutcome::NotApplied,
        Err(StreamError::Transport(_) | StreamError::RequestBody(_)) => WriteOutcome::Unknown,
    }
}

/// Waits for a response while the request's body is sent. A response that comes before the end of the body is passed
/// on at once, and the rest of the body is sent beside it.
///
/// Until then both are work of one task, the one that the client's connection is served by: it looks whether there is
/// something to send, such as `100 Continue`, after each turn.
async fn response_while<T>(
    mut sending: Pin<Box<impl Future<Output = ()> + 'static>>,
    mut response: oneshot::Receiver<T>,
) -> Result<T, oneshot::error::RecvError> {
    tokio::select! {
        biased;
        response = &mut response => {
            actix_web::rt::spawn(sending);
            response
        }
        () = &mut sending => response.await,
    }
}

/// Sends the body of a response on to the client.
async fn transfer(mut response: StreamedResponse<'_>, sender: ResponseBodySender) {
    loop {
        let chunk = tokio::select! {
            chunk = response.next_chunk() => chunk,
            () = sender.closed() => return,
        };
        match chunk {
            Some(Ok(chunk)) => {
                if !sender.send(chunk).await {
                    return;
                }
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "a response that was passed through broke off");
                return;
            }
            None => return sender.finish().await,
        }
    }
}

impl PassedResponse {
    fn of(response: &StreamedResponse<'_>, is_head: bool) -> (ResponseBodySender, Self) {
        let status = StatusCode::from_u16(response.status.as_u16());
        let status = status.unwrap_or(StatusCode::BAD_GATEWAY);
        let size = body_size(status, &response.headers, is_head);
        let (sender, body) = StreamedBody::channel(size);
        let passed = Self {
            status,
            headers: headers::of_response(response.headers.clone()),
            endpoint: response.endpoint,
            body,
        };
        (sender, passed)
    }

    fn into_response(self) -> Response {
        use actix_web::http::header;
        let mut response = Response::new(self.status);
        for (name, value) in &self.headers {
            // The HTTP library frames every body but that of a 304, which has none.
            if name == CONTENT_LENGTH && self.status != StatusCode::NOT_MODIFIED {
                continue;
            }
            let name = header::HeaderName::from_bytes(name.as_str().as_bytes());
            let value = header::HeaderValue::from_bytes(value.as_bytes());
            if let (Ok(name), Ok(value)) = (name, value) {
                response = response.header(name, value);
            }
        }
        response.body(Body::Stream(BoxBody::new(self.body)))
    }
}

/// How the response to the client is framed.
fn body_size(status: StatusCode, headers: &HeaderMap, is_head: bool) -> BodySize {
    let length = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok());
    match (status, length) {
        (StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED, _) => BodySize::None,
        (_, Some(length)) => BodySize::Sized(length),
        (_, None) if is_head => BodySize::None,
        (_, None) => BodySize::Stream,
    }
}

/// Whether a request has a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Empty,
    Body,
}

/// The HTTP library has refused every request whose framing is not clear.
fn framing(request: &HttpRequest) -> Framing {
    use actix_web::http::header;
    let headers = request.headers();
    let length = headers.get(header::CONTENT_LENGTH);
    let has_length = length.is_some_and(|value| value.as_bytes().trim_ascii() != b"0");
    if has_length || headers.contains_key(header::TRANSFER_ENCODING) {
        Framing::Body
    } else {
        Framing::Empty
    }
}

/// The headers as they came; `Host` also where it stands in the target.
fn received(request: &HttpRequest) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(request.headers().len() + 8);
    for (name, value) in request.headers() {
        let name = HeaderName::from_bytes(name.as_str().as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
            headers.append(name, value);
        }
    }
    if headers.get(HOST).is_some_and(HeaderValue::is_empty) {
        headers.remove(HOST);
    }
    headers
}

/// The addresses that the request came from: the client's as far as a trusted proxy says it, and the peer's.
fn forwarded_for(context: &RequestContext<'_>, server: &config::Server) -> String {
    let Some(peer) = context.peer() else {
        return String::new();
    };
    let peer = peer.ip().to_canonical();
    let client = client_address(peer, context.request.headers(), server);
    if client == peer {
        peer.to_string()
    } else {
        format!("{client}, {peer}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;
    use rstest::rstest;

    #[rstest]
    #[case(200, Some("5"), false, BodySize::Sized(5))]
    #[case(200, Some("5"), true, BodySize::Sized(5))]
    #[case(200, None, false, BodySize::Stream)]
    #[case(200, None, true, BodySize::None)]
    #[case(204, Some("5"), false, BodySize::None)]
    #[case(304, Some("5"), false, BodySize::None)]
    #[case(202, Some("0"), false, BodySize::Sized(0))]
    fn a_response_is_framed_by_its_status_and_length(
        #[case] status: u16,
        #[case] length: Option<&'static str>,
        #[case] is_head: bool,
        #[case] expected: BodySize,
    ) {
        let mut headers = HeaderMap::new();
        if let Some(length) = length {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static(length));
        }
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(body_size(status, &headers, is_head), expected);
    }

    #[rstest]
    #[case(&[], Framing::Empty)]
    #[case(&[("Content-Length", "0")], Framing::Empty)]
    #[case(&[("Content-Length", "1")], Framing::Body)]
    #[case(&[("Transfer-Encoding", "chunked")], Framing::Body)]
    fn a_body_is_announced(#[case] headers: &[(&str, &str)], #[case] expected: Framing) {
        let mut request = TestRequest::default();
        for &header in headers {
            request = request.append_header(header);
        }
        assert_eq!(framing(&request.to_http_request()), expected);
    }
}
