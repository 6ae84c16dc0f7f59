//! A server in Glance's place that has every image, and takes every change.

use crate::server::{Received, Server};
use std::io::Write as _;
use std::thread::sleep;
use std::time::Duration;

/// Starts one that answers after `delay`.
pub fn start(delay: Duration) -> Server {
    Server::start(move |request, mut stream| {
        sleep(delay);
        let (status, body) = answer(request);
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all([head, body].concat().as_bytes())
    })
}

fn answer(request: &Received) -> (u16, String) {
    let path = request.path.split('?').next().unwrap_or_default();
    let image = |id: &str| format!(r#"{{"id": "{id}", "status": "active", "k": "v"}}"#);
    match path.strip_prefix("/v2/images/") {
        Some(_) if request.method == "DELETE" => (204, String::new()),
        Some(id) => (200, image(id)),
        None => (200, format!(r#"{{"images": [{}]}}"#, image("listed"))),
    }
}
