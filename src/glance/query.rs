//! Glance's URLs.

use crate::util::endpoint_url::without_version;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::collections::BTreeMap;
use std::fmt::Write;
use url::Url;

/// All but the unreserved characters: a path segment stays one segment, and a value one value.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'_')
    .remove(b'.')
    .remove(b'-')
    .remove(b'~');

/// The base URL of a Glance: scheme, host and path, without a version and without a trailing slash.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint(String);

impl Endpoint {
    /// Takes the URL from the settings or a catalog, with or without its version.
    #[must_use]
    pub fn new(url: &Url) -> Self {
        let base = without_version(url.clone());
        Self(base.as_str().trim_end_matches('/').to_owned())
    }

    /// The URL, without a trailing slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Scheme, host and port.
    #[must_use]
    pub fn origin(&self) -> &str {
        let after_scheme = self.0.find("://").map_or(0, |colon| colon + 3);
        let path = self.0.get(after_scheme..).and_then(|rest| rest.find('/'));
        let end = path.map_or(self.0.len(), |slash| after_scheme + slash);
        self.0.get(..end).unwrap_or(&self.0)
    }
}

/// The filters and bounds of a list, in Glance's terms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageQuery {
    /// Glance's filter names (base properties and additional ones) and their values.
    pub filters: BTreeMap<String, String>,
    /// Most images; `None` for all.
    pub limit: Option<u64>,
    /// Start after this image.
    pub marker: Option<String>,
}

impl ImageQuery {
    /// The path and query of one page of `page` images after `marker`.
    #[must_use]
    pub fn page(&self, page: u64, marker: Option<&str>) -> String {
        let mut path = format!("/v2/images?limit={page}");
        let marker = marker.map(|id| ("marker", id));
        let filters = self
            .filters
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in filters.chain(marker) {
            // Writing to a String cannot fail.
            let _ = write!(
                path,
                "&{}={}",
                utf8_percent_encode(name, ENCODED),
                utf8_percent_encode(value, ENCODED)
            );
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("http://g:9292", "http://g:9292")]
    #[case("http://g:9292/", "http://g:9292")]
    #[case("http://g:9292/v2/", "http://g:9292")]
    #[case("http://g:9292/v2.9", "http://g:9292")]
    #[case("https://cloud/image/v2", "https://cloud/image")]
    #[case("https://cloud/image//", "https://cloud/image")]
    #[case("http://g/v1/", "http://g")]
    #[case("http://g/image/v2.0//", "http://g/image")]
    #[case("http://g/v2x", "http://g/v2x")]
    #[case("http://g/v2.", "http://g/v2.")]
    #[case("http://g/v", "http://g/v")]
    #[case("http://v2", "http://v2")]
    fn an_endpoint_has_no_version_and_no_trailing_slash(#[case] url: &str, #[case] base: &str) {
        assert_eq!(Endpoint::new(&url.parse().unwrap()).as_str(), base);
    }

    #[rstest]
    #[case("http://g:9292", "http://g:9292")]
    #[case("https://cloud/image/p1", "https://cloud")]
    #[case("http://[::1]:80/image", "http://[::1]")]
    fn an_origin_is_an_endpoint_without_its_path(#[case] url: &str, #[case] origin: &str) {
        assert_eq!(Endpoint::new(&url.parse().unwrap()).origin(), origin);
    }

    #[test]
    fn a_page_carries_filters_and_marker_encoded() {
        let query = ImageQuery {
            filters: [
                ("key with".into(), "a&b=c".into()),
                ("name".into(), "ü".into()),
            ]
            .into(),
            ..ImageQuery::default()
        };
        assert_eq!(
            query.page(1000, Some("a b")),
            "/v2/images?limit=1000&key%20with=a%26b%3Dc&name=%C3%BC&marker=a%20b"
        );
    }
}
