//! The bodies of metadata writes, validated as Nova does, with Nova's messages.

use super::json::Json;
use super::python::{repr, repr_str, str};
use super::routes::ApiVersion;
use thiserror::Error;

/// The pattern for keys in Nova's schema, which messages quote.
const KEY_PATTERN: &str = "^[a-zA-Z0-9-_:. ]{1,255}$";
/// The most characters of a key or a value.
const MAX_LENGTH: usize = 255;

/// Why a body is refused. `Display` is Nova's message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BodyError {
    /// Not JSON.
    #[error("Malformed request body")]
    Malformed,
    /// JSON that fails the operation's schema.
    #[error("{0}")]
    Invalid(String),
    /// The body's item has another key than the path.
    #[error("Request body and URI mismatch")]
    Mismatch,
}

/// The metadata of a valid body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Keys, not stripped, with the values for Glance; `None` is a JSON null.
    pub items: Vec<(String, Option<String>)>,
    /// The object of the body, for the echo.
    pub sent: Json,
}

/// Reads the body as JSON. As in Nova, an empty body is null.
pub fn parse(body: &[u8]) -> Result<Json, BodyError> {
    if body.is_empty() {
        return Ok(Json::Null);
    }
    Json::parse(body).map_err(|_| BodyError::Malformed)
}

/// Validates `{"metadata": {…}}`, the body of `POST` and `PUT` on all metadata.
pub fn metadata(body: &Json, api: ApiVersion) -> Result<Metadata, BodyError> {
    let map = top_level(body, "metadata", api)?;
    let errors = object_errors("metadata", map, api);
    conclude(errors, map)
}

/// Validates `{"meta": {one item}}`, the body of `PUT` on the item `key`.
pub fn item(body: &Json, key: &str, api: ApiVersion) -> Result<Metadata, BodyError> {
    let map = top_level(body, "meta", api)?;
    let mut errors = object_errors("meta", map, api);
    if let Json::Map(pairs) = map {
        let complaint = match pairs.len() {
            0 => Some("should be non-empty"),
            1 => None,
            _ => Some("has too many properties"),
        };
        if let Some(complaint) = complaint {
            errors
                .of_object
                .push(field("meta", map, &format!("{} {complaint}", repr(map))));
        }
    }
    let meta = conclude(errors, map)?;
    if meta.items.iter().any(|(name, _)| name == key) {
        Ok(meta)
    } else {
        Err(BodyError::Mismatch)
    }
}

/// The value of the required top-level key. `/v2` allows further keys.
fn top_level<'b>(body: &'b Json, name: &str, api: ApiVersion) -> Result<&'b Json, BodyError> {
    let Json::Map(pairs) = body else {
        return invalid(format!("{} is not of type 'object'", repr(body)));
    };
    let Some(map) = body.get(name) else {
        return invalid(format!("{} is a required property", repr_str(name)));
    };
    let mut extras: Vec<&str> = pairs
        .iter()
        .map(|(key, _)| key.as_str())
        .filter(|key| *key != name)
        .collect();
    if api == ApiVersion::V21 && !extras.is_empty() {
        extras.sort_unstable();
        let quoted: Vec<_> = extras.iter().map(|key| repr_str(key)).collect();
        let verb = if quoted.len() == 1 { "was" } else { "were" };
        return invalid(format!(
            "Additional properties are not allowed ({} {verb} unexpected)",
            quoted.join(", ")
        ));
    }
    Ok(map)
}

fn invalid<T>(message: String) -> Result<T, BodyError> {
    Err(BodyError::Invalid(message))
}

/// Errors of the object itself, which Nova reports first, and errors of its values.
#[derive(Default)]
struct Errors {
    of_object: Vec<String>,
    of_values: Vec<String>,
}

