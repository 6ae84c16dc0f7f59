//! What can come of a call to Glance, in Glance's own terms.

use super::model::NotGlance;
use crate::upstream::{Answer, CallError, TransportError};
use http::StatusCode;
use thiserror::Error;

/// Glance's explanation is quoted up to this many bytes.
const MAX_WORDS: usize = 1024;

/// Every way a call to Glance can fail.
#[derive(Debug, Clone, Error)]
pub enum GlanceError {
    /// 400, with Glance's words.
    #[error("Glance refused the request: {0}")]
    BadRequest(String),
    /// 401: Glance does not take the token.
    #[error("Glance does not accept the token")]
    Unauthorized,
    /// 403, with Glance's words.
    #[error("Glance forbids it: {0}")]
    Forbidden(String),
    /// 404.
    #[error("Glance has no such thing")]
    NotFound,
    /// 409, with Glance's words.
    #[error("Glance reports a conflict: {0}")]
    Conflict(String),
    /// 413 or 429, with Glance's words and its `Retry-After`.
    #[error("Glance reports a limit: {words}")]
    OverLimit {
        /// 413 or 429.
        status: StatusCode,
        /// Glance's words.
        words: String,
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
    Nonsense(String),
    /// The list is longer than `glance.max_images`.
    #[error("the list is longer than {0} images")]
    TooManyImages(u64),
}

impl From<TransportError> for GlanceError {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::Connect(_) => Self::NotSent(error.to_string()),
            TransportError::Timeout | TransportError::Broken(_) => {
                Self::Unavailable(error.to_string())
            }
            TransportError::TooLarge { .. } | TransportError::Garbled(_) => {
                Self::Nonsense(error.to_string())
            }
        }
    }
}

impl From<CallError> for GlanceError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Busy(busy) => Self::NotSent(busy.to_string()),
            CallError::Transport(error) => error.into(),
        }
    }
}

impl From<NotGlance> for GlanceError {
    fn from(error: NotGlance) -> Self {
        Self::Nonsense(error.to_string())
    }
}

impl GlanceError {
    /// Whether it is the last word on a write: one that was sent, and that Glance has not said
    /// anything on, may still be carried out.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::BadRequest(_)
            | Self::Unauthorized
            | Self::Forbidden(_)
            | Self::NotFound
            | Self::Conflict(_)
            | Self::OverLimit { .. }
            | Self::NotSent(_) => true,
            Self::Unavailable(_) | Self::Nonsense(_) | Self::TooManyImages(_) => false,
        }
    }

    /// The failure that an answer other than the expected one stands for.
    #[must_use]
    pub fn of_answer(answer: &Answer) -> Self {
        match answer.status.as_u16() {
            400 => Self::BadRequest(words(answer)),
            401 => Self::Unauthorized,
            403 => Self::Forbidden(words(answer)),
            404 => Self::NotFound,
            409 => Self::Conflict(words(answer)),
            413 | 429 => Self::OverLimit {
                status: answer.status,
                words: words(answer),
                retry_after: answer
                    .headers
                    .get(http::header::RETRY_AFTER)
                    .and_then(|value| value.to_str().ok())
                    .map(str::to_owned),
            },
            503 => Self::Unavailable("it answered 503".to_owned()),
            status => Self::Nonsense(format!("status {status}")),
        }
    }
}

/// What Glance says in an error page, as its own client library puts it: the lines of the page
/// without tags, each once, joined by `: `.
fn words(answer: &Answer) -> String {
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
        if lines.iter().map(String::len).sum::<usize>() > MAX_WORDS {
            break;
        }
    }
    let mut words = lines.join(": ");
    if words.is_empty() {
        words = answer.status.to_string();
    }
    let end = (0..=MAX_WORDS.min(words.len()))
        .rev()
        .find(|&end| words.is_char_boundary(end));
    words.truncate(end.unwrap_or(0));
    words
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

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: body.to_owned().into(),
        }
    }

    #[test]
    fn a_write_that_was_sent_and_not_answered_may_still_be_carried_out() {
        let of = |error: TransportError| GlanceError::from(error).is_final();
        assert!(of(TransportError::Connect("refused".into())));
        assert!(!of(TransportError::Timeout));
        assert!(!of(TransportError::Broken("reset".into())));
        assert!(!of(TransportError::TooLarge { limit: 1 }));
        assert!(GlanceError::Conflict(String::new()).is_final());
        assert!(!GlanceError::Nonsense("status 500".into()).is_final());
    }

    #[test]
    fn glance_s_page_becomes_one_line() {
        let page = "<html>\n <head>\n  <title>400 Bad Request</title>\n </head>\n <body>\n  \
                    <h1>400 Bad Request</h1>\n  No image found with ID abc<br /><br />\n\n\n\n \
                    </body>\n</html>";
        assert_eq!(
            words(&answer(400, page)),
            "400 Bad Request: No image found with ID abc"
        );
    }

    #[test]
    fn json_plain_and_empty_bodies_have_words_too() {
        let json = r#"{"message": "too many<br /><br />\n", "code": "413", "title": "x"}"#;
        assert_eq!(words(&answer(413, json)), "413 Payload Too Large: too many");
        assert_eq!(words(&answer(400, "plain\n\nwords")), "plain: words");
        assert_eq!(words(&answer(403, "")), "403 Forbidden");
    }

    #[test]
    fn a_flood_of_words_is_cut() {
        assert!(words(&answer(400, &"ü".repeat(1 << 20))).len() <= MAX_WORDS);
        assert!(words(&answer(400, &"<".repeat(1 << 16))).len() <= MAX_WORDS);
    }

    #[test]
    fn a_status_glance_never_gives_is_nonsense() {
        for status in [201, 302, 405, 410, 500, 502, 504] {
            let error = GlanceError::of_answer(&answer(status, ""));
            assert!(matches!(error, GlanceError::Nonsense(_)), "{status}");
        }
    }
}
