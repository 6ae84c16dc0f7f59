//! Where a request goes on to. Pure.

use crate::util::endpoint_url::without_version;
use http::Uri;
use http::uri::InvalidUri;
use url::Url;

/// The base URL of a service: scheme, host and path, without a version.
#[derive(Debug, Clone)]
pub struct Endpoint {
    url: Url,
    /// The URL without a slash at its end.
    base: String,
}

impl Endpoint {
    /// Takes the URL from the settings, with or without its version.
    #[must_use]
    pub fn new(url: &Url) -> Self {
        let url = without_version(url.clone());
        let base = url.as_str().trim_end_matches('/').to_owned();
        Self { url, base }
    }

    /// The URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The URL as text, without a slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.base
    }

    /// The URI of `target`, a path and a query as the client wrote them. Nothing of it is decoded, resolved or
    /// normalized: what the service makes of it is the service's own business.
    pub fn uri(&self, target: &str) -> Result<Uri, InvalidUri> {
        let slash = if target.starts_with('/') { "" } else { "/" };
        Uri::try_from(format!("{}{slash}{target}", self.base))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(
        "http://nova:8774",
        "/v2.1/servers?a=b%20c",
        "http://nova:8774/v2.1/servers?a=b%20c"
    )]
    #[case("http://nova:8774/v2.1/", "/", "http://nova:8774/")]
    #[case(
        "http://host/compute/v2.1",
        "/v2/flavors",
        "http://host/compute/v2/flavors"
    )]
    #[case("http://host/compute", "", "http://host/compute/")]
    #[case("http://host/compute", "?a", "http://host/compute/?a")]
    #[case(
        "http://nova",
        "/v2.1/../a/%2e%2e//b",
        "http://nova/v2.1/../a/%2e%2e//b"
    )]
    #[case("http://nova", "//evil.example/x", "http://nova//evil.example/x")]
    #[case("http://nova", "/@evil.example", "http://nova/@evil.example")]
    fn a_target_is_appended_as_it_is(
        #[case] endpoint: &str,
        #[case] target: &str,
        #[case] expected: &str,
    ) {
        let endpoint = Endpoint::new(&endpoint.parse().unwrap());
        let uri = endpoint.uri(target).unwrap();
        assert_eq!(uri.to_string(), expected);
        assert_eq!(uri.host(), endpoint.url().host_str());
    }
}
