//! Which call a method and a path mean. Pure.

use super::error::Fault;
use super::images::actions::Action;

/// The paths that need no caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Front {
    /// `/versions`: the list, as an answer.
    Versions,
    /// No version in the path: the list, as choices.
    Choices,
}

/// A call of the v2 API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Schema(String),
    List,
    Create,
    Show(String),
    Update(String),
    Delete(String),
    Upload(String),
    Download(String),
    Act(String, Action),
    AddTag(String, String),
    RemoveTag(String, String),
    ListMembers(String),
    CreateMember(String),
    ShowMember(String, String),
    UpdateMember(String, String),
    DeleteMember(String, String),
}

impl Route {
    /// Glance refuses a body that it would ignore, on all but lists.
    pub(super) fn refuses_body(&self) -> bool {
        match self {
            Self::List
            | Self::Create
            | Self::Update(_)
            | Self::Upload(_)
            | Self::CreateMember(_)
            | Self::UpdateMember(..) => false,
            Self::Schema(_)
            | Self::Show(_)
            | Self::Delete(_)
            | Self::Download(_)
            | Self::Act(..)
            | Self::AddTag(..)
            | Self::RemoveTag(..)
            | Self::ListMembers(_)
            | Self::ShowMember(..)
            | Self::DeleteMember(..) => true,
        }
    }
}

/// The path below the version, or what is answered without one. `path` is decoded.
pub(super) fn version(path: &str) -> Result<&str, Front> {
    let path = path.trim_start_matches('/');
    let (version, below) = match path.find('/') {
        Some(slash) => path.split_at(slash),
        None => (path, ""),
    };
    if version == "versions" {
        return Err(Front::Versions);
    }
    let minor = version
        .strip_prefix("v2.")
        .and_then(|minor| minor.parse::<u8>().ok());
    if version == "v2" || minor.is_some_and(|minor| minor <= super::versions::LATEST_MINOR) {
        return Ok(below);
    }
    Err(Front::Choices)
}

/// Finds the call; `below` is the decoded path behind the version.
pub(super) fn find(method: &str, below: &str) -> Result<Route, Fault> {
    let segments: Vec<&str> = below.split('/').skip(1).collect();
    if segments.iter().any(|segment| segment.is_empty()) {
        return Err(Fault::no_resource());
    }
    let own = |segment: &str| segment.to_owned();
    let (found, allow) = match segments.as_slice() {
        ["schemas", name] => ((method == "GET").then(|| Route::Schema(own(name))), "GET"),
        ["images"] => (collection(method, Route::List, Route::Create), "GET, POST"),
        ["images", id] => (image(method, id), "GET, PATCH, DELETE"),
        ["images", id, "file"] => {
            let route = match method {
                "GET" => Some(Route::Download(own(id))),
                "PUT" => Some(Route::Upload(own(id))),
                _ => None,
            };
            (route, "GET, PUT")
        }
        ["images", id, "actions", name] => {
            let action = match *name {
                "deactivate" => Action::Deactivate,
                "reactivate" => Action::Reactivate,
                _ => return Err(Fault::no_resource()),
            };
            (
                (method == "POST").then(|| Route::Act(own(id), action)),
                "POST",
            )
        }
        ["images", id, "tags", tag] => {
            let route = match method {
                "PUT" => Some(Route::AddTag(own(id), own(tag))),
                "DELETE" => Some(Route::RemoveTag(own(id), own(tag))),
                _ => None,
            };
            (route, "PUT, DELETE")
        }
        ["images", id, "members"] => {
            let (list, create) = (Route::ListMembers(own(id)), Route::CreateMember(own(id)));
            (collection(method, list, create), "GET, POST")
        }
        ["images", id, "members", name] => (member(method, id, name), "GET, PUT, DELETE"),
        _ => return Err(Fault::no_resource()),
    };
    found.ok_or_else(|| Fault::method_not_allowed(method, allow))
}

fn collection(method: &str, list: Route, create: Route) -> Option<Route> {
    match method {
        "GET" => Some(list),
        "POST" => Some(create),
        _ => None,
    }
}

fn image(method: &str, id: &str) -> Option<Route> {
    match method {
        "GET" => Some(Route::Show(id.to_owned())),
        "PATCH" => Some(Route::Update(id.to_owned())),
        "DELETE" => Some(Route::Delete(id.to_owned())),
        _ => None,
    }
}

fn member(method: &str, id: &str, name: &str) -> Option<Route> {
    let (id, name) = (id.to_owned(), name.to_owned());
    match method {
        "GET" => Some(Route::ShowMember(id, name)),
        "PUT" => Some(Route::UpdateMember(id, name)),
        "DELETE" => Some(Route::DeleteMember(id, name)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("/v2/images", Ok("/images"))]
    #[case("//v2.18/images", Ok("/images"))]
    #[case("/v2", Ok(""))]
    #[case("/v2.99/images", Err(Front::Choices))]
    #[case("/v1/images", Err(Front::Choices))]
    #[case("/", Err(Front::Choices))]
    #[case("/versions", Err(Front::Versions))]
    fn versions_come_first(#[case] path: &str, #[case] found: Result<&str, Front>) {
        assert_eq!(version(path), found);
    }

    #[test]
    fn a_wrong_method_names_the_right_ones() {
        let fault = Fault::method_not_allowed("PUT", "GET, POST");
        assert_eq!(find("PUT", "/images"), Err(fault));
    }

    #[rstest]
    #[case("")]
    #[case("/")]
    #[case("/images/")]
    #[case("//images")]
    #[case("/images/a/b")]
    #[case("/images/a/actions/b")]
    #[case("/images/a/tags/b/c")]
    fn what_is_no_path_is_not_found(#[case] below: &str) {
        assert_eq!(find("GET", below), Err(Fault::no_resource()));
    }

    #[test]
    fn calls_are_found() {
        assert_eq!(find("PATCH", "/images/a"), Ok(Route::Update("a".into())));
        assert_eq!(
            find("POST", "/images/a/actions/reactivate"),
            Ok(Route::Act("a".into(), Action::Reactivate))
        );
        assert_eq!(
            find("DELETE", "/images/a/members/b"),
            Ok(Route::DeleteMember("a".into(), "b".into()))
        );
    }
}
