//! What the answer to a read depends on, besides Glance's state: the cache's question.

use super::fault::ApiError;
use super::query::{self, ListRequest};
use super::routes::{Action, Api};
use crate::cache::{Failure, Key, Question, Scope, Subject};
use crate::glance::{Endpoint, GlanceError};

/// A request as far as its answer depends on it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'r> {
    /// What is to be done.
    pub action: Action,
    /// The image, as the client named it.
    pub id: &'r str,
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
    /// The Glance that is asked.
    pub endpoint: &'r Endpoint,
}

impl Asked<'_> {
    /// The question, where the answer may be kept for `scope`; the error that a read has without
    /// asking anybody.
    pub fn question(&self, scope: Scope) -> Result<Option<Question>, ApiError> {
        let Some(operation) = read(self.action) else {
            return Ok(None);
        };
        let list = matches!(self.action, Action::ListImages | Action::DetailImages);
        let subject = if list {
            Some(Subject::List)
        } else {
            Subject::image(self.id)
        };
        let query = match (self.query, list) {
            ("", _) => None,
            (query, true) => Some(query::parse_list(query)?),
            (query, false) => {
                query::check_utf8(query)?;
                None
            }
        };
        let Some(subject) = subject else {
            return Ok(None);
        };
        let fixed = [
            operation,
            self.id,
            self.key,
            self.api.segment(),
            self.project.map_or("", |_| "project"),
            self.project.unwrap_or_default(),
            self.scheme,
            self.host,
            self.endpoint.as_str(),
        ];
        let key = match query {
            None => Key::new(scope, fixed),
            Some(query) => {
                let canonical = canonical(&query);
                Key::new(
                    scope,
                    fixed
                        .into_iter()
                        .chain(canonical.iter().map(String::as_str)),
                )
            }
        };
        Ok(Some(Question { key, subject }))
    }
}

/// The name of a read in keys; nothing for what is no read.
fn read(action: Action) -> Option<&'static str> {
    match action {
        Action::ListImages => Some("list"),
        Action::DetailImages => Some("detail"),
        Action::ShowImage => Some("show"),
        Action::ListMetadata => Some("metadata"),
        Action::ShowMetadataItem => Some("item"),
        Action::DeleteImage
        | Action::CreateMetadata
        | Action::ReplaceMetadata
        | Action::UpdateMetadataItem
        | Action::DeleteMetadataItem => None,
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

impl Failure for ApiError {
    fn is_upstream(&self) -> bool {
        matches!(
            self,
            Self::Glance {
                error: GlanceError::NotSent(_)
                    | GlanceError::Unavailable(_)
                    | GlanceError::Nonsense(_),
                ..
            }
        )
    }

    fn is_personal(&self) -> bool {
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
    use super::*;
    use rstest::rstest;

    const ID: &str = "11111111-2222-4333-8444-555555555555";

    fn endpoint(url: &str) -> Endpoint {
        Endpoint::new(&url.parse().unwrap())
    }

    fn asked<'r>(action: Action, query: &'r str, endpoint: &'r Endpoint) -> Asked<'r> {
        Asked {
            action,
            id: ID,
            key: "",
            query,
            api: Api::V21,
            project: None,
            scheme: "http",
            host: "h",
            endpoint,
        }
    }

    fn key(asked: Asked<'_>) -> Key {
        asked.question(Scope::anonymous()).unwrap().unwrap().key
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
        let key = |query| key(asked(Action::ListImages, query, &endpoint));
        assert_eq!(key(one) == key(other), same);
    }

    #[test]
    fn everything_an_answer_shows_tells_keys_apart() {
        let (one, other) = (endpoint("http://g"), endpoint("http://f"));
        let base = asked(Action::ShowImage, "", &one);
        let variants = [
            base,
            asked(Action::ListMetadata, "", &one),
            asked(Action::ShowMetadataItem, "", &one),
            asked(Action::ListImages, "", &one),
            asked(Action::DetailImages, "", &one),
            asked(Action::ShowImage, "", &other),
            Asked {
                api: Api::V2,
                ..base
            },
            Asked {
                project: Some("p"),
                ..base
            },
            Asked {
                project: Some(""),
                ..base
            },
            Asked {
                scheme: "https",
                ..base
            },
            Asked { host: "i", ..base },
            Asked { key: "k", ..base },
            Asked {
                id: "11111111-2222-4333-8444-555555555556",
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
            key(asked(Action::ShowImage, "a=b", &endpoint)),
            key(asked(Action::ShowImage, "", &endpoint))
        );
    }

    #[rstest]
    #[case(Action::ListImages, "limit=x")]
    #[case(Action::DetailImages, "name=%ff")]
    #[case(Action::ShowImage, "%ff")]
    fn a_bad_query_is_refused_before_anything_is_looked_up(
        #[case] action: Action,
        #[case] query: &str,
    ) {
        let endpoint = endpoint("http://g");
        let refused = asked(action, query, &endpoint).question(Scope::anonymous());
        assert!(matches!(refused, Err(ApiError::Query(_))));
    }

    #[test]
    fn writes_and_odd_ids_have_no_question() {
        let endpoint = endpoint("http://g");
        for action in [
            Action::DeleteImage,
            Action::CreateMetadata,
            Action::ReplaceMetadata,
            Action::UpdateMetadataItem,
            Action::DeleteMetadataItem,
        ] {
            let asked = asked(action, "", &endpoint);
            assert!(asked.question(Scope::anonymous()).unwrap().is_none());
        }
        let odd = Asked {
            id: "odd",
            ..asked(Action::ShowImage, "", &endpoint)
        };
        assert!(odd.question(Scope::anonymous()).unwrap().is_none());
    }
}
