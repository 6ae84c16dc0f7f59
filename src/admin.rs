//! The admin listener, apart from the clients' so that it answers when that one is full.

use crate::readiness::Readiness;
use crate::server::BindError;
use crate::server::socket::listen;
use crate::telemetry::metrics::{Exposition, Metrics};
use actix_web::dev::ServerHandle;
use actix_web::http::Method;
use actix_web::http::header::{ACCEPT, ALLOW, CONTENT_TYPE};
use actix_web::web::{Data, block, post, resource};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use std::net::SocketAddr;
use std::sync::Arc;

/// Connections the kernel holds until the worker accepts them.
const BACKLOG: u32 = 128;
/// Connections at a time; load balancers and scrapers need a handful. An idle one ends after five seconds.
const MAX_CONNECTIONS: usize = 128;
const PLAIN_TEXT: &str = "text/plain; charset=utf-8";
const ALLOWED: &str = "GET, HEAD, OPTIONS";
/// The body of `/` and of every 404.
const PATHS: &str = "\
/healthcheck  200 while the process runs
/ready        200 when requests can be answered, else 503, with the reason as JSON
/metrics      metrics in OpenMetrics text
";

/// Empties the embedded Glance; whether that succeeded. Blocks.
pub type Reset = Arc<dyn Fn() -> bool + Send + Sync>;

/// A running admin listener.
pub struct Admin {
    address: SocketAddr,
    handle: ServerHandle,
}

impl Admin {
    /// Serves on `address`; with `reset`, `POST /reset` calls it. Must be called inside an actix
    /// system.
    pub fn start(
        address: SocketAddr,
        metrics: Arc<Metrics>,
        readiness: Arc<Readiness>,
        reset: Option<Reset>,
    ) -> Result<Self, BindError> {
        let failed = |source| BindError::new("admin.listen", address, source);
        let listener = listen(address, BACKLOG).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (metrics, readiness) = (Data::from(metrics), Data::from(readiness));
        let app = move || {
            let app = App::new();
            let app = match &reset {
                Some(reset) => app
                    .app_data(Data::new(Arc::clone(reset)))
                    .route("/reset", post().to(reset_store)),
                None => app,
            };
            app.app_data(metrics.clone())
                .app_data(readiness.clone())
                .service(resource("/").to(index))
                .service(resource("/healthcheck").to(healthcheck))
                .service(resource("/ready").to(ready))
                .service(resource("/metrics").to(self::metrics))
                .default_service(actix_web::web::to(not_found))
        };
        let server = HttpServer::new(app)
            .workers(1)
            .max_connections(MAX_CONNECTIONS)
            .disable_signals()
            .listen(listener)
            .map_err(failed)?
            .run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Ok(Self { address, handle })
    }

    /// The bound address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops at once.
    pub async fn stop(self) {
        self.handle.stop(false).await;
    }
}

/// How a request is answered, by its method.
enum Answer {
    /// In full. The server leaves out the body of a response to HEAD.
    Full,
    /// Without a body. Load balancers check with OPTIONS as well.
    Empty,
    NotAllowed,
}

fn answer_to(method: &Method) -> Answer {
    match *method {
        Method::GET | Method::HEAD => Answer::Full,
        Method::OPTIONS => Answer::Empty,
        _ => Answer::NotAllowed,
    }
}

