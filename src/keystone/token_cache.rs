//! What is known about tokens for a while: the good ones, and the refused ones apart from them.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use foldhash::quality::RandomState;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::digest::TokenDigest;
use super::error::InvalidToken;
use super::token::Token;

/// How long a refusal is believed: long enough to take the weight of a client that hammers with a
/// bad token, short enough for Keystones that do not learn of a new token at the same moment.
const REFUSAL_TTL: Duration = Duration::from_secs(5);
/// About a megabyte.
const MOST_REFUSALS: u64 = 10_000;
/// What one entry of the cache may weigh; a larger token (users can give an application credential
/// thousands of access rules) counts as several.
const ENTRY_BYTES: usize = 4096;

#[derive(Clone)]
struct CachedToken {
    token: Arc<Token>,
    since: DateTime<Utc>,
}

/// Both caches. Least recently used entries leave first, so that a new token always gets in and a
/// burst with it costs Keystone one call.
pub(super) struct TokenCache {
    good: Cache<TokenDigest, CachedToken, RandomState>,
    refused: Cache<TokenDigest, DateTime<Utc>, RandomState>,
    ttl: TimeDelta,
    refusal_ttl: TimeDelta,
}

impl TokenCache {
    pub(super) fn new(entries: u64, ttl: Duration) -> Self {
        let refusal_ttl = ttl.min(REFUSAL_TTL);
        Self {
            good: Cache::builder()
                .max_capacity(entries)
                .weigher(|_, good: &CachedToken| {
                    u32::try_from(1 + good.token.bytes() / ENTRY_BYTES).unwrap_or(u32::MAX)
                })
                .eviction_policy(EvictionPolicy::lru())
                .time_to_live(ttl)
                .build_with_hasher(RandomState::default()),
            refused: Cache::builder()
                .max_capacity(MOST_REFUSALS)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_live(refusal_ttl)
                .build_with_hasher(RandomState::default()),
            ttl: TimeDelta::from_std(ttl).unwrap_or(TimeDelta::MAX),
            refusal_ttl: TimeDelta::from_std(refusal_ttl).unwrap_or(TimeDelta::MAX),
        }
    }

    /// What is known of a token at `now`; `None` when Keystone must be asked.
    pub(super) fn get(
        &self,
        digest: TokenDigest,
        now: DateTime<Utc>,
    ) -> Option<Result<Arc<Token>, InvalidToken>> {
        if let Some(good) = self.good.get(&digest) {
            if good.token.is_expired(now) {
                return Some(Err(InvalidToken));
            }
            if is_fresh(good.since, now, self.ttl) {
                return Some(Ok(good.token));
            }
        }
        let since = self.refused.get(&digest)?;
        is_fresh(since, now, self.refusal_ttl).then_some(Err(InvalidToken))
    }

    /// How many good tokens are kept, roughly.
    pub(super) fn entries(&self) -> u64 {
        self.good.entry_count()
    }

    /// Keeps Keystone's yes.
    pub(super) fn accept(&self, digest: TokenDigest, token: Arc<Token>, now: DateTime<Utc>) {
        self.refused.invalidate(&digest);
        self.good.insert(digest, CachedToken { token, since: now });
    }

    /// Keeps Keystone's no.
    pub(super) fn refuse(&self, digest: TokenDigest, now: DateTime<Utc>) {
        self.good.invalidate(&digest);
        self.refused.insert(digest, now);
    }

    /// Forgets a token, so that Keystone is asked again.
    pub(super) fn forget(&self, digest: TokenDigest) {
        self.good.invalidate(&digest);
    }
}

