//! The JSON document of one image, as Glance sent it.

use super::image_id::ImageId;
use super::model::{Image, InvalidResponse, json_str};
use bytes::Bytes;

/// The body of Glance's response about the image with this id.
#[derive(Debug, Clone)]
pub struct ImageDocument {
    id: ImageId,
    body: Bytes,
}

impl ImageDocument {
    pub(super) fn new(id: &ImageId, body: Bytes) -> Self {
        Self {
            id: id.clone(),
            body,
        }
    }

    /// Parses the document. One without an id, or with the id of another image, is not what Glance
    /// answers: something else answered, or the URL named another resource.
    pub fn image(&self) -> Result<Image<'_>, InvalidResponse> {
        let image = Image::parse(&self.body)?;
        match image.id.and_then(json_str) {
            Some(id) if self.id.is_same_image(&id) => Ok(image),
            Some(_) => Err(InvalidResponse::new("the id of another image")),
            None => Err(InvalidResponse::new("an image without an id")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(r#"{"id": "Abc"}"#, true)]
    #[case(r#"{"id": "aBC", "name": null}"#, true)]
    #[case(r#"{"id": "abd"}"#, false)]
    #[case(r#"{"id": null}"#, false)]
    #[case(r#"{"id": 1}"#, false)]
    #[case(r#"{"members": [], "schema": "/v2/schemas/members"}"#, false)]
    #[case("{}", false)]
    #[case("[]", false)]
    fn a_document_is_that_of_the_image_it_was_asked_for(#[case] body: &str, #[case] valid: bool) {
        let id = ImageId::parse("abc").unwrap();
        let document = ImageDocument::new(&id, Bytes::copy_from_slice(body.as_bytes()));
        assert_eq!(document.image().is_ok(), valid);
    }
}
