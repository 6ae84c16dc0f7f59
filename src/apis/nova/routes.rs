//! The router and its table: from a method and a raw path to a [`Route`], pure.
//!
//! The raw path is split before it is decoded, so that an encoded slash stays part of its segment:
//! an id is one segment, whatever it holds. Runs of slashes count as one, as in Nova (fog sends
//! `//`); a trailing slash is a different path. A known path with another method is a 404, never
//! a 405.

use super::labels::RouteLabel;
use super::microversion::MicroversionRange;
use crate::http::path_prefix;
use percent_encoding::percent_decode_str;
use smallvec::SmallVec;
use std::borrow::Cow;

/// Which of Nova's two mount points a request came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApiVersion {
    /// `/v2.1`: microversions and strict bodies.
    V21,
    /// `/v2`: the legacy API, without microversions and with relaxed bodies.
    V2,
}

impl ApiVersion {
    /// The path segment of this mount point.
    #[must_use]
    pub const fn segment(self) -> &'static str {
        match self {
            Self::V21 => "v2.1",
            Self::V2 => "v2",
        }
    }
}

/// What the gateway does with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `GET /images`
    ListImages,
    /// `GET /images/detail`
    DetailImages,
    /// `GET /images/{id}`
    ShowImage,
    /// `DELETE /images/{id}`
    DeleteImage,
    /// `GET /images/{id}/metadata`
    ListMetadata,
    /// `POST /images/{id}/metadata`
    CreateMetadata,
    /// `PUT /images/{id}/metadata`
    ReplaceMetadata,
    /// `GET /images/{id}/metadata/{key}`
    ShowMetadataItem,
    /// `PUT /images/{id}/metadata/{key}`
    UpdateMetadataItem,
    /// `DELETE /images/{id}/metadata/{key}`
    DeleteMetadataItem,
}

/// Everything about one route but its handler, which `dispatch.rs` calls by the typed request.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    method: &'static str,
    path: &'static [Segment],
    /// The operation.
    pub operation: Operation,
    /// The microversions that reach the route.
    pub microversions: MicroversionRange,
    /// Whether a body is read.
    pub takes_body: bool,
    /// The route in metrics and access log.
    pub label: RouteLabel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Segment {
    Is(&'static str),
    Id,
    Key,
}

use Segment::{Id, Is, Key};

const IMAGES: Segment = Is("images");
const METADATA: Segment = Is("metadata");

/// Every route. The first match wins.
#[rustfmt::skip]
const TABLE: &[Entry] = &[
    Entry { method: "GET",    path: &[IMAGES],                    operation: Operation::ListImages,         microversions: MicroversionRange::IMAGES,   takes_body: false, label: RouteLabel::Images },
    Entry { method: "GET",    path: &[IMAGES, Is("detail")],      operation: Operation::DetailImages,       microversions: MicroversionRange::IMAGES,   takes_body: false, label: RouteLabel::ImagesDetail },
    Entry { method: "GET",    path: &[IMAGES, Id],                operation: Operation::ShowImage,          microversions: MicroversionRange::IMAGES,   takes_body: false, label: RouteLabel::Image },
    Entry { method: "DELETE", path: &[IMAGES, Id],                operation: Operation::DeleteImage,        microversions: MicroversionRange::IMAGES,   takes_body: false, label: RouteLabel::Image },
    Entry { method: "GET",    path: &[IMAGES, Id, METADATA],      operation: Operation::ListMetadata,       microversions: MicroversionRange::METADATA, takes_body: false, label: RouteLabel::Metadata },
    Entry { method: "POST",   path: &[IMAGES, Id, METADATA],      operation: Operation::CreateMetadata,     microversions: MicroversionRange::METADATA, takes_body: true,  label: RouteLabel::Metadata },
    Entry { method: "PUT",    path: &[IMAGES, Id, METADATA],      operation: Operation::ReplaceMetadata,    microversions: MicroversionRange::METADATA, takes_body: true,  label: RouteLabel::Metadata },
    Entry { method: "GET",    path: &[IMAGES, Id, METADATA, Key], operation: Operation::ShowMetadataItem,   microversions: MicroversionRange::METADATA, takes_body: false, label: RouteLabel::MetadataItem },
    Entry { method: "PUT",    path: &[IMAGES, Id, METADATA, Key], operation: Operation::UpdateMetadataItem, microversions: MicroversionRange::METADATA, takes_body: true,  label: RouteLabel::MetadataItem },
    Entry { method: "DELETE", path: &[IMAGES, Id, METADATA, Key], operation: Operation::DeleteMetadataItem, microversions: MicroversionRange::METADATA, takes_body: false, label: RouteLabel::MetadataItem },
];

/// The route of an operation.
#[cfg(test)]
pub(super) fn entry(operation: Operation) -> &'static Entry {
    let mut table = TABLE.iter();
    table.find(|entry| entry.operation == operation).unwrap()
}

