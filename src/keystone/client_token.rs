//! A client's token with its digest.

use super::digest::{DigestKey, TokenDigest};
use std::fmt;

/// A token as a client sent it, with its digest, which is computed once for a request.
#[derive(Clone, Copy)]
pub struct ClientToken<'r> {
    value: &'r str,
    digest: TokenDigest,
}

impl<'r> ClientToken<'r> {
    /// Digests `value` with `key`.
    #[must_use]
    pub fn new(value: &'r str, key: &DigestKey) -> Self {
        Self {
            value,
            digest: key.digest(value),
        }
    }

    /// The token in clear.
    #[must_use]
    pub fn value(&self) -> &'r str {
        self.value
    }

    /// The token's digest.
    #[must_use]
    pub fn digest(&self) -> TokenDigest {
        self.digest
    }
}

impl fmt::Debug for ClientToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientToken(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_token_is_the_text_with_its_digest_and_shows_neither() {
        let key = DigestKey::random().unwrap();
        let token = ClientToken::new("gAAAAABhunter2", &key);
        assert_eq!(token.value(), "gAAAAABhunter2");
        assert_eq!(token.digest(), key.digest("gAAAAABhunter2"));
        assert_eq!(format!("{token:?}"), "ClientToken(..)");
    }
}
