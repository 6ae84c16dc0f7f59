//! A Glance that has every image, and takes every change.

use std::sync::MutexGuard;
use std::thread::sleep;
use std::time::Duration;

use crate::fake_server::{FakeServer, ReceivedRequest};
use crate::reply::Reply;

/// It stops when this is dropped.
pub struct FakeGlance(FakeServer);

impl FakeGlance {
    /// Starts one that responds after `delay`.
    pub fn start(delay: Duration) -> Self {
        Self(FakeServer::scripted(move |request| {
            sleep(delay);
            respond(request)
        }))
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        self.0.url()
    }

    /// All requests so far, or since the last were taken away.
    pub fn received(&self) -> MutexGuard<'_, Vec<ReceivedRequest>> {
        self.0.received()
    }
}

fn respond(request: &ReceivedRequest) -> Reply {
    let path = request.path.split('?').next().unwrap_or_default();
    let image = |id: &str| format!(r#"{{"id": "{id}", "status": "active", "k": "v"}}"#);
    match path.strip_prefix("/v2/images/") {
        Some(_) if request.method == "DELETE" => Reply::json(204, ""),
        Some(id) => Reply::json(200, image(id)),
        None => Reply::json(200, format!(r#"{{"images": [{}]}}"#, image("listed"))),
    }
}