/// `/v2` accepts keys that do not match the pattern if no key of the object matches it.
fn object_errors(name: &str, map: &Json, api: ApiVersion) -> Errors {
    let mut errors = Errors::default();
    let Json::Map(pairs) = map else {
        errors.of_object.push(field(
            name,
            map,
            &format!("{} is not of type 'object'", repr(map)),
        ));
        return errors;
    };
    for (key, value) in pairs.iter().filter(|(key, _)| is_key(key)) {
        match value {
            Json::Text(text) if text.chars().count() <= MAX_LENGTH => {}
            Json::Text(text) => {
                let complaint = format!("{} is too long", repr_str(text));
                errors.of_values.push(field(key, value, &complaint));
            }
            other => {
                let complaint = format!("{} is not of type 'string'", repr(other));
                errors.of_values.push(field(key, value, &complaint));
            }
        }
    }
    let mut strange: Vec<&str> = pairs
        .iter()
        .map(|(key, _)| key.as_str())
        .filter(|key| !is_key(key))
        .collect();
    if strange.is_empty() || (api == ApiVersion::V2 && strange.len() == pairs.len()) {
        return errors;
    }
    strange.sort_unstable();
    let quoted: Vec<_> = strange.iter().map(|key| repr_str(key)).collect();
    let (quoted, one) = (quoted.join(", "), quoted.len() == 1);
    let pattern = repr_str(KEY_PATTERN);
    let complaint = match (api, one) {
        (ApiVersion::V21, true) => format!("{quoted} does not match any of the regexes: {pattern}"),
        (ApiVersion::V21, false) => format!("{quoted} do not match any of the regexes: {pattern}"),
        (ApiVersion::V2, true) => {
            format!("Additional properties are not allowed ({quoted} was unexpected)")
        }
        (ApiVersion::V2, false) => {
            format!("Additional properties are not allowed ({quoted} were unexpected)")
        }
    };
    let complaint = field(name, map, &complaint);
    let before_it = match api {
        ApiVersion::V21 => None,
        ApiVersion::V2 => errors.of_values.first().cloned(),
    };
    errors.of_object.push(before_it.unwrap_or(complaint));
    errors
}

fn conclude(errors: Errors, map: &Json) -> Result<Metadata, BodyError> {
    if let Some(first) = errors.of_object.into_iter().chain(errors.of_values).next() {
        return invalid(first);
    }
    let Json::Map(pairs) = map else {
        return Err(BodyError::Malformed);
    };
    let items = pairs
        .iter()
        .map(|(key, value)| (key.clone(), (*value != Json::Null).then(|| str(value))))
        .collect();
    Ok(Metadata {
        items,
        sent: map.clone(),
    })
}

fn field(path: &str, value: &Json, complaint: &str) -> String {
    format!(
        "Invalid input for field/attribute {path}. Value: {}. {complaint}",
        str(value)
    )
}

