//! The operator's port, apart from the clients' so that it answers when that one is full.

mod readiness;

pub use readiness::{Check, Readiness, Report, Target};

use crate::server::BindError;
use crate::server::socket::listen;
use crate::telemetry::metrics::{Exposition, Metrics};
use actix_web::dev::ServerHandle;
use actix_web::http::header::ACCEPT;
use actix_web::web::{Data, get};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use std::net::SocketAddr;
use std::sync::Arc;

/// Connections the kernel holds until the worker takes them.
const BACKLOG: u32 = 128;

/// A running admin listener.
pub struct Admin {
    address: SocketAddr,
    handle: ServerHandle,
}

impl Admin {
    /// Serves on `address`. Must be called inside an actix system.
    pub fn start(
        address: SocketAddr,
        metrics: Arc<Metrics>,
        readiness: Arc<Readiness>,
    ) -> Result<Self, BindError> {
        let failed = |source| BindError::new("admin.listen", address, source);
        let listener = listen(address, BACKLOG).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (metrics, readiness) = (Data::from(metrics), Data::from(readiness));
        let app = move || {
            App::new()
                .app_data(metrics.clone())
                .app_data(readiness.clone())
                .route("/healthcheck", get().to(health))
                .route("/ready", get().to(ready))
                .route("/metrics", get().to(self::metrics))
        };
        let server = HttpServer::new(app)
            .workers(1)
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

/// The process is up; whether Keystone and Glance are is not asked.
async fn health() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .body("OK\n")
}

/// Whether a request could be answered.
async fn ready(readiness: Data<Readiness>) -> HttpResponse {
    let report = readiness.into_inner().report().await;
    if report.ready {
        HttpResponse::Ok().json(report)
    } else {
        HttpResponse::ServiceUnavailable().json(report)
    }
}

async fn metrics(request: HttpRequest, metrics: Data<Metrics>) -> HttpResponse {
    let accept = request.headers().get(ACCEPT);
    let format = Exposition::of_accept(accept.and_then(|value| value.to_str().ok()));
    HttpResponse::Ok()
        .content_type(format.content_type())
        .body(metrics.text(format))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{ClientSettings, client, runtime};

    #[actix_web::test]
    async fn the_process_says_that_it_is_up_and_what_it_counts() {
        let (runtime, spawner) = runtime::start(1).unwrap();
        let client = client(ClientSettings::default()).unwrap();
        let readiness = Arc::new(Readiness::new(client, spawner, Vec::new()));
        let address = "127.0.0.1:0".parse().unwrap();
        let admin = Admin::start(address, Arc::default(), readiness).unwrap();
        let url = |path: &str| format!("http://{}{path}", admin.address());
        let answer = reqwest::get(url("/healthcheck")).await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "OK\n");
        let answer = reqwest::get(url("/ready")).await.unwrap();
        assert_eq!(
            answer.text().await.unwrap(),
            "{\"ready\":true,\"checks\":[]}"
        );
        let answer = reqwest::get(url("/metrics")).await.unwrap();
        let content_type = answer.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned();
        assert_eq!(content_type, Exposition::Prometheus.content_type());
        assert!(
            answer
                .text()
                .await
                .unwrap()
                .contains("_build_info{version=")
        );
        assert_eq!(
            reqwest::get(url("/v2.1/images")).await.unwrap().status(),
            404
        );
        admin.stop().await;
        drop(runtime);
    }
}
