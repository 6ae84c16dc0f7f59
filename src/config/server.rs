//! `[server]`: where and how legacy clients are served.

use super::Problem;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Settings of the listener.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Worker threads that accept and answer; 0 is one for each core.
    pub workers: usize,
    /// Networks whose `X-Forwarded-*` headers count.
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// A path before every route and link, such as `/compute`; empty for none.
    pub path_prefix: String,
    /// Largest request body, in bytes (Nova's own limit by default).
    pub max_body: usize,
    /// Longest time for one request, from its head to its answer.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// Longest time to finish requests in flight when stopping.
    #[serde(with = "humantime_serde")]
    pub shutdown_timeout: Duration,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8774),
            workers: 0,
            trusted_proxies: Vec::new(),
            path_prefix: String::new(),
            max_body: 114_688,
            request_timeout: Duration::from_secs(60),
            shutdown_timeout: Duration::from_secs(30),
        }
    }
}

impl Server {
    /// Whether `peer` may say for whom it speaks.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_proxies
            .iter()
            .any(|network| network.contains(&peer.to_canonical()))
    }

    /// What is wrong with this section.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if !is_path_prefix(&self.path_prefix) {
            problems.push(Problem::new(
                "server.path_prefix",
                "must be empty or a path such as `/compute`: a leading slash, no trailing one, \
                 and in each segment only letters, digits, `-`, `_`, `.` and `~`",
            ));
        }
        if self.workers > 1024 {
            problems.push(Problem::new("server.workers", "must be at most 1024"));
        }
        if self.max_body == 0 {
            problems.push(Problem::new("server.max_body", "must be at least 1 byte"));
        }
        for (key, value) in [
            ("server.request_timeout", self.request_timeout),
            ("server.shutdown_timeout", self.shutdown_timeout),
        ] {
            if value.is_zero() {
                problems.push(Problem::new(key, "must be longer than zero"));
            }
        }
        problems
    }
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
            .map_err(|_| serde::de::Error::custom("must be an IP address or a network (CIDR)"))
    }
}

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    super::list::deserialize::<D, Network>(deserializer)
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
        assert_eq!(server.problems().is_empty(), good);
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
