//! The listening sockets: bound here, or handed over by whoever started this process.

use super::BindError;
use crate::config;
use listenfd::ListenFd;
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

/// The clients' socket: the first one that was handed over, or one bound to `server.listen`.
/// Connections inherit its options.
pub fn clients(settings: &config::Server) -> Result<(TcpListener, ListenerSource), BindError> {
    let failed = |source| BindError::new("server.listen", settings.listen, source);
    let handed = ListenFd::from_env()
        .take_tcp_listener(0)
        .map_err(|source| {
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
