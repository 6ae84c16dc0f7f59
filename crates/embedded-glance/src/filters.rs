//! From a list's query string to a typed query, as Glance reads it. Pure.

use super::error::Fault;
use super::params::Params;
use super::sort::{self, Direction, SortKey};
use super::time;

/// The page size of a list that names none.
const DEFAULT_LIMIT: usize = 25;
/// The largest page.
const MAX_LIMIT: usize = 1000;

/// What a list asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListQuery {
    /// At most [`MAX_LIMIT`].
    pub(super) limit: usize,
    /// The id of the last image of the page before.
    pub(super) marker: Option<String>,
    /// Ends with `created_at` and `id`, so that the order is total.
    pub(super) sort: Vec<(SortKey, Direction)>,
    /// None hides the community images of others; `all` shows every one.
    pub(super) visibility: Option<String>,
    /// The membership that makes a shared image appear; None means any.
    pub(super) member_status: Option<String>,
    /// All of them must hold.
    pub(super) conditions: Vec<Condition>,
}

/// A column of the images table by which a list may be filtered.
pub(super) type Column = &'static str;

/// One filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Equals(Column, String),
    In(Column, Vec<String>),
    Flag(Column, bool),
    AtLeast(Column, i64),
    AtMost(Column, i64),
    /// Microseconds since 1970.
    Time(Column, Comparison, i64),
    Tag(String),
    Property(String, String),
    /// A filter that no image can match.
    Never,
}

/// How a moment is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    NotEqual,
    Equal,
}

/// The columns that a range or an equality may name.
const COLUMNS: [Column; 17] = [
    "id",
    "name",
    "disk_format",
    "container_format",
    "size",
    "virtual_size",
    "status",
    "visibility",
    "checksum",
    "os_hash_algo",
    "os_hash_value",
    "min_disk",
    "min_ram",
    "owner",
    "protected",
    "created_at",
    "updated_at",
];

impl ListQuery {
    /// Reads a query. The checks come in Glance's order, so that of two mistakes the same is named.
    pub(super) fn parse(mut params: Params) -> Result<Self, Fault> {
        let limit = params.take("limit");
        let marker = params.take("marker");
        let member_status = params
            .take("member_status")
            .unwrap_or_else(|| "accepted".to_owned());
        let mut tags: Vec<String> = params
            .take_all("tag")
            .iter()
            .map(|tag| python_compat::strip(tag).to_owned())
            .collect();
        check_visibility(&params)?;
        if !["pending", "accepted", "rejected", "all"].contains(&member_status.as_str()) {
            return Err(Fault::bad_request(format!(
                "Invalid status: {member_status}"
            )));
        }
        let limit = limit.map_or(Ok(DEFAULT_LIMIT), |limit| parse_limit(&limit))?;
        let sort = sort::parse(&mut params)?;
        let mut conditions = flags(&mut params)?;
        let visibility = params.take("visibility");
        if tags.is_empty() {
            // Glance takes `tags` for a list and so asks for each of its letters.
            tags = params
                .last("tags")
                .unwrap_or_default()
                .chars()
                .map(String::from)
                .collect();
        }
        params.take_all("tags");
        conditions.extend(tags.into_iter().map(Condition::Tag));
        conditions.extend(other_filters(params)?);
        let member_status = (member_status != "all").then_some(member_status);
        Ok(Self {
            limit,
            marker,
            sort,
            visibility,
            member_status,
            conditions,
        })
    }
}

fn check_visibility(params: &Params) -> Result<(), Fault> {
    let known = ["", "community", "public", "private", "shared", "all"];
    let visibility = params.last("visibility").unwrap_or_default();
    if !known.contains(&visibility) {
        return Err(Fault::bad_request(format!(
            "Invalid visibility value: {visibility}"
        )));
    }
    if params
        .last("changes-since")
        .is_some_and(|since| !since.is_empty())
    {
        let message = "The \"changes-since\" filter is no longer available on v2.";
        return Err(Fault::bad_request(message));
    }
    Ok(())
}

/// Reads what Python's `int` reads: outer spaces, a sign, single underscores between digits.
pub(super) fn parse_integer(text: &str) -> Option<i64> {
    let text = python_compat::strip(text);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let groups_are_digits = digits
        .split('_')
        .all(|group| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit()));
    if !groups_are_digits {
        return None;
    }
    // Glance's numbers have no bound; one that does not fit acts as the largest that does.
    let value = digits.replace('_', "").parse::<i64>().unwrap_or(i64::MAX);
    Some(if negative { -value } else { value })
}

pub(super) fn parse_limit(text: &str) -> Result<usize, Fault> {
    let Some(limit) = parse_integer(text) else {
        return Err(Fault::bad_request("limit param must be an integer"));
    };
    match usize::try_from(limit) {
        Ok(limit) => Ok(limit.min(MAX_LIMIT)),
        Err(_) => Err(Fault::bad_request("limit param must be positive")),
    }
}

