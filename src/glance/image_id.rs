//! The id of an image, parsed once.

use std::fmt;
use thiserror::Error;
use uuid::Uuid;

/// Glance's column holds 36 characters; clouds with patched schemas hold up to this many.
const MAX_LENGTH: usize = 255;
/// The length of a UUID with its hyphens.
const CANONICAL_LENGTH: usize = 36;

/// The id of an image that may exist: 1 to 255 of URL's unreserved characters, and neither `.` nor
/// `..`.
///
/// Every server decodes a path before it routes, and URL parsers resolve dot segments even when they
/// are percent-encoded. Text with any other character could therefore reach another resource than
/// the image (`ID%2Ftags%2FNAME`), so it never becomes an `ImageId`, and only an `ImageId` becomes
/// part of a URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageId {
    raw: Box<str>,
    canonical: Option<Uuid>,
}

/// The text cannot be the id of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("no image can have this id")]
pub struct InvalidImageId;

impl ImageId {
    /// Takes the id as the client wrote it, percent-decoded.
    pub fn parse(text: &str) -> Result<Self, InvalidImageId> {
        let is_unreserved =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b'-');
        let is_dot_segment = matches!(text, "." | "..");
        if text.is_empty()
            || text.len() > MAX_LENGTH
            || is_dot_segment
            || !text.bytes().all(is_unreserved)
        {
            return Err(InvalidImageId);
        }
        let canonical = Uuid::try_parse(text).ok();
        Ok(Self {
            canonical: canonical.filter(|_| text.len() == CANONICAL_LENGTH),
            raw: text.into(),
        })
    }

    /// The id as the client wrote it.
    #[must_use]
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// The UUID, when the id is one with hyphens. Databases may take any other text, and an id in
    /// upper case, for a second spelling of one image's id.
    #[must_use]
    pub fn canonical(&self) -> Option<Uuid> {
        self.canonical
    }

    /// Equal for all spellings that a case-insensitive database takes for the same image.
    #[must_use]
    pub fn lock_key(&self) -> String {
        self.raw.to_ascii_lowercase()
    }

    /// The id as one segment of a URL's path. No character of it needs encoding.
    #[must_use]
    pub fn path_segment(&self) -> &str {
        &self.raw
    }

    /// Whether `other` names the same image, in whatever case.
    #[must_use]
    pub fn is_same_image(&self, other: &str) -> bool {
        self.raw.eq_ignore_ascii_case(other)
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;
    use url::Url;

    const UUID: &str = "aaaaaaaa-2222-4333-8444-555555555555";

    #[rstest]
    #[case("a")]
    #[case("...")]
    #[case("A.b_c~d-1")]
    #[case("detail")]
    #[case(UUID)]
    fn an_id_of_unreserved_characters_is_taken_as_it_is(#[case] text: &str) {
        let id = ImageId::parse(text).unwrap();
        assert_eq!((id.raw(), id.path_segment()), (text, text));
    }

    #[rstest]
    #[case("")]
    #[case(".")]
    #[case("..")]
    #[case("a/b")]
    #[case("a%2Fb")]
    #[case("%2e%2e")]
    #[case("a?b")]
    #[case("a#b")]
    #[case("a b")]
    #[case("a+b")]
    #[case("a;b")]
    #[case("a\\b")]
    #[case("ü")]
    #[case("a\0")]
    #[case("{aaaaaaaa-2222-4333-8444-555555555555}")]
    #[case("urn:uuid:aaaaaaaa-2222-4333-8444-555555555555")]
    fn any_other_text_is_no_id(#[case] text: &str) {
        assert_eq!(ImageId::parse(text), Err(InvalidImageId));
    }

    #[test]
    fn an_id_has_at_most_255_characters() {
        assert!(ImageId::parse(&"x".repeat(255)).is_ok());
        assert!(ImageId::parse(&"x".repeat(256)).is_err());
    }

    #[test]
    fn only_a_uuid_with_hyphens_has_a_canonical_form() {
        let canonical = |text: &str| ImageId::parse(text).unwrap().canonical();
        assert_eq!(canonical(UUID), Some(UUID.parse().unwrap()));
        assert_eq!(canonical(UUID), canonical(&UUID.to_uppercase()));
        assert_eq!(canonical(&UUID.replace('-', "")), None);
        assert_eq!(canonical("detail"), None);
    }

    #[test]
    fn spellings_that_differ_in_case_share_a_lock_and_name_the_same_image() {
        let (lower, upper) = (
            ImageId::parse(UUID).unwrap(),
            ImageId::parse(&UUID.to_uppercase()).unwrap(),
        );
        assert_ne!(lower, upper);
        assert_eq!(lower.lock_key(), upper.lock_key());
        assert!(lower.is_same_image(upper.raw()));
        assert!(!lower.is_same_image("aaaaaaaa-2222-4333-8444-555555555556"));
    }

    proptest! {
        #[test]
        fn no_id_reaches_another_url(text in "[\\PC/.%~_-]{0,60}") {
            if let Ok(id) = ImageId::parse(&text) {
                let segment = id.path_segment();
                let url: Url = format!("http://glance:9292/v2/images/{segment}").parse().unwrap();
                prop_assert_eq!(url.path(), format!("/v2/images/{text}"));
                prop_assert_eq!(url.query(), None);
                prop_assert_eq!(url.fragment(), None);
            }
        }
    }
}
