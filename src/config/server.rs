//! `[server]`: where and how legacy clients are served.

use super::Violation;
use super::types::range::{DAY, MILLISECOND, check, check_size};
use super::types::{address, duration, size, string_list};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Settings of the listener.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address and port; port 0 takes a free one.
    #[serde(deserialize_with = "address::deserialize")]
    pub listen: SocketAddr,
    /// Worker threads; 0 is one for each core.
    pub workers: usize,
    /// Networks whose `X-Forwarded-*` headers count.
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// A path before every route and link, such as `/compute`; empty for none.
    pub path_prefix: String,
    /// Most connections at a time; further ones wait in the backlog.
    pub max_connections: usize,
    /// Most requests in flight; further ones get a 503.
    pub max_in_flight: usize,
    /// Connections the kernel holds until a worker takes them.
    pub backlog: u32,
    /// Longest request target (path and query), in bytes.
    #[serde(deserialize_with = "size::deserialize")]
    pub max_uri: usize,
    /// Largest request body, in bytes (Nova's own limit by default).
    #[serde(deserialize_with = "size::deserialize")]
    pub max_body: usize,
    /// Most memory of request bodies, as sent and as parsed, in bytes; further ones get a 503.
    #[serde(deserialize_with = "size::deserialize")]
    pub max_request_memory: usize,
    /// Most memory of responses that are rendered or sent, in bytes; further ones get a 503.
    #[serde(deserialize_with = "size::deserialize")]
    pub max_response_memory: usize,
    /// Longest time for a request's head to arrive.
    #[serde(with = "duration")]
    pub head_timeout: Duration,
    /// Longest time for a request's body to arrive.
    #[serde(with = "duration")]
    pub body_timeout: Duration,
    /// Longest time in which a client may receive less than 64 KiB of a response.
    #[serde(with = "duration")]
    pub write_timeout: Duration,
    /// Longest silence on a connection between two requests.
    #[serde(with = "duration")]
    pub keep_alive: Duration,
    /// Longest time the kernel waits for a client to acknowledge what was sent (`TCP_USER_TIMEOUT`).
    #[serde(with = "duration")]
    pub tcp_user_timeout: Duration,
    /// Longest time for one request, from its head to its response.
    #[serde(with = "duration")]
    pub request_timeout: Duration,
    /// Longest time to finish requests in flight when stopping.
    #[serde(with = "duration")]
    pub shutdown_timeout: Duration,
    /// How long an idle connection may still send a request when stopping.
    #[serde(with = "duration")]
    pub drain_grace: Duration,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8774),
            workers: 0,
            trusted_proxies: Vec::new(),
            path_prefix: String::new(),
            max_connections: 10_000,
            max_in_flight: 2000,
            backlog: 1024,
            max_uri: 8192,
            max_body: 114_688,
            max_request_memory: 128 << 20,
            max_response_memory: 256 << 20,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(75),
            tcp_user_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(60),
            shutdown_timeout: Duration::from_secs(30),
            drain_grace: Duration::from_secs(1),
        }
    }
}

impl Server {
    /// Whether the forwarding headers of `peer` count.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_proxies
            .iter()
            .any(|network| network.contains(&peer.to_canonical()))
    }

    /// Everything in this section that is not allowed.
    #[must_use]
    pub fn validate(&self) -> Vec<Violation> {
        let timeout = |key, value| check(key, value, MILLISECOND..=DAY);
        let checks = [
            check_path_prefix("server.path_prefix", &self.path_prefix),
            check("server.workers", self.workers, 0..=1024),
            check(
                "server.max_connections",
                self.max_connections,
                1..=1_000_000,
            ),
            check("server.max_in_flight", self.max_in_flight, 1..=1_000_000),
            check("server.backlog", self.backlog, 1..=65_535),
            // The HTTP library reads no more than 128 KiB of a head.
            check_size("server.max_uri", self.max_uri, 256..=64 << 10),
            check_size("server.max_body", self.max_body, 1..=1 << 30),
            check_size(
                "server.max_request_memory",
                self.max_request_memory,
                1 << 20..=1 << 40,
            ),
            check_size(
                "server.max_response_memory",
                self.max_response_memory,
                1 << 20..=1 << 40,
            ),
            timeout("server.head_timeout", self.head_timeout),
            timeout("server.body_timeout", self.body_timeout),
            timeout("server.write_timeout", self.write_timeout),
            timeout("server.keep_alive", self.keep_alive),
            timeout("server.tcp_user_timeout", self.tcp_user_timeout),
            timeout("server.request_timeout", self.request_timeout),
            timeout("server.shutdown_timeout", self.shutdown_timeout),
            timeout("server.drain_grace", self.drain_grace),
        ];
        checks.into_iter().flatten().collect()
    }
}

pub(super) fn check_path_prefix(key: &'static str, prefix: &str) -> Option<Violation> {
    let message = "must be empty or a path such as /compute: a leading slash, no trailing one, and \
                   in each segment only letters, digits, `-`, `_`, `.` and `~`";
    (!is_path_prefix(prefix)).then(|| Violation::new(key, message))
}

fn is_path_prefix(prefix: &str) -> bool {
    prefix.is_empty()
        || prefix.strip_prefix('/').is_some_and(|rest| {
            rest.split('/').all(|segment| {
                !matches!(segment, "" | "." | "..")
                    && segment
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b))
            })
        })
}

/// A network, or a single address as the network of that address alone.
#[derive(Clone)]
struct Network(IpNet);

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .map(Self)
            .map_err(|_| {
                serde::de::Error::custom(
                    "must be an IP address or a network, such as 10.0.0.1 or 10.0.0.0/8",
                )
            })
    }
}

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    string_list::deserialize::<D, Network>(deserializer)
        .map(|networks| networks.into_iter().map(|Network(net)| net).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("", true)]
    #[case("/compute", true)]
    #[case("/a/b.c", true)]
    #[case("compute", false)]
    #[case("/compute/", false)]
    #[case("/", false)]
    #[case("/a//b", false)]
    #[case("/a/../b", false)]
    #[case("/a%2Fb", false)]
    fn a_path_prefix_is_a_plain_path(#[case] prefix: &str, #[case] good: bool) {
        let server = Server {
            path_prefix: prefix.into(),
            ..Server::default()
        };
        assert_eq!(server.validate().is_empty(), good);
    }

    #[test]
    fn an_ipv4_proxy_is_trusted_on_a_dual_stack_socket_too() {
        let server = Server {
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            ..Server::default()
        };
        assert!(server.trusts("10.1.2.3".parse().unwrap()));
        assert!(server.trusts("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!server.trusts("11.0.0.1".parse().unwrap()));
    }
}
