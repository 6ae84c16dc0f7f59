//! The public origin of the gateway: scheme, host and path prefix of the links in responses.
//!
//! They come from the request's own `Host`. When the peer is one of `server.trusted_proxies`, `Forwarded`
//! (RFC 7239), `X-Forwarded-Proto`, `X-Forwarded-Host` and `X-Forwarded-Prefix` replace them; the first item of
//! a list counts. An empty or malformed value is ignored.

use crate::config;
use actix_web::HttpRequest;
use actix_web::http::header::{FORWARDED, HOST, HeaderMap, HeaderName};
use std::borrow::Cow;
use std::net::SocketAddr;
use thiserror::Error;

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// A domain name (253), a colon, a port (5), and brackets around an address.
const MAX_HOST_BYTES: usize = 261;
const MAX_PREFIX_BYTES: usize = 256;

/// The address of this host that a client reached, in the data of its connection.
#[derive(Debug, Clone, Copy)]
pub struct LocalAddress(pub SocketAddr);

/// The client's `Host` is not a host and a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the Host header is not a host name or address with an optional port")]
pub struct InvalidHost;

/// A host name or address with an optional port, at most 261 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host<'r>(Cow<'r, str>);

/// The start of links to this gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicOrigin<'r> {
    is_secure: bool,
    host: Host<'r>,
    prefix: &'r str,
}

impl<'r> Host<'r> {
    /// Takes `host`, `host:port`, `[IPv6]` and `[IPv6]:port`.
    pub fn new(text: &'r str) -> Result<Self, InvalidHost> {
        if is_host(text.as_bytes()) {
            Ok(Self(Cow::Borrowed(text)))
        } else {
            Err(InvalidHost)
        }
    }
}

impl From<SocketAddr> for Host<'_> {
    fn from(address: SocketAddr) -> Self {
        Self(Cow::Owned(address.to_string()))
    }
}

impl<'r> PublicOrigin<'r> {
    /// `prefix` is empty, or a path without a trailing slash.
    #[must_use]
    pub fn new(is_secure: bool, host: Host<'r>, prefix: &'r str) -> Self {
        Self {
            is_secure,
            host,
            prefix,
        }
    }

    /// The address that `request` was sent to.
    pub fn of(request: &'r HttpRequest, server: &'r config::Server) -> Result<Self, InvalidHost> {
        let is_secure = request.app_config().secure();
        let own = Self::new(is_secure, own_host(request)?, &server.path_prefix);
        let is_trusted = request
            .peer_addr()
            .is_some_and(|peer| server.trusts(peer.ip()));
        Ok(if is_trusted {
            own.forwarded(request.headers())
        } else {
            own
        })
    }

    /// `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.is_secure { "https" } else { "http" }
    }

    /// Host and port.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host.0
    }

    /// The path before every route: empty, or a path without a trailing slash.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.prefix
    }

    /// Replaces each part for which the headers of a trusted proxy have a valid value.
    fn forwarded(self, headers: &'r HeaderMap) -> Self {
        let field = |name| forwarded_field(headers, name);
        let proto = field("proto").as_deref().and_then(is_https);
        let host = field("host").and_then(|host| match host {
            Cow::Borrowed(host) => Host::new(host).ok(),
            Cow::Owned(host) => is_host(host.as_bytes()).then_some(Host(Cow::Owned(host))),
        });
        Self {
            is_secure: proto
                .or_else(|| is_https(first_item(headers, &FORWARDED_PROTO)?))
                .unwrap_or(self.is_secure),
            host: host
                .or_else(|| Host::new(first_item(headers, &FORWARDED_HOST)?).ok())
                .unwrap_or(self.host),
            prefix: first_item(headers, &FORWARDED_PREFIX)
                .and_then(prefix)
                .unwrap_or(self.prefix),
        }
    }
}

fn own_host(request: &HttpRequest) -> Result<Host<'_>, InvalidHost> {
    if let Some(value) = request.headers().get(HOST)
        && !value.is_empty()
    {
        return Host::new(value.to_str().map_err(|_| InvalidHost)?);
    }
    match request.uri().authority() {
        Some(authority) => Host::new(authority.as_str()),
        // An HTTP/1.0 request may have no `Host`.
        None => Ok(request.conn_data::<LocalAddress>().map_or_else(
            || request.app_config().local_addr().into(),
            |local| local.0.into(),
        )),
    }
}

