//! `Accept` and `Content-Type`, as far as Nova looks at them.

use super::routes::ApiVersion;
use crate::apis::webob::PageFormat;
use actix_web::http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

/// Nova's own media type, answered only to clients that ask for it.
const COMPUTE: &str = "application/vnd.openstack.compute+json";
const JSON: &str = "application/json";
const COMPUTE_TYPE: HeaderValue = HeaderValue::from_static(COMPUTE);
/// What nearly everything is.
pub const JSON_TYPE: HeaderValue = HeaderValue::from_static(JSON);

struct MediaRange<'h> {
    mask: &'h str,
    quality: Option<f32>,
    version: Option<&'h str>,
    has_parameters: bool,
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn ranges(accept: &str) -> impl Iterator<Item = MediaRange<'_>> {
    accept.split(',').map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let mut media = MediaRange {
            mask: parts.next().unwrap_or_default(),
            quality: Some(1.0),
            version: None,
            has_parameters: false,
        };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name.trim() {
                "q" => media.quality = value.trim().parse().ok(),
                "version" => {
                    media.version = Some(value.trim().trim_matches('"'));
                    media.has_parameters = true;
                }
                _ => media.has_parameters = true,
            }
        }
        media
    })
}

fn covers(mask: &str, media_type: &str) -> bool {
    mask == media_type
        || mask == "*/*"
        || mask.strip_suffix("/*").is_some_and(|major| {
            media_type
                .split_once('/')
                .is_some_and(|(of_type, _)| of_type == major)
        })
}

/// Nova's best match among its two media types: the higher quality, then the fewer wildcards, then
/// the first. An `Accept` that covers neither still gets JSON.
fn best<'h>(accept: &'h str) -> Option<(&'static str, MediaRange<'h>)> {
    let mut best: Option<(&'static str, MediaRange<'h>)> = None;
    for media_type in [JSON, COMPUTE] {
        for range in ranges(accept) {
            let Some(quality) = range.quality else {
                continue;
            };
            let stars = |mask: &str| mask.matches('*').count();
            let better = best.as_ref().is_none_or(|(_, current)| {
                let current_quality = current.quality.unwrap_or_default();
                quality > current_quality
                    || (quality.total_cmp(&current_quality).is_eq()
                        && stars(range.mask) < stars(current.mask))
            });
            if better && covers(range.mask, media_type) {
                best = Some((media_type, range));
            }
        }
    }
    best
}

/// The content type of a successful answer.
#[must_use]
pub fn success_type(headers: &HeaderMap) -> HeaderValue {
    let accept = headers.get(ACCEPT);
    let media_type = accept
        // What nearly every client sends needs no weighing.
        .filter(|accept| !matches!(accept.as_bytes(), b"application/json" | b"*/*"))
        .and_then(|accept| Some(best(accept.to_str().ok()?)?.0));
    match media_type {
        Some(COMPUTE) => COMPUTE_TYPE,
        Some(_) | None => JSON_TYPE,
    }
}

/// Whether Nova reads a body of this request's content type. Nova checks it even where it reads no
/// body, compares case-sensitively, and takes some types for none.
#[must_use]
pub fn is_supported_content_type(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return true;
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    matches!(
        text.split(';').next().unwrap_or_default(),
        "" | "text/plain" | JSON | COMPUTE
    )
}

/// An API version asked for by media type, which counts where the path names none.
#[must_use]
pub fn version(headers: &HeaderMap) -> Option<ApiVersion> {
    let of_type = text(headers, CONTENT_TYPE).and_then(|value| ranges(value).next()?.version);
    let asked = of_type.or_else(|| best(text(headers, ACCEPT)?)?.1.version)?;
    match asked {
        "2" => Some(ApiVersion::V2),
        "2.1" => Some(ApiVersion::V21),
        _ => None,
    }
}

/// The format of an error page for a client. Without `Accept` that is plain text; an `Accept` that
/// cannot be read counts as one for everything.
#[must_use]
pub fn page(headers: &HeaderMap) -> PageFormat {
    let Some(value) = headers.get(ACCEPT) else {
        return PageFormat::Plain;
    };
    let accept = value.to_str().unwrap_or("?").to_ascii_lowercase();
    if !is_accept(&accept) {
        return PageFormat::Html;
    }
    let quality = |media_type: &str| {
        ranges(&accept)
            .filter(|range| !range.has_parameters && covers(range.mask, media_type))
            .min_by_key(|range| range.mask.matches('*').count())
            .and_then(|range| range.quality)
            .unwrap_or(0.0)
    };
    let (html, json) = (quality("text/html"), quality(JSON));
    if html > 0.0 && html >= json {
        PageFormat::Html
    } else if json > 0.0 {
        PageFormat::Json
    } else {
        PageFormat::Plain
    }
}

