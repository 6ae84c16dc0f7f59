//! Single images: find, insert, update, delete.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::Fault;
use crate::model::{Image, Properties, Status, Visibility};

/// The columns that [`from_row`] reads, in its order.
pub(crate) const COLUMNS: &str = "images.id, images.name, disk_format, container_format, size, virtual_size, status, \
     visibility, checksum, os_hash_value, min_disk, min_ram, owner, protected, os_hidden, \
     created_at, updated_at";

/// The image of that id, whoever may see it.
pub(crate) fn find(connection: &Connection, id: &str) -> Result<Option<Image>, Fault> {
    let sql = format!("SELECT {COLUMNS} FROM images WHERE id = ?1");
    let image = connection
        .prepare_cached(&sql)?
        .query_row([id], from_row)
        .optional()?;
    let Some(image) = image else { return Ok(None) };
    let mut images = [image];
    add_details(connection, &mut images)?;
    let [image] = images;
    Ok(Some(image))
}

/// A name that this release does not know cannot be in the table, but for one written by hand.
pub(crate) fn from_row(row: &Row<'_>) -> rusqlite::Result<Image> {
    let status: String = row.get(6)?;
    let visibility: String = row.get(7)?;
    Ok(Image {
        id: row.get(0)?,
        name: row.get(1)?,
        disk_format: row.get(2)?,
        container_format: row.get(3)?,
        size: row.get(4)?,
        virtual_size: row.get(5)?,
        status: Status::parse(&status).unwrap_or(Status::Killed),
        visibility: Visibility::parse(&visibility).unwrap_or(Visibility::Private),
        checksum: row.get(8)?,
        os_hash_value: row.get(9)?,
        min_disk: row.get(10)?,
        min_ram: row.get(11)?,
        owner: row.get(12)?,
        protected: row.get(13)?,
        os_hidden: row.get(14)?,
        created_at: row.get(15)?,
        updated_at: row.get(16)?,
        properties: Properties::default(),
        tags: Vec::new(),
    })
}

/// Adds the properties and tags of a page's images, in two queries for all of them.
pub(crate) fn add_details(connection: &Connection, images: &mut [Image]) -> Result<(), Fault> {
    let places: std::collections::HashMap<String, usize> = images
        .iter()
        .enumerate()
        .map(|(place, image)| (image.id.clone(), place))
        .collect();
    let ids: Vec<&str> = images.iter().map(|image| image.id.as_str()).collect();
    let ids = serde_json::Value::from(ids).to_string();
    let mut statement = connection.prepare_cached(
        "SELECT image_id, name, value FROM image_properties \
         WHERE image_id IN (SELECT value FROM json_each(?1)) ORDER BY image_id, position",
    )?;
    let mut rows = statement.query([&ids])?;
    while let Some(row) = rows.next()? {
        let place = places.get(row.get_ref(0)?.as_str().unwrap_or_default());
        if let Some(image) = place.and_then(|place| images.get_mut(*place)) {
            image.properties.append(row.get(1)?, row.get(2)?);
        }
    }
    let mut statement = connection.prepare_cached(
        "SELECT image_id, value FROM image_tags \
         WHERE image_id IN (SELECT value FROM json_each(?1)) ORDER BY image_id, position",
    )?;
    let mut rows = statement.query([&ids])?;
    while let Some(row) = rows.next()? {
        let place = places.get(row.get_ref(0)?.as_str().unwrap_or_default());
        if let Some(image) = place.and_then(|place| images.get_mut(*place)) {
            image.tags.push(row.get(1)?);
        }
    }
    Ok(())
}

/// Whether an image has or had this id.
pub(crate) fn id_is_taken(connection: &Connection, id: &str) -> Result<bool, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM images WHERE id = ?1) \
             OR EXISTS (SELECT 1 FROM deleted_images WHERE id = ?1)",
    )?;
    Ok(statement.query_row([id], |row| row.get(0))?)
}

