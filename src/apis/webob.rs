//! Error pages as Python's WebOb renders them, which Nova's router and Glance's v1 API both send.
//!
//! A page has a status, an explanation (usually the status's own) and a detail (often empty). The
//! client's `Accept` chooses plain text, HTML or JSON.

use crate::util::python_json;
use http::StatusCode;
use std::borrow::Cow;
use std::fmt::Write as _;

/// How an error page is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageFormat {
    /// `text/html`
    Html,
    /// `application/json`
    Json,
    /// `text/plain`
    Plain,
}

impl PageFormat {
    /// The `Content-Type` of such a page.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Html => "text/html; charset=UTF-8",
            Self::Json => "application/json",
            Self::Plain => "text/plain; charset=UTF-8",
        }
    }
}

/// One error page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorPage {
    status: StatusCode,
    explanation: Cow<'static, str>,
    detail: Cow<'static, str>,
}

impl ErrorPage {
    /// The status with its usual explanation and no detail.
    #[must_use]
    pub fn new(status: StatusCode) -> Self {
        Self {
            status,
            explanation: Cow::Borrowed(usual_explanation(status)),
            detail: Cow::Borrowed(""),
        }
    }

    /// The status with an explanation of its own.
    #[must_use]
    pub fn explained(status: StatusCode, explanation: impl Into<Cow<'static, str>>) -> Self {
        Self {
            explanation: explanation.into(),
            ..Self::new(status)
        }
    }

    /// The status with its usual explanation and a detail.
    #[must_use]
    pub fn detailed(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            detail: detail.into(),
            ..Self::new(status)
        }
    }

    /// A page whose explanation is `prefix` and the whole plain-text page `inner`: so the errors of
    /// one service reach the clients of another.
    #[must_use]
    pub fn nested(status: StatusCode, prefix: &str, inner: &Self) -> Self {
        Self::explained(status, format!("{prefix}{}", inner.plain()))
    }

    /// The 405 of `method`, which has a sentence of its own.
    #[must_use]
    pub fn method_not_allowed(method: &str) -> Self {
        Self::explained(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("The method {method} is not allowed for this resource."),
        )
    }

    /// The status of the page.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The body in `format`.
    #[must_use]
    pub fn render(&self, format: PageFormat) -> String {
        match format {
            PageFormat::Plain => self.plain(),
            PageFormat::Html => self.html(),
            PageFormat::Json => self.json(),
        }
    }

    /// The plain-text page.
    #[must_use]
    pub fn plain(&self) -> String {
        let body = self.body(str::to_owned);
        format!("{}\n\n{}", self.title(), without_tags(&body))
    }

    fn html(&self) -> String {
        let title = self.title();
        let body = self.body(escaped);
        format!(
            "<html>\n <head>\n  <title>{title}</title>\n </head>\n <body>\n  <h1>{title}</h1>\n  {body}\n </body>\n</html>"
        )
    }

    fn json(&self) -> String {
        let reason = self.status.canonical_reason().unwrap_or_default();
        let fields = serde_json::json!({
            "message": self.body(str::to_owned),
            "code": self.title(),
            "title": reason,
        });
        python_json::to_string(&fields)
    }

    fn title(&self) -> String {
        let reason = match self.status {
            StatusCode::PAYLOAD_TOO_LARGE => "Request Entity Too Large",
            status => status.canonical_reason().unwrap_or_default(),
        };
        format!("{} {reason}", self.status.as_u16())
    }

    /// Explanation and detail between WebOb's line breaks. Its 405 has one line less.
    fn body(&self, write: impl Fn(&str) -> String) -> String {
        let (explanation, detail) = (write(&self.explanation), write(&self.detail));
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            format!("{explanation} <br /><br />\n{detail}")
        } else {
            format!("{explanation}<br /><br />\n{detail}\n\n")
        }
    }
}

/// What WebOb says of a status when a program says nothing else.
fn usual_explanation(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => {
            "The server could not comply with the request since it is either malformed or otherwise incorrect."
        }
        StatusCode::UNAUTHORIZED => {
            "This server could not verify that you are authorized to access the document you requested. Either you supplied the wrong credentials (e.g., bad password), or your browser does not understand how to supply the credentials required."
        }
        StatusCode::FORBIDDEN => "Access was denied to this resource.",
        StatusCode::NOT_FOUND => "The resource could not be found.",
        StatusCode::CONFLICT => "There was a conflict when trying to complete your request.",
        StatusCode::GONE => {
            "This resource is no longer available.  No forwarding address is given."
        }
        StatusCode::PAYLOAD_TOO_LARGE => "The body of your request was too large for this server.",
        StatusCode::BAD_GATEWAY => "Bad gateway.",
        StatusCode::SERVICE_UNAVAILABLE => {
            "The server is currently unavailable. Please try again at a later time."
        }
        _ => "The server has either erred or is incapable of performing the requested operation.",
    }
}

