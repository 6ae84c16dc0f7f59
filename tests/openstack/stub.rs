//! A Glance that misbehaves as it is told to, and remembers every request it got.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::server::{Received, Server};

/// An image whose id starts so can be read; everything else gives the three digits after `0000` as its
/// status, as it does for any other image.
const READ_ONLY: char = 'e';

/// It stops when this is dropped.
pub struct Stub {
    server: Server,
    lists: Arc<AtomicU16>,
}

impl Stub {
    pub fn start() -> Self {
        let lists = Arc::new(AtomicU16::default());
        let now = Arc::clone(&lists);
        let server = Server::start(move |request, mut stream| {
            let status = status(request, now.load(Ordering::Relaxed));
            stream.write_all(answer(status, &request.path).as_bytes())
        });
        Self { server, lists }
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The status of every list from now on.
    pub fn answer_lists_with(&self, status: u16) {
        self.lists.store(status, Ordering::Relaxed);
    }

    /// All requests so far, which it forgets.
    pub fn take_received(&self) -> Vec<Received> {
        std::mem::take(&mut self.server.received())
    }
}

fn status(request: &Received, of_lists: u16) -> u16 {
    let Some(id) = request.path.strip_prefix("/v2/images/") else {
        return of_lists;
    };
    if id.starts_with(READ_ONLY) && request.method == "GET" {
        return 200;
    }
    id[5..8].parse().unwrap()
}

fn answer(status: u16, path: &str) -> String {
    let (kind, body) = match (status, path.strip_prefix("/v2/images/")) {
        (200, Some(id)) => ("application/json", image(id)),
        (200, None) => ("application/json", r#"{"images": []}"#.to_owned()),
        _ => ("text/html; charset=UTF-8", page(status)),
    };
    let retry = match status {
        413 | 429 => "Retry-After: 7\r\n",
        _ => "",
    };
    format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n{retry}Content-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
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
