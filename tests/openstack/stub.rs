//! A Glance that misbehaves as it is told to, and remembers every request it got.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// An image whose id starts so can be read; everything else gives the three digits after `0000` as its
/// status, as it does for any other image.
const READ_ONLY: char = 'e';

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    pub method: String,
    pub path: String,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
}

#[derive(Default)]
struct Shared {
    list: AtomicU16,
    stopping: AtomicBool,
    received: Mutex<Vec<Received>>,
}

/// It stops when this is dropped.
pub struct Stub {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: Option<JoinHandle<()>>,
}

impl Stub {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let for_server = Arc::clone(&shared);
        let server = thread::spawn(move || {
            for stream in listener.incoming() {
                if for_server.stopping.load(Ordering::Relaxed) {
                    break;
                }
                let shared = Arc::clone(&for_server);
                // A client that leaves early is no concern of the stub's.
                thread::spawn(move || stream.and_then(|stream| shared.serve(&stream)).ok());
            }
        });
        Self {
            address,
            shared,
            server: Some(server),
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The status of every list from now on.
    pub fn answer_lists_with(&self, status: u16) {
        self.shared.list.store(status, Ordering::Relaxed);
    }

    /// All requests so far, which it forgets.
    pub fn take_received(&self) -> Vec<Received> {
        std::mem::take(&mut self.shared.received.lock().unwrap())
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        // Wakes the server, which then sees that it is to stop.
        let _woken = TcpStream::connect(self.address);
        if let Some(server) = self.server.take() {
            let _ended = server.join();
        }
    }
}

impl Shared {
    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let mut words = line.split(' ').map(str::to_owned);
        let (method, path) = (words.next(), words.next());
        let (Some(method), Some(path)) = (method, path) else {
            return Ok(());
        };
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length = length.map_or(0, |(_, value)| value.parse().unwrap());
        io::copy(&mut reader.take(length), &mut io::sink())?;
        let status = self.status(&method, &path);
        let answer = answer(status, &path);
        self.received.lock().unwrap().push(Received {
            method,
            path,
            headers,
        });
        (&mut &*stream).write_all(answer.as_bytes())
    }

    fn status(&self, method: &str, path: &str) -> u16 {
        let Some(id) = path.strip_prefix("/v2/images/") else {
            return self.list.load(Ordering::Relaxed);
        };
        if id.starts_with(READ_ONLY) && method == "GET" {
            return 200;
        }
        id[5..8].parse().unwrap()
    }
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
