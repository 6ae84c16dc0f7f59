//! The client's own address, for the log. No decision depends on it.
//!
//! A trusted proxy appends the address of its peer to `Forwarded` (RFC 7239) or `X-Forwarded-For`. So the
//! walk goes from the right, over trusted proxies, to the first other address; what stands left of it
//! was written by that client and may be forged.

use crate::config;
use actix_web::http::header::{FORWARDED, HeaderMap, HeaderName, X_FORWARDED_FOR};
use std::net::{IpAddr, SocketAddr};

/// Bounds of the walk: elements, and bytes of each header line.
const MAX_ELEMENTS: usize = 32;
const MAX_BYTES: usize = 2048;

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress {
    /// The client.
    pub client: IpAddr,
    /// The client's port, if it is connected itself.
    pub port: Option<u16>,
    /// The trusted proxy that is connected, if the client is another host.
    pub proxy: Option<IpAddr>,
}

impl ClientAddress {
    /// The address behind a connection from `peer`.
    #[must_use]
    pub fn of(peer: SocketAddr, headers: &HeaderMap, server: &config::Server) -> Self {
        let own = Self {
            client: peer.ip(),
            port: Some(peer.port()),
            proxy: None,
        };
        if !server.trusts(peer.ip()) {
            return own;
        }
        let forwarded = addresses(headers, &FORWARDED, forwarded_for);
        let addresses = forwarded.or_else(|| addresses(headers, &X_FORWARDED_FOR, address));
        let mut client = peer.ip();
        for address in addresses.into_iter().flatten() {
            let Some(address) = address else { break };
            client = address;
            if !server.trusts(address) {
                break;
            }
        }
        if client == peer.ip() {
            return own;
        }
        Self {
            client,
            port: None,
            proxy: Some(peer.ip()),
        }
    }
}

/// The elements of a list header from the right, `None` for one that is no address; `None` when there
/// is no such header.
fn addresses(
    headers: &HeaderMap,
    name: &HeaderName,
    read: fn(&str) -> Option<IpAddr>,
) -> Option<Vec<Option<IpAddr>>> {
    let lines: Vec<&str> = headers
        .get_all(name)
        .map(|value| value.to_str().ok().filter(|line| line.len() <= MAX_BYTES))
        .map(Option::unwrap_or_default)
        .collect();
    let mut elements = lines.iter().rev().flat_map(|line| line.rsplit(','));
    let first = elements.next()?;
    let all = std::iter::once(first).chain(elements);
    Some(
        all.take(MAX_ELEMENTS)
            .map(|element| read(element.trim()))
            .collect(),
    )
}

/// The `for` parameter of an element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = value.trim().trim_matches('"');
        name.trim()
            .eq_ignore_ascii_case("for")
            .then(|| address(value))?
    })
}

/// An address without its port and brackets.
fn address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>()
        .ok()
        .or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;
    use rstest::rstest;

    const FOR: &str = "x-forwarded-for";

    fn client(peer: &str, lines: &[(&str, &str)]) -> (String, Option<String>) {
        let server = config::Server {
            trusted_proxies: vec![
                "10.0.0.0/24".parse().unwrap(),
                "2001:db8::/32".parse().unwrap(),
            ],
            ..config::Server::default()
        };
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let found = ClientAddress::of(peer.parse().unwrap(), &headers, &server);
        assert_eq!(found.port.is_some(), found.proxy.is_none());
        (
            found.client.to_string(),
            found.proxy.map(|proxy| proxy.to_string()),
        )
    }

    #[rstest]
    #[case::no_header(&[], "10.0.0.1")]
    #[case::plain(&[(FOR, "192.0.2.9")], "192.0.2.9")]
    #[case::forged_entries_on_the_left(&[(FOR, "1.1.1.1, 10.0.0.7, 192.0.2.9")], "192.0.2.9")]
    #[case::a_chain_of_proxies(&[(FOR, "192.0.2.9, 10.0.0.7 ,10.0.0.8")], "192.0.2.9")]
    #[case::only_proxies(&[(FOR, "10.0.0.7, 10.0.0.8")], "10.0.0.7")]
    #[case::two_lines(&[(FOR, "1.1.1.1"), (FOR, "192.0.2.9, 10.0.0.8")], "192.0.2.9")]
    #[case::ipv6_with_port(&[(FOR, "[2001:db9::1]:4711")], "2001:db9::1")]
    #[case::ipv4_with_port(&[(FOR, "192.0.2.9:80")], "192.0.2.9")]
    #[case::unknown(&[(FOR, "192.0.2.9, unknown")], "10.0.0.1")]
    #[case::unknown_behind_a_proxy(&[(FOR, "unknown, 10.0.0.8")], "10.0.0.8")]
    #[case::empty(&[(FOR, "")], "10.0.0.1")]
    #[case::forwarded(&[("forwarded", "for=1.1.1.1, for=\"[2001:db9::1]:80\";proto=https")], "2001:db9::1")]
    #[case::forwarded_wins(&[(FOR, "1.1.1.1"), ("forwarded", "proto=http; For=192.0.2.9")], "192.0.2.9")]
    #[case::hidden(&[("forwarded", "for=_hidden")], "10.0.0.1")]
    fn the_first_address_that_is_no_proxy_counts(
        #[case] lines: &[(&str, &str)],
        #[case] expected: &str,
    ) {
        let (found, proxy) = client("10.0.0.1:5", lines);
        assert_eq!(found, expected);
        assert_eq!(proxy.is_some(), expected != "10.0.0.1");
    }

    #[test]
    fn headers_of_other_peers_do_not_count() {
        let lines = [(FOR, "192.0.2.9"), ("forwarded", "for=192.0.2.9")];
        assert_eq!(
            client("203.0.113.1:5", &lines),
            ("203.0.113.1".to_owned(), None)
        );
    }

    #[test]
    fn the_walk_is_bounded() {
        let many = |count: usize| "10.0.0.9, ".repeat(count);
        let long = format!("192.0.2.9, {}10.0.0.8", many(MAX_ELEMENTS));
        assert_eq!(client("10.0.0.1:5", &[(FOR, &long)]).0, "10.0.0.9");
        let longer = format!("192.0.2.9, {}10.0.0.8", many(MAX_BYTES / 10));
        assert_eq!(client("10.0.0.1:5", &[(FOR, &longer)]).0, "10.0.0.1");
    }
}
