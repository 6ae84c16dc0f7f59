//! The cache key of a read: everything that its response depends on besides Glance's state.

use super::fault::ApiError;
use super::list_query::{self, ListRequest};
use super::routes::{Api, Entry, Operation};
use crate::cache::{
    CacheKey, CacheQuery, CacheTag, Cacheability, CacheableError, IsolationScope, NoCacheReason,
};
use crate::glance::{Endpoint, GlanceError, ImageId};

/// A request as far as its answer depends on it.
#[derive(Debug, Clone, Copy)]
pub struct CacheableRead<'r> {
    /// The route.
    pub entry: &'static Entry,
    /// The image that the path names; `None` where it names none, or where no image can have the id.
    pub image: Option<&'r ImageId>,
    /// The metadata key.
    pub key: &'r str,
    /// The raw query string.
    pub query: &'r str,
    /// The mount point the request came in by.
    pub api: Api,
    /// The project in its path.
    pub project: Option<&'r str>,
    /// The scheme in links.
    pub scheme: &'r str,
    /// The host in links.
    pub host: &'r str,
    /// The path prefix in links.
    pub prefix: &'r str,
    /// The Glance that is asked.
    pub endpoint: &'r Endpoint,
}

impl CacheableRead<'_> {
    /// How the cache takes part in this request of a caller in `scope`; the error of a read that
    /// needs no call to Glance.
    pub fn cacheability(
        &self,
        scope: Result<IsolationScope, NoCacheReason>,
    ) -> Result<Cacheability, ApiError> {
        let Some(operation) = self.entry.cache_name else {
            return Ok(Cacheability::NotApplicable);
        };
        let list = matches!(
            self.entry.operation,
            Operation::ListImages | Operation::DetailImages
        );
        let query = match (self.query, list) {
            ("", _) => None,
            (query, true) => Some(list_query::parse_list(query)?),
            (query, false) => {
                list_query::check_utf8(query)?;
                None
            }
        };
        let (tag, id) = match (list, self.image) {
            (true, _) => (Some(CacheTag::List), ""),
            (false, Some(image)) => (CacheTag::image(image), image.raw()),
            (false, None) => return Err(ApiError::ImageNotFound),
        };
        let (tag, scope) = match (tag.ok_or(NoCacheReason::IdNotCanonical), scope) {
            (Ok(tag), Ok(scope)) => (tag, scope),
            (Err(reason), _) | (Ok(_), Err(reason)) => {
                return Ok(Cacheability::Uncacheable(reason));
            }
        };
        let fixed = [
            operation,
            id,
            self.key,
            self.api.segment(),
            self.project.map_or("", |_| "project"),
            self.project.unwrap_or_default(),
            self.scheme,
            self.host,
            self.prefix,
            self.endpoint.as_str(),
        ];
        let key = match query {
            None => CacheKey::new(scope, fixed),
            Some(query) => {
                let canonical = canonical(&query);
                CacheKey::new(
                    scope,
                    fixed
                        .into_iter()
                        .chain(canonical.iter().map(String::as_str)),
                )
            }
        };
        Ok(Cacheability::Cacheable(CacheQuery { key, tag }))
    }
}

