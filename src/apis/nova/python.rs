//! How Python writes a value, which Nova's validation messages quote.

use super::json::Json;

pub use python_compat::{repr as repr_str, strip};

/// `repr()` of a value.
#[must_use]
pub fn repr(value: &Json) -> String {
    match value {
        Json::Null => "None".to_owned(),
        Json::Bool(true) => "True".to_owned(),
        Json::Bool(false) => "False".to_owned(),
        Json::Number(digits) => Json::python_number(digits),
        Json::Text(text) => repr_str(text),
        Json::List(items) => {
            format!(
                "[{}]",
                items.iter().map(repr).collect::<Vec<_>>().join(", ")
            )
        }
        Json::Map(pairs) => {
            let items: Vec<_> = pairs
                .iter()
                .map(|(key, item)| format!("{}: {}", repr_str(key), repr(item)))
                .collect();
            format!("{{{}}}", items.join(", "))
        }
    }
}

/// `str()` of a value: like [`repr`], but a string stands for itself.
#[must_use]
pub fn str(value: &Json) -> String {
    match value {
        Json::Text(text) => text.clone(),
        other => repr(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_as_python_writes_them() {
        let parse = |text: &str| Json::parse(text.as_bytes()).unwrap();
        let value = parse(r#"{"a": [null, true, false, 1, 1.5, "x", NaN], "b": {}}"#);
        assert_eq!(
            repr(&value),
            "{'a': [None, True, False, 1, 1.5, 'x', nan], 'b': {}}"
        );
        assert_eq!(str(&parse("\"x\"")), "x");
        assert_eq!(str(&parse("null")), "None");
    }
}
