//! A client's own address, for the log. No decision depends on it: behind a proxy it comes from a header.

use super::forwarded::elements;
use crate::config;
use actix_web::http::header::{FORWARDED, HeaderMap, HeaderName, X_FORWARDED_FOR};
use std::net::{IpAddr, SocketAddr};

/// No more proxies than this are believed to stand in a row.
const MAX_ELEMENTS: usize = 32;
const MAX_BYTES: usize = 2048;

/// The address of the client that a connection from `peer` speaks for.
///
/// From a peer outside `server.trusted_proxies` it is the peer itself. A proxy adds the address that it was called from
/// to the right of `Forwarded`, or of `X-Forwarded-For` where there is no `Forwarded`: from there the walk goes left over
/// trusted addresses to the first other one. Any client can have written the part left of it.
#[must_use]
pub fn client_address(peer: IpAddr, headers: &HeaderMap, server: &config::Server) -> IpAddr {
    let peer = peer.to_canonical();
    if !server.trusts(peer) {
        return peer;
    }
    let mut client = peer;
    for element in chain(headers).iter().rev().take(MAX_ELEMENTS) {
        let Some(address) = element else {
            break;
        };
        client = *address;
        if !server.trusts(client) {
            break;
        }
    }
    client
}

/// The addresses from the client to the last proxy but one; none where an element is no address. Of a chain that is too
/// long the last part remains.
fn chain(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    if headers.contains_key(FORWARDED) {
        let text = joined(headers, &FORWARDED);
        let address =
            |mut element: Box<dyn Iterator<Item = (&str, std::borrow::Cow<'_, str>)> + '_>| {
                let (_, value) = element.find(|(name, _)| name.eq_ignore_ascii_case("for"))?;
                address(&value)
            };
        elements(&text)
            .map(|element| address(Box::new(element)))
            .collect()
    } else {
        let text = joined(headers, &X_FORWARDED_FOR);
        text.split(',').map(|item| address(item.trim())).collect()
    }
}

/// The last bytes of all lines of a header.
fn joined(headers: &HeaderMap, name: &HeaderName) -> String {
    let lines: Vec<_> = headers
        .get_all(name)
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    let text = lines.join(",");
    let start = (text.len().saturating_sub(MAX_BYTES)..=text.len())
        .find(|start| text.is_char_boundary(*start))
        .unwrap_or(text.len());
    text.get(start..).unwrap_or_default().to_owned()
}

/// An address, with or without brackets and a port.
fn address(text: &str) -> Option<IpAddr> {
    let unbracketed = || {
        let (address, rest) = text.strip_prefix('[')?.split_once(']')?;
        rest.is_empty().then(|| address.parse().ok())?
    };
    text.parse()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
        .or_else(unbracketed)
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;
    use rstest::rstest;

    fn client(peer: &str, headers: &[(&str, &str)]) -> String {
        let server = config::Server {
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            ..config::Server::default()
        };
        let mut request = TestRequest::default();
        for &header in headers {
            request = request.append_header(header);
        }
        let request = request.to_http_request();
        client_address(peer.parse().unwrap(), request.headers(), &server).to_string()
    }

    #[rstest]
    #[case::none(&[], "10.0.0.1")]
    #[case::one(&[("X-Forwarded-For", "192.0.2.1")], "192.0.2.1")]
    #[case::forged(&[("X-Forwarded-For", "198.51.100.9, 192.0.2.1, 10.0.0.2")], "192.0.2.1")]
    #[case::trusted_alone(&[("X-Forwarded-For", "10.0.0.3, 10.0.0.2")], "10.0.0.3")]
    #[case::port(&[("X-Forwarded-For", "192.0.2.1:4711")], "192.0.2.1")]
    #[case::mapped(&[("X-Forwarded-For", "::ffff:192.0.2.1")], "192.0.2.1")]
    #[case::ipv6(&[("Forwarded", "for=\"[2001:db8::1]:4711\"")], "2001:db8::1")]
    #[case::brackets(&[("Forwarded", "For=\"[2001:db8::1]\";proto=https")], "2001:db8::1")]
    #[case::unknown(&[("Forwarded", "for=192.0.2.1, for=unknown, for=10.0.0.2")], "10.0.0.2")]
    #[case::hidden(&[("Forwarded", "for=_hidden")], "10.0.0.1")]
    #[case::no_for(&[("Forwarded", "by=192.0.2.1")], "10.0.0.1")]
    #[case::both(&[("X-Forwarded-For", "192.0.2.1"), ("Forwarded", "for=192.0.2.2")], "192.0.2.2")]
    #[case::two_lines(&[("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-For", "10.0.0.2")], "192.0.2.1")]
    #[case::empty(&[("X-Forwarded-For", "")], "10.0.0.1")]
    #[case::garbage(&[("X-Forwarded-For", "192.0.2.1, x\u{fc}")], "10.0.0.1")]
    fn the_first_address_from_the_right_that_is_no_proxy_counts(
        #[case] headers: &[(&str, &str)],
        #[case] expected: &str,
    ) {
        assert_eq!(client("10.0.0.1", headers), expected);
    }

    #[test]
    fn a_peer_that_is_no_proxy_is_the_client() {
        let headers = [
            ("X-Forwarded-For", "192.0.2.1"),
            ("Forwarded", "for=192.0.2.2"),
        ];
        assert_eq!(client("203.0.113.1", &headers), "203.0.113.1");
        assert_eq!(client("::ffff:203.0.113.1", &headers), "203.0.113.1");
        assert_eq!(client("::ffff:10.0.0.1", &headers), "192.0.2.2");
    }

    #[test]
    fn a_chain_is_walked_so_far_and_no_further() {
        let chain = format!("192.0.2.1{}", ", 10.0.0.2".repeat(MAX_ELEMENTS - 1));
        assert_eq!(
            client("10.0.0.1", &[("X-Forwarded-For", &chain)]),
            "192.0.2.1"
        );
        let longer = format!("{chain}, 10.0.0.2");
        assert_eq!(
            client("10.0.0.1", &[("X-Forwarded-For", &longer)]),
            "10.0.0.2"
        );
        let huge = format!("192.0.2.1, {}, 10.0.0.2", "x".repeat(MAX_BYTES));
        assert_eq!(
            client("10.0.0.1", &[("X-Forwarded-For", &huge)]),
            "10.0.0.2"
        );
    }
}
