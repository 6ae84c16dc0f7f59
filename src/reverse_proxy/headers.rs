//! Which headers of a message go on, by RFC 9110 (7.6). Pure.

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, FORWARDED, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
    TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use thiserror::Error;

/// This gateway in `Via`.
pub const PSEUDONYM: &str = "nova-image-proxy";

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
const X_SERVICE_TOKEN: HeaderName = HeaderName::from_static("x-service-token");
const X_SUBJECT_TOKEN: HeaderName = HeaderName::from_static("x-subject-token");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Headers of one connection, in either direction. `Connection` names others.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    PROXY_CONNECTION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Headers that `Connection` cannot remove: the framing, and what says on whose behalf a request is made. Without
/// its token a request would be another one.
const END_TO_END: [HeaderName; 5] = [
    CONTENT_LENGTH,
    HOST,
    X_AUTH_TOKEN,
    X_SERVICE_TOKEN,
    X_SUBJECT_TOKEN,
];

/// What proxies before this gateway say of a client. It is replaced by what is known.
const FORWARDING: [HeaderName; 7] = [
    FORWARDED,
    X_FORWARDED_FOR,
    X_FORWARDED_HOST,
    X_FORWARDED_PREFIX,
    X_FORWARDED_PROTO,
    HeaderName::from_static("x-forwarded-port"),
    X_REAL_IP,
];

/// The request came through this gateway before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the request has passed this gateway before: an endpoint leads back to it")]
pub struct LoopDetected;

/// How a request reached this gateway, as far as it is known.
#[derive(Debug, Clone, Copy)]
pub struct ForwardedFrom<'r> {
    /// The addresses that the request came from, from left to right.
    pub chain: &'r str,
    /// `http` or `https`.
    pub scheme: &'r str,
    /// Host and port that the client knows.
    pub host: &'r str,
    /// The path before every route, taken off before the request goes on; empty for none.
    pub prefix: &'r str,
}

/// The headers of a request that goes on: without those of its connection, with those that say where it came
/// from. `Host` stays, so that links in the response carry the public name.
pub fn of_request(
    mut headers: HeaderMap,
    from: ForwardedFrom<'_>,
) -> Result<HeaderMap, LoopDetected> {
    if headers.get_all(VIA).iter().any(names_this_gateway) {
        return Err(LoopDetected);
    }
    remove_hop_by_hop(&mut headers);
    headers.remove(EXPECT);
    for name in FORWARDING {
        headers.remove(name);
    }
    let mut set = |name, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text)
            && !text.is_empty()
        {
            headers.insert(name, value);
        }
    };
    set(X_FORWARDED_FOR, from.chain);
    set(X_FORWARDED_PROTO, from.scheme);
    set(X_FORWARDED_HOST, from.host);
    set(X_FORWARDED_PREFIX, from.prefix);
    if !headers.contains_key(HOST)
        && let Ok(host) = HeaderValue::from_str(from.host)
    {
        headers.insert(HOST, host);
    }
    headers.append(VIA, HeaderValue::from_static("1.1 nova-image-proxy"));
    Ok(headers)
}

