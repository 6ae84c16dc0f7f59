//! Paths. The first line is the method, the second the path prefix, the rest the raw path.

use nova_image_proxy::apis::nova::routes::{MatchedRoute, MountedRoute, Route, Target, parse};
use nova_image_proxy::glance::ImageId;
use percent_encoding::percent_decode_str;
use url::Url;

/// # Panics
/// The input breaks a rule.
pub fn holds(data: &[u8]) {
    let (method, rest) = super::first_line(data);
    let (prefix, path) = super::first_line(rest);
    let method = String::from_utf8_lossy(method);
    let prefix = String::from_utf8_lossy(prefix);
    let path = String::from_utf8_lossy(path);
    let route = parse(&method, &path, &prefix);
    if let Some(below) = path.strip_prefix(prefix.as_ref())
        && below.starts_with('/')
    {
        // A prefix only moves the routes, and runs of slashes count as one.
        assert_eq!(parse(&method, below, ""), route);
        assert_eq!(parse(&method, &below.replace('/', "//"), ""), route);
    }
    if let Route::Mounted(MountedRoute {
        project,
        target: Target::Operation(operation),
        ..
    }) = &route
    {
        let allowed = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-');
        assert!(
            project.iter().all(|project| project.bytes().all(allowed)),
            "{project:?}"
        );
        is_segments(&path, operation);
        stays_below_images(&operation.id);
    }
}

/// The id and the key are whole segments of the path, decoded once.
fn is_segments(path: &str, operation: &MatchedRoute<'_>) {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    let id = operation.id.as_ref();
    assert!(
        id.is_empty()
            || segments.any(|segment| percent_decode_str(segment).decode_utf8_lossy() == id),
        "{id:?} is no segment"
    );
    let key = operation.key.as_ref();
    let latin_1 = |segment: &str| {
        percent_decode_str(segment)
            .map(char::from)
            .collect::<String>()
    };
    assert!(
        key.is_empty() || segments.any(|segment| latin_1(segment) == key),
        "{key:?} is no segment behind the id"
    );
}

/// Whatever the id, Glance is asked about an image and about nothing else.
fn stays_below_images(id: &str) {
    if let Ok(id) = ImageId::parse(id) {
        let segment = id.path_segment();
        let text = format!("http://glance:9292/v2/images/{segment}");
        let url: Url = text.parse().expect("no URL");
        assert_eq!(url.as_str(), text);
        assert_eq!(url.path_segments().map(Iterator::count), Some(3));
        assert_eq!((url.query(), url.fragment()), (None, None));
        assert_eq!(percent_decode_str(segment).decode_utf8_lossy(), id.raw());
    }
}
