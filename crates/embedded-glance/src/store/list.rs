//! A page of images.
//!
//! There are two ways to one. Where a filter leaves few images, these are looked at and sorted. Where
//! none does, the index of the order is walked from the marker's place, and ends when the page is
//! full, which is soon, since every filter leaves many images.

use std::collections::HashSet;

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::images;
use crate::error::Fault;
use crate::filters::{Comparison, Condition, ListQuery};
use crate::identity::Identity;
use crate::model::{Image, Visibility};
use crate::sort::{Direction, SortKey};

/// A filter that leaves no more images than this decides which are looked at.
const FEW: usize = 500;

/// The images of a page that the caller may see, after the marker if there is one.
pub(crate) fn page(
    connection: &Connection,
    caller: &Identity,
    query: &ListQuery,
    marker: Option<&Image>,
) -> Result<Vec<Image>, Fault> {
    let mut filter = Filter::default();
    let candidates = candidates(connection, caller, query)?;
    let source = match &candidates {
        Some(ids) if ids.is_empty() => return Ok(Vec::new()),
        Some(ids) => {
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            filter
                .values
                .push(Value::from(serde_json::Value::from(ids).to_string()));
            // A cross join is never reordered: each candidate is looked up by its id.
            "json_each(?) AS candidate CROSS JOIN images ON images.id = candidate.value".to_owned()
        }
        None => match order_index(&query.sort) {
            Some(index) => format!("images INDEXED BY {index}"),
            None => "images NOT INDEXED".to_owned(),
        },
    };
    filter.visible_to(caller, query);
    for condition in &query.conditions {
        filter.condition(condition);
    }
    if let Some(marker) = marker {
        filter.after(marker, &query.sort);
    }
    let order: Vec<String> = query
        .sort
        .iter()
        .map(|(key, direction)| format!("{} {}", expression(*key), word(*direction)))
        .collect();
    let sql = format!(
        "SELECT {} FROM {source} WHERE {} ORDER BY {} LIMIT {}",
        images::COLUMNS,
        filter.terms.join(" AND "),
        order.join(", "),
        query.limit
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(filter.values), images::from_row)?;
    let mut page = rows.collect::<rusqlite::Result<Vec<Image>>>()?;
    images::add_details(connection, &mut page)?;
    Ok(page)
}

/// The ids that the filter leaves which leaves the fewest, where these are few.
fn candidates(
    connection: &Connection,
    caller: &Identity,
    query: &ListQuery,
) -> Result<Option<Vec<String>>, Fault> {
    let mut conditions: Vec<Condition> = query.conditions.clone();
    match query.visibility.as_deref().map(Visibility::parse) {
        // Of the private images others see none.
        Some(Some(Visibility::Private)) if !caller.is_admin() => {
            conditions.push(Condition::Equals("owner", caller.project.clone()));
        }
        Some(Some(visibility)) => {
            let name = visibility.name().to_owned();
            conditions.push(Condition::Equals("visibility", name));
        }
        Some(None) | None => {}
    }
    let mut fewest: Option<Vec<String>> = None;
    for condition in &conditions {
        let limit = fewest.as_ref().map_or(FEW + 1, Vec::len);
        let Some((sql, values)) = probe(condition) else {
            continue;
        };
        let mut statement = connection.prepare_cached(&format!("{sql} LIMIT {limit}"))?;
        let ids = statement.query_map(params_from_iter(values), |row| row.get(0))?;
        let ids: HashSet<String> = ids.collect::<rusqlite::Result<_>>()?;
        if ids.len() < limit {
            fewest = Some(ids.into_iter().collect());
        }
        if fewest.as_ref().is_some_and(Vec::is_empty) {
            break;
        }
    }
    Ok(fewest)
}

/// A statement for the ids that a condition leaves, by an index of its own.
fn probe(condition: &Condition) -> Option<(String, Vec<Value>)> {
    let column = match condition {
        Condition::Tag(tag) => {
            let sql = "SELECT image_id FROM image_tags WHERE value = ?".to_owned();
            return Some((sql, vec![Value::from(tag.clone())]));
        }
        Condition::Property(name, value) => {
            let sql = "SELECT image_id FROM image_properties WHERE name = ? AND value = ?";
            let values = [name, value].map(|text| Value::from(text.clone()));
            return Some((sql.to_owned(), values.to_vec()));
        }
        Condition::Never => return Some(("SELECT '' WHERE FALSE".to_owned(), Vec::new())),
        // No index helps with these.
        Condition::Time(_, Comparison::NotEqual, _) | Condition::Equals("os_hash_algo", _) => {
            return None;
        }
        Condition::Equals(column, _)
        | Condition::In(column, _)
        | Condition::Flag(column, _)
        | Condition::AtLeast(column, _)
        | Condition::AtMost(column, _)
        | Condition::Time(column, ..) => *column,
    };
    let is_indexed = match condition {
        Condition::Time(..) => true,
        _ => !["created_at", "os_hash_algo"].contains(&column),
    };
    if !is_indexed {
        return None;
    }
    let mut filter = Filter::default();
    filter.condition(condition);
    let sql = format!("SELECT id FROM images WHERE {}", filter.terms.join(" AND "));
    Some((sql, filter.values))
}