/// The headers of a response that goes on. The HTTP library frames the body.
#[must_use]
pub fn of_response(mut headers: HeaderMap) -> HeaderMap {
    remove_hop_by_hop(&mut headers);
    headers
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
        .filter(|name| !END_TO_END.contains(name))
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Whether an element of `Via` (protocol, received-by, comment) is this gateway's.
fn names_this_gateway(via: &HeaderValue) -> bool {
    via.as_bytes().split(|byte| *byte == b',').any(|element| {
        let mut words = element
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        let received_by = words.nth(1).unwrap_or_default();
        received_by.eq_ignore_ascii_case(PSEUDONYM.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    const FROM: ForwardedFrom<'_> = ForwardedFrom {
        chain: "192.0.2.1",
        scheme: "https",
        host: "cloud.example",
        prefix: "",
    };

    fn map(headers: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    /// What goes on of these headers, without what is always added.
    fn passed(headers: &[(&str, &str)]) -> Vec<String> {
        let mut map = of_request(map(headers), FROM).unwrap();
        for added in [
            VIA,
            HOST,
            X_FORWARDED_FOR,
            X_FORWARDED_HOST,
            X_FORWARDED_PROTO,
        ] {
            map.remove(added);
        }
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}", value.to_str().unwrap())
        };
        let mut lines: Vec<_> = map.iter().map(line).collect();
        // A removal changes the order of different names.
        lines.sort_by(|one, other| one.split(':').next().cmp(&other.split(':').next()));
        lines
    }

    #[rstest]
    #[case::end_to_end(&[("X-Auth-Token", "t"), ("Accept", "a")], &["accept: a", "x-auth-token: t"])]
    #[case::repeated(&[("Accept", "a"), ("Accept", "b")], &["accept: a", "accept: b"])]
    #[case::named(&[("Connection", "close, X-One"), ("X-One", "1"), ("X-Two", "2")], &["x-two: 2"])]
    #[case::named_twice(&[("Connection", "x-one"), ("Connection", " ,X-TWO,"), ("X-One", "1"), ("X-Two", "2")], &[])]
    #[case::all(&[("Keep-Alive", "1"), ("Proxy-Connection", "x"), ("TE", "trailers"), ("Trailer", "x"),
        ("Transfer-Encoding", "chunked"), ("Upgrade", "websocket"), ("Proxy-Authorization", "x")], &[])]
    #[case::token(&[("Connection", "X-Auth-Token, x-service-token"), ("X-Auth-Token", "t"),
        ("X-Service-Token", "s")], &["x-auth-token: t", "x-service-token: s"])]
    #[case::length(&[("Connection", "content-length"), ("Content-Length", "5")], &["content-length: 5"])]
    #[case::expect(&[("Expect", "100-continue")], &[])]
    #[case::no_name(&[("Connection", "a b, \u{e9}"), ("X", "1")], &["x: 1"])]
    #[case::forged(&[("Forwarded", "for=1.2.3.4"), ("X-Real-IP", "1.2.3.4"), ("X-Forwarded-Port", "1")], &[])]
    fn headers_of_the_connection_end_here(
        #[case] headers: &[(&str, &str)],
        #[case] expected: &[&str],
    ) {
        assert_eq!(passed(headers), expected);
    }

    #[test]
    fn where_a_request_came_from_is_what_is_known() {
        let sent = map(&[
            ("Host", "gateway:8774"),
            ("X-Forwarded-For", "forged"),
            ("X-Forwarded-Proto", "forged"),
            ("Connection", "x-forwarded-for, via, host"),
            ("X-Forwarded-Host", "forged"),
            ("X-Forwarded-Prefix", "/forged"),
            ("Via", "1.0 edge"),
        ]);
        let headers = of_request(sent, FROM).unwrap();
        assert_eq!(headers[X_FORWARDED_FOR], "192.0.2.1");
        assert_eq!(headers[X_FORWARDED_PROTO], "https");
        assert_eq!(headers[X_FORWARDED_HOST], "cloud.example");
        assert!(!headers.contains_key(X_FORWARDED_PREFIX));
        assert_eq!(headers[HOST], "gateway:8774");
        let own = of_request(
            HeaderMap::new(),
            ForwardedFrom {
                prefix: "/compute",
                ..FROM
            },
        );
        let own = own.unwrap();
        assert_eq!(own[HOST], "cloud.example");
        assert_eq!(own[X_FORWARDED_PREFIX], "/compute");
    }

    #[rstest]
    #[case::none(&[], false)]
    #[case::others(&["1.1 edge, 1.0 nova-image-proxy.example (x)"], false)]
    #[case::own(&["1.1 nova-image-proxy"], true)]
    #[case::last(&["1.1 edge", "1.0 a, HTTP/1.1\tNova-Image-Proxy (comment)"], true)]
    #[case::comment(&["1.1 edge nova-image-proxy"], false)]
    #[case::empty(&[", ,"], false)]
    fn a_request_that_comes_back_is_a_loop(#[case] via: &[&str], #[case] is_loop: bool) {
        let headers: Vec<_> = via.iter().map(|value| ("Via", *value)).collect();
        let outcome = of_request(map(&headers), FROM);
        assert_eq!(outcome.is_err(), is_loop);
        if let Ok(headers) = outcome {
            let again = of_request(headers, FROM);
            assert_eq!(again.unwrap_err(), LoopDetected);
        }
    }

    #[test]
    fn a_response_loses_the_headers_of_its_connection_alone() {
        let headers = of_response(map(&[
            ("Connection", "close, X-Hop"),
            ("X-Hop", "1"),
            ("Content-Length", "3"),
            ("Date", "d"),
            ("Set-Cookie", "a"),
            ("Set-Cookie", "b"),
            ("Transfer-Encoding", "chunked"),
        ]));
        assert_eq!(
            headers,
            map(&[
                ("Content-Length", "3"),
                ("Date", "d"),
                ("Set-Cookie", "a"),
                ("Set-Cookie", "b"),
            ])
        );
    }

    proptest! {
        /// Whatever a client sends: none of the hop's headers goes on, the token always does, and the gateway's
        /// own word stands for where the request came from.
        #[test]
        fn no_header_escapes_the_rules(
            names in prop::collection::vec("[a-zA-Z-]{1,12}|connection|te|upgrade|x-auth-token|x-forwarded-for|via", 0..12),
            tokens in prop::collection::vec("[a-zA-Z-]{1,12}|x-auth-token|content-length|,| ", 0..6),
        ) {
            let mut headers = HeaderMap::new();
            for name in &names {
                headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static("v"));
            }
            let joined = tokens.join(",");
            headers.append(CONNECTION, HeaderValue::from_str(&joined).unwrap());
            headers.insert(X_AUTH_TOKEN, HeaderValue::from_static("t"));
            let passed = of_request(headers, FROM).unwrap();
            for name in HOP_BY_HOP {
                prop_assert!(!passed.contains_key(name));
            }
            prop_assert_eq!(&passed[&X_AUTH_TOKEN], "t");
            prop_assert_eq!(passed.get_all(X_FORWARDED_FOR).iter().count(), 1);
            prop_assert_eq!(&passed[X_FORWARDED_FOR], FROM.chain);
            for token in joined.split(',').filter_map(|token| HeaderName::from_bytes(token.trim().as_bytes()).ok()) {
                let stays = END_TO_END.contains(&token) || FORWARDING.contains(&token) || token == VIA;
                prop_assert!(stays || !passed.contains_key(&token), "{}", token);
            }
        }
    }
}
