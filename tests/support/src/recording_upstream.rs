//! A service behind the gateway that records what it hears, to the byte, and answers as a test wants.

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    /// Method, target and version.
    pub line: String,
    /// In the order in which they came; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body without its framing; empty while it is the answer's business to read it.
    pub body: Vec<u8>,
}

impl Heard {
    /// The only header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let values = self.headers.iter().filter(|(each, _)| each == name);
        let values: Vec<_> = values.map(|(_, value)| value.as_str()).collect();
        assert!(values.len() < 2, "{name} twice: {self:?}");
        values.first().copied()
    }

    /// All headers of this name.
    pub fn all<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h str> {
        let headers = self.headers.iter().filter(move |(each, _)| each == name);
        headers.map(|(_, value)| value.as_str())
    }
}

type Reader = BufReader<TcpStream>;
type Answer = dyn Fn(&Heard, &mut Reader) -> io::Result<()> + Send + Sync;

/// It stops when this is dropped.
pub struct Upstream {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Upstream {
    /// Reads each request with its body, has `answer` write the response, and goes on with the connection until
    /// `answer` fails or the other side leaves.
    pub fn start(
        answer: impl Fn(&Heard, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::reading_itself(move |heard, reader| answer(heard, reader.get_mut()), true)
    }

    /// As [`Self::start`], but `answer` reads the body itself.
    pub fn streaming(
        answer: impl Fn(&Heard, &mut Reader) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::reading_itself(answer, false)
    }

    fn reading_itself(
        answer: impl Fn(&Heard, &mut Reader) -> io::Result<()> + Send + Sync + 'static,
        with_body: bool,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::<Mutex<Vec<Heard>>>::default();
        let stopping = Arc::<AtomicBool>::default();
        let answer: Arc<Answer> = Arc::new(answer);
        let (record, stop) = (Arc::clone(&heard), Arc::clone(&stopping));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let (record, answer) = (Arc::clone(&record), Arc::clone(&answer));
                // The gateway may leave at any time.
                thread::spawn(move || serve(stream?, with_body, &record, &*answer));
            }
        });
        Self {
            address,
            heard,
            stopping,
            thread: Some(thread),
        }
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        // Wakes the thread, which then sees that it is to stop.
        let _woken = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

fn serve(
    stream: TcpStream,
    with_body: bool,
    record: &Mutex<Vec<Heard>>,
    answer: &Answer,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(mut heard) = head(&mut reader)? {
        if with_body {
            heard.body = body(&heard, &mut reader)?;
        }
        record.lock().unwrap().push(heard.clone());
        answer(&heard, &mut reader)?;
    }
    Ok(())
}

fn line(reader: &mut Reader) -> io::Result<String> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    Ok(line.iter().map(|byte| char::from(*byte)).collect())
}

fn head(reader: &mut Reader) -> io::Result<Option<Heard>> {
    let first = line(reader)?;
    if first.is_empty() {
        return Ok(None);
    }
    let mut heard = Heard {
        line: first.trim_end().to_owned(),
        ..Heard::default()
    };
    loop {
        let line = line(reader)?;
        let Some((name, value)) = line.split_once(':') else {
            return Ok(Some(heard));
        };
        let header = (name.to_ascii_lowercase(), value.trim().to_owned());
        heard.headers.push(header);
    }
}

fn body(heard: &Heard, reader: &mut Reader) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if heard.header("transfer-encoding").is_some() {
        loop {
            let size = usize::from_str_radix(line(reader)?.trim(), 16).map_err(io::Error::other)?;
            let start = body.len();
            body.resize(start + size, 0);
            reader.read_exact(&mut body[start..])?;
            line(reader)?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
    let length = heard.header("content-length").unwrap_or("0");
    body.resize(length.parse().map_err(io::Error::other)?, 0);
    reader.read_exact(&mut body)?;
    Ok(body)
}