/// The index that holds the images in that order.
fn order_index(sort: &[(SortKey, Direction)]) -> Option<&'static str> {
    let (first, direction) = sort.first()?;
    if sort.iter().any(|(_, own)| own != direction) {
        return None;
    }
    let rest: Vec<SortKey> = sort.iter().skip(1).map(|(key, _)| *key).collect();
    let index = match (first, rest.as_slice()) {
        (SortKey::Id, _) => "sqlite_autoindex_images_1",
        (SortKey::CreatedAt, [SortKey::Id]) => "images_created_at",
        (SortKey::UpdatedAt, [SortKey::CreatedAt, SortKey::Id]) => "images_by_updated_at",
        (SortKey::Name, [SortKey::CreatedAt, SortKey::Id]) => "images_by_name",
        (SortKey::Status, [SortKey::CreatedAt, SortKey::Id]) => "images_by_status",
        (SortKey::ContainerFormat, [SortKey::CreatedAt, SortKey::Id]) => {
            "images_by_container_format"
        }
        (SortKey::DiskFormat, [SortKey::CreatedAt, SortKey::Id]) => "images_by_disk_format",
        (SortKey::Size, [SortKey::CreatedAt, SortKey::Id]) => "images_by_size",
        _ => return None,
    };
    Some(index)
}

fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Ascending => "ASC",
        Direction::Descending => "DESC",
    }
}

/// An absent value sorts as the empty one, so that a page after it can be found.
fn expression(key: SortKey) -> &'static str {
    match key {
        SortKey::Name => "COALESCE(name, '')",
        SortKey::Status => "status",
        SortKey::ContainerFormat => "COALESCE(container_format, '')",
        SortKey::DiskFormat => "COALESCE(disk_format, '')",
        SortKey::Size => "COALESCE(size, 0)",
        SortKey::Id => "images.id",
        SortKey::CreatedAt => "created_at",
        SortKey::UpdatedAt => "updated_at",
    }
}

fn value(image: &Image, key: SortKey) -> Value {
    let text = |text: &Option<String>| Value::from(text.clone().unwrap_or_default());
    match key {
        SortKey::Name => text(&image.name),
        SortKey::Status => Value::from(image.status.name().to_owned()),
        SortKey::ContainerFormat => text(&image.container_format),
        SortKey::DiskFormat => text(&image.disk_format),
        SortKey::Size => Value::from(image.size.unwrap_or(0)),
        SortKey::Id => Value::from(image.id.clone()),
        SortKey::CreatedAt => Value::from(image.created_at),
        SortKey::UpdatedAt => Value::from(image.updated_at),
    }
}

/// The terms of a `WHERE` and the values they bind, in step.
#[derive(Default)]
struct Filter {
    terms: Vec<String>,
    values: Vec<Value>,
}

impl Filter {
    fn add(&mut self, term: impl Into<String>, values: impl IntoIterator<Item = Value>) {
        self.terms.push(term.into());
        self.values.extend(values);
    }

    /// What the caller may see, and of that what the asked visibility leaves.
    fn visible_to(&mut self, caller: &Identity, query: &ListQuery) {
        let project = || Value::from(caller.project.clone());
        self.add("status <> 'killed'", []);
        if !caller.is_admin() {
            let status = if query.member_status.is_some() {
                " AND image_members.status = ?"
            } else {
                ""
            };
            self.add(
                format!(
                    "(visibility IN ('public', 'community') OR owner = ? OR (visibility = 'shared' \
                     AND EXISTS (SELECT 1 FROM image_members \
                     WHERE image_id = images.id AND member = ?{status})))"
                ),
                [project(), project()],
            );
            self.values
                .extend(query.member_status.clone().map(Value::from));
        }
        match query.visibility.as_deref() {
            Some("all") => {}
            Some(visibility) => self.add("visibility = ?", [Value::from(visibility.to_owned())]),
            None => self.add("(visibility <> 'community' OR owner = ?)", [project()]),
        }
    }

