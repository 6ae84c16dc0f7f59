//! The load: one thread that asks for the same thing on many connections, as lightly as it can.
//!
//! `load_generator ADDRESS REQUEST_FILE CONNECTIONS SECONDS` sends the bytes of the file again and again on each
//! connection, each time when the answer before is complete, and prints one line of JSON. Every
//! answer has to be a 200 that tells its length. What follows its head is counted and left to the
//! kernel: a generator that reads a long answer in small pieces keeps the server waiting. It never
//! sleeps, since waking it would be the server's work, and dearer the slower the server is; the
//! share of time in which it had nothing to do (`idle`) says whether it kept up.

use anyhow::{Context, bail, ensure};
use socket2::SockRef;
use std::cell::{Cell, RefCell};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};

/// Linux's `MSG_TRUNC`: on TCP, received bytes are dropped instead of copied.
const DROP: i32 = 0x20;
/// Most bytes taken at once.
const READ: usize = 1 << 20;

/// What all connections share; they run on one thread.
struct Shared {
    request: Vec<u8>,
    until: Instant,
    head: RefCell<[u8; 4096]>,
    dropped: RefCell<Vec<MaybeUninit<u8>>>,
    microseconds: RefCell<Vec<u32>>,
    idle: Cell<Duration>,
}

impl Shared {
    /// One connection, until the time is over.
    async fn client(&self, address: SocketAddr) -> anyhow::Result<()> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        loop {
            let began = Instant::now();
            if began >= self.until {
                return Ok(());
            }
            self.send(&stream).await?;
            self.receive(&stream).await?;
            let duration = u32::try_from(began.elapsed().as_micros())?;
            self.microseconds.borrow_mut().push(duration);
        }
    }

    /// Keeps the thread awake, and adds up the time in which no answer came.
    async fn stay_awake(&self) {
        let mut since = Instant::now();
        while since < self.until {
            let answers = self.microseconds.borrow().len();
            tokio::task::yield_now().await;
            let now = Instant::now();
            if self.microseconds.borrow().len() == answers {
                self.idle.set(self.idle.get() + (now - since));
            }
            since = now;
        }
    }

    async fn send(&self, stream: &TcpStream) -> anyhow::Result<()> {
        let mut left = self.request.as_slice();
        while !left.is_empty() {
            match stream.try_write(left) {
                Ok(sent) => left = left.get(sent..).unwrap_or_default(),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    stream.writable().await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn receive(&self, stream: &TcpStream) -> anyhow::Result<()> {
        let mut left = self.head(stream).await?;
        while left > 0 {
            stream.readable().await?;
            let taken = stream.try_io(Interest::READABLE, || {
                let mut room = self.dropped.borrow_mut();
                let room = room.get_mut(..left.min(READ)).unwrap_or_default();
                SockRef::from(stream).recv_with_flags(room, DROP)
            });
            match taken {
                Ok(0) => bail!("the connection ended within an answer"),
                Ok(bytes) => left -= bytes,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Takes the head of an answer; how many bytes of the body are still to come.
    async fn head(&self, stream: &TcpStream) -> anyhow::Result<usize> {
        loop {
            stream.readable().await?;
            let mut head = self.head.borrow_mut();
            match stream.try_read(head.as_mut_slice()) {
                Ok(0) => bail!("the connection ended before an answer"),
                Ok(bytes) => return rest(head.get(..bytes).unwrap_or_default()),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// How much of an answer is missing after its first bytes.
fn rest(answer: &[u8]) -> anyhow::Result<usize> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.context("the head of an answer came in pieces")?;
    let head = std::str::from_utf8(answer.get(..end).unwrap_or_default())?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "not a 200: {head}");
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then_some(value)
    });
    let length: usize = length.context("an answer of unknown length")?.parse()?;
    (end + 4 + length)
        .checked_sub(answer.len())
        .context("more than one answer to a request")
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, file, connections, seconds] = arguments.as_slice() else {
        bail!("load_generator ADDRESS REQUEST_FILE CONNECTIONS SECONDS");
    };
    let (address, connections): (SocketAddr, usize) = (address.parse()?, connections.parse()?);
    let began = Instant::now();
    let shared = Rc::new(Shared {
        request: std::fs::read(file)?,
        until: began + Duration::from_secs(seconds.parse()?),
        head: RefCell::new([0; 4096]),
        dropped: RefCell::new(vec![MaybeUninit::uninit(); READ]),
        microseconds: RefCell::new(Vec::with_capacity(1 << 20)),
        idle: Cell::default(),
    });
    let clients = LocalSet::new();
    let mut all = JoinSet::new();
    for _ in 0..connections {
        let shared = Rc::clone(&shared);
        all.spawn_local_on(async move { shared.client(address).await }, &clients);
    }
    let awake = Rc::clone(&shared);
    clients.spawn_local(async move { awake.stay_awake().await });
    clients
        .run_until(async {
            while let Some(client) = all.join_next().await {
                client??;
            }
            anyhow::Ok(())
        })
        .await?;
    let spent = began.elapsed().as_secs_f64();
    let mut times = shared.microseconds.take();
    times.sort_unstable();
    let quantile = |percent: usize| {
        let time = times.get(times.len() * percent / 100);
        time.map(|time| f64::from(*time) / 1e6)
    };
    let figures = serde_json::json!({
        "requests": times.len(), "seconds": spent, "p50": quantile(50), "p99": quantile(99),
        "idle": shared.idle.get().as_secs_f64() / spent,
    });
    std::io::Write::write_all(&mut std::io::stdout(), figures.to_string().as_bytes())?;
    Ok(())
}