/// Empties the embedded Glance, for a test suite.
async fn reset_store(reset: Data<Reset>) -> HttpResponse {
    let reset = move || reset();
    match block(reset).await {
        Ok(true) => HttpResponse::NoContent().finish(),
        Ok(false) | Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

fn not_allowed() -> HttpResponse {
    HttpResponse::MethodNotAllowed()
        .insert_header((ALLOW, ALLOWED))
        .insert_header((CONTENT_TYPE, PLAIN_TEXT))
        .body(format!("allowed: {ALLOWED}\n"))
}

fn text(request: &HttpRequest, media_type: &'static str, body: impl Into<String>) -> HttpResponse {
    match answer_to(request.method()) {
        Answer::Full => HttpResponse::Ok()
            .insert_header((CONTENT_TYPE, media_type))
            .body(body.into()),
        Answer::Empty => HttpResponse::NoContent()
            .insert_header((ALLOW, ALLOWED))
            .finish(),
        Answer::NotAllowed => not_allowed(),
    }
}

async fn index(request: HttpRequest) -> HttpResponse {
    text(&request, PLAIN_TEXT, PATHS)
}

/// Liveness: the process runs. Keystone and Glance are not called. HEAD gets what oslo.middleware's
/// health check sends.
async fn healthcheck(request: HttpRequest) -> HttpResponse {
    if request.method() == Method::HEAD {
        return HttpResponse::NoContent().finish();
    }
    text(&request, PLAIN_TEXT, "OK\n")
}

/// Readiness, with the same status for every method that asks for it.
async fn ready(request: HttpRequest, readiness: Data<Readiness>) -> HttpResponse {
    let answer = answer_to(request.method());
    if matches!(answer, Answer::NotAllowed) {
        return not_allowed();
    }
    let report = readiness.into_inner().report().await;
    let mut response = if report.ready {
        HttpResponse::Ok()
    } else {
        HttpResponse::ServiceUnavailable()
    };
    match answer {
        Answer::Full => response.json(report),
        Answer::Empty | Answer::NotAllowed => response.insert_header((ALLOW, ALLOWED)).finish(),
    }
}

async fn metrics(request: HttpRequest, metrics: Data<Metrics>) -> HttpResponse {
    let accept = request.headers().get(ACCEPT);
    let format = Exposition::of_accept(accept.and_then(|value| value.to_str().ok()));
    text(&request, format.content_type(), metrics.text(format))
}

async fn not_found() -> HttpResponse {
    HttpResponse::NotFound()
        .insert_header((CONTENT_TYPE, PLAIN_TEXT))
        .body(PATHS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::readiness::Probes;
    use crate::upstream::{ClientSettings, client, runtime};
    use rstest::rstest;

    struct Running {
        admin: Admin,
        readiness: Arc<Readiness>,
        _upstream: runtime::RuntimeGuard,
    }

    fn start() -> Running {
        let (upstream, spawner) = runtime::start(1).unwrap();
        let client = client(ClientSettings::default()).unwrap();
        let probes = Probes::new(client, None, Vec::new(), Arc::default());
        let readiness = Arc::new(Readiness::new(probes, spawner));
        let address = "127.0.0.1:0".parse().unwrap();
        Running {
            admin: Admin::start(address, Arc::default(), Arc::clone(&readiness), None).unwrap(),
            readiness,
            _upstream: upstream,
        }
    }

    impl Running {
        async fn send(&self, method: &str, path: &str) -> reqwest::Response {
            let url = format!("http://{}{path}", self.admin.address());
            let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
            let client = reqwest::Client::new();
            client.request(method, url).send().await.unwrap()
        }
    }

    #[actix_web::test]
    async fn the_process_says_that_it_is_up_and_what_it_counts() {
        let running = start();
        let answer = running.send("GET", "/healthcheck").await;
        assert_eq!(answer.text().await.unwrap(), "OK\n");
        let answer = running.send("GET", "/ready").await;
        let report: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(report["ready"], true);
        let answer = running.send("GET", "/metrics").await;
        let content_type = answer.headers()["content-type"].clone();
        assert_eq!(content_type, Exposition::Prometheus.content_type());
        let text = answer.text().await.unwrap();
        assert!(text.contains("_build_info{version="), "{text}");
        running.admin.stop().await;
    }

    #[rstest]
    #[case("HEAD", "/healthcheck", 204)]
    #[case("OPTIONS", "/healthcheck", 204)]
    #[case("HEAD", "/ready", 200)]
    #[case("OPTIONS", "/ready", 200)]
    #[case("HEAD", "/metrics", 200)]
    #[case("HEAD", "/", 200)]
    #[actix_web::test]
    async fn checks_with_other_methods_get_the_status_without_a_body(
        #[case] method: &str,
        #[case] path: &str,
        #[case] status: u16,
    ) {
        let running = start();
        let answer = running.send(method, path).await;
        assert_eq!(answer.status(), status);
        assert_eq!(answer.text().await.unwrap(), "");
        running.admin.stop().await;
    }

    #[actix_web::test]
    async fn a_gateway_that_stops_is_not_ready_for_any_method() {
        let running = start();
        running.readiness.stop();
        for method in ["GET", "HEAD", "OPTIONS"] {
            assert_eq!(
                running.send(method, "/ready").await.status(),
                503,
                "{method}"
            );
            let health = running.send(method, "/healthcheck").await;
            assert!(health.status().is_success(), "{method}");
        }
        running.admin.stop().await;
    }

    #[actix_web::test]
    async fn other_methods_are_405_and_other_paths_404_with_the_list() {
        let running = start();
        for path in ["/", "/healthcheck", "/ready", "/metrics"] {
            let answer = running.send("POST", path).await;
            assert_eq!(answer.status(), 405, "{path}");
            assert_eq!(answer.headers()["allow"], ALLOWED);
        }
        let answer = running.send("GET", "/v2.1/images").await;
        assert_eq!(answer.status(), 404);
        assert_eq!(answer.headers()["content-type"], PLAIN_TEXT);
        assert_eq!(answer.text().await.unwrap(), PATHS);
        let answer = running.send("GET", "/").await;
        assert_eq!(
            (answer.status().as_u16(), answer.text().await.unwrap()),
            (200, PATHS.to_owned())
        );
        running.admin.stop().await;
    }
}
