//! The query strings of the image lists.

use super::python::repr_str;
use crate::glance::ImageQuery;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};
use std::collections::BTreeMap;
use thiserror::Error;

/// Why a query string is refused; the text is Nova's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum QueryError {
    /// A name or a value is not UTF-8.
    #[error("Query string is not UTF-8 encoded")]
    NotUtf8,
    /// A value that is not a positive integer.
    #[error("Invalid input for query parameters {name}. Value: {value}. {rule}")]
    Invalid {
        /// The parameter.
        name: &'static str,
        /// Its value as sent, decoded.
        value: String,
        /// The rule that it breaks.
        rule: String,
    },
}

/// The query of a list: the query for Glance, and the parameters that the next link repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListQuery {
    /// The query to Glance.
    pub images: ImageQuery,
    /// The parameters that Nova knows, sorted; the next link repeats them.
    pub link: BTreeMap<String, String>,
}

/// The parameters that must be positive integers.
const NUMBERS: [&str; 3] = ["limit", "page_size", "offset"];
/// The other parameters Nova knows besides `property-*`.
const KNOWN: [&str; 8] = [
    "name",
    "status",
    "changes-since",
    "server",
    "type",
    "minRam",
    "minDisk",
    "marker",
];
/// Glance's parameters for paging and order. A `property-` filter of such a name is dropped.
const CONTROLS: [&str; 5] = ["limit", "marker", "sort", "sort_key", "sort_dir"];

/// Checks that a query string is UTF-8. Nova checks this for every read, also where it ignores the query.
pub fn check_utf8(query: &str) -> Result<(), QueryError> {
    pairs(query).map(|_| ())
}

/// Parses the query string of `GET /images` or `GET /images/detail`.
pub fn parse_list(query: &str) -> Result<ListQuery, QueryError> {
    let mut pairs = pairs(query)?;
    pairs.retain(|(name, _)| {
        KNOWN.contains(&name.as_str())
            || NUMBERS.contains(&name.as_str())
            || name.starts_with("property-")
    });
    for name in NUMBERS {
        for (_, value) in pairs.iter().filter(|(given, _)| given == name) {
            check_number(name, value)?;
        }
    }
    let last = |name: &str| {
        pairs
            .iter()
            .rev()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.as_str())
    };
    let images = ImageQuery {
        filters: filters(&pairs),
        limit: last("limit").map(|value| digits(value).parse().unwrap_or(u64::MAX)),
        marker: last("marker")
            .filter(|id| !id.is_empty())
            .map(str::to_owned),
    };
    // Nova builds the link from sorted pairs, so the largest value of a repeated parameter counts.
    pairs.sort();
    Ok(ListQuery {
        images,
        link: pairs.into_iter().collect(),
    })
}

/// `^[0-9]*$` as Python matches it: a line break may stand at the end.
fn digits(value: &str) -> &str {
    value.strip_suffix('\n').unwrap_or(value)
}

fn check_number(name: &'static str, value: &str) -> Result<(), QueryError> {
    let digits = digits(value);
    let rule = if value.is_empty() {
        format!("{} should be non-empty", repr_str(value))
    } else if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        format!("{} does not match '^[0-9]*$'", repr_str(value))
    } else if digits.bytes().all(|b| b == b'0') {
        "0 is less than the minimum of 1".to_owned()
    } else {
        return Ok(());
    };
    Err(QueryError::Invalid {
        name,
        value: value.to_owned(),
        rule,
    })
}

/// Nova's filters by Glance's names. Where two parameters set one filter, the later one counts.
fn filters(given: &[(String, String)]) -> BTreeMap<String, String> {
    given
        .iter()
        .filter_map(|(name, value)| {
            let (filter, value) = match name.as_str() {
                "name" => ("name", value.clone()),
                "status" => ("status", status_filter(value)),
                "changes-since" => ("updated_at", format!("gte:{value}")),
                "server" => ("instance_uuid", after_last_slash(value).to_owned()),
                "type" => ("image_type", value.clone()),
                "minRam" => ("min_ram", value.clone()),
                "minDisk" => ("min_disk", value.clone()),
                other => {
                    let property = other.strip_prefix("property-")?;
                    if CONTROLS.contains(&property) {
                        return None;
                    }
                    (property, property_value(property, value))
                }
            };
            Some((filter.to_owned(), value))
        })
        .collect()
}

