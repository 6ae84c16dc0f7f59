//! The token cache: valid tokens for `auth.token_cache_time`, and a negative cache of rejected ones
//! apart from them.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use foldhash::quality::RandomState;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::digest::TokenDigest;
use super::error::InvalidToken;
use super::token::Token;

/// Lifetime of a negative entry: absorbs a client that retries with a bad token, and is short
/// enough for a Keystone cluster whose nodes learn of a new token one after the other.
const REJECTION_TTL: Duration = Duration::from_secs(5);
/// About a megabyte.
const MAX_REJECTED: u64 = 10_000;
/// The weight of one entry in bytes; a larger token (users can give an application credential
/// thousands of access rules) counts as several.
const ENTRY_BYTES: usize = 4096;

#[derive(Clone)]
struct CachedToken {
    token: Arc<Token>,
    /// When the validation was sent to Keystone.
    asked_at: DateTime<Utc>,
}

/// Whether an expired token is still accepted: services may finish the work that they began for a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExpiredTokens {
    /// An expired token is invalid.
    Rejected,
    /// Keystone decides how long after its expiry a token is still good (its
    /// `allow_expired_window`).
    Accepted,
}

/// One question about a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TokenKey {
    pub(super) digest: TokenDigest,
    pub(super) expired: ExpiredTokens,
}

/// Both caches. Least recently used entries are evicted first, so that a new token always gets in
/// and a burst with it costs Keystone one call.
pub(super) struct TokenCache {
    valid: Cache<TokenKey, CachedToken, RandomState>,
    rejected: Cache<TokenKey, DateTime<Utc>, RandomState>,
    ttl: TimeDelta,
    rejection_ttl: TimeDelta,
}

impl TokenCache {
    pub(super) fn new(entries: u64, ttl: Duration) -> Self {
        let rejection_ttl = ttl.min(REJECTION_TTL);
        Self {
            valid: Cache::builder()
                .max_capacity(entries)
                .weigher(|_, cached: &CachedToken| {
                    u32::try_from(1 + cached.token.bytes() / ENTRY_BYTES).unwrap_or(u32::MAX)
                })
                .eviction_policy(EvictionPolicy::lru())
                .time_to_live(ttl)
                .build_with_hasher(RandomState::default()),
            rejected: Cache::builder()
                .max_capacity(MAX_REJECTED)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_live(rejection_ttl)
                .build_with_hasher(RandomState::default()),
            ttl: TimeDelta::from_std(ttl).unwrap_or(TimeDelta::MAX),
            rejection_ttl: TimeDelta::from_std(rejection_ttl).unwrap_or(TimeDelta::MAX),
        }
    }

    /// The cached result of a validation at `now`; `None` when Keystone must validate the token.
    pub(super) fn get(
        &self,
        key: TokenKey,
        now: DateTime<Utc>,
    ) -> Option<Result<Arc<Token>, InvalidToken>> {
        if let Some(cached) = self.valid.get(&key) {
            if key.expired == ExpiredTokens::Rejected && cached.token.is_expired(now) {
                return Some(Err(InvalidToken));
            }
            if is_fresh(cached.asked_at, now, self.ttl) {
                return Some(Ok(cached.token));
            }
        }
        let asked_at = self.rejected.get(&key)?;
        is_fresh(asked_at, now, self.rejection_ttl).then_some(Err(InvalidToken))
    }

    /// The number of valid tokens, roughly.
    pub(super) fn entries(&self) -> u64 {
        self.valid.entry_count()
    }

    /// Caches a token that Keystone has validated; `asked_at` is when the request was sent.
    pub(super) fn accept(&self, key: TokenKey, token: Arc<Token>, asked_at: DateTime<Utc>) {
        self.rejected.invalidate(&key);
        self.valid.insert(key, CachedToken { token, asked_at });
    }

    /// Caches that Keystone has rejected a token; `asked_at` is when the request was sent.
    pub(super) fn reject(&self, key: TokenKey, asked_at: DateTime<Utc>) {
        self.valid.invalidate(&key);
        self.rejected.insert(key, asked_at);
    }

    /// Removes a token, so that Keystone validates it again.
    pub(super) fn forget(&self, digest: TokenDigest) {
        for expired in [ExpiredTokens::Rejected, ExpiredTokens::Accepted] {
            self.valid.invalidate(&TokenKey { digest, expired });
        }
    }
}

