//! The cache key of a read, from its typed request.

use super::fault::ApiError;
use super::list_query::ListQuery;
use super::request::NovaRequest;
use super::routes::ApiVersion;
use super::view::Detail;
use crate::cache::{
    CacheKey, CacheQuery, CacheTag, Cacheability, CacheableError, IsolationScope, NoCacheReason,
};
use crate::glance::{Endpoint, GlanceError, ImageId};
use crate::http::forwarded::PublicOrigin;

/// Everything that the response to a request depends on besides the caller and Glance's state.
#[derive(Debug, Clone, Copy)]
pub struct CacheableRead<'r> {
    /// The request.
    pub request: &'r NovaRequest,
    /// The mount point of the request.
    pub api: ApiVersion,
    /// The project in its path.
    pub project: Option<&'r str>,
    /// Scheme, host and path prefix of links.
    pub origin: &'r PublicOrigin<'r>,
    /// The Glance of this caller.
    pub endpoint: &'r Endpoint,
}

impl CacheableRead<'_> {
    /// How the cache takes part in this request of a caller in `scope`.
    pub fn cacheability(&self, scope: Result<IsolationScope, NoCacheReason>) -> Cacheability {
        let (operation, image, key, query) = match self.request {
            NovaRequest::ListImages { detail, query } => match detail {
                Detail::Basic => ("list", None, "", Some(query)),
                Detail::Full => ("detail", None, "", Some(query)),
            },
            NovaRequest::ShowImage { id } => ("show", Some(id), "", None),
            NovaRequest::ListMetadata { id } => ("metadata", Some(id), "", None),
            NovaRequest::ShowMetadataItem { id, key } => ("item", Some(id), key.as_str(), None),
            NovaRequest::DeleteImage { .. }
            | NovaRequest::CreateMetadata { .. }
            | NovaRequest::ReplaceMetadata { .. }
            | NovaRequest::UpdateMetadataItem { .. }
            | NovaRequest::DeleteMetadataItem { .. } => return Cacheability::NotApplicable,
        };
        let tag = image.map_or(Some(CacheTag::List), CacheTag::image);
        let (tag, scope) = match (tag.ok_or(NoCacheReason::IdNotCanonical), scope) {
            (Ok(tag), Ok(scope)) => (tag, scope),
            (Err(reason), _) | (Ok(_), Err(reason)) => return Cacheability::Uncacheable(reason),
        };
        let parts = [
            operation,
            image.map_or("", ImageId::raw),
            key,
            self.api.segment(),
            self.project.map_or("", |_| "project"),
            self.project.unwrap_or_default(),
            self.origin.scheme(),
            self.origin.host(),
            self.origin.prefix(),
            self.endpoint.as_str(),
        ];
        let query = query.map(canonical).unwrap_or_default();
        let parts = parts.into_iter().chain(query.iter().map(String::as_str));
        let key = CacheKey::new(scope, parts);
        Cacheability::Cacheable(CacheQuery { key, tag })
    }
}

/// All parameters of a list, in one order.
fn canonical(query: &ListQuery) -> Vec<String> {
    let ListQuery { images, link } = query;
    let mut parts = Vec::new();
    let mut part = |kind: &str, name: &str, value: &str| {
        parts.extend([kind, name, value].map(str::to_owned));
    };
    for (name, value) in &images.filters {
        part("filter", name, value);
    }
    if let Some(limit) = images.limit {
        part("limit", "", &limit.to_string());
    }
    if let Some(marker) = &images.marker {
        part("marker", "", marker);
    }
    for (name, value) in link {
        part("link", name, value);
    }
    parts
}

impl CacheableError for ApiError {
    fn is_upstream(&self) -> bool {
        matches!(
            self,
            Self::Glance {
                error: GlanceError::NotSent(_)
                    | GlanceError::Interrupted(_)
                    | GlanceError::InvalidHttp(_)
                    | GlanceError::Unavailable(_)
                    | GlanceError::ServerError(_)
                    | GlanceError::InvalidResponse(_),
                ..
            }
        )
    }

