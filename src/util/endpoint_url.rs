//! The base URL of an OpenStack service, without the API version that operators and catalogs
//! write behind it.

use url::Url;

/// `url` without a version as its last segment (`/v2`, `/v2.1/`) and without a slash at the end.
/// The root path stays `/`, as every URL has a path.
#[must_use]
pub fn without_version(mut url: Url) -> Url {
    let path = url.path().trim_end_matches('/');
    let path = match path.rsplit_once('/') {
        Some((before, last)) if is_version(last) => before,
        Some(_) | None => path,
    };
    let path = path.trim_end_matches('/').to_owned();
    url.set_path(&path);
    url
}

/// Whether a path segment is a version, such as `v2` or `v2.1`.
#[must_use]
pub fn is_version(segment: &str) -> bool {
    let Some(number) = segment.strip_prefix('v') else {
        return false;
    };
    let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
    [major, minor]
        .iter()
        .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("http://g:9292", "http://g:9292/")]
    #[case("http://g:9292/v2", "http://g:9292/")]
    #[case("http://g:9292/v2.9", "http://g:9292/")]
    #[case("http://g:9292/v2.16/", "http://g:9292/")]
    #[case("http://g/image//v1//", "http://g/image")]
    #[case("https://g/identity/v3", "https://g/identity")]
    #[case("http://g/v2image", "http://g/v2image")]
    #[case("http://g/v", "http://g/v")]
    #[case("http://g/v2.", "http://g/v2.")]
    #[case("http://g/v2/images", "http://g/v2/images")]
    fn only_a_version_at_the_end_is_stripped(#[case] url: &str, #[case] expected: &str) {
        let url = without_version(url.parse().unwrap());
        assert_eq!(url.as_str(), expected);
    }
}