/// `property-instance_uuid` takes a server's URL too, as `server` does.
fn property_value(property: &str, value: &str) -> String {
    if property == "instance_uuid" {
        after_last_slash(value).to_owned()
    } else {
        value.to_owned()
    }
}

fn after_last_slash(reference: &str) -> &str {
    reference.rsplit_once('/').map_or(reference, |(_, id)| id)
}

/// A status that Nova shows, in upper case, selects the images shown with it. Any other value goes to
/// Glance in lower case, as in Nova.
fn status_filter(status: &str) -> String {
    match status {
        "ACTIVE" => "active".to_owned(),
        "SAVING" => "in:queued,saving".to_owned(),
        "DELETED" => "in:deleted,pending_delete".to_owned(),
        "ERROR" => "killed".to_owned(),
        "UNKNOWN" => "in:deactivated,importing,uploading".to_owned(),
        other => other.to_lowercase(),
    }
}

/// Splits and decodes a query string. `;` separates too, as in Nova's parser.
fn pairs(query: &str) -> Result<Vec<(String, String)>, QueryError> {
    query
        .split(['&', ';'])
        .filter(|piece| !piece.is_empty())
        .map(|piece| {
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            Ok((decode(name)?, decode(value)?))
        })
        .collect()
}

fn decode(text: &str) -> Result<String, QueryError> {
    let spaced = text.replace('+', " ");
    percent_decode(spaced.as_bytes())
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| QueryError::NotUtf8)
}

/// The characters that Python's `urlencode` encodes.
const LINK: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'_')
    .remove(b'.')
    .remove(b'-')
    .remove(b'~');

