//! Generations of tokens that Glance judges.
//!
//! They are exact: a token whose refusal bumped a shared slot would invalidate the responses to
//! other tokens, and any client can have any number of tokens refused.

use crate::keystone::TokenDigest;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Some 150 bytes each. A token that is evicted fetches once more.
const MAX_TOKENS: u64 = 65_536;

/// The generation of each token that is in use.
#[derive(Debug)]
pub struct TokenGenerations {
    current: Cache<TokenDigest, u64>,
    last: AtomicU64,
}

impl TokenGenerations {
    /// A token that is idle for longer than `max_age` is forgotten.
    pub fn new(max_age: Duration) -> Self {
        let current = Cache::builder()
            .max_capacity(MAX_TOKENS)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(max_age.max(Duration::from_secs(1)))
            .build();
        Self {
            current,
            last: AtomicU64::new(0),
        }
    }

    /// The token's generation; zero, which no cached response has, when there is none.
    pub fn read(&self, token: TokenDigest) -> u64 {
        self.current.get(&token).unwrap_or(0)
    }

    /// The token's generation, a new one when there is none.
    pub fn read_or_begin(&self, token: TokenDigest) -> u64 {
        let next = || self.last.fetch_add(1, Ordering::SeqCst) + 1;
        self.current.get_with(token, next)
    }

    /// Ends the token's generation.
    pub fn end(&self, token: TokenDigest) {
        self.current.invalidate(&token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keystone::DigestKey;

    #[test]
    fn the_generations_of_any_number_of_tokens_are_bounded() {
        let (tokens, key) = (
            TokenGenerations::new(Duration::from_secs(60)),
            DigestKey::random().unwrap(),
        );
        for number in 0..MAX_TOKENS + 5000 {
            tokens.read_or_begin(key.digest(&number.to_string()));
        }
        tokens.current.run_pending_tasks();
        assert!(tokens.current.entry_count() <= MAX_TOKENS);
    }
}
