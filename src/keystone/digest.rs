//! Tokens by their digest, so that none is kept in clear.

use std::fmt;

/// No longer token is asked about. Fernet and JWS tokens stay below 1 KiB, and a web server in
/// front of Keystone refuses the whole request when one header passes 4 to 8 KiB.
pub const MAX_TOKEN_BYTES: usize = 4096;

/// The secret that a process hashes tokens with. It is drawn at the start and never leaves the
/// process, so a digest tells nobody outside whether it belongs to some token.
#[derive(Clone)]
pub struct DigestKey([u8; 32]);

impl DigestKey {
    /// A new key from the system's random numbers.
    ///
    /// # Errors
    /// When the system has none to give.
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

/// A token's keyed BLAKE3 hash: equal for equal tokens and, as far as anyone can find, for no others.
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

/// Whether a token can be one at all: Keystone issues visible ASCII only, and nothing else may
/// travel in a header.
#[must_use]
pub fn is_well_formed(token: &str) -> bool {
    (1..=MAX_TOKEN_BYTES).contains(&token.len())
        // All bytes in any case: many at a time is faster than stopping at the first.
        && token
            .bytes()
            .fold(true, |graphic, byte| graphic & byte.is_ascii_graphic())
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