/// The filters that Glance reads by name before all others.
fn flags(params: &mut Params) -> Result<Vec<Condition>, Fault> {
    let mut conditions = Vec::new();
    let hidden = params.last("os_hidden").unwrap_or("false").to_lowercase();
    conditions.push(Condition::Flag(
        "os_hidden",
        parse_flag("os_hidden", &hidden)?,
    ));
    params.take_all("os_hidden");
    if let Some(protected) = params.last("protected") {
        conditions.push(Condition::Flag(
            "protected",
            parse_flag("protected", protected)?,
        ));
        params.take_all("protected");
    }
    for column in ["checksum", "os_hash_value"] {
        if let Some(value) = params.take(column) {
            conditions.push(Condition::Equals(column, value));
        }
    }
    if params.has("properties") || params.has("changes-since") {
        return Err(Fault::internal());
    }
    // Deleted images are gone, whatever the query says.
    params.take_all("deleted");
    Ok(conditions)
}

fn parse_flag(name: &str, value: &str) -> Result<bool, Fault> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(Fault::bad_request(format!(
            "Invalid value '{other}' for '{name}' filter. Valid values are 'true' or 'false'."
        ))),
    }
}

fn other_filters(params: Params) -> Result<Vec<Condition>, Fault> {
    let mut conditions = Vec::new();
    let mut plain = Vec::new();
    for (name, value) in params.into_unique() {
        if let Some(column) = name.strip_suffix("_min") {
            conditions.push(Condition::AtLeast(
                range_column(column, &value)?,
                bound(&value)?,
            ));
        } else if let Some(column) = name.strip_suffix("_max") {
            conditions.push(Condition::AtMost(
                range_column(column, &value)?,
                bound(&value)?,
            ));
        } else if let Some(column) = one_of(&["created_at", "updated_at"], &name) {
            conditions.push(moment(column, &value)?);
        } else if let Some(column) = one_of(
            &["name", "id", "status", "container_format", "disk_format"],
            &name,
        ) {
            conditions.push(text(column, &value)?);
        } else {
            plain.push((name, value));
        }
    }
    for (name, value) in plain {
        conditions.push(equality(name, value)?);
    }
    Ok(conditions)
}

fn one_of(columns: &[Column], name: &str) -> Option<Column> {
    columns.iter().find(|column| **column == name).copied()
}

fn bound(value: &str) -> Result<i64, Fault> {
    parse_integer(value)
        .ok_or_else(|| Fault::bad_request("Unable to filter on a range with a non-numeric value."))
}

/// The bound is looked at first; a range over what is no column breaks Glance.
fn range_column(name: &str, value: &str) -> Result<Column, Fault> {
    bound(value)?;
    one_of(&COLUMNS, name).ok_or_else(Fault::internal)
}

/// `operator:value`; a bare moment, which has colons too, is an equality.
fn split_operator(expression: &str) -> (&str, &str) {
    match expression.split_once(':') {
        Some((operator, value)) if time::parse(expression).is_none() => (operator, value),
        Some(_) | None => ("eq", expression),
    }
}

fn moment(column: Column, expression: &str) -> Result<Condition, Fault> {
    let (operator, value) = split_operator(expression);
    let Some(micros) = time::parse(value) else {
        return Err(Fault::bad_request(format!(
            "Bad \"{column}\" query filter format. Use ISO 8601 DateTime notation."
        )));
    };
    let comparison = match operator {
        "gt" => Comparison::Greater,
        "gte" => Comparison::GreaterOrEqual,
        "lt" => Comparison::Less,
        "lte" => Comparison::LessOrEqual,
        "neq" => Comparison::NotEqual,
        "eq" => Comparison::Equal,
        _ => {
            return Err(Fault::bad_request(
                "Unable to filter on a unknown operator.",
            ));
        }
    };
    Ok(Condition::Time(column, comparison, micros))
}

fn text(column: Column, expression: &str) -> Result<Condition, Fault> {
    match split_operator(expression) {
        ("in", list) => Ok(Condition::In(column, split_list(list)?)),
        ("eq", value) => Ok(Condition::Equals(column, value.to_owned())),
        (operator, _) => Err(Fault::bad_request(format!(
            "Unable to filter by unknown operator '{operator}'."
        ))),
    }
}

fn equality(name: String, value: String) -> Result<Condition, Fault> {
    if let Some(column) = one_of(&COLUMNS, &name) {
        return Ok(Condition::Equals(column, value));
    }
    match name.as_str() {
        // Relations of Glance's image table: comparing them with a text breaks it.
        "locations" | "members" => Err(Fault::internal()),
        "deleted_at" | "metadata" => Ok(Condition::Never),
        _ => Ok(Condition::Property(name, value)),
    }
}

