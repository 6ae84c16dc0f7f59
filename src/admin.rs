//! The operator's port, apart from the clients' so that it answers when that one is full.

use crate::server::{ServerError, listen};
use actix_web::dev::ServerHandle;
use actix_web::{App, HttpResponse, HttpServer, web};
use std::net::SocketAddr;

/// A running admin listener.
pub struct Admin {
    address: SocketAddr,
    handle: ServerHandle,
}

impl Admin {
    /// Serves `/healthcheck` on `address`. Must be called inside an actix system.
    pub fn start(address: SocketAddr) -> Result<Self, ServerError> {
        let failed = |source| ServerError::new("admin.listen", address, source);
        let listener = listen(address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let server = HttpServer::new(|| App::new().route("/healthcheck", web::get().to(health)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn the_process_says_that_it_is_up() {
        let admin = Admin::start("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = |path: &str| format!("http://{}{path}", admin.address());
        let answer = reqwest::get(url("/healthcheck")).await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "OK\n");
        assert_eq!(
            reqwest::get(url("/v2.1/images")).await.unwrap().status(),
            404
        );
        admin.stop().await;
    }
}
