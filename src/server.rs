//! The listener: its workers, the deadlines of its connections, and a graceful shutdown.

pub mod connection;
pub mod request_framing;
mod request_gate;
mod response_tracking;
pub mod socket;
mod stream;

use crate::config;
use crate::http::forwarded::LocalAddress;
use crate::http::{AppState, serve};
use actix_http::{HttpService, KeepAlive};
use actix_service::{ServiceFactoryExt as _, fn_service, map_config};
use actix_web::App;
use actix_web::dev::{AppConfig, Server as Actix};
use actix_web::web::{Data, to};
use connection::{Connection, ConnectionTracker};
use response_tracking::track;
use socket::{InheritedSockets, ListenerName, ListenerSource};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use stream::{StreamTimeouts, TimedStream};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// In this time workers take all connections that were accepted before the listener was paused, also on a busy
/// machine; a worker that stops drops those it has not taken.
const SETTLE: Duration = Duration::from_millis(250);

/// How often the open connections are counted while draining.
const DRAIN_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The listener cannot be set up.
#[derive(Debug, Error)]
#[error("{key}: cannot listen on {address}: {source}")]
pub struct BindError {
    key: &'static str,
    address: SocketAddr,
    source: io::Error,
}

impl BindError {
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

/// A bound listener and the state that answers its requests.
pub struct Server {
    state: Data<AppState>,
    listener: TcpListener,
    address: SocketAddr,
    connections: Arc<ConnectionTracker>,
}

/// A socket that listens; nothing is accepted before a [`Server`] runs.
#[derive(Debug)]
pub struct BoundSocket {
    listener: TcpListener,
    address: SocketAddr,
}

impl BoundSocket {
    /// Takes the inherited socket of `name`, or binds `settings.listen`.
    pub fn open(
        name: ListenerName,
        settings: &config::Server,
        inherited: &mut InheritedSockets,
    ) -> Result<Self, BindError> {
        let (listener, origin) = socket::open(name, settings, inherited)?;
        let address = listener
            .local_addr()
            .map_err(|source| BindError::new(name.key, settings.listen, source))?;
        if origin == ListenerSource::Inherited {
            tracing::info!(%address, name = name.name, "listening on an inherited socket");
        }
        Ok(Self { listener, address })
    }

    /// The bound address; the port is a real one even where the settings say 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Server {
    /// A server that answers with `state` what comes to `socket`.
    #[must_use]
    pub fn new(state: AppState, socket: BoundSocket) -> Self {
        Self {
            state: Data::new(state),
            listener: socket.listener,
            address: socket.address,
            connections: Arc::default(),
        }
    }

    /// The bound address; the port is a real one even where the settings say 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The clients' connections.
    #[must_use]
    pub fn connections(&self) -> &Arc<ConnectionTracker> {
        &self.connections
    }

    /// Serves until `stop` is ready, then finishes the requests in flight.
    pub async fn run(
        self,
        stop: impl Future<Output = ()>,
        ready: impl FnOnce(SocketAddr),
    ) -> io::Result<()> {
        let (address, connections) = (self.address, Arc::clone(&self.connections));
        let settings = self.state.server().clone();
        let server = self.start()?;
        let handle = server.handle();
        let ended = actix_web::rt::spawn(server);
        ready(address);
        tokio::pin!(ended);
        tokio::select! {
            outcome = &mut ended => return outcome.map_err(io::Error::other)?,
            () = stop => {}
        }
        let limit = Instant::now() + settings.shutdown_timeout;
        connections.start_draining();
        // New connections are taken until the idle ones are gone: the kernel resets those that wait in the backlog of
        // a closed listener, with the requests they have sent.
        let idle_gone = async {
            while connections.open() > 0 {
                sleep(DRAIN_POLL_INTERVAL).await;
            }
        };
        let _gone = timeout_at(limit, timeout(settings.drain_grace + SETTLE, idle_gone)).await;
        handle.pause().await;
        sleep(SETTLE).await;
        let in_time = timeout_at(limit, handle.stop(true)).await.is_ok();
        tracing::info!(
            unfinished = connections.open(),
            late_requests = connections.late_requests(),
            "stopped"
        );
        if in_time {
            return ended.await.map_err(io::Error::other)?;
        }
        // Dropping the server ends its workers at once.
        ended.abort();
        Ok(())
    }

    fn start(self) -> io::Result<Actix> {
        let Self {
            state,
            listener,
            connections,
            ..
        } = self;
        let settings = state.server().clone();
        let workers = match settings.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        };
        let (timeouts, head_timeout) = (StreamTimeouts::from(&settings), settings.head_timeout);
        let factory = move || {
            let app = App::new()
                .app_data(state.clone())
                .wrap_fn(track)
                .default_service(to(serve));
            let connections = Arc::clone(&connections);
            let accept = fn_service(move |io: TcpStream| {
                let (peer, local) = (io.peer_addr().ok(), io.local_addr().ok());
                let connection = Connection::new(&connections, local);
                let stream = TimedStream::new(io, connection, timeouts);
                async move { Ok((stream, peer)) }
            });
            let http = HttpService::build()
                // The stream closes idle connections.
                .keep_alive(KeepAlive::Os)
                .client_request_timeout(head_timeout)
                .on_connect_ext(|stream: &TimedStream<TcpStream>, data| {
                    let connection = stream.connection().clone();
                    if let Some(address) = connection.local() {
                        data.insert(LocalAddress(address));
                    }
                    data.insert(connection);
                })
                .h1(map_config(app, |()| AppConfig::default()));
            accept.and_then(http)
        };
        let server = Actix::build()
            .workers(workers)
            .max_concurrent_connections(settings.max_connections.div_ceil(workers))
            // Longer than `run` waits.
            .shutdown_timeout(settings.shutdown_timeout.as_secs() + 2)
            .disable_signals()
            .listen("clients", listener, factory)?
            .run();
        Ok(server)
    }
}
