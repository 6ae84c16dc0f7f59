//! The route table of the v1 API: method and raw path to a route. Pure.
//!
//! A path is split at its slashes before a segment is decoded, double slashes count as one, and a
//! trailing slash is a segment of its own, which no route has. A known path with another method is
//! a 405 with `Allow`; Glance's own `Allow` values are kept, odd ones included.

use percent_encoding::percent_decode_str;

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `OPTIONS` of anything: an empty 200 without a token.
    Options,
    /// `/healthcheck`
    Healthcheck,
    /// `/versions`, with 200.
    Versions,
    /// `/` and every first segment that is no version: the same document with 300.
    VersionChoices,
    /// A path of another version (`/v2…`), which this API does not answer.
    OtherVersion,
    /// Below `/v1`, `/v1.0` or `/v1.1`; needs a token before anything else is told.
    V1(Target),
}

/// What a path below a version names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `/v1`: a redirect to `/v1/`.
    Root,
    /// `GET images`, and `/v1/` with any method.
    ListImages,
    /// `GET images/detail`
    DetailImages,
    /// `POST images`
    CreateImage,
    /// `HEAD images/{id}`
    ShowMetadata(String),
    /// `GET images/{id}`
    Download(String),
    /// `PUT images/{id}`
    UpdateImage(String),
    /// `DELETE images/{id}`
    DeleteImage(String),
    /// `GET images/{id}/members`
    ListMembers(String),
    /// `PUT images/{id}/members`
    ReplaceMembers(String),
    /// `PUT images/{id}/members/{member}`
    AddMember {
        /// The image.
        image: String,
        /// The member.
        member: String,
    },
    /// `DELETE images/{id}/members/{member}`
    RemoveMember {
        /// The image.
        image: String,
        /// The member.
        member: String,
    },
    /// `shared-images/{tenant}` with any method.
    SharedImages(String),
    /// A segment that is not UTF-8.
    Undecodable,
    /// A known path with another method. `allow` is empty where Glance sends no `Allow`.
    MethodNotAllowed {
        /// The value of `Allow`.
        allow: &'static str,
    },
    /// No such route.
    NotFound,
}

impl Route {
    /// The route's template, as metrics and logs name it.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Options => "options",
            Self::Healthcheck => "/healthcheck",
            Self::Versions | Self::VersionChoices => "/versions",
            Self::OtherVersion => "unknown",
            Self::V1(target) => target.label(),
        }
    }
}

impl Target {
    /// The route's template.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Root => "/v1",
            Self::ListImages | Self::CreateImage => "/v1/images",
            Self::DetailImages => "/v1/images/detail",
            Self::ShowMetadata(_)
            | Self::Download(_)
            | Self::UpdateImage(_)
            | Self::DeleteImage(_) => "/v1/images/{image_id}",
            Self::ListMembers(_) | Self::ReplaceMembers(_) => "/v1/images/{image_id}/members",
            Self::AddMember { .. } | Self::RemoveMember { .. } => {
                "/v1/images/{image_id}/members/{member_id}"
            }
            Self::SharedImages(_) => "/v1/shared-images/{tenant_id}",
            Self::Undecodable | Self::MethodNotAllowed { .. } | Self::NotFound => "unknown",
        }
    }
}

/// Finds the route of `method` and the raw `path`, which begins after `image.path_prefix`.
/// `accepts_v1` says that the client's `Accept` names this version, which counts where the path
/// names none.
#[must_use]
pub fn parse(method: &str, path: &str, accepts_v1: bool) -> Route {
    if method == "OPTIONS" {
        return Route::Options;
    }
    let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let ends_with_slash = path.ends_with('/');
    match segments.split_first() {
        Some((&"healthcheck", [])) => Route::Healthcheck,
        Some((&"versions", [])) => Route::Versions,
        Some((&("v1" | "v1.0" | "v1.1"), [])) if !ends_with_slash => Route::V1(Target::Root),
        Some((&("v1" | "v1.0" | "v1.1"), rest)) => {
            Route::V1(below(method, rest, ends_with_slash && !rest.is_empty()))
        }
        Some((
            &("v2" | "v2.0" | "v2.1" | "v2.2" | "v2.3" | "v2.4" | "v2.5" | "v2.6" | "v2.7"),
            _,
        )) => Route::OtherVersion,
        Some((first, _)) if is_later_v2(first) => Route::OtherVersion,
        Some(_) if accepts_v1 => Route::V1(below(method, &segments, ends_with_slash)),
        None if accepts_v1 => Route::V1(below(method, &[], false)),
        Some(_) | None => Route::VersionChoices,
    }
}

/// `v2.N` for any number, so that versions of later Glances are not mistaken for no version.
fn is_later_v2(segment: &str) -> bool {
    segment
        .strip_prefix("v2.")
        .is_some_and(|minor| !minor.is_empty() && minor.bytes().all(|b| b.is_ascii_digit()))
}

