//! With whom an image is shared.

use rusqlite::{Connection, Row, params};

use crate::error::Fault;
use crate::model::{Member, MemberStatus};

/// The members of an image, the oldest first.
pub(crate) fn of_image(connection: &Connection, image_id: &str) -> Result<Vec<Member>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT image_id, member, status, created_at, updated_at FROM image_members \
         WHERE image_id = ?1 ORDER BY created_at, member",
    )?;
    let members = statement.query_map([image_id], from_row)?;
    Ok(members.collect::<rusqlite::Result<_>>()?)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Member> {
    let status: String = row.get(2)?;
    Ok(Member {
        image_id: row.get(0)?,
        project: row.get(1)?,
        status: MemberStatus::parse(&status).unwrap_or(MemberStatus::Pending),
        created_at: row.get(3)?,
        updated_at: row.get(4)?,
    })
}

/// Whether the image is shared with that project, whatever that says to it.
pub(crate) fn is_member(
    connection: &Connection,
    image_id: &str,
    project: &str,
) -> Result<bool, Fault> {
    let mut statement = connection
        .prepare_cached("SELECT 1 FROM image_members WHERE image_id = ?1 AND member = ?2")?;
    Ok(statement.exists([image_id, project])?)
}

/// Adds a member, or overwrites what is known of it.
pub(crate) fn put(connection: &Connection, member: &Member) -> Result<(), Fault> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO image_members \
             (image_id, member, status, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            member.image_id,
            member.project,
            member.status.name(),
            member.created_at,
            member.updated_at,
        ])?;
    Ok(())
}

/// Takes a member out.
pub(crate) fn delete(connection: &Connection, member: &Member) -> Result<(), Fault> {
    connection
        .prepare_cached("DELETE FROM image_members WHERE image_id = ?1 AND member = ?2")?
        .execute([&member.image_id, &member.project])?;
    Ok(())
}