    fn condition(&mut self, condition: &Condition) {
        let text = |text: &String| Value::from(text.clone());
        match condition {
            Condition::Equals(column, value) => {
                self.add(format!("images.{column} = ?"), [text(value)]);
            }
            Condition::In(column, values) => {
                let list = serde_json::Value::from(values.as_slice()).to_string();
                let term = format!("images.{column} IN (SELECT value FROM json_each(?))");
                self.add(term, [Value::from(list)]);
            }
            Condition::Flag(column, value) => {
                self.add(format!("{column} = ?"), [Value::from(*value)]);
            }
            Condition::AtLeast(column, bound) => {
                self.add(format!("images.{column} >= ?"), [Value::from(*bound)]);
            }
            Condition::AtMost(column, bound) => {
                self.add(format!("images.{column} <= ?"), [Value::from(*bound)]);
            }
            Condition::Time(column, comparison, micros) => {
                self.add(
                    format!("{column} {} ?", sign(*comparison)),
                    [Value::from(*micros)],
                );
            }
            Condition::Tag(tag) => self.add(
                "EXISTS (SELECT 1 FROM image_tags WHERE image_id = images.id AND value = ?)",
                [text(tag)],
            ),
            Condition::Property(name, value) => self.add(
                "EXISTS (SELECT 1 FROM image_properties \
                 WHERE image_id = images.id AND name = ? AND value = ?)",
                [text(name), text(value)],
            ),
            Condition::Never => self.add("FALSE", []),
        }
    }

    /// What comes behind the marker. Where all keys go one way, one comparison of rows says it, and
    /// the index of the default order can be entered at the marker.
    fn after(&mut self, marker: &Image, sort: &[(SortKey, Direction)]) {
        let beyond = |direction| match direction {
            Direction::Ascending => ">",
            Direction::Descending => "<",
        };
        let first = sort.first().map(|(_, direction)| *direction);
        if let Some(direction) = first
            && sort.iter().all(|(_, own)| *own == direction)
        {
            if let Some((key, _)) = sort.first() {
                // Says nothing new, but where the walk of an index of expressions begins.
                let term = format!("{} {}= ?", expression(*key), beyond(direction));
                self.add(term, [value(marker, *key)]);
            }
            let keys: Vec<&str> = sort.iter().map(|(key, _)| expression(*key)).collect();
            let places = vec!["?"; keys.len()].join(", ");
            let term = format!("({}) {} ({places})", keys.join(", "), beyond(direction));
            self.add(term, sort.iter().map(|(key, _)| value(marker, *key)));
            return;
        }
        let mut alternatives = Vec::new();
        for (position, (key, direction)) in sort.iter().enumerate() {
            let mut terms = Vec::new();
            for (equal, _) in sort.iter().take(position) {
                terms.push(format!("{} = ?", expression(*equal)));
                self.values.push(value(marker, *equal));
            }
            terms.push(format!("{} {} ?", expression(*key), beyond(*direction)));
            self.values.push(value(marker, *key));
            alternatives.push(format!("({})", terms.join(" AND ")));
        }
        self.terms.push(format!("({})", alternatives.join(" OR ")));
    }
}

