//! Glance's refusals, and the three forms (HTML, JSON, plain text) in which it words them.

use std::fmt::Write as _;

use serde_json::json;

use super::json;

/// A refusal, in Glance's terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    /// Replaces the usual sentence of the status.
    explanation: Option<String>,
    /// Follows the sentence; Glance puts some of its reasons here and not into the explanation.
    detail: String,
}

/// Which refusal it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A redirection, in the form of a fault as `WebOb` has it.
    Found {
        location: String,
    },
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    /// The methods that the resource has. An explanation takes the place of the usual sentence.
    MethodNotAllowed {
        method: String,
        allow: &'static str,
    },
    Conflict,
    /// The image was deleted during the upload.
    Gone,
    TooLarge,
    RangeNotSatisfiable,
    /// What was sent, and whether the answer lists the patch types.
    UnsupportedMediaType {
        sent: String,
        patch: bool,
    },
    /// Tokens cannot be validated now.
    Unavailable,
    /// A bug of Glance that is reproduced, or an error of SQLite or of the file system.
    Internal,
}

/// The media types that an image PATCH may have.
pub(super) const PATCH_TYPES: &str = "application/openstack-images-v2.0-json-patch, \
                                      application/openstack-images-v2.1-json-patch";

impl Fault {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            explanation: None,
            detail: String::new(),
        }
    }

    fn explained(kind: Kind, explanation: impl Into<String>) -> Self {
        Self {
            kind,
            explanation: Some(explanation.into()),
            detail: String::new(),
        }
    }

    pub(super) fn bad_request(explanation: impl Into<String>) -> Self {
        Self::explained(Kind::BadRequest, explanation)
    }

    pub(super) fn found(location: String) -> Self {
        Self::new(Kind::Found { location })
    }

    /// Bytes of the request are no UTF-8.
    pub(super) fn undecodable() -> Self {
        Self::bad_request(
            "Error decoding your request. Either the URL or the request body contained characters \
             that could not be decoded by Glance",
        )
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(Kind::Unauthorized)
    }

    pub(super) fn forbidden(explanation: impl Into<String>) -> Self {
        Self::explained(Kind::Forbidden, explanation)
    }

    /// A policy said no.
    pub(super) fn not_authorized_to(action: &str) -> Self {
        Self::forbidden(format!(
            "You are not authorized to complete {action} action."
        ))
    }

    /// Forbidden with the reason as a detail after the usual sentence.
    pub(super) fn forbidden_detail(detail: impl Into<String>) -> Self {
        Self {
            detail: detail.into(),
            ..Self::new(Kind::Forbidden)
        }
    }

    pub(super) fn not_found(explanation: impl Into<String>) -> Self {
        Self::explained(Kind::NotFound, explanation)
    }

    /// Nothing is served at that path.
    pub(super) fn no_resource() -> Self {
        Self::new(Kind::NotFound)
    }

    pub(super) fn method_not_allowed(method: &str, allow: &'static str) -> Self {
        Self::new(Kind::MethodNotAllowed {
            method: method.to_owned(),
            allow,
        })
    }

    pub(super) fn conflict(explanation: impl Into<String>) -> Self {
        Self::explained(Kind::Conflict, explanation)
    }

    pub(super) fn conflict_detail(detail: impl Into<String>) -> Self {
        Self {
            detail: detail.into(),
            ..Self::new(Kind::Conflict)
        }
    }

    pub(super) fn gone(explanation: impl Into<String>) -> Self {
        Self::explained(Kind::Gone, explanation)
    }

    pub(super) fn range_not_satisfiable(detail: impl Into<String>) -> Self {
        Self {
            detail: detail.into(),
            ..Self::new(Kind::RangeNotSatisfiable)
        }
    }

    pub(super) fn too_large(explanation: impl Into<String>) -> Self {
        Self::explained(Kind::TooLarge, explanation)
    }

    pub(super) fn not_a_patch(sent: &str) -> Self {
        let kind = Kind::UnsupportedMediaType {
            sent: sent.to_owned(),
            patch: true,
        };
        let detail = format!("Image PATCH expects Content-Type one of: {PATCH_TYPES}");
        Self {
            detail,
            ..Self::new(kind)
        }
    }

    pub(super) fn not_image_data(sent: &str) -> Self {
        let detail = format!(
            "Invalid content type {}",
            if sent.is_empty() { "None" } else { sent }
        );
        let kind = Kind::UnsupportedMediaType {
            sent: sent.to_owned(),
            patch: false,
        };
        Self {
            detail,
            ..Self::new(kind)
        }
    }

    /// The data of an image was refused for what it holds.
    pub(super) fn wrong_data(detail: impl Into<String>) -> Self {
        let kind = Kind::UnsupportedMediaType {
            sent: "application/octet-stream".to_owned(),
            patch: false,
        };
        Self {
            detail: detail.into(),
            ..Self::new(kind)
        }
    }

    /// A method that the resource once had.
    pub(super) fn method_withdrawn(allow: &'static str, explanation: &str) -> Self {
        let kind = Kind::MethodNotAllowed {
            method: String::new(),
            allow,
        };
        Self::explained(kind, explanation)
    }

    pub(super) fn unavailable() -> Self {
        Self::new(Kind::Unavailable)
    }

    pub(super) fn internal() -> Self {
        Self::new(Kind::Internal)
    }

    pub(super) fn status(&self) -> (u16, &'static str) {
        match self.kind {
            Kind::Found { .. } => (302, "Found"),
            Kind::BadRequest => (400, "Bad Request"),
            Kind::Unauthorized => (401, "Unauthorized"),
            Kind::Forbidden => (403, "Forbidden"),
            Kind::NotFound => (404, "Not Found"),
            Kind::MethodNotAllowed { .. } => (405, "Method Not Allowed"),
            Kind::Conflict => (409, "Conflict"),
            Kind::Gone => (410, "Gone"),
            Kind::TooLarge => (413, "Request Entity Too Large"),
            Kind::UnsupportedMediaType { .. } => (415, "Unsupported Media Type"),
            Kind::RangeNotSatisfiable => (416, "Request Range Not Satisfiable"),
            Kind::Unavailable => (503, "Service Unavailable"),
            Kind::Internal => (500, "Internal Server Error"),
        }
    }

    pub(super) fn explanation(&self) -> &str {
        if let Some(explanation) = &self.explanation {
            return explanation;
        }
        match self.kind {
            Kind::Found { .. } => "The resource was found at",
            Kind::BadRequest => {
                "The server could not comply with the request since it is either malformed or \
                 otherwise incorrect."
            }
            Kind::Unauthorized => {
                "This server could not verify that you are authorized to access the document you \
                 requested. Either you supplied the wrong credentials (e.g., bad password), or \
                 your browser does not understand how to supply the credentials required."
            }
            Kind::Forbidden => "Access was denied to this resource.",
            Kind::NotFound => "The resource could not be found.",
            Kind::Conflict => "There was a conflict when trying to complete your request.",
            Kind::TooLarge => "The body of your request was too large for this server.",
            Kind::RangeNotSatisfiable => "The Range requested is not available.",
            Kind::Gone | Kind::MethodNotAllowed { .. } | Kind::UnsupportedMediaType { .. } => "",
            Kind::Unavailable => {
                "The server is currently unavailable. Please try again at a later time."
            }
            Kind::Internal => {
                "The server has either erred or is incapable of performing the requested operation."
            }
        }
    }

    fn body(&self, escape: fn(&str) -> String) -> String {
        let detail = escape(&self.detail);
        match &self.kind {
            Kind::Found { location } => {
                let location = escape(location);
                format!(
                    "{} <a href=\"{location}\">{location}</a>;\nyou should be redirected \
                     automatically.\n{detail}\n",
                    self.explanation()
                )
            }
            Kind::MethodNotAllowed { .. } if self.explanation.is_some() => {
                escape(self.explanation())
            }
            Kind::MethodNotAllowed { method, .. } => format!(
                "The method {} is not allowed for this resource. <br /><br />\n{detail}",
                escape(method)
            ),
            Kind::UnsupportedMediaType { sent, .. } => format!(
                "The request media type {} is not supported by this server.\n<br /><br />\n{detail}",
                escape(sent)
            ),
            Kind::BadRequest
            | Kind::Unauthorized
            | Kind::Forbidden
            | Kind::NotFound
            | Kind::Conflict
            | Kind::Gone
            | Kind::TooLarge
            | Kind::RangeNotSatisfiable
            | Kind::Unavailable
            | Kind::Internal => {
                format!("{}<br /><br />\n{detail}\n\n", escape(self.explanation()))
            }
        }
    }

    /// The content type and the body, in the form that the caller's `Accept` prefers.
    pub(super) fn render(&self, accept: Option<&str>) -> (&'static str, String) {
        let (code, title) = self.status();
        match preferred(accept) {
            Form::Html => {
                let body = self.body(escape_html);
                let page = format!(
                    "<html>\n <head>\n  <title>{code} {title}</title>\n </head>\n <body>\n  \
                     <h1>{code} {title}</h1>\n  {body}\n </body>\n</html>"
                );
                ("text/html; charset=UTF-8", page)
            }
            Form::Json => {
                let body = self.body(str::to_owned);
                let code = format!("{code} {title}");
                let value = json!({"message": body, "code": code, "title": title});
                ("application/json", json::ascii(&value))
            }
            Form::Plain => {
                let body = strip_tags(&self.body(str::to_owned));
                (
                    "text/plain; charset=UTF-8",
                    format!("{code} {title}\n\n{body}"),
                )
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Html,
    Json,
    Plain,
}

/// HTML wins a tie. A header that allows neither gets plain text, as an absent or empty one does; one
/// that cannot be read gets HTML.
fn preferred(accept: Option<&str>) -> Form {
    let accept = accept.map(str::trim).unwrap_or_default();
    if accept.is_empty() {
        return Form::Plain;
    }
    let Some(ranges) = parse_accept(accept) else {
        return Form::Html;
    };
    let html = quality(&ranges, "text", "html");
    let json = quality(&ranges, "application", "json");
    if html <= 0.0 && json <= 0.0 {
        Form::Plain
    } else if json > html {
        Form::Json
    } else {
        Form::Html
    }
}

/// One element of an `Accept` header.
struct MediaRange {
    kind: String,
    subtype: String,
    quality: f32,
}

/// The elements of an `Accept` header, or nothing where one of them is no media range.
fn parse_accept(accept: &str) -> Option<Vec<MediaRange>> {
    let elements = accept.split(',').map(str::trim);
    elements
        .filter(|element| !element.is_empty())
        .map(media_range)
        .collect()
}

fn media_range(element: &str) -> Option<MediaRange> {
    let mut parts = element.split(';').map(str::trim);
    let (kind, subtype) = parts.next()?.split_once('/')?;
    let mut quality = 1.0;
    for parameter in parts {
        let (name, value) = parameter.split_once('=')?;
        if !is_token(name) {
            return None;
        }
        if name.eq_ignore_ascii_case("q") {
            quality = parse_quality(value)?;
        }
    }
    let is_range = is_token(kind) && is_token(subtype) && (kind != "*" || subtype == "*");
    is_range.then(|| MediaRange {
        kind: kind.to_ascii_lowercase(),
        subtype: subtype.to_ascii_lowercase(),
        quality,
    })
}

/// A number from 0 to 1 with at most three digits behind the point.
fn parse_quality(text: &str) -> Option<f32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_quality = matches!(whole, "0" | "1")
        && fraction.len() <= 3
        && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let value = is_quality.then(|| text.parse().ok()).flatten();
    value.filter(|value| *value <= 1.0)
}

fn is_token(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_part)
}

