//! Why a token was not accepted.
//!
//! A client with a bad token learns nothing but that; an operator learns from the log what to
//! repair; no error can hold a token, a password or a part of Keystone's response.

use crate::upstream::TransportError;

/// Keystone does not know the token, or it has expired: the client's 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token is not valid")]
pub struct InvalidToken;

/// Why there is no validated token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The token is not valid: 401.
    #[error("{InvalidToken}")]
    InvalidToken,
    /// Keystone cannot validate tokens at the moment: 503, and the client may try again.
    #[error("Keystone cannot validate tokens now: {0}")]
    Unavailable(Unavailable),
    /// Keystone's response is invalid: 503 as well, but an operator must look into it.
    #[error("Keystone's response is invalid: {0}")]
    InvalidResponse(InvalidResponse),
}

/// Why Keystone did not say whether a token is valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// No connection, or one that broke.
    #[error("it cannot be reached ({0})")]
    Unreachable(String),
    /// `keystone.timeout` has passed.
    #[error("it did not answer within keystone.timeout")]
    TimedOut,
    /// A 429 or 5xx.
    #[error("it answered {0}")]
    Status(u16),
    /// A 403: the token that the gateway validates with lacks the right to.
    #[error("its policy does not allow the validation (403)")]
    Forbidden,
    /// Keystone does not accept the configured credentials.
    #[error("it refuses the credentials in keystone.*")]
    CredentialsRefused,
    /// The file with the secret cannot be read.
    #[error("the file that holds the secret for keystone.* cannot be read ({0})")]
    SecretUnreadable(std::io::ErrorKind),
    /// More new tokens at once than are validated or queued.
    #[error("too many tokens wait for validation")]
    Overloaded,
    /// The validation ended without an outcome, as when the process is stopping.
    #[error("the validation was abandoned")]
    Abandoned,
}

/// Why a response is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidResponse {
    /// A status that Keystone does not give here, redirects included.
    #[error("status {0}, is keystone.auth_url right?")]
    Status(u16),
    /// The body is larger than any real one.
    #[error("a body of more than {0} bytes")]
    TooLarge(usize),
    /// The body is not a token's JSON. The position is named, the content is not.
    #[error("a body that is not a token ({kind} at line {line} column {column})")]
    MalformedToken {
        /// `syntax`, `truncated` or `shape`.
        kind: &'static str,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// The body is a token's JSON but contradicts itself or the request.
    #[error("{0}")]
    Inconsistent(&'static str),
}

impl Error {
    /// Whether an operator has to fix something: the settings, the gateway's account, or the server
    /// at `keystone.auth_url`. Outages do not count, nor errors that a client can cause with a
    /// token of its making.
    #[must_use]
    pub fn is_misconfiguration(&self) -> bool {
        match self {
            // A web server may object to a long or odd token with one of these statuses.
            Self::InvalidToken
            | Self::InvalidResponse(InvalidResponse::Status(400 | 413 | 414 | 431)) => false,
            Self::Unavailable(reason) => match reason {
                Unavailable::Forbidden
                | Unavailable::CredentialsRefused
                | Unavailable::SecretUnreadable(_) => true,
                Unavailable::Unreachable(_)
                | Unavailable::TimedOut
                | Unavailable::Status(_)
                | Unavailable::Overloaded
                | Unavailable::Abandoned => false,
            },
            Self::InvalidResponse(_) => true,
        }
    }
}

impl From<InvalidToken> for Error {
    fn from(_: InvalidToken) -> Self {
        Self::InvalidToken
    }
}

impl From<Unavailable> for Error {
    fn from(reason: Unavailable) -> Self {
        Self::Unavailable(reason)
    }
}

impl From<InvalidResponse> for Error {
    fn from(reason: InvalidResponse) -> Self {
        Self::InvalidResponse(reason)
    }
}

impl From<TransportError> for Error {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::Timeout => Unavailable::TimedOut.into(),
            TransportError::TooLarge { limit } => InvalidResponse::TooLarge(limit).into(),
            TransportError::MemoryFull(_) => Unavailable::Overloaded.into(),
            TransportError::Connect(_)
            | TransportError::Interrupted(_)
            | TransportError::InvalidHttp(_) => Unavailable::Unreachable(error.to_string()).into(),
        }
    }
}

/// Keeps the position only: the message of `serde_json` repeats values.
impl From<serde_json::Error> for InvalidResponse {
    fn from(error: serde_json::Error) -> Self {
        use serde_json::error::Category;
        let kind = match error.classify() {
            Category::Syntax => "syntax",
            Category::Eof | Category::Io => "truncated",
            Category::Data => "shape",
        };
        Self::MalformedToken {
            kind,
            line: error.line(),
            column: error.column(),
        }
    }
}
