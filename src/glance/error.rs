//! What can come of a call to Glance, in Glance's own terms.

use super::model::InvalidResponse;
use crate::upstream::{CallError, Response, TransportError};
use http::StatusCode;
use thiserror::Error;

/// Glance's explanation is quoted up to this many bytes.
const MAX_EXPLANATION: usize = 1024;

/// Every way a call to Glance can fail.
#[derive(Debug, Clone, Error)]
pub enum GlanceError {
    /// 400, with Glance's explanation.
    #[error("Glance refused the request: {0}")]
    BadRequest(String),
    /// 401: Glance does not take the token.
    #[error("Glance does not accept the token")]
    Unauthorized,
    /// 403, with Glance's explanation.
    #[error("Glance forbids it: {0}")]
    Forbidden(String),
    /// 404.
    #[error("Glance has no such thing")]
    NotFound,
    /// 409, with Glance's explanation.
    #[error("Glance reports a conflict: {0}")]
    Conflict(String),
    /// 413 or 429, with Glance's explanation and its `Retry-After`.
    #[error("Glance reports a limit: {explanation}")]
    OverLimit {
        /// 413 or 429.
        status: StatusCode,
        /// Glance's explanation.
        explanation: String,
        /// Glance's `Retry-After`, as sent.
        retry_after: Option<String>,
    },
    /// Not reached, or too many calls under way: nothing of the call has left this process.
    #[error("Glance is unavailable: {0}")]
    NotSent(String),
    /// Timed out, broken off, or 503: it may have acted.
    #[error("Glance is unavailable: {0}")]
    Unavailable(String),
    /// An answer that no Glance gives: another status, or a body of the wrong shape.
    #[error("Glance's answer makes no sense: {0}")]
    InvalidResponse(String),
    /// The list is longer than `glance.max_images`.
    #[error("the list is longer than {0} images")]
    TooManyImages(u64),
}

impl From<TransportError> for GlanceError {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::Connect(_) => Self::NotSent(error.to_string()),
            TransportError::Timeout | TransportError::Interrupted(_) => {
                Self::Unavailable(error.to_string())
            }
            TransportError::TooLarge { .. } | TransportError::InvalidHttp(_) => {
                Self::InvalidResponse(error.to_string())
            }
        }
    }
}

impl From<CallError> for GlanceError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Overloaded(busy) => Self::NotSent(busy.to_string()),
            CallError::Transport(error) => error.into(),
        }
    }
}

impl From<InvalidResponse> for GlanceError {
    fn from(error: InvalidResponse) -> Self {
        Self::InvalidResponse(error.to_string())
    }
}

impl GlanceError {
    /// Whether it is the last word on a write: one that was sent, and that Glance has not said
    /// anything on, may still be carried out.
    #[must_use]
    pub fn is_outcome_known(&self) -> bool {
        match self {
            Self::BadRequest(_)
            | Self::Unauthorized
            | Self::Forbidden(_)
            | Self::NotFound
            | Self::Conflict(_)
            | Self::OverLimit { .. }
            | Self::NotSent(_) => true,
            Self::Unavailable(_) | Self::InvalidResponse(_) | Self::TooManyImages(_) => false,
        }
    }

    /// The failure that an answer other than the expected one stands for.
    #[must_use]
    pub fn of_answer(answer: &Response) -> Self {
        match answer.status.as_u16() {
            400 => Self::BadRequest(explanation(answer)),
            401 => Self::Unauthorized,
            403 => Self::Forbidden(explanation(answer)),
            404 => Self::NotFound,
            409 => Self::Conflict(explanation(answer)),
            413 | 429 => Self::OverLimit {
                status: answer.status,
                explanation: explanation(answer),
                retry_after: answer
                    .headers
                    .get(http::header::RETRY_AFTER)
                    .and_then(|value| value.to_str().ok())
                    .map(str::to_owned),
            },
            503 => Self::Unavailable("it answered 503".to_owned()),
            status => Self::InvalidResponse(format!("status {status}")),
        }
    }
}

/// What Glance says in an error page, as its own client library puts it: the lines of the page
/// without tags, each once, joined by `: `.
fn explanation(answer: &Response) -> String {
    let page = String::from_utf8_lossy(&answer.body);
    let json = serde_json::from_str::<serde_json::Value>(&page).ok();
    let text = match json.as_ref().and_then(|json| json.get("message")?.as_str()) {
        Some(message) => format!("{}\n{message}", answer.status),
        None => page.into_owned(),
    };
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let line = without_tags(line.trim());
        if !line.is_empty() && !lines.contains(&line) {
            lines.push(line);
        }
        if lines.iter().map(String::len).sum::<usize>() > MAX_EXPLANATION {
            break;
        }
    }
    let mut explanation = lines.join(": ");
    if explanation.is_empty() {
        explanation = answer.status.to_string();
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

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    fn answer(status: u16, body: &str) -> Response {
        Response {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: body.to_owned().into(),
        }
    }

    #[test]
    fn a_write_that_was_sent_and_not_answered_may_still_be_carried_out() {
        let of = |error: TransportError| GlanceError::from(error).is_outcome_known();
        assert!(of(TransportError::Connect("refused".into())));
        assert!(!of(TransportError::Timeout));
        assert!(!of(TransportError::Interrupted("reset".into())));
        assert!(!of(TransportError::TooLarge { limit: 1 }));
        assert!(GlanceError::Conflict(String::new()).is_outcome_known());
        assert!(!GlanceError::InvalidResponse("status 500".into()).is_outcome_known());
    }

    #[test]
    fn glance_s_page_becomes_one_line() {
        let page = "<html>\n <head>\n  <title>400 Bad Request</title>\n </head>\n <body>\n  \
                    <h1>400 Bad Request</h1>\n  No image found with ID abc<br /><br />\n\n\n\n \
                    </body>\n</html>";
        assert_eq!(
            explanation(&answer(400, page)),
            "400 Bad Request: No image found with ID abc"
        );
    }

    #[test]
    fn json_plain_and_empty_bodies_have_words_too() {
        let json = r#"{"message": "too many<br /><br />\n", "code": "413", "title": "x"}"#;
        assert_eq!(
            explanation(&answer(413, json)),
            "413 Payload Too Large: too many"
        );
        assert_eq!(explanation(&answer(400, "plain\n\nwords")), "plain: words");
        assert_eq!(explanation(&answer(403, "")), "403 Forbidden");
    }

    #[test]
    fn a_flood_of_words_is_cut() {
        assert!(explanation(&answer(400, &"ü".repeat(1 << 20))).len() <= MAX_EXPLANATION);
        assert!(explanation(&answer(400, &"<".repeat(1 << 16))).len() <= MAX_EXPLANATION);
    }

    #[test]
    fn a_status_glance_never_gives_is_nonsense() {
        for status in [201, 302, 405, 410, 500, 502, 504] {
            let error = GlanceError::of_answer(&answer(status, ""));
            assert!(matches!(error, GlanceError::InvalidResponse(_)), "{status}");
        }
    }
}
