//! Which requests that pass make cached responses old, by method and path alone. Pure.

use crate::util::endpoint_url::is_version;

/// The service that requests are passed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// The compute service.
    Nova,
}

/// The cached responses that a request may make old.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Affected {
    /// None.
    Nothing,
    /// Lists of images, once it succeeds: it makes or removes images.
    ListsOnSuccess,
}

impl Service {
    /// What a request with this method and raw path, as the service gets it, may make old.
    #[must_use]
    pub fn affected(self, method: &str, path: &str) -> Affected {
        let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        match self {
            Self::Nova => of_nova(method, &segments),
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

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("POST", "/v2.1/servers/a/action", true)]
    #[case("POST", "/v2/project//servers/a/action", true)]
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
}
