//! The images of an empty store, so that a first request has something to show.

mod qcow2;

use std::io;

use rusqlite::Connection;

use super::data::{DataDir, upload};
use super::error::Fault;
use super::identity::{DEFAULT_PROJECT, DEFAULT_USER};
use super::model::{Image, Status, Visibility};
use super::{store, time};

/// The project that owns the public images: not the default caller's.
const PUBLISHER: &str = "e3bedded000000000000000000000002";
const BYTES_PER_GIB: i64 = 1 << 30;

/// Adds the samples with their data when there never was an image in the store. A start removes the
/// data where the transaction is not committed.
pub(super) fn add_to_empty(connection: &Connection, data: &DataDir) -> Result<(), Fault> {
    if !store::images::is_empty(connection)? {
        return Ok(());
    }
    let now = time::now();
    for (age, mut image) in (0..).zip(all()) {
        // An hour apart, so that the default order is the reverse of this one.
        image.created_at = now - (i64::from(8 - age) * 3_600_000_000);
        image.updated_at = image.created_at;
        if image.status != Status::Queued {
            add_data(&mut image, data).map_err(|error| {
                tracing::error!(%error, "cannot write the data of a sample image");
                Fault::internal()
            })?;
        }
        store::images::insert(connection, &image)?;
    }
    Ok(())
}

/// The id of a sample that a caller without a token may change, where it is still there.
pub(super) fn to_show(connection: &Connection) -> Result<Option<String>, Fault> {
    let image = store::images::find(connection, &golden().id)?;
    let image = image.filter(|image| image.owner.as_deref() == Some(DEFAULT_PROJECT));
    Ok(image.map(|image| image.id))
}

fn all() -> [Image; 7] {
    [
        ubuntu(),
        debian(),
        cirros(),
        golden(),
        withdrawn(),
        snapshot(),
        queued(),
    ]
}

/// The ids are fixed, so that documentation and scripts can name them.
fn id(number: u8) -> String {
    format!("e3bedded-0000-4000-8000-{number:012}")
}

/// An empty disk of the image's virtual size.
fn add_data(image: &mut Image, data: &DataDir) -> io::Result<()> {
    let virtual_size = image.virtual_size.unwrap_or_default();
    let disk = qcow2::empty_disk(u64::try_from(virtual_size).unwrap_or_default(), &image.id);
    let mut incoming = data.incoming()?;
    let digest = upload::write(&mut incoming, &disk)?;
    data.keep(&mut incoming, &image.id)?;
    image.size = i64::try_from(digest.size).ok();
    image.checksum = Some(digest.md5);
    image.os_hash_value = Some(digest.sha512);
    Ok(())
}

/// An active image with a disk of that many GiB. Its data comes with [`add_data`].
fn with_disk(mut image: Image, min_disk: i64) -> Image {
    image.disk_format = Some("qcow2".to_owned());
    image.container_format = Some("bare".to_owned());
    image.virtual_size = Some(min_disk * BYTES_PER_GIB);
    image.min_disk = min_disk;
    image.status = Status::Active;
    image
}

fn named(number: u8, name: &str, owner: &str, visibility: Visibility) -> Image {
    let mut image = Image::queued(id(number), Some(owner.to_owned()), 0);
    image.name = Some(name.to_owned());
    image.visibility = visibility;
    image
}

fn add_properties(image: &mut Image, properties: &[(&str, &str)]) {
    for (name, value) in properties {
        image
            .properties
            .set((*name).to_owned(), (*value).to_owned());
    }
}

fn distribution(number: u8, name: &str, distro: [&str; 2], min_disk: i64) -> Image {
    let image = named(number, name, PUBLISHER, Visibility::Public);
    let mut image = with_disk(image, min_disk);
    let [distro, version] = distro;
    add_properties(
        &mut image,
        &[
            ("architecture", "x86_64"),
            ("os_type", "linux"),
            ("os_distro", distro),
            ("os_version", version),
            ("hw_disk_bus", "virtio"),
            ("hw_vif_model", "virtio"),
        ],
    );
    image
}

fn ubuntu() -> Image {
    let mut image = distribution(1, "ubuntu-24.04", ["ubuntu", "24.04"], 4);
    image.min_ram = 512;
    image.set_tags(vec!["lts".to_owned()]);
    image
}

fn debian() -> Image {
    let mut image = distribution(2, "debian-13", ["debian", "13"], 3);
    image.min_ram = 256;
    image
}

fn cirros() -> Image {
    let mut image = distribution(3, "cirros-0.6.2", ["cirros", "0.6.2"], 1);
    image.min_ram = 64;
    image
}

/// Cannot be deleted.
fn golden() -> Image {
    let image = named(4, "golden-web", DEFAULT_PROJECT, Visibility::Private);
    let mut image = with_disk(image, 10);
    image.protected = true;
    add_properties(&mut image, &[("os_distro", "debian"), ("role", "web")]);
    image
}

/// Deactivated: listed, but only an admin may download its data.
fn withdrawn() -> Image {
    let mut image = distribution(5, "ubuntu-20.04", ["ubuntu", "20.04"], 4);
    image.status = Status::Deactivated;
    image
}

/// What Nova's createImage leaves behind.
fn snapshot() -> Image {
    let image = named(
        6,
        "web-1-before-upgrade",
        DEFAULT_PROJECT,
        Visibility::Private,
    );
    let mut image = with_disk(image, 10);
    let base = id(4);
    add_properties(
        &mut image,
        &[
            ("image_type", "snapshot"),
            ("instance_uuid", "e3bedded-0000-4000-9000-000000000001"),
            ("base_image_ref", &base),
            ("user_id", DEFAULT_USER),
            ("owner_project_name", "default"),
            ("auto_disk_config", "True"),
        ],
    );
    image
}

/// Waits for its data.
fn queued() -> Image {
    named(7, "upload-pending", DEFAULT_PROJECT, Visibility::Shared)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn only_an_empty_store_gets_samples() {
        let store = Store::open(None).unwrap();
        let data = DataDir::open(None).unwrap();
        store
            .write(|connection| add_to_empty(connection, &data))
            .unwrap();
        store
            .write(|connection| {
                assert_eq!(to_show(connection)?, Some(id(4)));
                for image in all() {
                    assert!(store::images::find(connection, &image.id)?.is_some());
                    store::images::delete(connection, &image.id)?;
                }
                add_to_empty(connection, &data)?;
                assert_eq!(store::images::find(connection, &id(1))?, None);
                assert_eq!(to_show(connection)?, None);
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn there_is_one_of_each_kind() {
        let images = all();
        assert!(images.iter().any(|image| image.protected));
        assert!(images.iter().any(|image| image.status == Status::Queued));
        assert!(
            images
                .iter()
                .any(|image| image.status == Status::Deactivated)
        );
        assert!(
            images
                .iter()
                .any(|image| image.properties.has("instance_uuid"))
        );
    }
}
