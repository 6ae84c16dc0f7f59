//! The links in Nova's bodies.

use super::routes::ApiVersion;
use crate::config;
use url::Url;

/// The beginnings of a request's links.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LinkBase {
    /// `http://host/compute/v2.1[/project]`
    versioned: String,
    /// `http://host/compute[/project]`
    bookmark: String,
    /// `http://glance:9292`
    alternate: String,
}

impl LinkBase {
    /// The bases for a request to `root` (scheme, host and path prefix; see [`root`]).
    #[must_use]
    pub fn new(root: &str, api: ApiVersion, project: Option<&str>, glance: &str) -> Self {
        let project = project.map(|id| format!("/{id}")).unwrap_or_default();
        Self {
            versioned: format!("{root}/{}{project}", api.segment()),
            bookmark: format!("{root}{project}"),
            alternate: glance.to_owned(),
        }
    }

    /// The URL of `path` below the mount point of the request.
    #[must_use]
    pub fn own(&self, path: &str) -> String {
        format!("{}/{path}", self.versioned)
    }

    /// The URL of `path` without a version.
    #[must_use]
    pub fn bookmark(&self, path: &str) -> String {
        format!("{}/{path}", self.bookmark)
    }

    /// The URL of `path` in Glance.
    #[must_use]
    pub fn alternate(&self, path: &str) -> String {
        format!("{}/{path}", self.alternate)
    }
}

/// The root of compute links: scheme, host and path prefix of the request. As in Nova,
/// `nova.compute_link_prefix` replaces scheme and host, and the path prefix follows it.
#[must_use]
pub fn root(nova: &config::Nova, scheme: &str, host: &str, prefix: &str) -> String {
    match &nova.compute_link_prefix {
        Some(url) => format!("{}{prefix}", without_slash(url)),
        None => format!("{scheme}://{host}{prefix}"),
    }
}

/// The root of alternate links: `nova.glance_link_prefix`, or Glance's endpoint.
#[must_use]
pub fn glance_root(nova: &config::Nova, endpoint: &str) -> String {
    let Some(prefix) = &nova.glance_link_prefix else {
        return endpoint.trim_end_matches('/').to_owned();
    };
    // Nova appends the endpoint's path to the prefix.
    let path = Url::parse(endpoint)
        .map(|url| url.path().to_owned())
        .unwrap_or_default();
    format!("{}{}", without_slash(prefix), path.trim_end_matches('/'))
}

fn without_slash(url: &Url) -> &str {
    url.as_str().trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nova(compute: Option<&str>, glance: Option<&str>) -> config::Nova {
        config::Nova {
            compute_link_prefix: compute.map(|url| url.parse().unwrap()),
            glance_link_prefix: glance.map(|url| url.parse().unwrap()),
            ..config::Nova::default()
        }
    }

    #[test]
    fn links_echo_the_prefix_the_request_used() {
        let base = LinkBase::new(
            "http://h:1/compute",
            ApiVersion::V2,
            Some("p"),
            "http://g:9292",
        );
        assert_eq!(base.own("images/x"), "http://h:1/compute/v2/p/images/x");
        assert_eq!(base.bookmark("images/x"), "http://h:1/compute/p/images/x");
        assert_eq!(base.alternate("images/x"), "http://g:9292/images/x");
        let without = LinkBase::new("http://h", ApiVersion::V21, None, "http://g");
        assert_eq!(without.own("images/x"), "http://h/v2.1/images/x");
    }

    #[test]
    fn link_prefixes_replace_scheme_and_host_and_come_before_the_path() {
        let nova = nova(Some("https://pub/c/"), Some("https://img/i"));
        assert_eq!(root(&nova, "http", "h", ""), "https://pub/c");
        assert_eq!(
            root(&nova, "http", "h", "/compute"),
            "https://pub/c/compute"
        );
        assert_eq!(glance_root(&nova, "http://g:9292"), "https://img/i");
        assert_eq!(glance_root(&nova, "http://g/image"), "https://img/i/image");
    }

    #[test]
    fn without_prefixes_the_request_and_the_endpoint_speak() {
        let nova = nova(None, None);
        assert_eq!(
            root(&nova, "https", "h:1", "/compute"),
            "https://h:1/compute"
        );
        assert_eq!(glance_root(&nova, "http://g:9292"), "http://g:9292");
    }
}