/// One route of the table, with the texts of its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchedRoute<'p> {
    /// The route.
    pub entry: &'static Entry,
    /// The image's id as the client wrote it, decoded; empty for lists.
    pub id: Cow<'p, str>,
    /// The metadata key, decoded; empty where the path has none.
    pub key: Cow<'p, str>,
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route<'p> {
    /// `/`: all versions. No token, no version headers.
    Versions,
    /// `/v2.1` or `/v2`: one version. No token.
    Version(ApiVersion),
    /// `OPTIONS` on anything else: an empty 200. No token.
    Options,
    /// Any other first segment: 300 with the versions to choose from; the path, decoded, with
    /// single slashes and none at its end.
    Choices(String),
    /// A path outside `server.path_prefix`.
    OutsidePrefix,
    /// Below a mount point; needs a token before anything else is told.
    Mounted(MountedRoute<'p>),
}

impl Route<'_> {
    /// Whether it is one of the image API's own routes.
    #[must_use]
    pub fn is_operation(&self) -> bool {
        match self {
            Self::Mounted(mounted) => matches!(mounted.target, Target::Operation(_)),
            Self::Versions
            | Self::Version(_)
            | Self::Options
            | Self::Choices(_)
            | Self::OutsidePrefix => false,
        }
    }
}

/// A route below `/v2.1` or `/v2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountedRoute<'p> {
    /// The mount point.
    pub api: ApiVersion,
    /// The project segment, when the path has one.
    pub project: Option<Cow<'p, str>>,
    /// The rest of the path.
    pub target: Target<'p>,
}

/// What a path below a mount point names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target<'p> {
    /// A route of the table.
    Operation(MatchedRoute<'p>),
    /// `/v2.1/{project_id}/`: the version document again.
    Version,
    /// No such route.
    NotFound,
}

/// Finds the route of `method` and the raw, still encoded `path`, under `prefix` (empty, or
/// `/compute`).
#[must_use]
pub fn parse<'p>(method: &str, path: &'p str, prefix: &str) -> Route<'p> {
    let Some(path) = path_prefix::strip(path, prefix) else {
        return if method == "OPTIONS" {
            Route::Options
        } else {
            Route::OutsidePrefix
        };
    };
    let encoding = Encoding::of(path);
    let segments = segments(path);
    let Some((&first, rest)) = segments.split_first() else {
        return Route::Versions;
    };
    let api = match encoding.decode(first).as_ref() {
        "v2.1" => ApiVersion::V21,
        "v2" => ApiVersion::V2,
        _ if method == "OPTIONS" => return Route::Options,
        _ => {
            let path = format!("/{}", segments.join("/"));
            return Route::Choices(encoding.decode(&path).into_owned());
        }
    };
    if rest.is_empty() {
        return Route::Version(api);
    }
    if method == "OPTIONS" {
        return Route::Options;
    }
    let (project, target) = below(method, rest, path.ends_with('/'), encoding);
    Route::Mounted(MountedRoute {
        api,
        project,
        target,
    })
}

fn below<'p>(
    method: &str,
    segments: &[&'p str],
    trailing_slash: bool,
    encoding: Encoding,
) -> (Option<Cow<'p, str>>, Target<'p>) {
    let (project, rest) = match segments.split_first() {
        Some((&first, rest)) if is_project(&encoding.decode(first)) => {
            (Some(encoding.decode(first)), rest)
        }
        _ => (None, segments),
    };
    let target = match (rest.is_empty(), trailing_slash) {
        (true, true) if method == "GET" => Target::Version,
        (true, _) | (false, true) => Target::NotFound,
        (false, false) => TABLE
            .iter()
            .find_map(|entry| entry.matches(method, rest, encoding))
            .map_or(Target::NotFound, Target::Operation),
    };
    (project, target)
}

/// What Nova's routes take for a project id, decoded; anything else in that place is no route.
fn is_project(segment: &str) -> bool {
    segment
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'))
}