fn sign(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::NotEqual => "<>",
        Comparison::Equal => "=",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::Params;
    use crate::store::Store;

    fn ids(store: &Store, query: &str, marker: Option<&Image>) -> Vec<Image> {
        let query = ListQuery::parse(Params::parse(query).unwrap()).unwrap();
        let caller = Identity::member("p", "u");
        store
            .read(|connection| page(connection, &caller, &query, marker))
            .unwrap()
    }

    #[test]
    fn pages_hold_every_image_once_in_every_order() {
        let store = Store::open(None).unwrap();
        for number in 0..40_i64 {
            let mut image = Image::queued(
                format!("{:03}", number * 7 % 40),
                Some("p".into()),
                number / 8,
            );
            image.name = (number % 3 > 0).then(|| format!("n{}", number % 5));
            image.size = (number % 4 > 0).then_some(number % 6);
            store
                .write(|connection| images::insert(connection, &image))
                .unwrap();
        }
        for order in [
            "",
            "sort=name:asc",
            "sort=size:asc",
            "sort=size:desc,name:asc",
            "sort_key=disk_format",
        ] {
            let whole = ids(&store, &format!("limit=100&{order}"), None);
            let mut paged: Vec<Image> = Vec::new();
            loop {
                let page = ids(&store, &format!("limit=7&{order}"), paged.last());
                if page.is_empty() {
                    break;
                }
                paged.extend(page);
            }
            assert_eq!(whole.len(), 40);
            assert_eq!(paged, whole, "{order}");
        }
    }

    fn plan(connection: &Connection, source: &str, filter: &str, order: &str) -> String {
        let sql = format!(
            "EXPLAIN QUERY PLAN SELECT name FROM images INDEXED BY {source} WHERE {filter} \
             ORDER BY {order}"
        );
        let mut statement = connection.prepare(&sql).unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(3));
        rows.unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn every_order_walks_its_index_from_the_marker() {
        use SortKey::{ContainerFormat, CreatedAt, DiskFormat, Id, Name, Size, Status, UpdatedAt};
        let store = Store::open(None).unwrap();
        let marker = Image::queued("i".into(), None, 1);
        for first in [
            Name,
            Status,
            ContainerFormat,
            DiskFormat,
            Size,
            Id,
            CreatedAt,
            UpdatedAt,
        ] {
            for direction in [Direction::Ascending, Direction::Descending] {
                let mut sort = vec![(first, direction)];
                let rest = [CreatedAt, Id]
                    .into_iter()
                    .filter(|key| *key != first && first != Id);
                sort.extend(rest.map(|key| (key, direction)));
                let mut filter = Filter::default();
                filter.after(&marker, &sort);
                let order: Vec<String> = sort
                    .iter()
                    .map(|(key, direction)| format!("{} {}", expression(*key), word(*direction)))
                    .collect();
                let index = order_index(&sort).unwrap();
                let filter = filter.terms.join(" AND ").replace('?', "1");
                let plan = store
                    .read(|c| Ok(plan(c, index, &filter, &order.join(", "))))
                    .unwrap();
                assert!(plan.contains("SEARCH images USING INDEX"), "{plan}");
                assert!(!plan.contains("TEMP B-TREE"), "{first:?}: {plan}");
            }
        }
    }

    #[test]
    fn every_probe_uses_an_index() {
        let store = Store::open(None).unwrap();
        for query in [
            "tag=x",
            "p=x",
            "name=x",
            "id=x",
            "status=x",
            "owner=x",
            "checksum=x",
            "size=1",
            "os_hash_value=x",
            "disk_format=in:a,b",
            "container_format=x",
            "min_ram_min=1",
            "min_disk_max=1",
            "size_min=1",
            "virtual_size=1",
            "protected=true",
            "os_hidden=true",
            "updated_at=gt:2020-01-01",
            "created_at=lt:2020-01-01",
        ] {
            let query = ListQuery::parse(Params::parse(query).unwrap()).unwrap();
            for condition in &query.conditions {
                let (sql, values) = probe(condition).unwrap();
                let plan = store
                    .read(|connection| {
                        let mut statement =
                            connection.prepare(&format!("EXPLAIN QUERY PLAN {sql} LIMIT 9"))?;
                        let rows = statement
                            .query_map(params_from_iter(values), |row| row.get::<_, String>(3))?;
                        Ok(rows.map(Result::unwrap).collect::<String>())
                    })
                    .unwrap();
                assert!(plan.contains("SEARCH"), "{sql}: {plan}");
            }
        }
    }

    #[test]
    fn many_and_few_are_filtered_alike() {
        let store = Store::open(None).unwrap();
        let many = i64::try_from(FEW).unwrap() * 3;
        store
            .write(|connection| {
                for number in 0..many {
                    let mut image = Image::queued(format!("{number:05}"), Some("p".into()), number);
                    image.tags.push("all".into());
                    if number % 2 == 0 {
                        image.tags.push("half".into());
                    }
                    if number % 100 == 0 {
                        image.tags.push("few".into());
                        image.name = Some("hundredth".into());
                    }
                    image.properties.set("odd".into(), (number % 2).to_string());
                    images::insert(connection, &image)?;
                }
                Ok(())
            })
            .unwrap();
        let count = |query: &str| ids(&store, &format!("limit=1000&{query}"), None).len();
        assert_eq!(count("tag=half"), FEW * 3 / 2);
        assert_eq!(count("tag=half&tag=few"), FEW * 3 / 100);
        assert_eq!(count("tag=all&odd=1&limit=9&tag=few"), 0);
        assert_eq!(count("name=hundredth&odd=0"), FEW * 3 / 100);
        assert_eq!(count("tag=none"), 0);
        assert_eq!(count("visibility=private"), 0);
        let first = ids(&store, "tag=half&limit=2&sort=created_at:asc", None);
        assert_eq!(
            first.iter().map(|i| i.id.as_str()).collect::<Vec<_>>(),
            ["00000", "00002"]
        );
    }
}