/// An answer from the future (somebody set the clock back) is not fresh: nobody knows its age.
fn is_fresh(since: DateTime<Utc>, now: DateTime<Utc>, ttl: TimeDelta) -> bool {
    let age = now.signed_duration_since(since);
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

    fn good() -> Arc<Token> {
        Arc::new(testing::token(json!({})))
    }

    #[test]
    fn a_good_token_is_known_until_its_ttl_has_passed() {
        let (known, digest) = (
            TokenCache::new(10, TTL),
            DigestKey::random().unwrap().digest("t"),
        );
        let start = before_expiry(1000);
        assert!(known.get(digest, start).is_none());
        known.accept(digest, good(), start);
        assert!(matches!(known.get(digest, start), Some(Ok(_))));
        assert!(matches!(known.get(digest, before_expiry(941)), Some(Ok(_))));
        assert!(known.get(digest, before_expiry(940)).is_none());
    }

    #[test]
    fn a_known_token_is_refused_from_the_second_of_its_expiry_on() {
        let (known, digest) = (
            TokenCache::new(10, TTL),
            DigestKey::random().unwrap().digest("t"),
        );
        known.accept(digest, good(), before_expiry(10));
        assert!(matches!(known.get(digest, before_expiry(1)), Some(Ok(_))));
        assert!(matches!(
            known.get(digest, before_expiry(0)),
            Some(Err(InvalidToken))
        ));
        assert!(matches!(
            known.get(digest, before_expiry(-90)),
            Some(Err(InvalidToken))
        ));
    }

    #[test]
    fn a_clock_set_back_makes_nothing_live_longer() {
        let (known, digest) = (
            TokenCache::new(10, TTL),
            DigestKey::random().unwrap().digest("t"),
        );
        known.accept(digest, good(), before_expiry(1000));
        assert!(known.get(digest, before_expiry(1001)).is_none());
    }

    #[test]
    fn a_refusal_is_known_for_a_few_seconds() {
        let (known, digest) = (
            TokenCache::new(10, TTL),
            DigestKey::random().unwrap().digest("t"),
        );
        known.refuse(digest, before_expiry(1000));
        assert!(matches!(
            known.get(digest, before_expiry(996)),
            Some(Err(InvalidToken))
        ));
        assert!(known.get(digest, before_expiry(995)).is_none());
    }

    #[test]
    fn the_latest_answer_counts() {
        let (known, digest) = (
            TokenCache::new(10, TTL),
            DigestKey::random().unwrap().digest("t"),
        );
        let now = before_expiry(1000);
        known.accept(digest, good(), now);
        known.refuse(digest, now);
        assert!(matches!(known.get(digest, now), Some(Err(InvalidToken))));
        known.accept(digest, good(), now);
        assert!(matches!(known.get(digest, now), Some(Ok(_))));
        known.forget(digest);
        assert!(known.get(digest, now).is_none());
    }

    #[test]
    fn a_flood_of_refusals_is_bounded_and_pushes_out_no_good_token() {
        let (known, key) = (TokenCache::new(10, TTL), DigestKey::random().unwrap());
        let now = before_expiry(1000);
        known.accept(key.digest("good"), good(), now);
        for bad in 0..3 * MOST_REFUSALS {
            known.refuse(key.digest(&bad.to_string()), now);
        }
        known.refused.run_pending_tasks();
        known.good.run_pending_tasks();
        assert!(known.refused.entry_count() <= MOST_REFUSALS);
        assert!(matches!(known.get(key.digest("good"), now), Some(Ok(_))));
    }

    #[test]
    fn good_tokens_are_bounded_and_the_newest_is_known() {
        let (known, key) = (TokenCache::new(10, TTL), DigestKey::random().unwrap());
        let now = before_expiry(1000);
        for number in 0..1000 {
            known.accept(key.digest(&number.to_string()), good(), now);
        }
        known.good.run_pending_tasks();
        assert!(known.good.entry_count() <= 10);
        assert!(matches!(known.get(key.digest("999"), now), Some(Ok(_))));
    }

    #[test]
    fn a_token_with_thousands_of_rules_counts_as_many() {
        let (known, key) = (TokenCache::new(10, TTL), DigestKey::random().unwrap());
        let now = before_expiry(1000);
        let rule = json!({"service": "compute", "method": "GET", "path": "/v2.1/".repeat(30)});
        let heavy = json!({"application_credential": {"access_rules": vec![rule; 100]}});
        for number in 0..10 {
            let token = Arc::new(testing::token(heavy.clone()));
            known.accept(key.digest(&number.to_string()), token, now);
        }
        known.good.run_pending_tasks();
        assert!(
            known.good.entry_count() <= 2,
            "{}",
            known.good.entry_count()
        );
    }

    #[test]
    fn with_a_ttl_of_zero_nothing_is_known() {
        let known = TokenCache::new(10, Duration::ZERO);
        let digest = DigestKey::random().unwrap().digest("t");
        let now = before_expiry(1000);
        known.accept(digest, good(), now);
        assert!(known.get(digest, now).is_none());
        known.refuse(digest, now);
        assert!(known.get(digest, now).is_none());
    }
}
