//! The listening sockets: bound here, or handed over by whoever started this process.

use super::BindError;
use crate::config;
use listenfd::ListenFd;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};

/// Where a listening socket came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerSource {
    /// It was bound by this process.
    Bound,
    /// It was open already (`LISTEN_FDS`).
    Inherited,
}

/// A listener of this gateway, as `LISTEN_FDNAMES` and the settings call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerName {
    /// Its name among sockets that are handed over.
    pub name: &'static str,
    /// The setting of its address.
    pub key: &'static str,
}

/// The listener for clients of the compute API.
pub const COMPUTE: ListenerName = ListenerName {
    name: "compute",
    key: "server.listen",
};

/// The listener for clients of the image API.
pub const IMAGE: ListenerName = ListenerName {
    name: "image",
    key: "image.listen",
};

/// The sockets that were handed over (`LISTEN_FDS`).
pub struct InheritedSockets {
    sockets: ListenFd,
    names: String,
}

impl fmt::Debug for InheritedSockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InheritedSockets")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

impl InheritedSockets {
    /// Takes them from the environment, once.
    #[must_use]
    pub fn from_env() -> Self {
        Self {
            sockets: ListenFd::from_env(),
            names: std::env::var("LISTEN_FDNAMES").unwrap_or_default(),
        }
    }

    fn take(&mut self, listener: ListenerName) -> io::Result<Option<TcpListener>> {
        match position(&self.names, listener) {
            Some(index) => self.sockets.take_tcp_listener(index),
            None => Ok(None),
        }
    }
}

/// Which of the sockets with these names is the listener's. Where no name is known, the first one is the compute
/// listener's.
fn position(names: &str, listener: ListenerName) -> Option<usize> {
    let is_known = |name: &str| [COMPUTE.name, IMAGE.name].contains(&name);
    let named = names.split(':').position(|name| name == listener.name);
    let is_first = listener == COMPUTE && !names.split(':').any(is_known);
    named.or_else(|| is_first.then_some(0))
}

/// The listener's socket: the one that was handed over, or one bound to `settings.listen`. Connections inherit its
/// options.
pub fn open(
    listener: ListenerName,
    settings: &config::Server,
    inherited: &mut InheritedSockets,
) -> Result<(TcpListener, ListenerSource), BindError> {
    let failed = |source| BindError::new(listener.key, settings.listen, source);
    let handed = inherited.take(listener).map_err(|source| {
        let text = format!("the socket handed over by LISTEN_FDS cannot be used: {source}");
        failed(io::Error::new(source.kind(), text))
    })?;
    let (listener, origin) = match handed {
        Some(listener) => (listener, ListenerSource::Inherited),
        None => (
            listen(settings.listen, settings.backlog).map_err(failed)?,
            ListenerSource::Bound,
        ),
    };
    set_options(&listener, settings).map_err(failed)?;
    Ok((listener, origin))
}

fn set_options(listener: &TcpListener, settings: &config::Server) -> io::Result<()> {
    let socket = socket2::SockRef::from(listener);
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(settings.tcp_user_timeout))
}

/// A socket that listens on `address`, also right after another process did.
pub fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;
    use std::time::Duration;

    #[rstest::rstest]
    #[case("", Some(0), None)]
    #[case("unknown", Some(0), None)]
    #[case("gateway.socket:x", Some(0), None)]
    #[case("image", None, Some(0))]
    #[case("image:compute", Some(1), Some(0))]
    #[case("compute:image", Some(0), Some(1))]
    fn sockets_are_told_apart_by_their_names(
        #[case] names: &str,
        #[case] compute: Option<usize>,
        #[case] image: Option<usize>,
    ) {
        assert_eq!(position(names, COMPUTE), compute);
        assert_eq!(position(names, IMAGE), image);
    }

    #[test]
    fn connections_inherit_the_listener_s_options() {
        let settings = config::Server {
            listen: "127.0.0.1:0".parse().unwrap(),
            tcp_user_timeout: Duration::from_secs(7),
            ..config::Server::default()
        };
        let listener = listen(settings.listen, 10).unwrap();
        set_options(&listener, &settings).unwrap();
        listener.set_nonblocking(false).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let accepted = socket2::SockRef::from(&accepted);
        assert_eq!(
            accepted.tcp_user_timeout().unwrap(),
            Some(Duration::from_secs(7))
        );
        assert!(accepted.tcp_nodelay().unwrap());
    }
}
