//! The first requests to try, printed when nothing has to be set up before them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Commands for a shell, for a gateway that listens on `address` with `server.path_prefix`.
/// `sample` is the id of an image that a caller without a token may change; without one there is
/// only a list to read.
#[must_use]
pub fn text(address: SocketAddr, path_prefix: &str, sample: Option<&str>) -> String {
    let images = format!("http://{}{path_prefix}/v2.1/images", reachable(address));
    let mut lines = vec!["Try it:".to_owned(), format!("  curl '{images}/detail'")];
    if let Some(id) = sample {
        let metadata = format!("'{images}/{id}/metadata'");
        let body = r#"'{"metadata": {"team": "blue"}}'"#;
        lines.extend([
            format!("  curl '{images}/{id}'"),
            format!("  curl -X POST -H 'Content-Type: application/json' -d {body} {metadata}"),
            format!("  curl {metadata}"),
        ]);
    }
    lines.join("\n")
}

/// An unspecified address is none to connect to: loopback of the same family is.
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
    fn an_image_is_read_and_changed_where_there_is_one() {
        assert_eq!(
            lines("127.0.0.1:8774", Some("i")),
            [
                "Try it:",
                "  curl 'http://127.0.0.1:8774/compute/v2.1/images/detail'",
                "  curl 'http://127.0.0.1:8774/compute/v2.1/images/i'",
                "  curl -X POST -H 'Content-Type: application/json' -d '{\"metadata\": {\"team\": \
                 \"blue\"}}' 'http://127.0.0.1:8774/compute/v2.1/images/i/metadata'",
                "  curl 'http://127.0.0.1:8774/compute/v2.1/images/i/metadata'",
            ]
        );
        assert_eq!(lines("127.0.0.1:8774", None).len(), 2);
    }

    #[test]
    fn an_unspecified_address_is_reached_through_loopback() {
        assert!(lines("0.0.0.0:1", None)[1].contains("'http://127.0.0.1:1/"));
        assert!(lines("[::]:1", None)[1].contains("'http://[::1]:1/"));
    }
}
