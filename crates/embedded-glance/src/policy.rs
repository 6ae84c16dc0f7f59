//! What a caller may see and do: Glance's default policies, whose new defaults are in force. Pure.

use super::error::Fault;
use super::identity::Identity;
use super::model::{Image, Visibility};

/// The store's own rule, before any policy: without it an image does not exist for the caller.
/// `is_member` says whether the image is shared with the caller's project, accepted or not.
pub(super) fn is_visible(caller: &Identity, image: &Image, is_member: bool) -> bool {
    caller.is_admin()
        || image.owner.is_none()
        || matches!(image.visibility, Visibility::Public | Visibility::Community)
        || caller.owns(image.owner.as_deref())
        || (image.visibility == Visibility::Shared && is_member)
}

/// `get_image`: a caller without the reader role sees nothing.
pub(super) fn may_get(caller: &Identity, image: &Image) -> bool {
    let open = image.visibility != Visibility::Private;
    caller.is_admin()
        || (caller.has_role("reader") && (open || caller.owns(image.owner.as_deref())))
}

/// `get_images`
pub(super) fn list(caller: &Identity) -> Result<(), Fault> {
    if caller.is_admin() || caller.has_role("reader") {
        return Ok(());
    }
    Err(Fault::not_authorized_to("get_images"))
}

/// A policy that asks for an admin or for a member of the owning project.
pub(super) fn change(caller: &Identity, image: &Image, action: &str) -> Result<(), Fault> {
    let owns = caller.has_role("member") && caller.owns(image.owner.as_deref());
    if caller.is_admin() || owns {
        return Ok(());
    }
    if may_get(caller, image) {
        return Err(Fault::not_authorized_to(action));
    }
    Err(Fault::no_resource())
}

/// `get_image_location`: whoever may see the image.
pub(super) fn get_location(caller: &Identity, image: &Image) -> Result<(), Fault> {
    if may_get(caller, image) {
        return Ok(());
    }
    Err(Fault::no_resource())
}

/// `delete_image_location`, a matter of admins.
pub(super) fn delete_location(caller: &Identity) -> Result<(), Fault> {
    if caller.is_admin() {
        return Ok(());
    }
    Err(Fault::not_authorized_to("delete_image_location"))
}

/// `download_image`
pub(super) fn may_download(caller: &Identity, image: &Image) -> bool {
    caller.is_admin() || (caller.has_role("member") && may_get(caller, image))
}

/// `add_image`, for an owner who may be named in the request.
pub(super) fn create(caller: &Identity, owner: Option<&str>) -> Result<(), Fault> {
    let owns = caller.owns(owner);
    if caller.is_admin() || (owns && caller.has_role("member")) {
        return Ok(());
    }
    if owns {
        return Err(Fault::not_authorized_to("add_image"));
    }
    let owner = owner.unwrap_or("None");
    Err(Fault::forbidden_detail(format!(
        "You are not permitted to create images owned by '{owner}'"
    )))
}

/// `publicize_image` is an admin's right, `communitize_image` an owner's.
pub(super) fn set_visibility(
    caller: &Identity,
    owner: Option<&str>,
    visibility: Visibility,
) -> Result<(), Fault> {
    let owns = caller.has_role("member") && caller.owns(owner);
    match visibility {
        Visibility::Public if !caller.is_admin() => {
            Err(Fault::not_authorized_to("publicize_image"))
        }
        Visibility::Community if !caller.is_admin() && !owns => {
            Err(Fault::not_authorized_to("communitize_image"))
        }
        Visibility::Public | Visibility::Community | Visibility::Shared | Visibility::Private => {
            Ok(())
        }
    }
}

/// The image is shared with the caller, who is not its owner.
fn is_shared_with(caller: &Identity, image: &Image) -> bool {
    image.visibility == Visibility::Shared && !caller.owns(image.owner.as_deref())
}

/// `get_member`, `get_members`
pub(super) fn get_members(caller: &Identity, image: &Image, action: &str) -> Result<(), Fault> {
    let involved = caller.owns(image.owner.as_deref()) || is_shared_with(caller, image);
    if caller.is_admin() || (caller.has_role("reader") && involved) {
        return Ok(());
    }
    Err(Fault::not_authorized_to(action))
}

/// `modify_member`: the answer is the member's, not the owner's.
pub(super) fn modify_member(caller: &Identity, image: &Image) -> Result<(), Fault> {
    if caller.is_admin() || (caller.has_role("member") && is_shared_with(caller, image)) {
        return Ok(());
    }
    Err(Fault::not_authorized_to("modify_member"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(visibility: Visibility) -> Image {
        let mut image = Image::queued("i".into(), Some("owner".into()), 0);
        image.visibility = visibility;
        image
    }

    #[test]
    fn who_sees_what() {
        let owner = Identity::member("owner", "u");
        let stranger = Identity::member("stranger", "u");
        let admin = Identity::admin("other", "u");
        for visibility in [Visibility::Public, Visibility::Community] {
            assert!(is_visible(&stranger, &image(visibility), false));
        }
        for visibility in [Visibility::Shared, Visibility::Private] {
            assert!(!is_visible(&stranger, &image(visibility), false));
            assert!(is_visible(&owner, &image(visibility), false));
            assert!(is_visible(&admin, &image(visibility), false));
        }
        assert!(is_visible(&stranger, &image(Visibility::Shared), true));
        assert!(!is_visible(&stranger, &image(Visibility::Private), true));
    }

    #[test]
    fn a_reader_changes_nothing() {
        let reader = Identity {
            project: "owner".into(),
            user: "u".into(),
            roles: vec!["reader".into()],
        };
        let image = image(Visibility::Private);
        assert!(may_get(&reader, &image));
        let refused = Err(Fault::not_authorized_to("modify_image"));
        assert_eq!(change(&reader, &image, "modify_image"), refused);
        assert_eq!(
            create(&reader, Some("owner")),
            Err(Fault::not_authorized_to("add_image"))
        );
    }

    #[test]
    fn only_an_admin_makes_an_image_public_or_another_s() {
        let owner = Identity::member("owner", "u");
        assert!(set_visibility(&owner, Some("owner"), Visibility::Public).is_err());
        assert!(set_visibility(&owner, Some("owner"), Visibility::Community).is_ok());
        assert!(create(&owner, Some("other")).is_err());
        assert!(create(&Identity::admin("a", "u"), Some("other")).is_ok());
    }
}
