//! A server on loopback that reads a request from each connection and passes it to a function of the test, which writes the response.

use std::io::{self, BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use crate::Reply;

/// A request as it arrived; its body is read and dropped.
#[derive(Debug, Clone)]
pub struct ReceivedRequest {
    pub method: String,
    pub path: String,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
}

type Answer = dyn Fn(&ReceivedRequest, &TcpStream) -> io::Result<()> + Send + Sync;

struct Shared {
    answer: Box<Answer>,
    stopping: AtomicBool,
    received: Mutex<Vec<ReceivedRequest>>,
}

/// It stops when this is dropped.
pub struct FakeServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl FakeServer {
    /// Each connection is closed after its response.
    pub fn start(
        answer: impl Fn(&ReceivedRequest, &TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            answer: Box::new(answer),
            stopping: AtomicBool::new(false),
            received: Mutex::default(),
        });
        let for_thread = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if for_thread.stopping.load(Ordering::Relaxed) {
                    break;
                }
                let shared = Arc::clone(&for_thread);
                // The other side may leave at any time.
                thread::spawn(move || stream.and_then(|stream| shared.serve(&stream)).ok());
            }
        });
        Self {
            address,
            shared,
            thread: Some(thread),
        }
    }

    /// Writes what `script` says to each request.
    pub fn scripted(script: impl Fn(&ReceivedRequest) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(move |request, stream| script(request).write(stream))
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far, or since the last were taken away.
    pub fn received(&self) -> MutexGuard<'_, Vec<ReceivedRequest>> {
        self.shared.received.lock().unwrap()
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        // Wakes the thread, which then sees that it is to stop.
        let _woken = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

impl Shared {
    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        let Some(request) = read(&mut BufReader::new(stream))? else {
            return Ok(());
        };
        self.received.lock().unwrap().push(request.clone());
        (self.answer)(&request, stream)
    }
}

fn read(reader: &mut impl BufRead) -> io::Result<Option<ReceivedRequest>> {
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut words = first.split(' ').map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Ok(None);
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
    Ok(Some(ReceivedRequest {
        method,
        path,
        headers,
    }))
}