/// The query string of the next link: the sorted parameters, with `marker` replaced or appended.
#[must_use]
pub fn next_query(link: &BTreeMap<String, String>, marker: &str) -> String {
    let encode = |text: &str| {
        utf8_percent_encode(text, LINK)
            .to_string()
            .replace("%20", "+")
    };
    let mut parameters: Vec<(&str, &str)> = link
        .iter()
        .map(|(name, value)| (name.as_str(), if name == "marker" { marker } else { value }))
        .collect();
    if !link.contains_key("marker") {
        parameters.push(("marker", marker));
    }
    parameters
        .into_iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect::<Vec<_>>()
        .join("&")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn filter(query: &str) -> Vec<(String, String)> {
        parse_list(query)
            .unwrap()
            .images
            .filters
            .into_iter()
            .collect()
    }

    #[rstest]
    #[case("name=a", "name", "a")]
    #[case("name=a&name=b", "name", "b")]
    #[case("status=Active", "status", "active")]
    #[case("status=SAVING", "status", "in:queued,saving")]
    #[case("status=saving", "status", "saving")]
    #[case("status=ERROR", "status", "killed")]
    #[case("status=UNKNOWN", "status", "in:deactivated,importing,uploading")]
    #[case("status=DELETED", "status", "in:deleted,pending_delete")]
    #[case(
        "changes-since=2020-01-01T00:00:00%2B05:30",
        "updated_at",
        "gte:2020-01-01T00:00:00+05:30"
    )]
    #[case("changes-since=a+b", "updated_at", "gte:a b")]
    #[case("server=http://x/v2.1/servers/u", "instance_uuid", "u")]
    #[case("server=u/", "instance_uuid", "")]
    #[case("property-instance_uuid=a/u", "instance_uuid", "u")]
    #[case("type=snapshot", "image_type", "snapshot")]
    #[case("minRam=1.5", "min_ram", "1.5")]
    #[case("minDisk=", "min_disk", "")]
    #[case("property-os_type=linux", "os_type", "linux")]
    #[case("property-key%20with%20spaces=v+1", "key with spaces", "v 1")]
    #[case("property-size_min=5", "size_min", "5")]
    fn filters_get_glance_s_names(#[case] query: &str, #[case] name: &str, #[case] value: &str) {
        assert_eq!(filter(query), [(name.to_owned(), value.to_owned())]);
    }

    #[rstest]
    #[case("NAME=x")]
    #[case("foo=bar")]
    #[case("PROPERTY-foo=bar")]
    #[case("property_foo=bar")]
    #[case("property-limit=1")]
    #[case("property-sort_key=bogus")]
    #[case("property-marker=x")]
    #[case("page_size=2")]
    #[case("offset=3")]
    #[case("=")]
    #[case("%")]
    #[case("%zz=1")]
    #[case("?limit=1")]
    fn these_filter_nothing(#[case] query: &str) {
        assert_eq!(filter(query), []);
    }

    #[rstest]
    #[case("limit=0", "limit. Value: 0. 0 is less than the minimum of 1")]
    #[case("limit=00", "limit. Value: 00. 0 is less than the minimum of 1")]
    #[case("limit=-1", "limit. Value: -1. '-1' does not match '^[0-9]*$'")]
    #[case("limit=", "limit. Value: . '' should be non-empty")]
    #[case("limit=%201", "limit. Value:  1. ' 1' does not match '^[0-9]*$'")]
    #[case(
        "limit=1&limit=abc",
        "limit. Value: abc. 'abc' does not match '^[0-9]*$'"
    )]
    #[case(
        "limit=abc&limit=1",
        "limit. Value: abc. 'abc' does not match '^[0-9]*$'"
    )]
    #[case("offset=%D9%A1", "offset. Value: ١. '١' does not match '^[0-9]*$'")]
    #[case("page_size=a", "page_size. Value: a. 'a' does not match '^[0-9]*$'")]
    fn a_bad_number_is_told_as_nova_tells_it(#[case] query: &str, #[case] message: &str) {
        let error = parse_list(query).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("Invalid input for query parameters {message}")
        );
    }

    #[rstest]
    #[case("x=%ff")]
    #[case("%ff=x")]
    #[case("limit=%ff")]
    fn what_is_not_utf8_is_refused(#[case] query: &str) {
        assert_eq!(parse_list(query), Err(QueryError::NotUtf8));
    }

    #[test]
    fn a_semicolon_separates_and_a_huge_limit_is_a_limit() {
        let list = parse_list("limit=99999999999999999999;name=x").unwrap();
        assert_eq!(list.images.limit, Some(u64::MAX));
        assert_eq!(
            list.images.filters.get("name").map(String::as_str),
            Some("x")
        );
    }

    #[test]
    fn a_line_break_may_end_a_number() {
        assert_eq!(parse_list("limit=2%0A").unwrap().images.limit, Some(2));
        assert!(parse_list("limit=2%0A%0A").is_err());
    }

    #[rstest]
    #[case("limit=1&b=2&a=1", "limit=1&marker=M")]
    #[case("status=ACTIVE&marker=x&limit=2", "limit=2&marker=M&status=ACTIVE")]
    #[case(
        "changes-since=2020-01-01T00:00:00Z&limit=2",
        "changes-since=2020-01-01T00%3A00%3A00Z&limit=2&marker=M"
    )]
    #[case("limit=1&limit=2", "limit=2&marker=M")]
    #[case("limit=1&name=a+b~ü", "limit=1&name=a+b~%C3%BC&marker=M")]
    fn the_next_link_repeats_what_nova_knows(#[case] query: &str, #[case] next: &str) {
        assert_eq!(next_query(&parse_list(query).unwrap().link, "M"), next);
    }

    proptest! {
        #[test]
        fn any_query_is_read_or_refused(query in "\\PC*") {
            let _ = parse_list(&query);
        }

        #[test]
        fn the_next_link_leads_to_the_same_filters(
            name in "\\PC{0,20}", property in "[a-z_]{1,10}", value in "\\PC{0,20}",
        ) {
            prop_assume!(!CONTROLS.contains(&property.as_str()));
            let link: BTreeMap<_, _> = [
                ("name".to_owned(), name),
                (format!("property-{property}"), value),
            ].into();
            let again = parse_list(&next_query(&link, "M")).unwrap();
            prop_assert_eq!(again.images.marker.as_deref(), Some("M"));
            let mut expected = link.clone();
            expected.insert("marker".into(), "M".into());
            prop_assert_eq!(again.link, expected);
        }
    }
}