/// The quality that a media type has: the most specific range decides.
fn quality(ranges: &[MediaRange], kind: &str, subtype: &str) -> f32 {
    let mut best = (0, 0.0);
    for range in ranges {
        let rank = match (range.kind.as_str(), range.subtype.as_str()) {
            (own, own_subtype) if own == kind && own_subtype == subtype => 3,
            (own, "*") if own == kind => 2,
            ("*", "*") => 1,
            _ => continue,
        };
        if rank > best.0 {
            best = (rank, range.quality);
        }
    }
    best.1
}

fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#x27;"),
            _ if character.is_ascii() => escaped.push(character),
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(escaped, "&#{};", u32::from(character));
            }
        }
    }
    escaped
}

/// Line breaks become spaces, `<br />` becomes a line break, other tags go.
fn strip_tags(body: &str) -> String {
    let body = body.replace('\n', " ").replace("<br />", "\n");
    let mut text = String::with_capacity(body.len());
    let mut rest = body.as_str();
    while let Some((before, after)) = rest.split_once('<') {
        text.push_str(before);
        if let Some((_, behind)) = after.split_once('>') {
            rest = behind;
        } else {
            text.push('<');
            rest = after;
        }
    }
    text.push_str(rest);
    text
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        tracing::error!(%error, "the embedded Glance's database failed");
        Self::internal()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn html_is_escaped() {
        let (media, page) = Fault::not_found("No image found with ID <x>").render(Some("*/*"));
        assert_eq!(media, "text/html; charset=UTF-8");
        assert_eq!(
            page,
            "<html>\n <head>\n  <title>404 Not Found</title>\n </head>\n <body>\n  <h1>404 Not \
             Found</h1>\n  No image found with ID &lt;x&gt;<br /><br />\n\n\n\n </body>\n</html>"
        );
    }

    #[test]
    fn json_keeps_the_line_breaks_of_the_page() {
        let (media, body) = Fault::forbidden_detail("no").render(Some("application/json"));
        assert_eq!(media, "application/json");
        assert_eq!(
            body,
            r#"{"message": "Access was denied to this resource.<br /><br />\nno\n\n", "code": "403 Forbidden", "title": "Forbidden"}"#
        );
    }

    #[test]
    fn plain_text_has_no_tags() {
        let (_, body) = Fault::bad_request("a <b>c").render(Some("text/plain"));
        assert_eq!(body, "400 Bad Request\n\na c\n\n   ");
    }

    #[rstest]
    #[case("*/*", Form::Html)]
    #[case("application/json, */*", Form::Html)]
    #[case("application/json, */*;q=0.5", Form::Json)]
    #[case("text/html;q=0.2, application/*", Form::Json)]
    #[case("text/html, application/json", Form::Html)]
    #[case("image/png", Form::Plain)]
    #[case("", Form::Plain)]
    #[case(" ", Form::Plain)]
    #[case("nonsense", Form::Html)]
    #[case("application/json, nonsense", Form::Html)]
    #[case("application/json;q=2", Form::Html)]
    fn the_form_follows_accept(#[case] accept: &str, #[case] form: Form) {
        assert_eq!(preferred(Some(accept)), form);
    }
}
