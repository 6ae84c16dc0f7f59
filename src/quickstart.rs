//! The first requests to try, printed when nothing has to be set up before them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Commands for a shell, for a gateway that listens on `address` with `server.path_prefix`, and whose image listener
/// is at `image_api`.
/// `sample` is the id of an image that a caller without a token may change; without one there is
/// only a list to read.
#[must_use]
pub fn text(
    address: SocketAddr,
    path_prefix: &str,
    image_api: Option<&str>,
    sample: Option<&str>,
) -> String {
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
    if let Some(url) = image_api {
        lines.push(format!("  curl '{url}/v2/images'"));
    }
    lines.join("\n")
}

/// An unspecified address is none to connect to: loopback of the same family is.
#[must_use]
pub fn reachable(address: SocketAddr) -> SocketAddr {
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
        let text = text(address.parse().unwrap(), "/compute", None, sample);
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
    fn the_image_listener_is_called_where_there_is_one() {
        let url = Some("http://127.0.0.1:9292/image");
        let text = text("127.0.0.1:1".parse().unwrap(), "", url, None);
        assert_eq!(
            text.lines().last(),
            Some("  curl 'http://127.0.0.1:9292/image/v2/images'")
        );
    }

    #[test]
    fn an_unspecified_address_is_reached_through_loopback() {
        assert!(lines("0.0.0.0:1", None)[1].contains("'http://127.0.0.1:1/"));
        assert!(lines("[::]:1", None)[1].contains("'http://[::1]:1/"));
    }
}