/// The age counts from the request: a later change in Keystone may not be in the response. An
/// entry from the future (the clock was set back) has no known age and is not fresh.
fn is_fresh(asked_at: DateTime<Utc>, now: DateTime<Utc>, ttl: TimeDelta) -> bool {
    let age = now.signed_duration_since(asked_at);
    age >= TimeDelta::zero() && age < ttl
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::keystone::digest::DigestKey;
    use crate::keystone::testing;

    const TTL: Duration = Duration::from_secs(60);

    /// So many seconds before the token of [`testing::token`] expires.
    fn before_expiry(seconds: i64) -> DateTime<Utc> {
        let noon: DateTime<Utc> = "2026-01-01T12:00:00Z".parse().unwrap();
        noon - TimeDelta::seconds(seconds)
    }

    struct Keys(DigestKey);

    impl Default for Keys {
        fn default() -> Self {
            Self(DigestKey::random().unwrap())
        }
    }

    impl Keys {
        fn of(&self, token: &str) -> TokenKey {
            TokenKey {
                digest: self.0.digest(token),
                expired: ExpiredTokens::Rejected,
            }
        }
    }

    fn key_of(token: &str) -> TokenKey {
        Keys::default().of(token)
    }

    fn good() -> Arc<Token> {
        Arc::new(testing::token(json!({})))
    }

    #[test]
    fn a_valid_token_is_cached_until_its_ttl_has_passed() {
        let (cache, token) = (TokenCache::new(10, TTL), key_of("t"));
        let start = before_expiry(1000);
        assert!(cache.get(token, start).is_none());
        cache.accept(token, good(), start);
        assert!(matches!(cache.get(token, start), Some(Ok(_))));
        assert!(matches!(cache.get(token, before_expiry(941)), Some(Ok(_))));
        assert!(cache.get(token, before_expiry(940)).is_none());
    }

    #[test]
    fn a_cached_token_is_invalid_from_the_second_of_its_expiry_on() {
        let (cache, token) = (TokenCache::new(10, TTL), key_of("t"));
        cache.accept(token, good(), before_expiry(10));
        assert!(matches!(cache.get(token, before_expiry(1)), Some(Ok(_))));
        assert!(matches!(
            cache.get(token, before_expiry(0)),
            Some(Err(InvalidToken))
        ));
        assert!(matches!(
            cache.get(token, before_expiry(-90)),
            Some(Err(InvalidToken))
        ));
    }

    #[test]
    fn an_expired_token_is_cached_where_expired_ones_are_accepted() {
        let (cache, keys) = (TokenCache::new(10, TTL), Keys::default());
        let strict = keys.of("t");
        let lenient = TokenKey {
            expired: ExpiredTokens::Accepted,
            ..strict
        };
        cache.accept(lenient, good(), before_expiry(-10));
        assert!(matches!(
            cache.get(lenient, before_expiry(-69)),
            Some(Ok(_))
        ));
        assert!(cache.get(lenient, before_expiry(-70)).is_none());
        assert!(cache.get(strict, before_expiry(-69)).is_none());
        cache.forget(strict.digest);
        assert!(cache.get(lenient, before_expiry(-69)).is_none());
    }

    #[test]
    fn a_clock_set_back_makes_nothing_live_longer() {
        let (cache, token) = (TokenCache::new(10, TTL), key_of("t"));
        cache.accept(token, good(), before_expiry(1000));
        assert!(cache.get(token, before_expiry(1001)).is_none());
    }

    #[test]
    fn a_rejection_is_cached_for_a_few_seconds() {
        let (cache, token) = (TokenCache::new(10, TTL), key_of("t"));
        cache.reject(token, before_expiry(1000));
        assert!(matches!(
            cache.get(token, before_expiry(996)),
            Some(Err(InvalidToken))
        ));
        assert!(cache.get(token, before_expiry(995)).is_none());
    }

    #[test]
    fn the_latest_result_counts() {
        let (cache, token) = (TokenCache::new(10, TTL), key_of("t"));
        let now = before_expiry(1000);
        cache.accept(token, good(), now);
        cache.reject(token, now);
        assert!(matches!(cache.get(token, now), Some(Err(InvalidToken))));
        cache.accept(token, good(), now);
        assert!(matches!(cache.get(token, now), Some(Ok(_))));
        cache.forget(token.digest);
        assert!(cache.get(token, now).is_none());
    }

    #[test]
    fn a_flood_of_rejections_is_bounded_and_evicts_no_valid_token() {
        let (cache, keys) = (TokenCache::new(10, TTL), Keys::default());
        let now = before_expiry(1000);
        cache.accept(keys.of("good"), good(), now);
        for bad in 0..3 * MAX_REJECTED {
            cache.reject(keys.of(&bad.to_string()), now);
        }
        cache.rejected.run_pending_tasks();
        cache.valid.run_pending_tasks();
        assert!(cache.rejected.entry_count() <= MAX_REJECTED);
        assert!(matches!(cache.get(keys.of("good"), now), Some(Ok(_))));
    }

    #[test]
    fn valid_tokens_are_bounded_and_the_newest_is_cached() {
        let (cache, keys) = (TokenCache::new(10, TTL), Keys::default());
        let now = before_expiry(1000);
        for number in 0..1000 {
            cache.accept(keys.of(&number.to_string()), good(), now);
        }
        cache.valid.run_pending_tasks();
        assert!(cache.valid.entry_count() <= 10);
        assert!(matches!(cache.get(keys.of("999"), now), Some(Ok(_))));
    }

    #[test]
    fn a_token_with_thousands_of_rules_counts_as_many() {
        let (cache, keys) = (TokenCache::new(10, TTL), Keys::default());
        let now = before_expiry(1000);
        let rule = json!({"service": "compute", "method": "GET", "path": "/v2.1/".repeat(30)});
        let heavy = json!({"application_credential": {"access_rules": vec![rule; 100]}});
        for number in 0..10 {
            let token = Arc::new(testing::token(heavy.clone()));
            cache.accept(keys.of(&number.to_string()), token, now);
        }
        cache.valid.run_pending_tasks();
        assert!(
            cache.valid.entry_count() <= 2,
            "{}",
            cache.valid.entry_count()
        );
    }

    #[test]
    fn with_a_ttl_of_zero_nothing_is_cached() {
        let cache = TokenCache::new(10, Duration::ZERO);
        let token = key_of("t");
        let now = before_expiry(1000);
        cache.accept(token, good(), now);
        assert!(cache.get(token, now).is_none());
        cache.reject(token, now);
        assert!(cache.get(token, now).is_none());
    }
}