/// Whether every entry is `type/subtype` and every weight a number from 0 to 1 as HTTP writes it.
fn is_accept(accept: &str) -> bool {
    let entries = accept.split(',').map(str::trim);
    entries.filter(|entry| !entry.is_empty()).all(|entry| {
        let mut parts = entry.split(';').map(str::trim);
        let media_type = parts.next().and_then(|media| media.split_once('/'));
        media_type.is_some_and(|(major, minor)| is_token(major) && is_token(minor))
            && parts
                .filter_map(|part| part.strip_prefix("q="))
                .all(is_weight)
    })
}

fn is_token(text: &str) -> bool {
    let is_mark = |b: u8| b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || is_mark(b))
}

fn is_weight(text: &str) -> bool {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let allowed = match whole {
        "0" => b'0'..=b'9',
        "1" => b'0'..=b'0',
        _ => return false,
    };
    decimals.len() <= 3 && decimals.bytes().all(|b| allowed.contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;
    use rstest::rstest;

    fn with(name: &str, value: &str) -> HeaderMap {
        TestRequest::default()
            .insert_header((name, value))
            .to_http_request()
            .headers()
            .clone()
    }

    #[rstest]
    #[case("application/json", JSON)]
    #[case(COMPUTE, COMPUTE)]
    #[case("application/vnd.openstack.compute+json;version=2.1", COMPUTE)]
    #[case("*/*", JSON)]
    #[case("application/*", JSON)]
    #[case("application/*, application/vnd.openstack.compute+json", COMPUTE)]
    #[case(
        "application/json;q=0.5, application/vnd.openstack.compute+json",
        COMPUTE
    )]
    #[case("application/xml", JSON)]
    #[case("application/json;q=x", JSON)]
    #[case("", JSON)]
    fn success_is_json_or_nova_s_own_type(#[case] accept: &str, #[case] media_type: &str) {
        assert_eq!(success_type(&with("Accept", accept)), media_type);
    }

    #[rstest]
    #[case("application/json", true)]
    #[case("application/json; charset=latin-1", true)]
    #[case("application/JSON", false)]
    #[case("application/json ; charset=utf-8", false)]
    #[case("application/vnd.openstack.compute+json;version=2", true)]
    #[case("text/plain", true)]
    #[case("", true)]
    #[case("text/json", false)]
    #[case("application/xml", false)]
    #[case("*/*", false)]
    #[case("garbage", false)]
    fn nova_reads_these_content_types(#[case] value: &str, #[case] good: bool) {
        assert_eq!(
            is_supported_content_type(&with("Content-Type", value)),
            good
        );
    }

    #[rstest]
    #[case("Accept", "application/json;version=2", Some(ApiVersion::V2))]
    #[case("Accept", "application/json;version=2.1", Some(ApiVersion::V21))]
    #[case("Accept", "application/json;version=3", None)]
    #[case("Accept", "text/html;version=2.1", None)]
    #[case("Content-Type", "application/json;version=2", Some(ApiVersion::V2))]
    #[case("X-Other", "application/json;version=2", None)]
    fn a_media_type_can_name_a_version(
        #[case] name: &str,
        #[case] value: &str,
        #[case] api: Option<ApiVersion>,
    ) {
        assert_eq!(version(&with(name, value)), api);
    }

    #[rstest]
    #[case("", PageFormat::Plain)]
    #[case("text/plain", PageFormat::Plain)]
    #[case("image/png", PageFormat::Plain)]
    #[case("application/xml", PageFormat::Plain)]
    #[case("application/json;q=0", PageFormat::Plain)]
    #[case("text/html", PageFormat::Html)]
    #[case("*/*", PageFormat::Html)]
    #[case("garbage", PageFormat::Html)]
    #[case("a/b/c", PageFormat::Html)]
    #[case("application/json;q=x", PageFormat::Html)]
    #[case("application/json;q=1.5", PageFormat::Html)]
    #[case("application/json;q=0.0001", PageFormat::Html)]
    #[case(",", PageFormat::Plain)]
    #[case("APPLICATION/JSON", PageFormat::Json)]
    #[case("application/json;q=1.000", PageFormat::Json)]
    #[case("application/json", PageFormat::Json)]
    #[case("application/*", PageFormat::Json)]
    #[case("application/json, */*;q=0.5", PageFormat::Json)]
    #[case("application/xml, application/json;q=0.5", PageFormat::Json)]
    fn an_error_page_is_written_as_asked(#[case] accept: &str, #[case] expected: PageFormat) {
        assert_eq!(page(&with("Accept", accept)), expected);
    }
}
