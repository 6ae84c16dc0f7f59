//! The metric labels of a request.

use super::labels::{RouteLabel, VersionLabel};
use super::microversion::{Microversion, MicroversionRange};
use super::routes::{ApiVersion, Route, Target};

/// The template of a path.
#[must_use]
pub fn route(route: &Route<'_>) -> RouteLabel {
    match route {
        Route::Versions => RouteLabel::Root,
        Route::Version(_) => RouteLabel::Version,
        Route::Options => RouteLabel::Options,
        Route::Choices(_) => RouteLabel::Unversioned,
        Route::OutsidePrefix => RouteLabel::Unknown,
        Route::Mounted(mounted) => match &mounted.target {
            Target::Version => RouteLabel::Version,
            Target::NotFound => RouteLabel::Unknown,
            Target::Operation(matched) => matched.entry.label,
        },
    }
}

/// The family of a negotiated version.
#[must_use]
pub fn version(api: ApiVersion, version: Microversion) -> VersionLabel {
    match api {
        ApiVersion::V2 => VersionLabel::V2,
        ApiVersion::V21 if MicroversionRange::IMAGES.serves(version) => VersionLabel::Images,
        ApiVersion::V21 if MicroversionRange::METADATA.serves(version) => VersionLabel::Metadata,
        ApiVersion::V21 => VersionLabel::Removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apis::nova::routes::parse;
    use rstest::rstest;

    #[rstest]
    #[case("GET", "/", "/")]
    #[case("GET", "/v2.1/", "/{version}")]
    #[case("GET", "/v2.1/abc/", "/{version}")]
    #[case("GET", "/v2/images", "/images")]
    #[case("GET", "/v2.1/abc/images/detail", "/images/detail")]
    #[case("DELETE", "/v2.1/images/detail", "/images/{image_id}")]
    #[case("PUT", "/v2.1/images/x/metadata", "/images/{image_id}/metadata")]
    #[case(
        "GET",
        "/v2.1/images/x/metadata/{key}",
        "/images/{image_id}/metadata/{key}"
    )]
    #[case("GET", "/v3", "unversioned")]
    #[case("OPTIONS", "/v2.1/images", "options")]
    #[case("PATCH", "/v2.1/images/x", "unknown")]
    fn a_path_counts_as_its_template(
        #[case] method: &str,
        #[case] path: &str,
        #[case] template: &str,
    ) {
        assert_eq!(route(&parse(method, path, "")).as_str(), template);
    }

    #[rstest]
    #[case(ApiVersion::V2, 1, "v2")]
    #[case(ApiVersion::V21, 35, "2.1-2.35")]
    #[case(ApiVersion::V21, 36, "2.36-2.38")]
    #[case(ApiVersion::V21, 39, "2.39+")]
    #[case(ApiVersion::V21, 104, "2.39+")]
    fn a_version_counts_as_what_it_reaches(
        #[case] api: ApiVersion,
        #[case] minor: u64,
        #[case] family: &str,
    ) {
        assert_eq!(version(api, Microversion::new(2, minor)).as_str(), family);
    }
}
