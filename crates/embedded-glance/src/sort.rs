//! The order of a list, from its query string. Pure.

use super::error::Fault;
use super::params::Params;

/// What a list can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SortKey {
    Name,
    Status,
    ContainerFormat,
    DiskFormat,
    Size,
    Id,
    CreatedAt,
    UpdatedAt,
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Ascending,
    Descending,
}

const SORT_KEYS: [(&str, SortKey); 8] = [
    ("name", SortKey::Name),
    ("status", SortKey::Status),
    ("container_format", SortKey::ContainerFormat),
    ("disk_format", SortKey::DiskFormat),
    ("size", SortKey::Size),
    ("id", SortKey::Id),
    ("created_at", SortKey::CreatedAt),
    ("updated_at", SortKey::UpdatedAt),
];

fn parse_sort_key(name: &str) -> Result<SortKey, Fault> {
    let name = python_compat::strip(name);
    if let Some((_, key)) = SORT_KEYS.iter().find(|(own, _)| *own == name) {
        return Ok(*key);
    }
    let known = SORT_KEYS.map(|(own, _)| own).join(", ");
    Err(Fault::bad_request(format!(
        "Invalid sort key: {name}. It must be one of the following: {known}."
    )))
}

fn parse_direction(name: &str) -> Result<Direction, Fault> {
    match python_compat::strip(name) {
        "asc" => Ok(Direction::Ascending),
        "desc" => Ok(Direction::Descending),
        other => Err(Fault::bad_request(format!(
            "Invalid sort direction: {other}"
        ))),
    }
}

/// Both of Glance's forms: `sort=name:asc,size` and `sort_key=name&sort_dir=asc`.
pub(super) fn parse(params: &mut Params) -> Result<Vec<(SortKey, Direction)>, Fault> {
    let mut keys = Vec::new();
    let mut directions = Vec::new();
    if params.has("sort") {
        if params.has("sort_key") || params.has("sort_dir") {
            return Err(Fault::bad_request(
                "Old and new sorting syntax cannot be combined",
            ));
        }
        for part in python_compat::strip(&params.take("sort").unwrap_or_default()).split(',') {
            let (key, direction) = part.split_once(':').unwrap_or((part, ""));
            keys.push(parse_sort_key(key)?);
            directions.push(parse_direction(if direction.is_empty() {
                "desc"
            } else {
                direction
            })?);
        }
    } else {
        for key in params.take_all("sort_key") {
            keys.push(parse_sort_key(&key)?);
        }
        for direction in params.take_all("sort_dir") {
            directions.push(parse_direction(&direction)?);
        }
        if directions.len() > 1 && directions.len() != keys.len() {
            let message = "Number of sort dirs does not match the number of sort keys";
            return Err(Fault::bad_request(message));
        }
    }
    if keys.is_empty() {
        keys.push(SortKey::CreatedAt);
    }
    Ok(total_order(&keys, &directions))
}

/// One direction counts for every key, and also for the two keys that make the order total.
fn total_order(keys: &[SortKey], directions: &[Direction]) -> Vec<(SortKey, Direction)> {
    let only = match directions {
        [] => Some(Direction::Descending),
        [only] => Some(*only),
        _ => None,
    };
    let mut sort: Vec<(SortKey, Direction)> = match only {
        Some(direction) => keys.iter().map(|key| (*key, direction)).collect(),
        None => keys
            .iter()
            .copied()
            .zip(directions.iter().copied())
            .collect(),
    };
    // A key that came before decides nothing.
    let mut seen = Vec::new();
    sort.retain(|(key, _)| {
        let is_new = !seen.contains(key);
        seen.push(*key);
        is_new
    });
    for key in [SortKey::CreatedAt, SortKey::Id] {
        if !sort.iter().any(|(own, _)| *own == key) {
            sort.push((key, only.unwrap_or(Direction::Descending)));
        }
    }
    // No two images have the same id.
    let id = sort.iter().position(|(key, _)| *key == SortKey::Id);
    sort.truncate(id.map_or(sort.len(), |id| id + 1));
    sort
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_is_total() {
        use Direction::{Ascending, Descending};
        use SortKey::{CreatedAt, Id, Name, Size};
        let sort = |query| parse(&mut Params::parse(query).unwrap()).unwrap();
        assert_eq!(sort(""), [(CreatedAt, Descending), (Id, Descending)]);
        assert_eq!(sort("sort_key=name&sort_dir=asc").len(), 3);
        assert_eq!(sort("sort=id:asc"), [(Id, Ascending)]);
        assert_eq!(
            sort("sort=name:asc,name:desc,id"),
            [(Name, Ascending), (Id, Descending)]
        );
        assert_eq!(
            sort("sort=size:asc,name:asc"),
            [
                (Size, Ascending),
                (Name, Ascending),
                (CreatedAt, Descending),
                (Id, Descending)
            ]
        );
    }
}
