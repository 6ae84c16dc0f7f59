//! A Glance that fails as the test says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::fake_server::{FakeServer, ReceivedRequest};
use crate::reply::Reply;

/// An image whose id starts with this can be read; every other request gets the three digits after
/// `0000` in the image's id as its status.
const READ_ONLY: char = 'e';

/// It stops when this is dropped.
pub struct FailingGlance {
    server: FakeServer,
    lists: Arc<AtomicU16>,
}

impl FailingGlance {
    /// Lists have no status before [`Self::answer_lists_with`].
    pub fn start() -> Self {
        let lists = Arc::new(AtomicU16::default());
        let now = Arc::clone(&lists);
        let server = FakeServer::scripted(move |request| {
            let status = status(request, now.load(Ordering::Relaxed));
            respond(status, &request.path)
        });
        Self { server, lists }
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The status of every list from now on.
    pub fn answer_lists_with(&self, status: u16) {
        self.lists.store(status, Ordering::Relaxed);
    }

    /// All requests so far, which it forgets.
    pub fn take_received(&self) -> Vec<ReceivedRequest> {
        std::mem::take(&mut self.server.received())
    }
}

fn status(request: &ReceivedRequest, of_lists: u16) -> u16 {
    let Some(id) = request.path.strip_prefix("/v2/images/") else {
        return of_lists;
    };
    if id.starts_with(READ_ONLY) && request.method == "GET" {
        return 200;
    }
    id[5..8].parse().unwrap()
}

fn respond(status: u16, path: &str) -> Reply {
    let retry = match status {
        413 | 429 => "Retry-After: 7\r\n",
        _ => "",
    };
    match (status, path.strip_prefix("/v2/images/")) {
        (200, Some(id)) => Reply::json(status, image(id)),
        (200, None) => Reply::json(status, r#"{"images": []}"#),
        _ => Reply::html_with(status, retry, page(status)),
    }
}

fn page(status: u16) -> String {
    format!(
        "<html><head><title>{status} X</title></head><body><h1>{status} X</h1>stub says \
         {status}<br /><br /></body></html>"
    )
}

fn image(id: &str) -> String {
    serde_json::json!({
        "id": id, "name": "x", "status": "active", "visibility": "private", "size": 1,
        "min_ram": 0, "min_disk": 0, "protected": false, "tags": [], "os_hidden": false,
        "created_at": "2024-01-01T00:00:00Z", "updated_at": "2024-01-01T00:00:00Z",
        "schema": "/v2/schemas/image", "self": "x", "file": "x", "k": "v",
    })
    .to_string()
}
