//! A TCP proxy before a Glance that breaks connections in the way it is told to.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::SockRef;

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Nobody listens, and whoever was connected is not any more.
    Refuse,
    ResetBeforeRequest,
    ResetMidRequest,
    /// Glance has done it, but nobody hears of it.
    ResetAfterRequest,
    ResetAfterHead,
    ResetMidBody,
    CloseMidBody,
    StallAtOnce,
    StallMidBody,
    Trickle,
    Late,
    Status(u16),
    Garbage,
}

impl Mode {
    pub const TROUBLE: [Self; 16] = [
        Self::Refuse,
        Self::ResetBeforeRequest,
        Self::ResetMidRequest,
        Self::ResetAfterRequest,
        Self::ResetAfterHead,
        Self::ResetMidBody,
        Self::CloseMidBody,
        Self::StallAtOnce,
        Self::StallMidBody,
        Self::Trickle,
        Self::Late,
        Self::Status(500),
        Self::Status(502),
        Self::Status(503),
        Self::Status(504),
        Self::Garbage,
    ];
}

/// It stops when this is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

struct Shared {
    glance: String,
    mode: Mutex<Mode>,
    stopping: AtomicBool,
    garbage: AtomicU64,
    /// Requests that were not simply passed on.
    troubled: AtomicUsize,
    open: Mutex<Vec<Weak<TcpStream>>>,
}

impl Proxy {
    /// In front of `glance`, `http://host:port/`. `seed` decides what garbage looks like.
    pub fn start(glance: &str, seed: u64) -> Self {
        let shared = Arc::new(Shared {
            glance: glance
                .trim_start_matches("http://")
                .trim_end_matches('/')
                .to_owned(),
            mode: Mutex::new(Mode::Pass),
            stopping: AtomicBool::new(false),
            garbage: AtomicU64::new(seed),
            troubled: AtomicUsize::new(0),
            open: Mutex::default(),
        });
        // An address of its own: nobody else takes the port while nobody listens on it.
        let listener = TcpListener::bind("127.0.0.9:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut proxy = Self {
            address,
            shared,
            listener: None,
        };
        proxy.listen(listener);
        proxy
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests met trouble so far.
    pub fn troubled(&self) -> usize {
        self.shared.troubled.load(Ordering::Relaxed)
    }

    pub fn set(&mut self, mode: Mode) {
        *self.shared.mode.lock().unwrap() = mode;
        if mode == Mode::Refuse {
            self.stop_listening();
            self.shared.reset_all();
        } else if self.listener.is_none() {
            self.listen(TcpListener::bind(self.address).unwrap());
        }
    }

    fn listen(&mut self, listener: TcpListener) {
        self.shared.stopping.store(false, Ordering::SeqCst);
        let shared = Arc::clone(&self.shared);
        self.listener = Some(thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stopping.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&shared);
                // Connections end early here; that is what they are for.
                thread::spawn(move || stream.and_then(|stream| shared.serve(stream)).ok());
            }
        }));
    }

    fn stop_listening(&mut self) {
        let Some(listener) = self.listener.take() else {
            return;
        };
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the thread, which then sees that it is to stop.
        let _woken = TcpStream::connect(self.address);
        listener.join().unwrap();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop_listening();
        self.shared.reset_all();
    }
}

