//! Which requests that pass make cached responses old, by method and path alone. Pure.

use crate::cache::{InvalidatedImages, Invalidation};
use crate::glance::ImageId;
use crate::util::endpoint_url::is_version;
use percent_encoding::percent_decode_str;

/// The service that requests are passed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// The compute service.
    Nova,
    /// The image service.
    Glance,
}

/// The cached responses that a request may make old.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Affected {
    /// None.
    Nothing,
    /// Lists of images, once it succeeds: it makes or removes images.
    ListsOnSuccess,
    /// A write to images.
    Write {
        /// Those that it may change.
        images: InvalidatedImages,
        /// The image that is changed by a PATCH, which Glance carries out without a lock.
        patched: Option<ImageId>,
    },
}

impl Affected {
    /// The image whose other writes a request waits for.
    #[must_use]
    pub fn patched(&self) -> Option<&ImageId> {
        match self {
            Self::Write { patched, .. } => patched.as_ref(),
            Self::Nothing | Self::ListsOnSuccess => None,
        }
    }

    /// The images that a request writes to.
    #[must_use]
    pub fn written(&self) -> Option<InvalidatedImages> {
        match self {
            Self::Write { images, .. } => Some(*images),
            Self::Nothing | Self::ListsOnSuccess => None,
        }
    }
}

impl Service {
    /// What a request with this method and raw path, as the service gets it, may make old.
    #[must_use]
    pub fn affected(self, method: &str, path: &str) -> Affected {
        // The services decode a path before they split it.
        let path = percent_decode_str(path).decode_utf8_lossy();
        let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        match self {
            Self::Nova => of_nova(method, &segments),
            Self::Glance => of_glance(method, &segments),
        }
    }

    /// Whether a request counts among those that the settings limit: to Nova each one, to Glance those whose body is
    /// an image's data.
    #[must_use]
    pub fn is_limited(self, path: &str) -> bool {
        match self {
            Self::Nova => true,
            Self::Glance => {
                let path = percent_decode_str(path).decode_utf8_lossy();
                let last = path.trim_end_matches('/').rsplit('/').next();
                matches!(last, Some("file" | "stage"))
            }
        }
    }
}

/// `POST …/servers/{id}/action` may be `createImage`, `createBackup` or `shelve`, and a deleted server takes its shelved
/// image along.
fn of_nova(method: &str, segments: &[&str]) -> Affected {
    let below = match segments {
        [version, "servers", rest @ ..] | [version, _, "servers", rest @ ..]
            if is_version(version) =>
        {
            rest
        }
        _ => return Affected::Nothing,
    };
    match (method, below) {
        ("POST", [_, "action"]) | ("DELETE", [_]) => Affected::ListsOnSuccess,
        _ => Affected::Nothing,
    }
}

/// Every unsafe method on an image or below it: DELETE, PATCH, upload, stage, import, members, tags, actions, locations.
fn of_glance(method: &str, segments: &[&str]) -> Affected {
    if matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE") {
        return Affected::Nothing;
    }
    let (id, is_image) = match segments {
        [version, "images" | "tasks"] if is_version(version) => {
            return Affected::ListsOnSuccess;
        }
        [version, "images", id, rest @ ..] if is_version(version) => (id, rest.is_empty()),
        // The image's data in one of the stores.
        [version, "stores", _, id] if is_version(version) => (id, false),
        _ => return Affected::Nothing,
    };
    let id = ImageId::parse(id).ok();
    let images = id.as_ref().map_or(InvalidatedImages::All, |id| {
        Invalidation::of_write(id).images
    });
    let patched = id.filter(|_| is_image && method == "PATCH");
    Affected::Write { images, patched }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const ID: &str = "11111111-2222-4333-8444-555555555555";

    #[rstest]
    #[case("POST", "/v2.1/servers/a/action", true)]
    #[case("POST", "/v2/project//servers/a/action", true)]
    #[case("POST", "/v2.1/%73ervers/a%2Faction", true)]
    #[case("DELETE", "/v2.1/servers/a", true)]
    #[case("POST", "/v2.1/servers", false)]
    #[case("GET", "/v2.1/servers/a", false)]
    #[case("DELETE", "/v2.1/servers/a/metadata/k", false)]
    #[case("POST", "/v2.1/flavors/a/action", false)]
    #[case("POST", "/servers/a/action", false)]
    #[case("POST", "/", false)]
    fn actions_on_servers_and_their_deletion_make_lists_old(
        #[case] method: &str,
        #[case] path: &str,
        #[case] lists: bool,
    ) {
        let affected = Service::Nova.affected(method, path);
        assert_eq!(affected == Affected::ListsOnSuccess, lists);
    }

    #[rstest]
    #[case("DELETE", "/v2/images/{id}", false)]
    #[case("PATCH", "/v2/images/{id}", true)]
    #[case("PATCH", "//v2.9/im%61ges/{id}", true)]
    #[case("PUT", "/v2/images/{id}/file", false)]
    #[case("PUT", "/v2/images/{id}/stage", false)]
    #[case("POST", "/v2/images/{id}/import", false)]
    #[case("POST", "/v2/images/{id}/members", false)]
    #[case("PUT", "/v2/images/{id}/members/p", false)]
    #[case("DELETE", "/v2/images/{id}/tags/t", false)]
    #[case("POST", "/v2/images/{id}/actions/deactivate", false)]
    #[case("DELETE", "/v2/stores/s/{id}", false)]
    fn writes_to_an_image_are_known(#[case] method: &str, #[case] path: &str, #[case] waits: bool) {
        let id = ImageId::parse(ID).unwrap();
        let affected = Service::Glance.affected(method, &path.replace("{id}", ID));
        assert_eq!(affected.written(), Some(Invalidation::of_write(&id).images));
        assert_eq!(affected.patched(), waits.then_some(&id));
    }

    #[test]
    fn other_requests_to_glance_write_to_no_image() {
        for (method, path) in [
            ("GET", format!("/v2/images/{ID}")),
            ("HEAD", format!("/v2/images/{ID}/file")),
            ("POST", "/v2/metadefs/namespaces".to_owned()),
            ("POST", format!("/images/{ID}")),
        ] {
            let affected = Service::Glance.affected(method, &path);
            assert_eq!(affected, Affected::Nothing, "{method} {path}");
        }
        let created = Service::Glance.affected("POST", "/v2/images");
        assert_eq!(created, Affected::ListsOnSuccess);
        let odd = Service::Glance.affected("DELETE", "/v2/images/odd");
        assert_eq!(odd.written(), Some(InvalidatedImages::All));
    }

    #[test]
    fn transfers_of_data_are_limited() {
        assert!(Service::Glance.is_limited("/v2/images/a/file"));
        assert!(Service::Glance.is_limited("/v2/images/a/%73tage/"));
        assert!(!Service::Glance.is_limited("/v2/images/a"));
        assert!(Service::Nova.is_limited("/v2.1/servers"));
    }
}