/// Whether the key matches [`KEY_PATTERN`]. Python's `$` also matches before a final line break.
fn is_key(key: &str) -> bool {
    let key = key.strip_suffix('\n').unwrap_or(key);
    (1..=MAX_LENGTH).contains(&key.len())
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_:. ".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn refusal(body: &str) -> String {
        let json = parse(body.as_bytes()).unwrap();
        metadata(&json, ApiVersion::V21).unwrap_err().to_string()
    }

    #[rstest]
    #[case("", "None is not of type 'object'")]
    #[case("null", "None is not of type 'object'")]
    #[case("[]", "[] is not of type 'object'")]
    #[case("\"x\"", "'x' is not of type 'object'")]
    #[case("{}", "'metadata' is a required property")]
    #[case(r#"{"foo": 1}"#, "'metadata' is a required property")]
    #[case(
        r#"{"metadata": {}, "foo": 1}"#,
        "Additional properties are not allowed ('foo' was unexpected)"
    )]
    #[case(
        r#"{"metadata": 5, "foo": 1, "bar": 2}"#,
        "Additional properties are not allowed ('bar', 'foo' were unexpected)"
    )]
    #[case(
        r#"{"metadata": null}"#,
        "Invalid input for field/attribute metadata. Value: None. \
        None is not of type 'object'"
    )]
    #[case(
        r#"{"metadata": "x"}"#,
        "Invalid input for field/attribute metadata. Value: x. \
        'x' is not of type 'object'"
    )]
    #[case(
        r#"{"metadata": {"c": 3}}"#,
        "Invalid input for field/attribute c. Value: 3. 3 is not of type 'string'"
    )]
    #[case(
        r#"{"metadata": {"c": NaN}}"#,
        "Invalid input for field/attribute c. Value: nan. nan is not of type 'string'"
    )]
    #[case(
        r#"{"metadata": {"c": {"x": "y"}}}"#,
        "Invalid input for field/attribute c. \
        Value: {'x': 'y'}. {'x': 'y'} is not of type 'string'"
    )]
    #[case(
        r#"{"metadata": {"c": 1, "d": 2}}"#,
        "Invalid input for field/attribute c. Value: 1. 1 is not of type 'string'"
    )]
    #[case(
        r#"{"metadata": {"": "v"}}"#,
        "Invalid input for field/attribute metadata. \
        Value: {'': 'v'}. '' does not match any of the regexes: '^[a-zA-Z0-9-_:. ]{1,255}$'"
    )]
    #[case(
        r#"{"metadata": {"c": 1, "k/": 1}}"#,
        "Invalid input for field/attribute metadata. \
        Value: {'c': 1, 'k/': 1}. 'k/' does not match any of the regexes: \
        '^[a-zA-Z0-9-_:. ]{1,255}$'"
    )]
    #[case(
        r#"{"metadata": {"b~": "", "a/": ""}}"#,
        "Invalid input for field/attribute metadata. \
        Value: {'b~': '', 'a/': ''}. 'a/', 'b~' do not match any of the regexes: \
        '^[a-zA-Z0-9-_:. ]{1,255}$'"
    )]
    fn a_bad_body_is_told_as_nova_tells_it(#[case] body: &str, #[case] message: &str) {
        assert_eq!(refusal(body), message);
    }

    #[test]
    fn lengths_are_counted_in_characters() {
        let body = |n: usize| format!(r#"{{"metadata": {{"c": "{}"}}}}"#, "é".repeat(n));
        assert!(metadata(&parse(body(255).as_bytes()).unwrap(), ApiVersion::V21).is_ok());
        assert!(refusal(&body(256)).ends_with("' is too long"));
    }

    fn item_refusal(body: &str, key: &str) -> String {
        item(&parse(body.as_bytes()).unwrap(), key, ApiVersion::V21)
            .unwrap_err()
            .to_string()
    }

    #[rstest]
    #[case(
        r#"{"meta": {}}"#,
        "Invalid input for field/attribute meta. Value: {}. \
        {} should be non-empty"
    )]
    #[case(
        r#"{"meta": {"a": "1", "b": "2"}}"#,
        "Invalid input for field/attribute meta. \
        Value: {'a': '1', 'b': '2'}. {'a': '1', 'b': '2'} has too many properties"
    )]
    #[case(r#"{"metadata": {"a": "1"}}"#, "'meta' is a required property")]
    #[case(r#"{"meta": {"z": "1"}}"#, "Request body and URI mismatch")]
    #[case(r#"{"meta": {"A": "1"}}"#, "Request body and URI mismatch")]
    fn one_item_is_the_one_the_path_names(#[case] body: &str, #[case] message: &str) {
        assert_eq!(item_refusal(body, "a"), message);
    }

    #[test]
    fn v2_lets_strange_keys_and_extra_fields_pass() {
        let json =
            parse(br#"{"metadata": {"k/": 1, "n\u00fc": null, "t": true}, "x": 1}"#).unwrap();
        let refused = metadata(&json, ApiVersion::V2).unwrap_err().to_string();
        assert!(refused.contains("attribute t."), "{refused}");
        let json = parse(br#"{"metadata": {"k/": 1.0, "/": null}, "x": 1}"#).unwrap();
        let items = metadata(&json, ApiVersion::V2).unwrap().items;
        assert_eq!(
            items,
            [("k/".into(), Some("1.0".into())), ("/".into(), None),]
        );
    }

    #[test]
    fn a_line_break_may_end_a_key() {
        let json = parse(b"{\"metadata\": {\"a\\n\": \"v\"}}").unwrap();
        assert!(metadata(&json, ApiVersion::V21).is_ok());
    }

    #[rstest]
    #[case(
        r#"{"a": "1", "ü": "x"}"#,
        "{'a': '1', 'ü': 'x'}",
        "('ü' was unexpected)"
    )]
    #[case(
        r#"{"a": "1", "ü": "", "/": ""}"#,
        "{'a': '1', 'ü': '', '/': ''}",
        "('/', 'ü' were unexpected)"
    )]
    fn v2_takes_no_mixture_of_keys_that_keep_the_rule_and_break_it(
        #[case] sent: &str,
        #[case] value: &str,
        #[case] complaint: &str,
    ) {
        let prefix = "Additional properties are not allowed";
        for (name, refused) in [
            (
                "metadata",
                metadata as fn(&Json, ApiVersion) -> Result<Metadata, BodyError>,
            ),
            ("meta", |json, api| item(json, "a", api)),
        ] {
            let json = parse(format!("{{\"{name}\": {sent}}}").as_bytes()).unwrap();
            assert_eq!(
                refused(&json, ApiVersion::V2).unwrap_err().to_string(),
                format!(
                    "Invalid input for field/attribute {name}. Value: {value}. {prefix} {complaint}"
                )
            );
        }
    }

    proptest! {
        #[test]
        fn any_body_is_taken_or_refused(body in "\\PC{0,60}", key in "\\PC{0,8}") {
            if let Ok(json) = parse(body.as_bytes()) {
                let _ = metadata(&json, ApiVersion::V21);
                let _ = item(&json, &key, ApiVersion::V2);
            }
        }
    }
}
