//! The explanation in the body of Glance's errors, as one line of plain text.

use crate::upstream::{MAX_ERROR_BODY, Response};
use serde::Deserialize;
use std::borrow::Cow;

/// The longest explanation, in bytes.
const MAX_EXPLANATION: usize = 1024;

/// The longest character reference that is decoded, `&` and `;` included.
const MAX_REFERENCE: usize = 12;

/// The JSON form of Glance's errors; its other members are of no use here.
#[derive(Deserialize)]
struct ErrorDocument<'a> {
    #[serde(borrow)]
    message: Cow<'a, str>,
}

/// Glance's explanation in the form of its own client library: the lines of the page without tags,
/// each once, joined by `: `. Character references become characters.
pub fn explanation(response: &Response) -> String {
    let body = response
        .body
        .get(..MAX_ERROR_BODY)
        .unwrap_or(&response.body);
    let page = match serde_json::from_slice::<ErrorDocument<'_>>(body) {
        Ok(error) => Cow::Owned(format!("{}\n{}", response.status, error.message)),
        Err(_) => String::from_utf8_lossy(body),
    };
    let mut lines: Vec<String> = Vec::new();
    let mut length = 0;
    for line in page.lines() {
        let line = unescape(&without_tags(line.trim()));
        if !line.is_empty() && !lines.contains(&line) {
            length += line.len();
            lines.push(line);
        }
        if length > MAX_EXPLANATION {
            break;
        }
    }
    let mut explanation = lines.join(": ");
    if explanation.is_empty() {
        explanation = response.status.to_string();
    }
    let end = (0..=MAX_EXPLANATION.min(explanation.len()))
        .rev()
        .find(|&end| explanation.is_char_boundary(end));
    explanation.truncate(end.unwrap_or(0));
    explanation
}

fn without_tags(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(open) = rest.find('<') {
        let (before, tag) = rest.split_at(open);
        // A tag has at least one character between its brackets.
        let close = tag.char_indices().skip(2).find(|(_, c)| *c == '>');
        let Some((close, _)) = close else { break };
        out.push_str(before);
        rest = tag.get(close + 1..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// Decodes the character references that Python's `html.escape` writes, and numeric ones; any other
/// text stays as it is.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        let (before, reference) = rest.split_at(start);
        out.push_str(before);
        let end = reference
            .bytes()
            .take(MAX_REFERENCE)
            .position(|byte| byte == b';');
        let decoded = end.and_then(|end| Some((end, character(reference.get(1..end)?)?)));
        if let Some((end, decoded)) = decoded {
            out.push(decoded);
            rest = reference.get(end + 1..).unwrap_or_default();
        } else {
            out.push('&');
            rest = reference.get(1..).unwrap_or_default();
        }
    }
    out.push_str(rest);
    out
}

/// The character that a reference names, without its `&` and `;`.
fn character(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, StatusCode};
    use proptest::prelude::*;
    use rstest::rstest;

    fn response(status: u16, body: &str) -> Response {
        Response {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: body.to_owned().into(),
        }
    }

    #[test]
    fn a_page_becomes_one_line() {
        let page = "<html>\n <head>\n  <title>400 Bad Request</title>\n </head>\n <body>\n  \
                    <h1>400 Bad Request</h1>\n  No image found with ID abc<br /><br />\n\n\n\n \
                    </body>\n</html>";
        assert_eq!(
            explanation(&response(400, page)),
            "400 Bad Request: No image found with ID abc"
        );
    }

    #[test]
    fn json_plain_and_empty_bodies_are_explanations_too() {
        let json = r#"{"message": "too many<br /><br />\n", "code": "413", "title": "x"}"#;
        assert_eq!(
            explanation(&response(413, json)),
            "413 Payload Too Large: too many"
        );
        assert_eq!(
            explanation(&response(400, "plain\n\nwords")),
            "plain: words"
        );
        assert_eq!(explanation(&response(403, "")), "403 Forbidden");
    }

    #[rstest]
    #[case("C can&#x27;t contain", "C can't contain")]
    #[case("&lt;b&gt; &quot;x&quot; &#39;y&#39; &apos;", "<b> \"x\" 'y' '")]
    #[case("a &amp;lt; b", "a &lt; b")]
    #[case("&#252;&#xFC;&#XfC;", "üüü")]
    #[case(
        "AT&T; &; & &#; &#x; &#x110000; &#-5; &unknown; &",
        "AT&T; &; & &#; &#x; &#x110000; &#-5; &unknown; &"
    )]
    #[case("&#x0000000000000000027;", "&#x0000000000000000027;")]
    fn character_references_become_characters(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(unescape(text), expected);
        let page = format!("<p>{text}</p>");
        assert_eq!(explanation(&response(400, &page)), expected);
    }

    #[test]
    fn the_explanation_of_a_long_body_is_cut() {
        for body in ["ü", "<", "&", "x\n", "&#x27;"] {
            let body = body.repeat(1 << 20);
            assert!(explanation(&response(400, &body)).len() <= MAX_EXPLANATION);
        }
    }

    proptest! {
        #[test]
        fn what_python_escapes_is_unescaped(text in "[a-z&<>\"'ü#;x0-9]{0,30}") {
            let escaped = text
                .replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
                .replace('"', "&quot;")
                .replace('\'', "&#x27;");
            prop_assert_eq!(unescape(&escaped), text);
        }
    }
}