fn below(method: &str, segments: &[&str], ends_with_slash: bool) -> Target {
    let mut decoded = Vec::with_capacity(segments.len());
    for segment in segments {
        match percent_decode_str(segment).decode_utf8() {
            Ok(text) => decoded.push(text.into_owned()),
            Err(_) => return Target::Undecodable,
        }
    }
    let parts: Vec<&str> = decoded.iter().map(String::as_str).collect();
    let has_slash_inside = parts.iter().any(|part| part.contains('/'));
    if has_slash_inside || (ends_with_slash && !parts.is_empty()) {
        return Target::NotFound;
    }
    let not_allowed = |allow| Target::MethodNotAllowed { allow };
    match (parts.as_slice(), method) {
        ([], _) | (["images"], "GET") => Target::ListImages,
        (["images"], "POST") => Target::CreateImage,
        (["images"], _) => not_allowed("GET, POST"),
        (["images", "detail"], "GET") => Target::DetailImages,
        (["images", "detail"], "HEAD") => not_allowed("GET"),
        (["images", "detail"], _) => not_allowed("GET, HEAD"),
        (["images", id], "HEAD") => Target::ShowMetadata((*id).to_owned()),
        (["images", id], "GET") => Target::Download((*id).to_owned()),
        (["images", id], "PUT") => Target::UpdateImage((*id).to_owned()),
        (["images", id], "DELETE") => Target::DeleteImage((*id).to_owned()),
        (["images", _], _) => not_allowed("GET, HEAD, PUT, DELETE"),
        (["images", id, "members"], "GET") => Target::ListMembers((*id).to_owned()),
        (["images", id, "members"], "PUT") => Target::ReplaceMembers((*id).to_owned()),
        (["images", _, "members"], _) => not_allowed("GET, PUT"),
        (["images", image, "members", member], "PUT") => Target::AddMember {
            image: (*image).to_owned(),
            member: (*member).to_owned(),
        },
        (["images", image, "members", member], "DELETE") => Target::RemoveMember {
            image: (*image).to_owned(),
            member: (*member).to_owned(),
        },
        (["images", _, "members", _], "GET") => not_allowed(""),
        (["images", _, "members", _], _) => not_allowed("GET, PUT, DELETE"),
        (["shared-images", tenant], _) => Target::SharedImages((*tenant).to_owned()),
        _ => Target::NotFound,
    }
}

/// Whether an `Accept` asks for this version by its media type.
#[must_use]
pub fn accepts_v1(accept: &str) -> bool {
    matches!(
        accept.strip_prefix("application/vnd.openstack.images-"),
        Some("v1" | "v1.0" | "v1.1")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn target(method: &str, path: &str) -> Target {
        match parse(method, path, false) {
            Route::V1(target) => target,
            other => panic!("{other:?}"),
        }
    }

    #[rstest]
    #[case("GET", "/v1/images", Target::ListImages)]
    #[case("GET", "/v1.0/images", Target::ListImages)]
    #[case("GET", "/v1.1//images", Target::ListImages)]
    #[case("DELETE", "/v1/", Target::ListImages)]
    #[case("POST", "/v1/images", Target::CreateImage)]
    #[case("GET", "/v1", Target::Root)]
    #[case("PUT", "/v1", Target::Root)]
    #[case("GET", "/v1/images/detail", Target::DetailImages)]
    #[case("HEAD", "/v1/images/detail", Target::MethodNotAllowed { allow: "GET" })]
    #[case("HEAD", "/v1/images/a", Target::ShowMetadata("a".to_owned()))]
    #[case("GET", "/v1/images/a%20b", Target::Download("a b".to_owned()))]
    #[case("GET", "/v1/images/a.json", Target::Download("a.json".to_owned()))]
    #[case("PATCH", "/v1/images/a", Target::MethodNotAllowed { allow: "GET, HEAD, PUT, DELETE" })]
    #[case("GET", "/v1/images/a/", Target::NotFound)]
    #[case("GET", "/v1/images/a%2Fb", Target::NotFound)]
    #[case("GET", "/v1/images/%ff", Target::Undecodable)]
    #[case("GET", "/v1/images/a/members/b", Target::MethodNotAllowed { allow: "" })]
    #[case("POST", "/v1/images/a/members/b", Target::MethodNotAllowed { allow: "GET, PUT, DELETE" })]
    #[case("POST", "/v1/shared-images/x", Target::SharedImages("x".to_owned()))]
    #[case("GET", "/v1/shared-images", Target::NotFound)]
    #[case("GET", "/v1/images.json", Target::NotFound)]
    #[case("GET", "/v1/cached_images", Target::NotFound)]
    fn a_path_below_the_version_has_its_target(
        #[case] method: &str,
        #[case] path: &str,
        #[case] expected: Target,
    ) {
        assert_eq!(target(method, path), expected);
    }

    #[rstest]
    #[case("GET", "/", Route::VersionChoices)]
    #[case("POST", "/versions/", Route::Versions)]
    #[case("GET", "/v3", Route::VersionChoices)]
    #[case("GET", "/v1.2", Route::VersionChoices)]
    #[case("GET", "/images", Route::VersionChoices)]
    #[case("GET", "/v2/images", Route::OtherVersion)]
    #[case("GET", "/v2.17/images", Route::OtherVersion)]
    #[case("GET", "/healthcheck", Route::Healthcheck)]
    #[case("OPTIONS", "/v1/images", Route::Options)]
    fn a_path_without_the_version_needs_no_token(
        #[case] method: &str,
        #[case] path: &str,
        #[case] expected: Route,
    ) {
        assert_eq!(parse(method, path, false), expected);
    }

    #[test]
    fn a_media_type_can_name_the_version() {
        assert!(accepts_v1("application/vnd.openstack.images-v1.1"));
        assert!(!accepts_v1("application/vnd.openstack.images-v9"));
        assert!(!accepts_v1("application/vnd.openstack.images-v1+json"));
        assert_eq!(parse("GET", "/images", true), Route::V1(Target::ListImages));
        assert_eq!(parse("GET", "/", true), Route::V1(Target::ListImages));
    }

    proptest! {
        #[test]
        fn any_path_has_a_route(method in "[A-Z]{1,7}", path in "/.*", accepts in any::<bool>()) {
            let _label = parse(&method, &path, accepts).label();
        }
    }
}