/// Adds a new image with its properties and tags.
pub(crate) fn insert(connection: &Connection, image: &Image) -> Result<(), Fault> {
    connection
        .prepare_cached(
            "INSERT INTO images (id, name, disk_format, container_format, size, virtual_size, \
             status, visibility, checksum, os_hash_value, min_disk, min_ram, owner, protected, \
             os_hidden, created_at, updated_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
        )?
        .execute(params![
            image.id,
            image.name,
            image.disk_format,
            image.container_format,
            image.size,
            image.virtual_size,
            image.status.name(),
            image.visibility.name(),
            image.checksum,
            image.os_hash_value,
            image.min_disk,
            image.min_ram,
            image.owner,
            image.protected,
            image.os_hidden,
            image.created_at,
            image.updated_at,
        ])?;
    insert_details(connection, image)
}

fn insert_details(connection: &Connection, image: &Image) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO image_properties (image_id, name, value, position) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (position, (name, value)) in (0_u32..).zip(image.properties.iter()) {
        statement.execute(params![image.id, name, value, position])?;
    }
    let mut statement = connection
        .prepare_cached("INSERT INTO image_tags (image_id, value, position) VALUES (?1, ?2, ?3)")?;
    for (position, value) in (0_u32..).zip(&image.tags) {
        statement.execute(params![image.id, value, position])?;
    }
    Ok(())
}

/// Writes every attribute, property and tag of an image that exists.
pub(crate) fn update(connection: &Connection, image: &Image) -> Result<(), Fault> {
    connection
        .prepare_cached(
            "UPDATE images SET name = ?2, disk_format = ?3, container_format = ?4, size = ?5, \
             virtual_size = ?6, status = ?7, visibility = ?8, checksum = ?9, os_hash_value = ?10, \
             min_disk = ?11, min_ram = ?12, owner = ?13, protected = ?14, os_hidden = ?15, \
             updated_at = ?16 WHERE id = ?1",
        )?
        .execute(params![
            image.id,
            image.name,
            image.disk_format,
            image.container_format,
            image.size,
            image.virtual_size,
            image.status.name(),
            image.visibility.name(),
            image.checksum,
            image.os_hash_value,
            image.min_disk,
            image.min_ram,
            image.owner,
            image.protected,
            image.os_hidden,
            image.updated_at,
        ])?;
    for table in ["image_properties", "image_tags"] {
        let sql = format!("DELETE FROM {table} WHERE image_id = ?1");
        connection.prepare_cached(&sql)?.execute([&image.id])?;
    }
    insert_details(connection, image)
}

/// Deletes an image with all that hangs on it; its id stays taken.
pub(crate) fn delete(connection: &Connection, id: &str) -> Result<(), Fault> {
    connection
        .prepare_cached("DELETE FROM images WHERE id = ?1")?
        .execute([id])?;
    connection
        .prepare_cached("INSERT INTO deleted_images (id) VALUES (?1)")?
        .execute([id])?;
    Ok(())
}

/// Whether there never was an image.
pub(crate) fn is_empty(connection: &Connection) -> Result<bool, Fault> {
    let sql = "SELECT NOT EXISTS (SELECT 1 FROM images) \
               AND NOT EXISTS (SELECT 1 FROM deleted_images)";
    Ok(connection.query_row(sql, [], |row| row.get(0))?)
}

/// Deletes every image, and forgets the ids that were taken.
pub(crate) fn delete_all(connection: &Connection) -> Result<(), Fault> {
    connection.execute("DELETE FROM images", [])?;
    connection.execute("DELETE FROM deleted_images", [])?;
    Ok(())
}

/// Images whose upload a process did not finish wait for data again.
pub(crate) fn end_uploads(connection: &Connection) -> Result<(), Fault> {
    connection.execute(
        "UPDATE images SET status = 'queued' WHERE status = 'saving'",
        [],
    )?;
    Ok(())
}

/// The ids of the images that have data.
pub(crate) fn with_data(connection: &Connection) -> Result<HashSet<String>, Fault> {
    let mut statement =
        connection.prepare("SELECT id FROM images WHERE status IN ('active', 'deactivated')")?;
    let ids = statement.query_map([], |row| row.get(0))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}
