//! Which operation a method and a path mean. Pure.

use super::error::Fault;
use super::images::actions::Action;
use super::images::cache::CacheOperation;
use super::schema;

/// Paths that need no caller and are no part of the v2 API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unversioned {
    /// `/versions`: the list, as an answer.
    Versions,
    /// No version in the path: the list, as choices.
    Choices,
    /// `/healthcheck`
    HealthCheck,
}

/// An operation of the v2 API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `/v2` without a slash behind it.
    Root,
    Schema(String),
    MetadefSchema(String),
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
    Stage,
    Import,
    ListLocations(String),
    AddLocation(String),
    /// The store and the image.
    DeleteFromStore(String, String),
    ImageTasks(String),
    ListTasks,
    CreateTask,
    ShowTask(String),
    DeleteTask,
    ImportMethods,
    Stores,
    StoresDetail,
    Usage,
    Cache(CacheOperation),
    ListNamespaces,
    ListResourceTypes,
    /// An operation of a namespace, of which there are none.
    Namespace(String),
}

impl Route {
    /// Glance refuses a body that it would ignore, on most operations.
    pub(super) fn refuses_body(&self) -> bool {
        match self {
            Self::Root
            | Self::List
            | Self::Create
            | Self::Update(_)
            | Self::Upload(_)
            | Self::CreateMember(_)
            | Self::UpdateMember(..)
            | Self::Stage
            | Self::Import
            | Self::ListLocations(_)
            | Self::AddLocation(_)
            | Self::ListTasks
            | Self::CreateTask
            | Self::ShowTask(_)
            | Self::DeleteTask
            | Self::Usage
            | Self::Cache(_)
            | Self::ListNamespaces
            | Self::Namespace(_) => false,
            Self::Schema(name) => !name.starts_with("task"),
            Self::MetadefSchema(_)
            | Self::Show(_)
            | Self::Delete(_)
            | Self::Download(_)
            | Self::Act(..)
            | Self::AddTag(..)
            | Self::RemoveTag(..)
            | Self::ListMembers(_)
            | Self::ShowMember(..)
            | Self::DeleteMember(..)
            | Self::DeleteFromStore(..)
            | Self::ImageTasks(_)
            | Self::ImportMethods
            | Self::Stores
            | Self::StoresDetail
            | Self::ListResourceTypes => true,
        }
    }
}

/// The path below the version, or what is answered without one. `path` is decoded.
pub(super) fn version(path: &str) -> Result<&str, Unversioned> {
    if path == "/healthcheck" {
        return Err(Unversioned::HealthCheck);
    }
    let path = path.trim_start_matches('/');
    let (version, below) = match path.find('/') {
        Some(slash) => path.split_at(slash),
        None => (path, ""),
    };
    if version == "versions" {
        return Err(Unversioned::Versions);
    }
    let minor = version
        .strip_prefix("v2.")
        .and_then(|minor| minor.parse::<u8>().ok());
    if version == "v2" || minor.is_some_and(|minor| minor <= super::versions::LATEST_MINOR) {
        return Ok(below);
    }
    Err(Unversioned::Choices)
}

/// Finds the operation; `below` is the decoded path behind the version.
pub(super) fn find(method: &str, below: &str) -> Result<Route, Fault> {
    if below.is_empty() {
        return Ok(Route::Root);
    }
    let segments: Vec<&str> = below.trim_start_matches('/').split('/').collect();
    if segments.iter().any(|segment| segment.is_empty()) {
        return Err(Fault::no_resource());
    }
    let (routes, allow) = match segments.as_slice() {
        ["images", rest @ ..] => images(rest),
        ["schemas", rest @ ..] => schemas(rest),
        ["info", rest @ ..] => info(rest),
        ["stores", store, id] => {
            let route = Route::DeleteFromStore((*store).to_owned(), (*id).to_owned());
            (vec![("DELETE", route)], "DELETE")
        }
        ["tasks", rest @ ..] => tasks(rest),
        ["cache", rest @ ..] => cache(rest),
        ["metadefs", rest @ ..] => metadefs(method, rest),
        _ => (Vec::new(), ""),
    };
    let mut routes = routes.into_iter();
    match routes.find(|(own, _)| *own == method) {
        Some((_, route)) => Ok(route),
        None if allow.is_empty() => Err(Fault::no_resource()),
        None => Err(Fault::method_not_allowed(method, allow)),
    }
}