/// Whether a scheme is `https`; `None` for a scheme other than `http` and `https`.
fn is_https(scheme: &str) -> Option<bool> {
    let is = |known: &str| scheme.eq_ignore_ascii_case(known);
    (is("http") || is("https")).then(|| is("https"))
}

fn is_host(host: &[u8]) -> bool {
    if host.len() > MAX_HOST_BYTES {
        return false;
    }
    let (name, rest) = match host.strip_prefix(b"[") {
        Some(address) => {
            let end = memchr::memchr(b']', address).unwrap_or(address.len());
            let (address, rest) = address.split_at(end);
            let is_address = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
            if !address.iter().all(is_address) {
                return false;
            }
            let Some(rest) = rest.strip_prefix(b"]") else {
                return false;
            };
            (address, rest)
        }
        None => host.split_at(memchr::memchr(b':', host).unwrap_or(host.len())),
    };
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(byte);
    let is_port = match rest.strip_prefix(b":") {
        Some(port) => port.len() <= 5 && port.iter().all(u8::is_ascii_digit),
        None => rest.is_empty(),
    };
    !name.is_empty() && name.iter().all(is_name) && is_port
}

/// A path such as `/compute`, without its trailing slash; `/` alone is the empty prefix.
fn prefix(text: &str) -> Option<&str> {
    let path = text.strip_suffix('/').unwrap_or(text);
    let is_segment = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
    };
    let segments = || path.strip_prefix('/').map(|rest| rest.split('/'));
    let is_prefix = text == "/" || segments().is_some_and(|mut each| each.all(is_segment));
    (is_prefix && path.len() <= MAX_PREFIX_BYTES).then_some(path)
}

/// The first item of a comma-separated header, unless it is empty.
fn first_item<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Option<&'r str> {
    let text = headers.get(name)?.to_str().ok()?;
    let item = text.split(',').next()?.trim();
    (!item.is_empty()).then_some(item)
}

/// A parameter of the first element of `Forwarded`, unless it is empty.
fn forwarded_field<'r>(headers: &'r HeaderMap, name: &str) -> Option<Cow<'r, str>> {
    let text = headers.get(FORWARDED)?.to_str().ok()?;
    let mut element = elements(text).next()?;
    element
        .find(|(each, _)| each.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .filter(|value| !value.is_empty())
}

/// The elements of a `Forwarded` header, each with its parameters; quoted values are unquoted.
pub(super) fn elements(
    text: &str,
) -> impl Iterator<Item = impl Iterator<Item = (&str, Cow<'_, str>)>> {
    split_unquoted(text, ',').map(|element| {
        split_unquoted(element, ';').filter_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            Some((name.trim(), unquote(value.trim())))
        })
    })
}

/// Splits `text` at each separator outside of a quoted string.
fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c: char| {
        if escaped {
            escaped = false;
        } else if quoted && c == '\\' {
            escaped = true;
        } else if c == '"' {
            quoted = !quoted;
        } else {
            return c == separator && !quoted;
        }
        false
    })
}