impl Entry {
    fn matches<'p>(
        &'static self,
        method: &str,
        segments: &[&'p str],
        encoding: Encoding,
    ) -> Option<MatchedRoute<'p>> {
        if self.method != method || self.path.len() != segments.len() {
            return None;
        }
        let mut matched = MatchedRoute {
            entry: self,
            id: Cow::Borrowed(""),
            key: Cow::Borrowed(""),
        };
        for (pattern, &segment) in self.path.iter().zip(segments) {
            match pattern {
                Is(literal) if encoding.decode(segment) == *literal => {}
                Is(_) => return None,
                Id => matched.id = encoding.decode(segment),
                Key => matched.key = encoding.decode_key(segment),
            }
        }
        Some(matched)
    }
}

/// The parts of a path between its slashes, but for empty ones.
fn segments(path: &str) -> SmallVec<[&str; 8]> {
    let mut start = 0;
    memchr::memchr_iter(b'/', path.as_bytes())
        .chain([path.len()])
        .filter_map(|end| {
            let segment = path.get(start..end);
            start = end + 1;
            segment.filter(|segment| !segment.is_empty())
        })
        .collect()
}

/// Whether anything in a path has to be decoded, which is seldom: looked up once for all of it.
#[derive(Clone, Copy)]
enum Encoding {
    Plain,
    Percent,
}

impl Encoding {
    fn of(path: &str) -> Self {
        match memchr::memchr(b'%', path.as_bytes()) {
            Some(_) => Self::Percent,
            None => Self::Plain,
        }
    }