/// All of a list request, in one order.
fn canonical(query: &ListRequest) -> Vec<String> {
    let ListRequest { images, link } = query;
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
    use super::super::routes;
    use super::*;
    use rstest::rstest;
    use std::sync::LazyLock;

    static IMAGE: LazyLock<ImageId> =
        LazyLock::new(|| image("11111111-2222-4333-8444-555555555555"));

    fn image(id: &str) -> ImageId {
        ImageId::parse(id).unwrap()
    }

    fn endpoint(url: &str) -> Endpoint {
        Endpoint::new(&url.parse().unwrap())
    }

    fn asked<'r>(
        operation: Operation,
        query: &'r str,
        endpoint: &'r Endpoint,
    ) -> CacheableRead<'r> {
        CacheableRead {
            entry: routes::entry(operation),
            image: Some(&IMAGE),
            key: "",
            query,
            api: Api::V21,
            project: None,
            scheme: "http",
            host: "h",
            prefix: "",
            endpoint,
        }
    }

    fn key(asked: CacheableRead<'_>) -> CacheKey {
        match asked.cacheability(Ok(IsolationScope::anonymous())).unwrap() {
            Cacheability::Cacheable(query) => query.key,
            other => panic!("{other:?}"),
        }
    }

    #[rstest]
    #[case("limit=1&name=x", "name=x&limit=1", true)]
    #[case("name=a%20b", "name=a+b", true)]
    #[case("unknown=1", "", true)]
    #[case("name=x", "name=y", false)]
    #[case("name=x&name=y", "name=y&name=x", false)]
    #[case("marker=x", "property-marker=x", false)]
    #[case("server=x", "property-instance_uuid=x", false)]
    fn lists_share_an_answer_when_their_queries_say_the_same(
        #[case] one: &str,
        #[case] other: &str,
        #[case] same: bool,
    ) {
        let endpoint = endpoint("http://g");
        let key = |query| key(asked(Operation::ListImages, query, &endpoint));
        assert_eq!(key(one) == key(other), same);
    }

    #[test]
    fn everything_an_answer_shows_tells_keys_apart() {
        let (one, other) = (endpoint("http://g"), endpoint("http://f"));
        let other_image = image("11111111-2222-4333-8444-555555555556");
        let base = asked(Operation::ShowImage, "", &one);
        let variants = [
            base,
            asked(Operation::ListMetadata, "", &one),
            asked(Operation::ShowMetadataItem, "", &one),
            asked(Operation::ListImages, "", &one),
            asked(Operation::DetailImages, "", &one),
            asked(Operation::ShowImage, "", &other),
            CacheableRead {
                api: Api::V2,
                ..base
            },
            CacheableRead {
                project: Some("p"),
                ..base
            },
            CacheableRead {
                project: Some(""),
                ..base
            },
            CacheableRead {
                scheme: "https",
                ..base
            },
            CacheableRead { host: "i", ..base },
            CacheableRead {
                prefix: "/p",
                ..base
            },
            CacheableRead { key: "k", ..base },
            CacheableRead {
                image: Some(&other_image),
                ..base
            },
        ];
        let keys: std::collections::HashSet<_> = variants.into_iter().map(key).collect();
        assert_eq!(keys.len(), variants.len());
    }

    #[test]
    fn the_query_of_a_show_does_not_matter() {
        let endpoint = endpoint("http://g");
        assert_eq!(
            key(asked(Operation::ShowImage, "a=b", &endpoint)),
            key(asked(Operation::ShowImage, "", &endpoint))
        );
    }

    #[rstest]
    #[case(Operation::ListImages, "limit=x")]
    #[case(Operation::DetailImages, "name=%ff")]
    #[case(Operation::ShowImage, "%ff")]
    fn a_bad_query_is_refused_before_anything_is_looked_up(
        #[case] operation: Operation,
        #[case] query: &str,
    ) {
        let endpoint = endpoint("http://g");
        let refused =
            asked(operation, query, &endpoint).cacheability(Ok(IsolationScope::anonymous()));
        assert!(matches!(refused, Err(ApiError::Query(_))));
    }

    #[test]
    fn writes_and_odd_ids_have_no_question() {
        let endpoint = endpoint("http://g");
        for operation in [
            Operation::DeleteImage,
            Operation::CreateMetadata,
            Operation::ReplaceMetadata,
            Operation::UpdateMetadataItem,
            Operation::DeleteMetadataItem,
        ] {
            let asked = asked(operation, "", &endpoint);
            let cacheability = asked.cacheability(Ok(IsolationScope::anonymous()));
            assert!(matches!(cacheability, Ok(Cacheability::NotApplicable)));
        }
        let not_canonical = image("odd");
        let odd = CacheableRead {
            image: Some(&not_canonical),
            ..asked(Operation::ShowImage, "", &endpoint)
        };
        let cacheability = odd.cacheability(Ok(IsolationScope::anonymous()));
        assert!(matches!(
            cacheability,
            Ok(Cacheability::Uncacheable(NoCacheReason::IdNotCanonical))
        ));
    }

    #[test]
    fn a_caller_without_a_scope_has_no_part_in_the_cache_and_is_told_why() {
        let endpoint = endpoint("http://g");
        for reason in [
            NoCacheReason::TokenWithoutProject,
            NoCacheReason::AccessRules,
        ] {
            let cacheability = asked(Operation::ShowImage, "", &endpoint).cacheability(Err(reason));
            assert!(
                matches!(cacheability, Ok(Cacheability::Uncacheable(given)) if given == reason)
            );
        }
    }

    #[rstest]
    #[case(Operation::ShowImage)]
    #[case(Operation::ListMetadata)]
    #[case(Operation::ShowMetadataItem)]
    fn what_no_image_can_have_as_its_id_is_not_found_before_any_lookup(
        #[case] operation: Operation,
    ) {
        let endpoint = endpoint("http://g");
        let asked = CacheableRead {
            image: None,
            ..asked(operation, "", &endpoint)
        };
        let refused = asked.cacheability(Ok(IsolationScope::anonymous()));
        assert!(matches!(refused, Err(ApiError::ImageNotFound)));
    }
}