    fn is_caller_specific(&self) -> bool {
        matches!(
            self,
            Self::Glance {
                error: GlanceError::Unauthorized,
                ..
            }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::list_query;
    use super::super::metadata_body::Metadata;
    use super::*;
    use crate::apis::nova::json::Json;
    use crate::http::forwarded::Host;
    use rstest::rstest;

    const ID: &str = "11111111-2222-4333-8444-555555555555";
    const OTHER_ID: &str = "11111111-2222-4333-8444-555555555556";

    fn endpoint(url: &str) -> Endpoint {
        Endpoint::new(&url.parse().unwrap())
    }

    fn origin<'r>(is_secure: bool, host: &'r str, prefix: &'r str) -> PublicOrigin<'r> {
        PublicOrigin::new(is_secure, Host::new(host).unwrap(), prefix)
    }

    fn image(id: &str) -> ImageId {
        ImageId::parse(id).unwrap()
    }

    fn list(detail: Detail, query: &str) -> NovaRequest {
        let query = list_query::parse_list(query).unwrap();
        NovaRequest::ListImages { detail, query }
    }

    fn show(id: &str) -> NovaRequest {
        NovaRequest::ShowImage { id: image(id) }
    }

    fn show_item(key: &str) -> NovaRequest {
        let (id, key) = (image(ID), key.to_owned());
        NovaRequest::ShowMetadataItem { id, key }
    }

    /// How the cache takes part in `request` of a caller in `scope`, with everything else the same.
    fn cacheability(
        request: &NovaRequest,
        scope: Result<IsolationScope, NoCacheReason>,
    ) -> Cacheability {
        let read = CacheableRead {
            request,
            api: ApiVersion::V21,
            project: None,
            origin: &origin(false, "h", ""),
            endpoint: &endpoint("http://g"),
        };
        read.cacheability(scope)
    }

    fn key_of(cacheability: Cacheability) -> CacheKey {
        match cacheability {
            Cacheability::Cacheable(query) => query.key,
            other => panic!("{other:?}"),
        }
    }

    fn key(request: &NovaRequest) -> CacheKey {
        key_of(cacheability(request, Ok(IsolationScope::anonymous())))
    }

    #[rstest]
    #[case("limit=1&name=x", "name=x&limit=1", true)]
    #[case("name=a%20b", "name=a+b", true)]
    #[case("unknown=1", "", true)]
    #[case("name=x", "name=y", false)]
    #[case("name=x&name=y", "name=y&name=x", false)]
    #[case("marker=x", "property-marker=x", false)]
    #[case("server=x", "property-instance_uuid=x", false)]
    fn lists_share_a_response_when_their_queries_mean_the_same(
        #[case] one: &str,
        #[case] other: &str,
        #[case] same: bool,
    ) {
        let key = |query| key(&list(Detail::Basic, query));
        assert_eq!(key(one) == key(other), same);
    }

    #[test]
    fn requests_with_different_responses_have_different_keys() {
        let requests = [
            show(ID),
            show(OTHER_ID),
            NovaRequest::ListMetadata { id: image(ID) },
            show_item(""),
            show_item("k"),
            list(Detail::Basic, ""),
            list(Detail::Full, ""),
        ];
        let keys: std::collections::HashSet<_> = requests.iter().map(key).collect();
        assert_eq!(keys.len(), requests.len());
    }

    #[test]
    fn everything_that_links_show_is_part_of_the_key() {
        let (one, other) = (endpoint("http://g"), endpoint("http://f"));
        let origins = [
            origin(false, "h", ""),
            origin(true, "h", ""),
            origin(false, "i", ""),
            origin(false, "h", "/p"),
        ];
        let [plain, secure, other_host, prefixed] = &origins;
        let request = show(ID);
        let base = CacheableRead {
            request: &request,
            api: ApiVersion::V21,
            project: None,
            origin: plain,
            endpoint: &one,
        };
        let api = ApiVersion::V2;
        let variants = [
            base,
            CacheableRead { api, ..base },
            CacheableRead {
                project: Some("p"),
                ..base
            },
            CacheableRead {
                project: Some(""),
                ..base
            },
            CacheableRead {
                origin: secure,
                ..base
            },
            CacheableRead {
                origin: other_host,
                ..base
            },
            CacheableRead {
                origin: prefixed,
                ..base
            },
            CacheableRead {
                endpoint: &other,
                ..base
            },
        ];
        let key =
            |read: &CacheableRead<'_>| key_of(read.cacheability(Ok(IsolationScope::anonymous())));
        let keys: std::collections::HashSet<_> = variants.iter().map(key).collect();
        assert_eq!(keys.len(), variants.len());
    }

    #[test]
    fn writes_take_no_part_in_the_cache() {
        let id = || image(ID);
        let metadata = || Metadata {
            items: Vec::new(),
            sent: Json::Null,
        };
        for request in [
            NovaRequest::DeleteImage { id: id() },
            NovaRequest::CreateMetadata {
                id: id(),
                metadata: metadata(),
            },
            NovaRequest::ReplaceMetadata {
                id: id(),
                metadata: metadata(),
            },
            NovaRequest::UpdateMetadataItem {
                id: id(),
                item: metadata(),
            },
            NovaRequest::DeleteMetadataItem {
                id: id(),
                key: "k".to_owned(),
            },
        ] {
            let cacheability = cacheability(&request, Ok(IsolationScope::anonymous()));
            assert!(matches!(cacheability, Cacheability::NotApplicable));
        }
    }

    #[test]
    fn an_id_that_is_not_canonical_is_not_cached() {
        let cacheability = cacheability(&show("odd"), Ok(IsolationScope::anonymous()));
        assert!(matches!(
            cacheability,
            Cacheability::Uncacheable(NoCacheReason::IdNotCanonical)
        ));
    }

    #[test]
    fn a_caller_without_a_scope_is_not_cached_and_the_reason_is_passed_on() {
        for reason in [
            NoCacheReason::TokenWithoutProject,
            NoCacheReason::AccessRules,
        ] {
            let cacheability = cacheability(&show(ID), Err(reason));
            assert!(matches!(cacheability, Cacheability::Uncacheable(given) if given == reason));
        }
    }
}
