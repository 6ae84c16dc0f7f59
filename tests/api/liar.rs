//! A server in Glance's place that writes whatever bytes it is told to.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What is written to a connection after a request was read; then it is closed.
#[derive(Debug, Clone)]
pub enum Wire {
    Bytes(Vec<u8>),
    /// The first once, the second until nobody reads any more.
    Endless(Vec<u8>, Vec<u8>),
    /// The same again and again, with a pause before each.
    Flood(Vec<u8>, Duration),
    /// Byte by byte, with a pause before each.
    Trickle(Vec<u8>, Duration),
    /// Nothing; the connection stays open until the other side closes it.
    Silence,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    pub method: String,
    pub path: String,
}

type Script = dyn Fn(&Received) -> Wire + Send + Sync;

struct Shared {
    script: Box<Script>,
    stopping: AtomicBool,
    received: Mutex<Vec<Received>>,
}

/// It stops when this is dropped.
pub struct Liar {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: Option<JoinHandle<()>>,
}

impl Liar {
    pub fn start(script: impl Fn(&Received) -> Wire + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Box::new(script),
            stopping: AtomicBool::new(false),
            received: Mutex::default(),
        });
        let for_server = Arc::clone(&shared);
        let server = thread::spawn(move || {
            for stream in listener.incoming() {
                if for_server.stopping.load(Ordering::Relaxed) {
                    break;
                }
                let shared = Arc::clone(&for_server);
                // The other side may leave at any time; that is what is tested.
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

    /// All requests so far.
    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }
}

impl Drop for Liar {
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
        let Some(request) = read(&mut BufReader::new(stream))? else {
            return Ok(());
        };
        self.received.lock().unwrap().push(request.clone());
        (self.script)(&request).write(stream)
    }
}

/// One request without its headers; its body is read and dropped.
fn read(reader: &mut impl BufRead) -> io::Result<Option<Received>> {
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut words = first.split(' ').map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Ok(None);
    };
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap();
        }
    }
    io::copy(&mut reader.take(length), &mut io::sink())?;
    Ok(Some(Received { method, path }))
}

impl Wire {
    fn write(&self, mut stream: &TcpStream) -> io::Result<()> {
        match self {
            Self::Bytes(bytes) => stream.write_all(bytes),
            Self::Endless(first, rest) => {
                stream.write_all(first)?;
                loop {
                    stream.write_all(rest)?;
                }
            }
            Self::Flood(bytes, pause) => loop {
                thread::sleep(*pause);
                stream.write_all(bytes)?;
            },
            Self::Trickle(bytes, pause) => bytes.iter().try_for_each(|byte| {
                thread::sleep(*pause);
                stream.write_all(&[*byte])
            }),
            Self::Silence => io::copy(&mut stream, &mut io::sink()).map(drop),
        }
    }
}

/// A whole answer with a length.
pub fn answer(status: u16, body: impl AsRef<[u8]>) -> Wire {
    answer_with(status, "", body)
}

/// The same with more header lines, each with its `\r\n`.
pub fn answer_with(status: u16, headers: &str, body: impl AsRef<[u8]>) -> Wire {
    let body = body.as_ref();
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nConnection: close\r\n\
         {headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    Wire::Bytes([head.as_bytes(), body].concat())
}
