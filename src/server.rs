//! The listener: workers, limits of a connection, and a stop that answers what has begun.

use crate::http::{Front, serve};
use actix_web::web::{Data, to};
use actix_web::{App, HttpServer};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use thiserror::Error;

/// Longest time for a request's head to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest silence on a connection between two requests.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// Connections the kernel holds until a worker takes them.
const BACKLOG: i32 = 1024;

/// The listener cannot be had.
#[derive(Debug, Error)]
#[error("{key}: cannot listen on {address}: {source}")]
pub struct ServerError {
    key: &'static str,
    address: SocketAddr,
    source: io::Error,
}

impl ServerError {
    /// `key` is the setting that names the address.
    #[must_use]
    pub fn new(key: &'static str, address: SocketAddr, source: io::Error) -> Self {
        Self {
            key,
            address,
            source,
        }
    }
}

/// A bound listener with everything to answer requests.
pub struct Server {
    front: Data<Front>,
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Binds `server.listen`.
    pub fn bind(front: Front) -> Result<Self, ServerError> {
        let wanted = front.server.listen;
        let failed = |source| ServerError::new("server.listen", wanted, source);
        let listener = listen(wanted).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            front: Data::new(front),
            listener,
            address,
        })
    }

    /// The bound address; the port is a real one even where the settings say 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is ready, then finishes what has begun.
    pub async fn run(
        self,
        stop: impl Future<Output = ()>,
        ready: impl FnOnce(SocketAddr),
    ) -> io::Result<()> {
        let Self {
            front,
            listener,
            address,
        } = self;
        let settings = front.server.clone();
        let workers = match settings.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        };
        let server = HttpServer::new(move || {
            App::new()
                .app_data(front.clone())
                .default_service(to(serve))
        })
        .workers(workers)
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEAD_TIMEOUT)
        .shutdown_timeout(settings.shutdown_timeout.as_secs().max(1))
        .disable_signals()
        .listen(listener)?
        .run();
        let handle = server.handle();
        let ended = actix_web::rt::spawn(server);
        ready(address);
        tokio::pin!(ended);
        tokio::select! {
            outcome = &mut ended => return outcome.map_err(io::Error::other)?,
            () = stop => handle.stop(true).await,
        }
        ended.await.map_err(io::Error::other)?
    }
}

/// A socket that listens on `address`, also right after another process did.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