/// The operations of a resource by method, and the methods that a refusal of another names; none
/// where Glance says that nothing is there.
type Operations = (Vec<(&'static str, Route)>, &'static str);

fn images(rest: &[&str]) -> Operations {
    let Some((id, rest)) = rest.split_first() else {
        let routes = vec![("GET", Route::List), ("POST", Route::Create)];
        return (routes, "GET, POST");
    };
    let id = || (*id).to_owned();
    match rest {
        [] => {
            let routes = vec![
                ("GET", Route::Show(id())),
                ("PATCH", Route::Update(id())),
                ("DELETE", Route::Delete(id())),
            ];
            (routes, "GET, PATCH, DELETE")
        }
        ["file"] => {
            let routes = vec![("GET", Route::Download(id())), ("PUT", Route::Upload(id()))];
            (routes, "GET, PUT")
        }
        ["actions", "deactivate"] => (vec![("POST", Route::Act(id(), Action::Deactivate))], "POST"),
        ["actions", "reactivate"] => (vec![("POST", Route::Act(id(), Action::Reactivate))], "POST"),
        ["tags", tag] => {
            let routes = vec![
                ("PUT", Route::AddTag(id(), (*tag).to_owned())),
                ("DELETE", Route::RemoveTag(id(), (*tag).to_owned())),
            ];
            (routes, "PUT, DELETE")
        }
        ["members"] => {
            let routes = vec![
                ("GET", Route::ListMembers(id())),
                ("POST", Route::CreateMember(id())),
            ];
            (routes, "GET, POST")
        }
        ["members", name] => {
            let name = || (*name).to_owned();
            let routes = vec![
                ("GET", Route::ShowMember(id(), name())),
                ("PUT", Route::UpdateMember(id(), name())),
                ("DELETE", Route::DeleteMember(id(), name())),
            ];
            (routes, "GET, PUT, DELETE")
        }
        ["tasks"] => (vec![("GET", Route::ImageTasks(id()))], ""),
        ["stage"] => (vec![("PUT", Route::Stage)], "PUT"),
        ["import"] => (vec![("POST", Route::Import)], "POST"),
        ["locations"] => {
            let routes = vec![
                ("GET", Route::ListLocations(id())),
                ("POST", Route::AddLocation(id())),
            ];
            (routes, "POST")
        }
        _ => (Vec::new(), ""),
    }
}

fn schemas(rest: &[&str]) -> Operations {
    match rest {
        [name] if schema::published(name).is_some() => {
            (vec![("GET", Route::Schema((*name).to_owned()))], "GET")
        }
        ["metadefs", name] if schema::published_metadef(name).is_some() => (
            vec![("GET", Route::MetadefSchema((*name).to_owned()))],
            "GET",
        ),
        _ => (Vec::new(), ""),
    }
}

fn info(rest: &[&str]) -> Operations {
    match rest {
        ["import"] => (vec![("GET", Route::ImportMethods)], "GET"),
        ["stores"] => (vec![("GET", Route::Stores)], "GET"),
        ["stores", "detail"] => (vec![("GET", Route::StoresDetail)], "GET"),
        ["usage"] => (vec![("GET", Route::Usage)], ""),
        _ => (Vec::new(), ""),
    }
}

fn tasks(rest: &[&str]) -> Operations {
    match rest {
        [] => {
            let routes = vec![("GET", Route::ListTasks), ("POST", Route::CreateTask)];
            (routes, "GET, POST")
        }
        [id] => {
            let show = Route::ShowTask((*id).to_owned());
            (
                vec![("GET", show), ("DELETE", Route::DeleteTask)],
                "GET, DELETE",
            )
        }
        _ => (Vec::new(), ""),
    }
}

fn cache(rest: &[&str]) -> Operations {
    let route = Route::Cache;
    match rest {
        [] => {
            let routes = vec![
                ("GET", route(CacheOperation::List)),
                ("DELETE", route(CacheOperation::Clear)),
            ];
            (routes, "GET, DELETE")
        }
        ["clean"] => (vec![("POST", route(CacheOperation::Clean))], "POST"),
        ["prune"] => (vec![("POST", route(CacheOperation::Prune))], "POST"),
        [id] => {
            let routes = vec![
                ("DELETE", route(CacheOperation::Delete((*id).to_owned()))),
                ("PUT", route(CacheOperation::Queue((*id).to_owned()))),
            ];
            (routes, "DELETE, PUT")
        }
        _ => (Vec::new(), ""),
    }
}

fn metadefs(method: &str, rest: &[&str]) -> Operations {
    match rest {
        ["namespaces"] => (vec![("GET", Route::ListNamespaces)], "GET"),
        ["resource_types"] => (vec![("GET", Route::ListResourceTypes)], "GET"),
        ["namespaces", name, ..] => {
            let route = Route::Namespace((*name).to_owned());
            let known = ["GET", "POST", "PUT", "DELETE"];
            let found = known.into_iter().find(|known| *known == method);
            (
                found.map(|method| (method, route)).into_iter().collect(),
                "",
            )
        }
        _ => (Vec::new(), ""),
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
    #[case("/v2.99/images", Err(Unversioned::Choices))]
    #[case("/v1/images", Err(Unversioned::Choices))]
    #[case("/", Err(Unversioned::Choices))]
    #[case("/versions", Err(Unversioned::Versions))]
    #[case("/healthcheck", Err(Unversioned::HealthCheck))]
    fn versions_come_first(#[case] path: &str, #[case] found: Result<&str, Unversioned>) {
        assert_eq!(version(path), found);
    }

    #[test]
    fn a_wrong_method_names_the_right_ones() {
        let fault = Fault::method_not_allowed("PUT", "GET, POST");
        assert_eq!(find("PUT", "/images"), Err(fault));
    }

    #[rstest]
    #[case("/")]
    #[case("/images/")]
    #[case("/images//a")]
    #[case("/info")]
    #[case("/schemas/image.json")]
    #[case("/images/a/b")]
    #[case("/images/a/actions/b")]
    #[case("/images/a/tags/b/c")]
    fn what_is_no_path_is_not_found(#[case] below: &str) {
        assert_eq!(find("GET", below), Err(Fault::no_resource()));
    }

    #[test]
    fn operations_are_found() {
        assert_eq!(find("GET", ""), Ok(Route::Root));
        assert_eq!(find("GET", "//images"), Ok(Route::List));
        assert_eq!(find("POST", "/images/a/tasks"), Err(Fault::no_resource()));
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