/// Has the connection end with a reset when it is closed, as a crashed host or a firewall ends it.
fn reset(stream: &TcpStream) {
    // Fails only for a connection that is gone already.
    let _set = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

fn reset_error() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl Shared {
    fn mode(&self) -> Mode {
        *self.mode.lock().unwrap()
    }

    /// Ends all connections: whoever serves one reads nothing more, and closes it.
    fn reset_all(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            if let Some(stream) = stream.upgrade() {
                reset(&stream);
                let _gone = stream.shutdown(Shutdown::Read);
            }
        }
    }

    /// Serves the requests of a kept connection, each in the mode of its moment.
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let stream = Arc::new(stream);
        let mut open = self.open.lock().unwrap();
        open.retain(|stream| stream.strong_count() > 0);
        open.push(Arc::downgrade(&stream));
        drop(open);
        let done = self.requests(&stream);
        if done.is_err() {
            reset(&stream);
        }
        done
    }

    fn requests(&self, stream: &TcpStream) -> io::Result<()> {
        if self.mode() == Mode::ResetBeforeRequest {
            self.troubled.fetch_add(1, Ordering::Relaxed);
            return Err(reset_error());
        }
        let mut reader = BufReader::new(stream);
        loop {
            if reader.fill_buf()?.is_empty() {
                return Ok(());
            }
            let mode = self.mode();
            if mode != Mode::Pass {
                self.troubled.fetch_add(1, Ordering::Relaxed);
            }
            if matches!(
                mode,
                Mode::Refuse | Mode::ResetBeforeRequest | Mode::ResetMidRequest
            ) {
                return Err(reset_error());
            }
            let request = message(&mut reader)?;
            self.answer(mode, stream, &request)?;
        }
    }

    fn answer(&self, mode: Mode, mut stream: &TcpStream, request: &[u8]) -> io::Result<()> {
        match mode {
            Mode::Status(status) => {
                let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\n{{}}");
                return stream.write_all(answer.as_bytes());
            }
            Mode::StallAtOnce => return stall(stream),
            Mode::Garbage => {
                let seed = self.garbage.fetch_add(1, Ordering::Relaxed);
                let mut garbage = vec![0; 700];
                fastrand::Rng::with_seed(seed).fill(&mut garbage);
                stream.write_all(&garbage)?;
                return Err(reset_error());
            }
            Mode::Late => thread::sleep(Duration::from_millis(100)),
            Mode::Pass
            | Mode::Refuse
            | Mode::ResetBeforeRequest
            | Mode::ResetMidRequest
            | Mode::ResetAfterRequest
            | Mode::ResetAfterHead
            | Mode::ResetMidBody
            | Mode::CloseMidBody
            | Mode::StallMidBody
            | Mode::Trickle => {}
        }
        let mut glance = TcpStream::connect(&self.glance)?;
        glance.write_all(request)?;
        let answer = message(&mut BufReader::new(&glance))?;
        let head = head_of(&answer);
        let middle = head + (answer.len() - head) / 2;
        match mode {
            Mode::ResetAfterRequest => Err(reset_error()),
            Mode::ResetAfterHead => cut(stream, &answer[..head]),
            Mode::ResetMidBody => cut(stream, &answer[..middle]),
            Mode::CloseMidBody => {
                stream.write_all(&answer[..middle])?;
                stream.shutdown(Shutdown::Both)
            }
            Mode::StallMidBody => {
                stream.write_all(&answer[..middle])?;
                stall(stream)
            }
            Mode::Trickle => answer.chunks(16).try_for_each(|part| {
                thread::sleep(Duration::from_millis(5));
                stream.write_all(part)
            }),
            Mode::Pass
            | Mode::Refuse
            | Mode::ResetBeforeRequest
            | Mode::ResetMidRequest
            | Mode::StallAtOnce
            | Mode::Late
            | Mode::Status(_)
            | Mode::Garbage => stream.write_all(&answer),
        }
    }
}

fn cut(mut stream: &TcpStream, part: &[u8]) -> io::Result<()> {
    stream.write_all(part)?;
    Err(reset_error())
}

/// Says nothing until the other side gives up, however the mode changes meanwhile.
fn stall(mut stream: &TcpStream) -> io::Result<()> {
    io::copy(&mut stream, &mut io::sink()).map(drop)
}

/// One request or answer with a length, as it came.
fn message(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut message = Vec::new();
    let mut length = 0;
    loop {
        let start = message.len();
        if reader.read_until(b'\n', &mut message)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = String::from_utf8_lossy(&message[start..]).to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    reader.take(length).read_to_end(&mut message)?;
    Ok(message)
}

fn head_of(message: &[u8]) -> usize {
    let end = message.windows(4).position(|four| four == b"\r\n\r\n");
    end.map_or(message.len(), |end| end + 4)
}
