//! A page of images, by one statement that starts at the marker's place in the order.

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::images;
use crate::error::Fault;
use crate::filters::{Comparison, Condition, ListQuery};
use crate::identity::Identity;
use crate::model::Image;
use crate::sort::{Direction, SortKey};

/// The images of a page that the caller may see, after the marker if there is one.
pub(crate) fn page(
    connection: &Connection,
    caller: &Identity,
    query: &ListQuery,
    marker: Option<&Image>,
) -> Result<Vec<Image>, Fault> {
    let mut filter = Filter::default();
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
        "SELECT {} FROM images WHERE {} ORDER BY {} LIMIT {}",
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
                " AND status = ?"
            } else {
                ""
            };
            self.add(
                format!(
                    "(visibility IN ('public', 'community') OR owner = ? OR (visibility = 'shared' \
                     AND images.id IN (SELECT image_id FROM image_members \
                     WHERE member = ?{status})))"
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
                "images.id IN (SELECT image_id FROM image_tags WHERE value = ?)",
                [text(tag)],
            ),
            Condition::Property(name, value) => self.add(
                "images.id IN (SELECT image_id FROM image_properties WHERE name = ? AND value = ?)",
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

    #[test]
    fn a_page_of_the_default_order_enters_the_index_at_its_marker() {
        let store = Store::open(None).unwrap();
        let plan = store
            .read(|connection| {
                let mut statement = connection.prepare(
                    "EXPLAIN QUERY PLAN SELECT id FROM images WHERE os_hidden = 0 AND \
                     (created_at, images.id) < (?, ?) ORDER BY created_at DESC, images.id DESC",
                )?;
                let mut rows = statement.query([1, 2])?;
                let mut plan = String::new();
                while let Some(row) = rows.next()? {
                    plan.push_str(&row.get::<_, String>(3)?);
                }
                Ok(plan)
            })
            .unwrap();
        assert!(
            plan.contains("SEARCH images USING INDEX images_created_at"),
            "{plan}"
        );
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
}
