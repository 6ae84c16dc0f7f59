//! Records to the JSON of the images API.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::model::{Image, Member, Status};
use super::time;

/// The one store, as a deployment with a store named `fs` shows it.
pub(super) const STORE: &str = "fs";

/// An image as the API shows it: every base property, null or not, and the additional ones.
pub(super) struct ImageView<'a> {
    pub(super) image: &'a Image,
    /// An admin sees more of a deactivated image.
    pub(super) for_admin: bool,
}

impl Serialize for ImageView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let image = self.image;
        // Only an admin sees where the data of a deactivated image lies. A queued image with hashes
        // had data that was refused, whose place Glance still shows.
        let has_store = match image.status {
            Status::Active => true,
            Status::Deactivated => self.for_admin,
            Status::Queued => image.os_hash_value.is_some(),
            Status::Saving
            | Status::Killed
            | Status::Uploading
            | Status::Importing
            | Status::PendingDelete => false,
        };
        let mut view = serializer.serialize_map(None)?;
        for (name, value) in image.properties.iter() {
            // The place of the data wins over a property of that name.
            if !(has_store && name == "stores") {
                view.serialize_entry(name, value)?;
            }
        }
        view.serialize_entry("name", &image.name)?;
        view.serialize_entry("disk_format", &image.disk_format)?;
        view.serialize_entry("container_format", &image.container_format)?;
        view.serialize_entry("visibility", image.visibility.name())?;
        view.serialize_entry("size", &image.size)?;
        view.serialize_entry("virtual_size", &image.virtual_size)?;
        view.serialize_entry("status", image.status.name())?;
        view.serialize_entry("checksum", &image.checksum)?;
        view.serialize_entry("protected", &image.protected)?;
        view.serialize_entry("min_ram", &image.min_ram)?;
        view.serialize_entry("min_disk", &image.min_disk)?;
        view.serialize_entry("owner", &image.owner)?;
        view.serialize_entry("os_hidden", &image.os_hidden)?;
        view.serialize_entry(
            "os_hash_algo",
            &image.os_hash_value.as_ref().map(|_| "sha512"),
        )?;
        view.serialize_entry("os_hash_value", &image.os_hash_value)?;
        view.serialize_entry("id", &image.id)?;
        view.serialize_entry("created_at", &time::to_text(image.created_at))?;
        view.serialize_entry("updated_at", &time::to_text(image.updated_at))?;
        view.serialize_entry("tags", &image.tags)?;
        view.serialize_entry("self", &format_args!("/v2/images/{}", image.id))?;
        view.serialize_entry("file", &format_args!("/v2/images/{}/file", image.id))?;
        view.serialize_entry("schema", "/v2/schemas/image")?;
        if has_store {
            view.serialize_entry("stores", STORE)?;
        }
        view.end()
    }
}

/// A page of images with the links to the first and the next one.
pub(super) struct PageView<'a> {
    pub(super) images: &'a [Image],
    pub(super) for_admin: bool,
    pub(super) first: String,
    pub(super) next: Option<String>,
}

impl Serialize for PageView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let view = |image| ImageView {
            image,
            for_admin: self.for_admin,
        };
        let images: Vec<ImageView<'_>> = self.images.iter().map(view).collect();
        let mut view = serializer.serialize_map(None)?;
        view.serialize_entry("images", &images)?;
        view.serialize_entry("first", &self.first)?;
        view.serialize_entry("schema", "/v2/schemas/images")?;
        if let Some(next) = &self.next {
            view.serialize_entry("next", next)?;
        }
        view.end()
    }
}

/// A membership as the API shows it.
pub(super) struct MemberView<'a>(pub(super) &'a Member);

impl Serialize for MemberView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let member = self.0;
        let mut view = serializer.serialize_map(Some(6))?;
        view.serialize_entry("member_id", &member.project)?;
        view.serialize_entry("image_id", &member.image_id)?;
        view.serialize_entry("status", member.status.name())?;
        view.serialize_entry("created_at", &time::to_text(member.created_at))?;
        view.serialize_entry("updated_at", &time::to_text(member.updated_at))?;
        view.serialize_entry("schema", "/v2/schemas/member")?;
        view.end()
    }
}

/// The members of an image.
pub(super) struct MembersView<'a>(pub(super) &'a [Member]);

impl Serialize for MembersView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let members: Vec<MemberView<'_>> = self.0.iter().map(MemberView).collect();
        let mut view = serializer.serialize_map(Some(2))?;
        view.serialize_entry("members", &members)?;
        view.serialize_entry("schema", "/v2/schemas/members")?;
        view.end()
    }
}