    fn decode(self, segment: &str) -> Cow<'_, str> {
        match self {
            Self::Plain => Cow::Borrowed(segment),
            Self::Percent => percent_decode_str(segment).decode_utf8_lossy(),
        }
    }

    /// Nova reads the bytes of a key in a path as Latin-1, so a key beyond ASCII is never found by
    /// its path, only by reading all metadata.
    fn decode_key(self, segment: &str) -> Cow<'_, str> {
        match self {
            Self::Plain if segment.is_ascii() => Cow::Borrowed(segment),
            Self::Plain | Self::Percent => {
                Cow::Owned(percent_decode_str(segment).map(char::from).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn operation(method: &str, path: &str) -> Option<Operation> {
        match parse(method, path, "") {
            Route::Mounted(MountedRoute {
                target: Target::Operation(operation),
                ..
            }) => Some(operation.entry.operation),
            _ => None,
        }
    }

    #[rstest]
    #[case("GET", "/images", Operation::ListImages)]
    #[case("GET", "/images/detail", Operation::DetailImages)]
    #[case("GET", "/images/x", Operation::ShowImage)]
    #[case("GET", "/images/DETAIL", Operation::ShowImage)]
    #[case("DELETE", "/images/x", Operation::DeleteImage)]
    #[case("DELETE", "/images/detail", Operation::DeleteImage)]
    #[case("GET", "/images/x/metadata", Operation::ListMetadata)]
    #[case("GET", "/images/detail/metadata", Operation::ListMetadata)]
    #[case("POST", "/images/x/metadata", Operation::CreateMetadata)]
    #[case("PUT", "/images/x/metadata", Operation::ReplaceMetadata)]
    #[case("GET", "/images/x/metadata/k", Operation::ShowMetadataItem)]
    #[case("PUT", "/images/x/metadata/k", Operation::UpdateMetadataItem)]
    #[case("DELETE", "/images/x/metadata/k", Operation::DeleteMetadataItem)]
    #[case("GET", "//images//x///metadata", Operation::ListMetadata)]
    #[case("GET", "/%69mages", Operation::ListImages)]
    fn every_operation_has_its_path_under_all_prefixes(
        #[case] method: &str,
        #[case] path: &str,
        #[case] expected: Operation,
    ) {
        for prefix in [
            "/v2.1",
            "/v2",
            "/v2.1/0123456789abcdef",
            "/v2/a-b",
            "/v2.1/%61",
        ] {
            assert_eq!(
                operation(method, &format!("{prefix}{path}")),
                Some(expected),
                "{prefix}"
            );
        }
    }

    #[rstest]
    #[case("GET", "/v2.1/images/")]
    #[case("GET", "/v2.1/images/x/")]
    #[case("GET", "/v2.1/images/x/nonsense")]
    #[case("GET", "/v2.1/images/x/metadata/k/l")]
    #[case("GET", "/v2.1/images.json")]
    #[case("GET", "/v2.1/Images")]
    #[case("GET", "/v2.1/not-a-project/images")]
    #[case("GET", "/v2.1/ABC/images")]
    #[case("GET", "/v2.1/abc")]
    #[case("GET", "/v2.1/abc/abc/images")]
    #[case("GET", "/v2.1/%67/images")]
    #[case("POST", "/v2.1/abc/")]
    #[case("HEAD", "/v2.1/abc/")]
    #[case("HEAD", "/v2.1/images")]
    #[case("PATCH", "/v2.1/images")]
    #[case("DELETE", "/v2.1/images")]
    #[case("get", "/v2.1/images")]
    fn everything_else_below_a_mount_point_is_not_found(#[case] method: &str, #[case] path: &str) {
        let route = parse(method, path, "");
        assert!(
            matches!(
                route,
                Route::Mounted(MountedRoute {
                    target: Target::NotFound,
                    ..
                })
            ),
            "{route:?}"
        );
    }

    #[rstest]
    #[case("GET", "/", Route::Versions)]
    #[case("OPTIONS", "//", Route::Versions)]
    #[case("GET", "/v2.1", Route::Version(ApiVersion::V21))]
    #[case("DELETE", "/v2.1/", Route::Version(ApiVersion::V21))]
    #[case("OPTIONS", "/v2/", Route::Version(ApiVersion::V2))]
    #[case("OPTIONS", "/v2.1/images", Route::Options)]
    #[case("OPTIONS", "/v3", Route::Options)]
    #[case("GET", "/v2.10/images", Route::Choices("/v2.10/images".into()))]
    #[case("GET", "/images", Route::Choices("/images".into()))]
    #[case("GET", "//v3//a/", Route::Choices("/v3/a".into()))]
    fn the_top_level_needs_no_token(
        #[case] method: &str,
        #[case] path: &str,
        #[case] route: Route<'static>,
    ) {
        assert_eq!(parse(method, path, ""), route);
    }

    #[test]
    fn a_project_with_a_trailing_slash_is_the_version_document() {
        assert_eq!(
            parse("GET", "/v2.1/abc/", ""),
            Route::Mounted(MountedRoute {
                api: ApiVersion::V21,
                project: Some("abc".into()),
                target: Target::Version,
            })
        );
    }

    #[rstest]
    #[case("/v2.1/images/a%2Fb", "a/b")]
    #[case("/v2.1/images/%2e%2e", "..")]
    #[case("/v2.1/images/..", "..")]
    #[case("/v2.1/images/a%3Fb", "a?b")]
    #[case("/v2.1/images/%", "%")]
    #[case("/v2.1/images/%ff", "\u{fffd}")]
    #[case("/v2.1/images/a+b", "a+b")]
    fn an_id_is_one_segment_decoded_once(#[case] path: &str, #[case] id: &str) {
        let Route::Mounted(MountedRoute {
            target: Target::Operation(operation),
            ..
        }) = parse("GET", path, "")
        else {
            panic!("not an operation");
        };
        assert_eq!(
            (operation.entry.operation, operation.id.as_ref()),
            (Operation::ShowImage, id)
        );
    }

    #[rstest]
    #[case("ns%3Akey", "ns:key")]
    #[case("key%20with", "key with")]
    #[case("key+with", "key+with")]
    #[case("%C3%BC", "Ã¼")]
    fn a_key_is_read_byte_for_byte(#[case] segment: &str, #[case] key: &str) {
        let path = format!("/v2.1/images/x/metadata/{segment}");
        let Route::Mounted(MountedRoute {
            target: Target::Operation(operation),
            ..
        }) = parse("GET", &path, "")
        else {
            panic!("not an operation");
        };
        assert_eq!(operation.key, key);
    }

    #[rstest]
    #[case("/compute", Route::Versions)]
    #[case("/compute/", Route::Versions)]
    #[case("/compute/v2", Route::Version(ApiVersion::V2))]
    #[case("/v2", Route::OutsidePrefix)]
    #[case("/computer/v2", Route::OutsidePrefix)]
    #[case("/", Route::OutsidePrefix)]
    fn the_path_prefix_is_part_of_every_route(#[case] path: &str, #[case] route: Route<'static>) {
        assert_eq!(parse("GET", path, "/compute"), route);
    }

    proptest! {
        #[test]
        fn any_path_has_a_route(method in "[A-Z]{0,8}", path in "\\PC*") {
            let _ = parse(&method, &path, "");
        }

        #[test]
        fn no_id_spans_segments(id in "[^/]{1,40}") {
            let path = format!("/v2.1/images/{id}");
            if let Route::Mounted(MountedRoute { target: Target::Operation(operation), .. }) =
                parse("DELETE", &path, "")
            {
                prop_assert_eq!(operation.entry.operation, Operation::DeleteImage);
                prop_assert_eq!(operation.id, percent_decode_str(&id).decode_utf8_lossy());
            }
        }
    }
}