/// Line breaks become spaces, `<br />` a line break, every other tag disappears.
fn without_tags(html: &str) -> String {
    let text = html.replace('\n', " ").replace('\r', "");
    let text = text.replace("<br />", "\n");
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, tag)) = rest.split_once('<') {
        let Some((_, after)) = tag.split_once('>') else {
            break;
        };
        out.push_str(before);
        rest = after;
    }
    out.push_str(rest);
    out
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_ascii() => out.push(c),
            c => {
                // Writing to a String cannot fail.
                let _ = write!(out, "&#{};", u32::from(c));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    const LIMIT: &str = "limit param must be an integer";

    #[test]
    fn a_page_without_detail_ends_with_three_blanks() {
        assert_eq!(
            ErrorPage::new(StatusCode::NOT_FOUND).plain(),
            "404 Not Found\n\nThe resource could not be found.\n\n   "
        );
    }

    #[test]
    fn a_json_page_is_written_as_python_writes_json() {
        assert_eq!(
            ErrorPage::new(StatusCode::NOT_FOUND).render(PageFormat::Json),
            "{\"message\": \"The resource could not be found.<br /><br />\\n\\n\\n\", \
             \"code\": \"404 Not Found\", \"title\": \"Not Found\"}"
        );
    }

    #[test]
    fn a_detail_comes_after_the_explanation() {
        assert_eq!(
            ErrorPage::detailed(StatusCode::NOT_FOUND, "Image x is not active").plain(),
            "404 Not Found\n\nThe resource could not be found.\n\n Image x is not active  "
        );
    }

    #[rstest]
    #[case(
        PageFormat::Plain,
        "400 Bad Request\n\n400 Bad Request  The server could not comply with the request since it is either malformed or otherwise incorrect.   limit param must be an integer  \n\n   "
    )]
    #[case(
        PageFormat::Html,
        "<html>\n <head>\n  <title>400 Bad Request</title>\n </head>\n <body>\n  <h1>400 Bad Request</h1>\n  400 Bad Request\n\nThe server could not comply with the request since it is either malformed or otherwise incorrect.\n\n limit param must be an integer  <br /><br />\n\n\n\n </body>\n</html>"
    )]
    fn a_nested_page_is_quoted_whole(#[case] format: PageFormat, #[case] expected: &str) {
        let inner = ErrorPage::detailed(StatusCode::BAD_REQUEST, LIMIT);
        let page = ErrorPage::nested(StatusCode::BAD_REQUEST, "", &inner);
        assert_eq!(page.render(format), expected);
    }

    #[test]
    fn a_405_has_its_own_layout() {
        let page = ErrorPage::method_not_allowed("PUT");
        assert_eq!(
            page.plain(),
            "405 Method Not Allowed\n\nThe method PUT is not allowed for this resource. \n\n "
        );
        assert_eq!(
            page.render(PageFormat::Html),
            "<html>\n <head>\n  <title>405 Method Not Allowed</title>\n </head>\n <body>\n  <h1>405 Method Not Allowed</h1>\n  The method PUT is not allowed for this resource. <br /><br />\n\n </body>\n</html>"
        );
    }

    #[test]
    fn tags_vanish_from_plain_text_and_are_escaped_in_html() {
        let page = ErrorPage::explained(StatusCode::BAD_REQUEST, "a <b>\nc & \"d\"");
        assert!(page.plain().contains("a  c & \"d\""), "{}", page.plain());
        let html = page.render(PageFormat::Html);
        assert!(
            html.contains("a &lt;b&gt;\nc &amp; &quot;d&quot;"),
            "{html}"
        );
    }

    proptest! {
        #[test]
        fn a_page_of_any_text_is_well_formed(explanation in ".*", detail in ".*") {
            let page = ErrorPage {
                detail: detail.into(),
                ..ErrorPage::explained(StatusCode::BAD_REQUEST, explanation)
            };
            let json: serde_json::Value = serde_json::from_str(&page.render(PageFormat::Json)).unwrap();
            prop_assert_eq!(&json["code"], "400 Bad Request");
            let html = page.render(PageFormat::Html);
            let inner = html
                .split_once("</h1>\n  ")
                .and_then(|(_, rest)| rest.rsplit_once("<br /><br />"))
                .unwrap()
                .0;
            prop_assert!(!inner.contains('<') && html.is_ascii());
            prop_assert!(page.plain().starts_with("400 Bad Request\n\n"));
        }
    }
}
