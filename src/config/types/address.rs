//! Listening addresses: an IP address and a port, or `localhost` and a port.

use serde::de::{Deserialize, Deserializer, Error};
use std::net::{Ipv4Addr, SocketAddr};

const EXPECTED: &str =
    "must be an address and port, such as 127.0.0.1:8774, [::]:8774 or localhost:8774";

/// Reads an address for serde.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).ok_or_else(|| D::Error::custom(EXPECTED))
}

/// As [`deserialize`]; `off` is `None`.
pub fn deserialize_or_off<'de, D>(deserializer: D) -> Result<Option<SocketAddr>, D::Error>
where
    D: Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    if text == super::super::OFF {
        return Ok(None);
    }
    let address = parse(&text).ok_or_else(|| D::Error::custom(format!("{EXPECTED}, or off")))?;
    Ok(Some(address))
}

/// No name is looked up: `localhost` is 127.0.0.1 on every machine (RFC 6761).
fn parse(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok()?;
    host.eq_ignore_ascii_case("localhost")
        .then(|| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("127.0.0.1:8774", Some("127.0.0.1:8774"))]
    #[case("[::]:0", Some("[::]:0"))]
    #[case("localhost:8774", Some("127.0.0.1:8774"))]
    #[case("LocalHost:1", Some("127.0.0.1:1"))]
    #[case("localhost", None)]
    #[case("localhost:", None)]
    #[case("localhost:65536", None)]
    #[case("gateway.example:8774", None)]
    #[case(":8774", None)]
    #[case("8774", None)]
    fn an_address_is_an_ip_address_or_localhost(
        #[case] text: &str,
        #[case] expected: Option<&str>,
    ) {
        assert_eq!(
            parse(text).map(|address| address.to_string()).as_deref(),
            expected
        );
    }
}
