//! Scheme and host that a client reached us by.

use super::connection::Connection;
use crate::config;
use actix_web::HttpRequest;
use std::borrow::Cow;

/// What links to this gateway begin with. The request's own `Host` counts; `Forwarded` and
/// `X-Forwarded-*` only when the peer is one of `server.trusted_proxies`.
#[must_use]
pub fn public_origin<'r>(
    request: &'r HttpRequest,
    server: &config::Server,
) -> (&'static str, Cow<'r, str>) {
    let trusted = request
        .peer_addr()
        .is_some_and(|peer| server.trusts(peer.ip()));
    if trusted {
        let info = request.connection_info();
        let secure = info.scheme().eq_ignore_ascii_case("https");
        let host = match info.host() {
            nobody if nobody == request.app_config().host() => local(request),
            host => host.to_owned(),
        };
        return (scheme(secure), Cow::Owned(host));
    }
    let host = request
        .headers()
        .get(actix_web::http::header::HOST)
        .map(|value| text(value.as_bytes()))
        .filter(|host| !host.is_empty())
        .or_else(|| Some(Cow::Borrowed(request.uri().authority()?.as_str())))
        .unwrap_or_else(|| Cow::Owned(local(request)));
    (scheme(request.app_config().secure()), host)
}

fn text(host: &[u8]) -> Cow<'_, str> {
    // Nearly always it is: this is the short way.
    std::str::from_utf8(host).map_or_else(|_| String::from_utf8_lossy(host), Cow::Borrowed)
}

fn scheme(secure: bool) -> &'static str {
    if secure { "https" } else { "http" }
}

/// The address the client reached, for one that sends no `Host` (HTTP/1.0).
fn local(request: &HttpRequest) -> String {
    request
        .conn_data::<Connection>()
        .and_then(Connection::local)
        .unwrap_or_else(|| request.app_config().local_addr())
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn origin(peer: &str, headers: &[(&str, &str)]) -> (String, String) {
        let server = config::Server {
            trusted_proxies: vec!["10.0.0.1/32".parse().unwrap()],
            ..config::Server::default()
        };
        let mut request = TestRequest::default().peer_addr(peer.parse().unwrap());
        for &(name, value) in headers {
            request = request.insert_header((name, value));
        }
        let request = request.to_http_request();
        let (scheme, host) = public_origin(&request, &server);
        (scheme.to_owned(), host.into_owned())
    }

    #[test]
    fn forwarded_headers_count_only_from_a_trusted_proxy() {
        let headers = [
            ("Host", "inner:8774"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "pub.example.com"),
        ];
        let (scheme, host) = origin("10.0.0.1:5", &headers);
        assert_eq!(
            (scheme.as_str(), host.as_str()),
            ("https", "pub.example.com")
        );
        let (scheme, host) = origin("10.0.0.2:5", &headers);
        assert_eq!((scheme.as_str(), host.as_str()), ("http", "inner:8774"));
    }

    #[test]
    fn a_forwarded_scheme_is_http_or_https() {
        let (scheme, _) = origin(
            "10.0.0.1:5",
            &[("Host", "h"), ("X-Forwarded-Proto", "gopher")],
        );
        assert_eq!(scheme, "http");
    }
}