fn unquote(value: &str) -> Cow<'_, str> {
    let Some(quoted) = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
    else {
        return Cow::Borrowed(value);
    };
    if !quoted.contains('\\') {
        return Cow::Borrowed(quoted);
    }
    let mut plain = String::with_capacity(quoted.len());
    let mut characters = quoted.chars();
    while let Some(c) = characters.next() {
        plain.extend(if c == '\\' {
            characters.next()
        } else {
            Some(c)
        });
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;
    use rstest::rstest;

    fn root(peer: &str, headers: &[(&str, &str)]) -> Result<String, InvalidHost> {
        let server = config::Server {
            trusted_proxies: vec!["10.0.0.1/32".parse().unwrap()],
            path_prefix: "/compute".to_owned(),
            ..config::Server::default()
        };
        let mut request = TestRequest::default().peer_addr(peer.parse().unwrap());
        for &(name, value) in headers {
            request = request.append_header((name, value));
        }
        let request = request.to_http_request();
        let origin = PublicOrigin::of(&request, &server)?;
        let (scheme, host, prefix) = (origin.scheme(), origin.host(), origin.prefix());
        Ok(format!("{scheme}://{host}{prefix}"))
    }

    #[test]
    fn forwarded_headers_count_only_from_a_trusted_proxy() {
        let headers = [
            ("Host", "inner:8774"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "pub.example.com"),
            ("X-Forwarded-Prefix", "/nova/"),
        ];
        let trusted = root("10.0.0.1:5", &headers).unwrap();
        assert_eq!(trusted, "https://pub.example.com/nova");
        let other = root("10.0.0.2:5", &headers).unwrap();
        assert_eq!(other, "http://inner:8774/compute");
    }

    #[rstest]
    #[case::x("X-Forwarded-Host", "a:1, b", "http://a:1/compute")]
    #[case::forwarded(
        "Forwarded",
        "for=x;proto=HTTPS;host=\"a:1\", host=b",
        "https://a:1/compute"
    )]
    #[case::escaped("Forwarded", r#"host="\a""#, "http://a/compute")]
    #[case::separators("Forwarded", r#"for="a,b;host=c";host=d"#, "http://d/compute")]
    #[case::empty("X-Forwarded-Host", "", "http://h/compute")]
    #[case::blank("X-Forwarded-Host", " , b", "http://h/compute")]
    #[case::empty_host("Forwarded", "host=\"\"", "http://h/compute")]
    #[case::no_host("X-Forwarded-Host", "a/b", "http://h/compute")]
    #[case::no_host_either("Forwarded", "host=\"a b\"", "http://h/compute")]
    #[case::empty_scheme("X-Forwarded-Proto", "", "http://h/compute")]
    #[case::no_scheme("X-Forwarded-Proto", "gopher", "http://h/compute")]
    #[case::prefix("X-Forwarded-Prefix", "/a/b", "http://h/a/b")]
    #[case::root("X-Forwarded-Prefix", "/", "http://h")]
    #[case::empty_prefix("X-Forwarded-Prefix", "", "http://h/compute")]
    #[case::no_prefix("X-Forwarded-Prefix", "//evil.example", "http://h/compute")]
    #[case::dots("X-Forwarded-Prefix", "/a/../b", "http://h/compute")]
    fn a_forwarded_value_counts_when_it_is_one(
        #[case] name: &str,
        #[case] value: &str,
        #[case] expected: &str,
    ) {
        let headers = [("Host", "h"), (name, value)];
        assert_eq!(root("10.0.0.1:5", &headers).unwrap(), expected);
    }

    #[rstest]
    #[case("h", true)]
    #[case("cloud.example.com:8774", true)]
    #[case("under_score", true)]
    #[case("192.0.2.1:80", true)]
    #[case("[2001:db8::1]:8774", true)]
    #[case("[::ffff:192.0.2.1]", true)]
    #[case("h:", true)]
    #[case("", false)]
    #[case(":80", false)]
    #[case("h:80:80", false)]
    #[case("h:port", false)]
    #[case("h:655360", false)]
    #[case("2001:db8::1", false)]
    #[case("[2001:db8::1", false)]
    #[case("[]", false)]
    #[case("[h]", false)]
    #[case("a b", false)]
    #[case("a/b", false)]
    #[case("a@b", false)]
    #[case("a\"b", false)]
    #[case("\u{fc}", false)]
    fn a_host_is_a_name_or_an_address_with_a_port(#[case] text: &str, #[case] good: bool) {
        assert_eq!(Host::new(text).is_ok(), good);
    }

    #[test]
    fn a_host_has_a_longest_length() {
        let longest = "h".repeat(MAX_HOST_BYTES);
        assert!(root("10.0.0.2:5", &[("Host", &longest)]).is_ok());
        let longer = format!("{longest}h");
        assert_eq!(root("10.0.0.2:5", &[("Host", &longer)]), Err(InvalidHost));
        let forwarded = [("Host", "h"), ("X-Forwarded-Host", longer.as_str())];
        assert_eq!(root("10.0.0.1:5", &forwarded).unwrap(), "http://h/compute");
    }
}
