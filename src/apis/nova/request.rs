//! Nova's typed requests.
//!
//! A [`NovaRequest`] is parsed once from path, query and body. The cache key and the handler's
//! input come from the same value, so they cannot disagree on what the client wrote.

use super::fault::ApiError;
use super::json::Json;
use super::list_query::{self, ListQuery};
use super::metadata_body::{self, Metadata};
use super::routes::{ApiVersion, MatchedRoute, Operation};
use super::view::Detail;
use crate::glance::{ImageId, InvalidImageId};

/// An operation with its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NovaRequest {
    /// `GET /images` and `GET /images/detail`
    ListImages {
        /// How much of each image the response shows.
        detail: Detail,
        /// Filters, limit and marker.
        query: ListQuery,
    },
    /// `GET /images/{id}`
    ShowImage {
        /// The image.
        id: ImageId,
    },
    /// `DELETE /images/{id}`
    DeleteImage {
        /// The image.
        id: ImageId,
    },
    /// `GET /images/{id}/metadata`
    ListMetadata {
        /// The image.
        id: ImageId,
    },
    /// `GET /images/{id}/metadata/{key}`
    ShowMetadataItem {
        /// The image.
        id: ImageId,
        /// The item's key.
        key: String,
    },
    /// `POST /images/{id}/metadata`
    CreateMetadata {
        /// The image.
        id: ImageId,
        /// The items to set.
        metadata: Metadata,
    },
    /// `PUT /images/{id}/metadata`
    ReplaceMetadata {
        /// The image.
        id: ImageId,
        /// The only items to leave.
        metadata: Metadata,
    },
    /// `PUT /images/{id}/metadata/{key}`
    UpdateMetadataItem {
        /// The image.
        id: ImageId,
        /// The one item to set.
        item: Metadata,
    },
    /// `DELETE /images/{id}/metadata/{key}`
    DeleteMetadataItem {
        /// The image.
        id: ImageId,
        /// The item's key.
        key: String,
    },
}

impl NovaRequest {
    /// Parses the raw query string of a read and the body of a write. Query and body are checked before
    /// the image's id, as in Nova, where only Glance looks at the id. Nova does not check the query
    /// string of a write.
    ///
    /// # Errors
    /// The client's mistake, or [`ApiError::ImageNotFound`] for an id that no image can have.
    pub fn parse(
        route: MatchedRoute<'_>,
        query: &str,
        body: &Json,
        api: ApiVersion,
    ) -> Result<Self, ApiError> {
        let MatchedRoute { entry, id, key } = route;
        let id = || ImageId::parse(&id).map_err(|InvalidImageId| ApiError::ImageNotFound);
        let list = |detail| {
            let query = list_query::parse_list(query)?;
            Ok(Self::ListImages { detail, query })
        };
        match entry.operation {
            Operation::ListImages => list(Detail::Basic),
            Operation::DetailImages => list(Detail::Full),
            Operation::ShowImage => {
                list_query::check_utf8(query)?;
                Ok(Self::ShowImage { id: id()? })
            }
            Operation::DeleteImage => Ok(Self::DeleteImage { id: id()? }),
            Operation::ListMetadata => {
                list_query::check_utf8(query)?;
                Ok(Self::ListMetadata { id: id()? })
            }
            Operation::ShowMetadataItem => {
                list_query::check_utf8(query)?;
                let (id, key) = (id()?, key.into_owned());
                Ok(Self::ShowMetadataItem { id, key })
            }
            Operation::CreateMetadata => {
                let metadata = metadata_body::metadata(body, api)?;
                Ok(Self::CreateMetadata {
                    id: id()?,
                    metadata,
                })
            }
            Operation::ReplaceMetadata => {
                let metadata = metadata_body::metadata(body, api)?;
                Ok(Self::ReplaceMetadata {
                    id: id()?,
                    metadata,
                })
            }
            Operation::UpdateMetadataItem => {
                let item = metadata_body::item(body, &key, api)?;
                Ok(Self::UpdateMetadataItem { id: id()?, item })
            }
            Operation::DeleteMetadataItem => {
                let (id, key) = (id()?, key.into_owned());
                Ok(Self::DeleteMetadataItem { id, key })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::routes;
    use super::*;
    use rstest::rstest;

    fn parse(
        operation: Operation,
        id: &str,
        query: &str,
        body: &str,
    ) -> Result<NovaRequest, ApiError> {
        let route = MatchedRoute {
            entry: routes::entry(operation),
            id: id.into(),
            key: "k".into(),
        };
        let body = metadata_body::parse(body.as_bytes()).unwrap();
        NovaRequest::parse(route, query, &body, ApiVersion::V21)
    }

    #[rstest]
    #[case(Operation::ListImages, "limit=x")]
    #[case(Operation::DetailImages, "name=%ff")]
    #[case(Operation::ShowImage, "%ff")]
    #[case(Operation::ListMetadata, "%ff")]
    #[case(Operation::ShowMetadataItem, "a=%ff")]
    fn the_query_of_a_read_is_checked_before_its_id(
        #[case] operation: Operation,
        #[case] query: &str,
    ) {
        let refused = parse(operation, "..", query, "");
        assert!(matches!(refused, Err(ApiError::Query(_))), "{refused:?}");
    }

    #[rstest]
    #[case(Operation::CreateMetadata)]
    #[case(Operation::ReplaceMetadata)]
    #[case(Operation::UpdateMetadataItem)]
    fn the_body_of_a_write_is_checked_before_its_id(#[case] operation: Operation) {
        let refused = parse(operation, "..", "", "{}");
        assert!(matches!(refused, Err(ApiError::Body(_))), "{refused:?}");
    }

    #[rstest]
    #[case(Operation::ShowImage, "")]
    #[case(Operation::DeleteImage, "")]
    #[case(Operation::ListMetadata, "")]
    #[case(Operation::ShowMetadataItem, "")]
    #[case(Operation::CreateMetadata, r#"{"metadata": {"k": "v"}}"#)]
    #[case(Operation::ReplaceMetadata, r#"{"metadata": {"k": "v"}}"#)]
    #[case(Operation::UpdateMetadataItem, r#"{"meta": {"k": "v"}}"#)]
    #[case(Operation::DeleteMetadataItem, "")]
    fn an_id_that_no_image_can_have_is_not_found(#[case] operation: Operation, #[case] body: &str) {
        let refused = parse(operation, "a/b", "", body);
        assert!(
            matches!(refused, Err(ApiError::ImageNotFound)),
            "{refused:?}"
        );
        assert!(parse(operation, "x", "", body).is_ok());
    }

    #[rstest]
    #[case(Operation::DeleteImage, "")]
    #[case(Operation::CreateMetadata, r#"{"metadata": {"k": "v"}}"#)]
    #[case(Operation::DeleteMetadataItem, "")]
    fn the_query_of_a_write_is_not_checked(#[case] operation: Operation, #[case] body: &str) {
        assert!(parse(operation, "x", "%ff", body).is_ok());
    }
}
