//! Digests of tokens, so that no cache holds a token in clear.

use std::fmt;

/// The longest token, in bytes: Apache's limit for one header field. Most tokens stay below 1 KiB;
/// those of federated users with many groups do not.
pub const MAX_TOKEN_BYTES: usize = 8190;

/// The key that a process hashes tokens with. It is random and never leaves the process, so a
/// digest does not reveal outside of it which token it belongs to.
#[derive(Clone)]
pub struct DigestKey([u8; 32]);

impl DigestKey {
    /// A new key from the system's random numbers.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self(key))
    }

    /// The digest of a token.
    #[must_use]
    pub fn digest(&self, token: &str) -> TokenDigest {
        TokenDigest(*blake3::keyed_hash(&self.0, token.as_bytes()).as_bytes())
    }
}

impl fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestKey(..)")
    }
}

/// A token's keyed BLAKE3 hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// A part of the digest as a number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.0
            .iter()
            .take(8)
            .fold(0, |number, byte| (number << 8) | u64::from(*byte))
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(..)")
    }
}

/// Whether a text can be a token: Keystone issues visible ASCII only.
#[must_use]
pub fn is_well_formed(token: &str) -> bool {
    (1..=MAX_TOKEN_BYTES).contains(&token.len())
        && token.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_depends_on_the_token_and_on_the_process() {
        let (key, other) = (DigestKey::random().unwrap(), DigestKey::random().unwrap());
        assert_eq!(key.digest("a"), key.digest("a"));
        assert_ne!(key.digest("a"), key.digest("b"));
        assert_ne!(key.digest("a"), other.digest("a"));
    }

    #[test]
    fn neither_key_nor_digest_shows_its_bytes() {
        let key = DigestKey([0x5a; 32]);
        let shown = format!("{key:?} {:?}", key.digest("gAAAAA"));
        assert_eq!(shown, "DigestKey(..) TokenDigest(..)");
    }

    #[test]
    fn only_visible_ascii_of_a_sane_length_can_be_a_token() {
        assert!(is_well_formed("gAAAAABn-_=.~"));
        assert!(is_well_formed(&"a".repeat(MAX_TOKEN_BYTES)));
        for token in ["", " ", "a b", "a\t", "a\0", "a\n", "tökén", "\u{7f}"] {
            assert!(!is_well_formed(token), "{token:?}");
        }
        assert!(!is_well_formed(&"a".repeat(MAX_TOKEN_BYTES + 1)));
    }
}
