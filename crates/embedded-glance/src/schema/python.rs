//! Values as Python writes them: Glance's messages about wrong values quote both the value and the
//! rule in this form.

use serde_json::Value;

pub(super) use python_compat::repr as repr_text;

/// The width at which a nested value is broken into lines.
const WIDTH: usize = 72;

/// A value on one line.
pub(crate) fn repr(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => repr_text(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(repr).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(members) => {
            let member =
                |(name, value): (&String, &Value)| format!("{}: {}", repr_text(name), repr(value));
            let members: Vec<String> = members.iter().map(member).collect();
            format!("{{{}}}", members.join(", "))
        }
    }
}

/// `str()` of a value: a text stands for itself.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => repr(other),
    }
}

/// A value in as many lines as its width asks for.
pub(super) fn pretty(value: &Value) -> String {
    let mut shown = String::new();
    write(&mut shown, value, 0, 0, 1);
    shown
}

fn width_of(text: &str) -> usize {
    text.chars().count()
}

/// `indent` is where the value begins, `allowance` what must follow it on its last line.
fn write(shown: &mut String, value: &Value, indent: usize, allowance: usize, level: usize) {
    let line = repr(value);
    if width_of(&line) <= WIDTH.saturating_sub(indent + allowance) {
        shown.push_str(&line);
        return;
    }
    match value {
        Value::Object(members) => {
            shown.push('{');
            for (position, (name, member)) in members.iter().enumerate() {
                if position > 0 {
                    new_line(shown, indent + 1);
                }
                let name = repr_text(name);
                shown.push_str(&name);
                shown.push_str(": ");
                let last = position + 1 == members.len();
                let begin = indent + 1 + width_of(&name) + 2;
                write(
                    shown,
                    member,
                    begin,
                    if last { allowance + 1 } else { 1 },
                    level + 1,
                );
            }
            shown.push('}');
        }
        Value::Array(items) => {
            shown.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    new_line(shown, indent + 1);
                }
                let last = position + 1 == items.len();
                write(
                    shown,
                    item,
                    indent + 1,
                    if last { allowance + 1 } else { 1 },
                    level + 1,
                );
            }
            shown.push(']');
        }
        Value::String(text) => write_text(shown, text, indent, allowance, level),
        Value::Null | Value::Bool(_) | Value::Number(_) => shown.push_str(&line),
    }
}

fn new_line(shown: &mut String, indent: usize) {
    shown.push_str(",\n");
    shown.push_str(&" ".repeat(indent));
}

/// A long text is broken behind its spaces into several literals.
fn write_text(shown: &mut String, text: &str, indent: usize, allowance: usize, level: usize) {
    let (indent, allowance) = if level == 1 {
        (indent + 1, allowance + 1)
    } else {
        (indent, allowance)
    };
    let room = WIDTH.saturating_sub(indent);
    let mut chunks: Vec<String> = Vec::new();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for (position, line) in lines.iter().enumerate() {
        let last_line = position + 1 == lines.len();
        let words = words(line);
        let whole = repr_text(line);
        let line_room = if last_line {
            room.saturating_sub(allowance)
        } else {
            room
        };
        if width_of(&whole) <= line_room {
            chunks.push(whole);
            continue;
        }
        let mut current = String::new();
        for (word, part) in words.iter().enumerate() {
            let last = last_line && word + 1 == words.len();
            let part_room = if last {
                room.saturating_sub(allowance)
            } else {
                room
            };
            let candidate = format!("{current}{part}");
            if width_of(&repr_text(&candidate)) > part_room {
                if !current.is_empty() {
                    chunks.push(repr_text(&current));
                }
                current = String::from(*part);
            } else {
                current = candidate;
            }
        }
        if !current.is_empty() {
            chunks.push(repr_text(&current));
        }
    }
    let joined = chunks.join(&format!("\n{}", " ".repeat(indent)));
    if level == 1 && chunks.len() > 1 {
        shown.extend(["(", &joined, ")"]);
    } else {
        shown.push_str(&joined);
    }
}

/// The words of a line, each with the spaces behind it.
fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut begin = 0;
    let mut in_space = false;
    for (position, character) in line.char_indices() {
        if in_space && !character.is_whitespace() {
            words.extend(line.get(begin..position));
            begin = position;
        }
        in_space = character.is_whitespace();
    }
    words.extend(line.get(begin..).filter(|rest| !rest.is_empty()));
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_written_as_python_does() {
        let value = json!({"a": [1, 2.5, true, null, "q's", "\"'"], "é": "\n\u{1}"});
        assert_eq!(
            repr(&value),
            r#"{'a': [1, 2.5, True, None, "q's", '"\''], 'é': '\n\x01'}"#
        );
    }

    #[test]
    fn a_long_text_is_broken_behind_a_space() {
        let rule = json!({"type": "boolean", "description":
            "If true, image will not appear in default image list response."});
        assert_eq!(
            pretty(&rule),
            "{'type': 'boolean',\n 'description': 'If true, image will not appear in default image \
             list '\n                'response.'}"
        );
    }

    #[test]
    fn a_long_text_alone_stands_in_brackets() {
        let text = "word ".repeat(20);
        let shown = pretty(&Value::String(text));
        assert!(
            shown.starts_with("('word word") && shown.ends_with("')"),
            "{shown}"
        );
        assert_eq!(shown.lines().count(), 2);
    }

    #[test]
    fn a_long_list_has_an_item_a_line() {
        let formats = json!(["x".repeat(40), "y".repeat(40)]);
        assert_eq!(pretty(&formats).lines().count(), 2);
    }
}
