//! The first requests to try, printed when there is nothing to set up before them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Lines for a shell, for a gateway that listens on `address` with `server.path_prefix`. `sample`
/// is an image that anybody may see; without one there is only a list to ask for.
#[must_use]
pub fn text(address: SocketAddr, path_prefix: &str, sample: Option<&str>) -> String {
    let base = format!("http://{}{path_prefix}/v2.1/images", reachable(address));
    let mut paths = vec!["detail".to_owned()];
    if let Some(id) = sample {
        paths.extend([id.to_owned(), format!("{id}/metadata")]);
    }
    let mut lines = vec!["Try it:".to_owned()];
    lines.extend(paths.iter().map(|path| format!("  curl '{base}/{path}'")));
    lines.join("\n")
}

/// Every address of a machine is no address to connect to.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(address: &str, sample: Option<&str>) -> Vec<String> {
        let text = text(address.parse().unwrap(), "/compute", sample);
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn an_image_is_shown_where_there_is_one() {
        assert_eq!(
            lines("127.0.0.1:8774", Some("i")),
            [
                "Try it:",
                "  curl 'http://127.0.0.1:8774/compute/v2.1/images/detail'",
                "  curl 'http://127.0.0.1:8774/compute/v2.1/images/i'",
                "  curl 'http://127.0.0.1:8774/compute/v2.1/images/i/metadata'",
            ]
        );
        assert_eq!(lines("127.0.0.1:8774", None).len(), 2);
    }

    #[test]
    fn all_addresses_are_reached_through_loopback() {
        assert!(lines("0.0.0.0:1", None)[1].contains("'http://127.0.0.1:1/"));
        assert!(lines("[::]:1", None)[1].contains("'http://[::1]:1/"));
    }
}
