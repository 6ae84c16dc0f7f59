//! Why a token was not accepted.
//!
//! The goals: whoever holds a bad token learns nothing but that; an operator learns from the log
//! what to repair; nothing in here can hold a token, a password or what Keystone's answer said.

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
    /// Keystone could not say: 503, and the client may try again.
    #[error("Keystone cannot validate tokens now: {0}")]
    Unavailable(Unavailable),
    /// Keystone's answer makes no sense: 503 as well, but somebody must look into it.
    #[error("Keystone's answer makes no sense: {0}")]
    InvalidResponse(InvalidResponse),
}

/// What kept Keystone from saying whether a token is valid.
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
    /// A 403: whoever asks may not validate tokens.
    #[error("its policy does not allow the validation (403)")]
    Forbidden,
    /// Keystone does not accept the configured credentials.
    #[error("it refuses the credentials in keystone.*")]
    CredentialsRefused,
    /// The file with the secret cannot be read.
    #[error("the file that holds the secret for keystone.* cannot be read ({0})")]
    SecretUnreadable(std::io::ErrorKind),
    /// More new tokens at once than are let through.
    #[error("too many tokens wait for validation")]
    Overloaded,
    /// The validation ended without an outcome, as when the process is stopping.
    #[error("the validation was abandoned")]
    Abandoned,
}

/// What is wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidResponse {
    /// A status that no Keystone gives here, redirects included.
    #[error("status {0}, is keystone.auth_url right?")]
    Status(u16),
    /// The body is larger than any real one.
    #[error("a body of more than {0} bytes")]
    TooLarge(usize),
    /// The body is not a token's JSON; where, but not what.
    #[error("a body that is not a token ({kind} at line {line} column {column})")]
    MalformedToken {
        /// `syntax`, `truncated` or `shape`.
        kind: &'static str,
        /// Where, from 1.
        line: usize,
        /// Where, from 1.
        column: usize,
    },
    /// The body is a token's JSON but contradicts itself or the request.
    #[error("{0}")]
    Inconsistent(&'static str),
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
            TransportError::Connect(_)
            | TransportError::Interrupted(_)
            | TransportError::InvalidHttp(_) => Unavailable::Unreachable(error.to_string()).into(),
        }
    }
}

/// Keeps the place of the mistake only: the message of `serde_json` repeats values.
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
