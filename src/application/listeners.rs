//! The listeners for clients: their sockets, and the APIs that answer there.

use super::{StartError, passthrough, register_connection_metrics, register_request_metrics};
use crate::apis::nova::NovaApi;
use crate::config::{self, Settings};
use crate::http::AppState;
use crate::quickstart;
use crate::server::socket::{COMPUTE, IMAGE, InheritedSockets, ListenerName};
use crate::server::{BoundSocket, Server};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Metrics;
use url::Url;

/// The image listener before it serves.
pub(super) struct ImageListener {
    socket: BoundSocket,
    /// The `[server]` settings that hold for it.
    server: config::Server,
}

impl ImageListener {
    /// Takes or binds its socket; `None` where it is off.
    pub(super) fn open(
        settings: &Settings,
        inherited: &mut InheritedSockets,
    ) -> Result<Option<Self>, StartError> {
        let Some(address) = settings.image.listen.address() else {
            return Ok(None);
        };
        let server = passthrough::image_server(settings, address);
        let socket = open(IMAGE, settings, &server, inherited)?;
        Ok(Some(Self { socket, server }))
    }

    /// The base URL that clients on this machine reach it by.
    pub(super) fn url(&self) -> String {
        let address = quickstart::reachable(self.socket.address());
        format!("http://{address}{}", self.server.path_prefix)
    }
}

/// The server that answers the compute API, and passes the rest through to Nova where the settings name one.
pub(super) fn compute_server(
    nova: NovaApi,
    shared: &passthrough::Shared<'_>,
    inherited: &mut InheritedSockets,
    access_log: Option<AccessLog>,
    metrics: &mut Metrics,
) -> Result<Server, StartError> {
    let settings = shared.settings;
    let state = AppState::new(
        settings.server.clone(),
        metrics.requests.clone(),
        access_log,
    )
    .with_api(nova);
    let state = match passthrough::nova(shared, metrics)? {
        Some(proxy) => state.with_api(proxy),
        None => state,
    };
    register_request_metrics(metrics, state.concurrency_limit());
    let socket = open(COMPUTE, settings, &settings.server, inherited)?;
    let server = Server::new(state, socket);
    register_connection_metrics(metrics, &server, settings.server.max_connections);
    Ok(server)
}

/// The server that passes every request through to Glance, at `urls`.
pub(super) fn image_server(
    listener: Option<ImageListener>,
    shared: &passthrough::Shared<'_>,
    urls: &[Url],
    access_log: Option<AccessLog>,
    metrics: &mut Metrics,
) -> Result<Option<Server>, StartError> {
    let Some(ImageListener { socket, server }) = listener else {
        return Ok(None);
    };
    let Some(proxy) = passthrough::glance(shared, &server, urls, metrics)? else {
        return Ok(None);
    };
    let state = AppState::new(server, metrics.requests.clone(), access_log);
    Ok(Some(Server::new(state.with_api(proxy), socket)))
}

/// A listener's socket, at an address that the settings allow.
fn open(
    name: ListenerName,
    settings: &Settings,
    server: &config::Server,
    inherited: &mut InheritedSockets,
) -> Result<BoundSocket, StartError> {
    let socket = BoundSocket::open(name, server, inherited)?;
    match settings.check_listener(name.key, socket.address()) {
        Some(violation) => Err(StartError::Settings(violation)),
        None => Ok(socket),
    }
}
