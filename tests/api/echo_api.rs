//! A listener with an API that the gateway does not have: the HTTP layer knows none of its own.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use bytes::Bytes;
use nova_image_proxy::config;
use nova_image_proxy::http::api::Api;
use nova_image_proxy::http::body::{self, BodyLimits};
use nova_image_proxy::http::context::RequestContext;
use nova_image_proxy::http::response::{Body, Response};
use nova_image_proxy::http::{AppState, HttpError, RequestIds};
use nova_image_proxy::server::socket::{COMPUTE, InheritedSockets};
use nova_image_proxy::server::{BoundSocket, Server};
use nova_image_proxy::telemetry::metrics::{ApiLabels, Exposition, Metrics};
use nova_image_proxy::util::byte_budget::ByteBudget;
use std::time::Duration;
use test_support::client::{RawClient, get};
use tokio::sync::oneshot;

/// Answers `GET /echo/{text}` with the text, and `POST /echo` with the body.
#[derive(Debug)]
struct Echo(ByteBudget);

enum Route<'p> {
    Text(&'p str),
    Body,
}

impl Api for Echo {
    type Route<'p> = Route<'p>;

    fn labels(&self) -> ApiLabels {
        ApiLabels {
            api: "echo",
            routes: &["/echo/{text}", "/echo"],
            versions: &["none"],
        }
    }

    fn match_route<'p>(&self, method: &str, path: &'p str) -> Option<Route<'p>> {
        match (method, path) {
            ("POST", "/echo") => Some(Route::Body),
            ("GET", path) => path.strip_prefix("/echo/").map(Route::Text),
            _ => None,
        }
    }

    fn route_label(&self, route: &Route<'_>) -> usize {
        match route {
            Route::Text(_) => 0,
            Route::Body => 1,
        }
    }

    async fn handle<'r>(&'r self, mut context: RequestContext<'r>, route: Route<'r>) -> Response {
        let limits = BodyLimits {
            max: 8,
            timeout: Duration::from_secs(5),
            memory: &self.0,
        };
        let body = match route {
            Route::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
            Route::Body => match body::read(&mut context, limits).await {
                Ok(body) => Bytes::copy_from_slice(body.bytes()),
                Err(error) => return self.render_error(error, context.ids),
            },
        };
        Response::new(StatusCode::OK)
            .header(CONTENT_TYPE, HeaderValue::from_static("text/plain"))
            .body(Body::Bytes(body))
    }

    fn render_error(&self, error: HttpError, ids: &RequestIds) -> Response {
        let text = format!("echo: {error}, {}", ids.local().len());
        Response::new(StatusCode::IM_A_TEAPOT).body(Body::Bytes(text.into()))
    }
}

fn post(body: &str) -> String {
    let length = body.len();
    format!("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}")
}

#[test]
fn an_api_brings_routes_errors_and_labels_of_its_own() {
    let metrics = Metrics::default();
    let server = config::Server {
        listen: "127.0.0.1:0".parse().unwrap(),
        workers: 1,
        max_uri: 256,
        drain_grace: Duration::from_millis(50),
        ..config::Server::default()
    };
    let state = AppState::new(server, metrics.requests.clone(), None)
        .with_api(Echo(ByteBudget::new(1 << 20)));
    let (stop, stopped) = oneshot::channel::<()>();
    let (ready, address) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async {
            let stop = async {
                let _stopped = stopped.await;
            };
            let mut inherited = InheritedSockets::from_env();
            let socket = BoundSocket::open(COMPUTE, state.server(), &mut inherited).unwrap();
            let server = Server::new(state, socket);
            let ready = |address| ready.send(address).unwrap();
            server.run(stop, ready).await.unwrap();
        });
    });
    let mut wire = RawClient::connect(&format!("http://{}", address.recv().unwrap())).unwrap();
    let mut ask = |request: &str| {
        wire.send(request).unwrap();
        let answer = wire.receive().unwrap();
        (answer.status, answer.text())
    };
    assert_eq!(ask(&get("/echo/abc")), (200, "abc".to_owned()));
    assert_eq!(ask(&post("12345678")), (200, "12345678".to_owned()));
    let refused = "echo: the body of the request is too large, 40";
    assert_eq!(ask(&post("123456789")), (418, refused.to_owned()));
    assert_eq!(ask(&get("/other")), (404, String::new()));
    let long = get(&format!("/echo/{}", "x".repeat(300)));
    let refused = "echo: the URI of the request is too long, 40";
    assert_eq!(ask(&long), (418, refused.to_owned()));
    drop(wire);
    drop(stop);
    thread.join().unwrap();
    let text = metrics.text(Exposition::Prometheus);
    for expected in [
        "api=\"echo\",route=\"/echo/{text}\",method=\"GET\",status=\"200\",microversion=\"none\"} 1",
        "api=\"echo\",route=\"/echo/{text}\",method=\"GET\",status=\"other\",microversion=\"none\"} 1",
        "api=\"echo\",route=\"/echo\",method=\"POST\",status=\"200\",microversion=\"none\"} 1",
        "api=\"none\",route=\"unknown\",method=\"GET\",status=\"404\",microversion=\"none\"} 1",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}
