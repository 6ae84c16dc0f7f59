//! Glance's refusals, and the three forms (HTML, JSON, plain text) in which it words them.

use std::fmt::Write as _;

use serde_json::json;

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
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    /// The methods that the resource has.
    MethodNotAllowed {
        method: String,
        allow: &'static str,
    },
    Conflict,
    TooLarge,
    /// What was sent, and whether the answer lists the patch types.
    UnsupportedMediaType {
        sent: String,
        patch: bool,
    },
    /// Nobody can judge tokens now.
    Unavailable,
    /// Where Glance fails over its own feet, so does this; and where SQLite fails.
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

    pub(super) fn unavailable() -> Self {
        Self::new(Kind::Unavailable)
    }

    pub(super) fn internal() -> Self {
        Self::new(Kind::Internal)
    }

    pub(super) fn status(&self) -> (u16, &'static str) {
        match self.kind {
            Kind::BadRequest => (400, "Bad Request"),
            Kind::Unauthorized => (401, "Unauthorized"),
            Kind::Forbidden => (403, "Forbidden"),
            Kind::NotFound => (404, "Not Found"),
            Kind::MethodNotAllowed { .. } => (405, "Method Not Allowed"),
            Kind::Conflict => (409, "Conflict"),
            Kind::TooLarge => (413, "Request Entity Too Large"),
            Kind::UnsupportedMediaType { .. } => (415, "Unsupported Media Type"),
            Kind::Unavailable => (503, "Service Unavailable"),
            Kind::Internal => (500, "Internal Server Error"),
        }
    }

    pub(super) fn explanation(&self) -> &str {
        if let Some(explanation) = &self.explanation {
            return explanation;
        }
        match self.kind {
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
            Kind::MethodNotAllowed { .. } | Kind::UnsupportedMediaType { .. } => "",
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
            | Kind::TooLarge
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
                ("application/json", value.to_string())
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

/// HTML wins a tie; a header that allows neither gets plain text.
fn preferred(accept: Option<&str>) -> Form {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else {
        return Form::Html;
    };
    let html = quality(accept, "text", "html");
    let json = quality(accept, "application", "json");
    if html <= 0.0 && json <= 0.0 {
        Form::Plain
    } else if json > html {
        Form::Json
    } else {
        Form::Html
    }
}

/// The quality that an `Accept` header gives a media type: the most specific range decides.
fn quality(accept: &str, kind: &str, subtype: &str) -> f32 {
    let mut best = (0, 0.0);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let rank = match media.split_once('/') {
            Some((own, "*")) if own == kind => 2,
            Some(("*", "*")) => 1,
            Some((own, own_subtype)) if own == kind && own_subtype == subtype => 3,
            Some(_) | None => continue,
        };
        let weight = parts
            .find_map(|part| part.strip_prefix("q=")?.parse().ok())
            .unwrap_or(1.0);
        if rank > best.0 {
            best = (rank, weight);
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
    fn html_is_the_form_of_a_caller_without_a_wish() {
        let (media, page) = Fault::not_found("No image found with ID <x>").render(None);
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
            r#"{"message":"Access was denied to this resource.<br /><br />\nno\n\n","code":"403 Forbidden","title":"Forbidden"}"#
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
    fn the_form_follows_accept(#[case] accept: &str, #[case] form: Form) {
        assert_eq!(preferred(Some(accept)), form);
    }
}