/// The values of `in:`, separated by commas; one in double quotes may hold commas.
fn split_list(list: &str) -> Result<Vec<String>, Fault> {
    check_quotes(list)?;
    let mut values = Vec::new();
    let mut rest = list;
    while !rest.is_empty() {
        let (value, behind) = match rest.strip_prefix('"').and_then(split_at_quote) {
            Some(split) => split,
            None => rest.split_once(',').map_or((rest, ""), |(value, _)| {
                (value, rest.get(value.len()..).unwrap_or_default())
            }),
        };
        values.push(value.to_owned());
        rest = behind.strip_prefix(',').unwrap_or(behind);
    }
    Ok(values)
}

/// The text before the next quote that no backslash escapes, and what follows it.
fn split_at_quote(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    for (position, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some((text.get(..position)?, text.get(position + 1..)?)),
            _ => {}
        }
    }
    None
}

fn check_quotes(list: &str) -> Result<(), Fault> {
    let complain = |what: &str| {
        Err(Fault::bad_request(format!(
            "Invalid filter value {list}. {what}"
        )))
    };
    let mut inside = false;
    let mut before = None;
    let mut characters = list.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '"' && before != Some('\\') {
            if !inside && before.is_some_and(|before| before != ',') {
                return complain("There is no comma before opening quotation mark.");
            }
            if inside && characters.peek().is_some_and(|next| *next != ',') {
                return complain("There is no comma after closing quotation mark.");
            }
            inside = !inside;
        }
        before = Some(character);
    }
    if inside {
        complain("The quote is not closed.")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn parse(query: &str) -> Result<ListQuery, Fault> {
        ListQuery::parse(Params::parse(query).unwrap())
    }

    fn conditions(query: &str) -> Vec<Condition> {
        let mut conditions = parse(query).unwrap().conditions;
        assert_eq!(conditions.remove(0), Condition::Flag("os_hidden", false));
        conditions
    }

    #[rstest]
    #[case("", 25)]
    #[case("limit=0", 0)]
    #[case("limit=5000", 1000)]
    #[case("limit=%201_0", 10)]
    #[case("limit=99999999999999999999", 1000)]
    fn limits(#[case] query: &str, #[case] limit: usize) {
        assert_eq!(parse(query).unwrap().limit, limit);
    }

    #[rstest]
    #[case("limit=-1", "limit param must be positive")]
    #[case("limit=", "limit param must be an integer")]
    #[case("limit=3.0", "limit param must be an integer")]
    #[case("limit=1__0", "limit param must be an integer")]
    #[case("visibility=x&limit=a", "Invalid visibility value: x")]
    #[case("member_status=x", "Invalid status: x")]
    #[case(
        "sort=name&sort_dir=asc",
        "Old and new sorting syntax cannot be combined"
    )]
    #[case("name=neq:a", "Unable to filter by unknown operator 'neq'.")]
    #[case("size_min=a", "Unable to filter on a range with a non-numeric value.")]
    #[case("updated_at=xx:2020", "Unable to filter on a unknown operator.")]
    #[case("name=in:\"a", "Invalid filter value \"a. The quote is not closed.")]
    #[case(
        "os_hidden=1",
        "Invalid value '1' for 'os_hidden' filter. Valid values are 'true' or 'false'."
    )]
    fn refusals_are_worded_as_glance_does(#[case] query: &str, #[case] message: &str) {
        assert_eq!(parse(query), Err(Fault::bad_request(message)));
    }

    #[test]
    fn a_moment_with_colons_is_an_equality() {
        let at = time::parse("2020-01-01T00:00:00Z").unwrap();
        assert_eq!(
            conditions("created_at=2020-01-01T00:00:00Z"),
            [Condition::Time("created_at", Comparison::Equal, at)]
        );
        assert_eq!(
            conditions("created_at=gte:2020-01-01T00:00:00Z"),
            [Condition::Time(
                "created_at",
                Comparison::GreaterOrEqual,
                at
            )]
        );
    }

    #[rstest]
    #[case("a,b", &["a", "b"])]
    #[case("a,,b,", &["a", "", "b"])]
    #[case("\"a,b\",c", &["a,b", "c"])]
    #[case("\"a\\\"b\"", &["a\\\"b"])]
    #[case("", &[])]
    fn lists_of_values(#[case] list: &str, #[case] values: &[&str]) {
        assert_eq!(split_list(list).unwrap(), values);
    }

    #[test]
    fn what_is_no_column_is_a_property() {
        let property = Condition::Property("os_distro".into(), "in:a".into());
        assert_eq!(conditions("os_distro=in:a"), [property]);
        assert_eq!(parse("foo_min=1"), Err(Fault::internal()));
    }

    proptest::proptest! {
        #[test]
        fn no_query_panics(query in "[a-z_:=&,\"%\\\\0-9]{0,40}") {
            if let Ok(params) = Params::parse(&query) {
                let _ = ListQuery::parse(params);
            }
        }
    }
}
