//! The key of a response.

use super::generation::CacheTag;
use super::isolation::IsolationScope;
use super::outcome::NoCacheReason;

/// Ends each part of the request. No UTF-8 text holds this byte, so different lists of parts are
/// different bytes.
const SEPARATOR: u8 = 0xff;

/// A scope and a request. Equality is exact: the parts are compared, not a digest of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CacheKey {
    // Requests differ more often than scopes, so they are compared first.
    request: Box<[u8]>,
    scope: IsolationScope,
}

impl CacheKey {
    /// The key of the request that `parts` describe: everything that its response depends on besides
    /// the scope and Glance's state.
    #[must_use]
    pub fn new<'p, P>(scope: IsolationScope, parts: P) -> Self
    where
        P: IntoIterator<Item = &'p str, IntoIter: Clone>,
    {
        let parts = parts.into_iter();
        let mut request = Vec::with_capacity(parts.clone().map(|part| part.len() + 1).sum());
        for part in parts {
            request.extend_from_slice(part.as_bytes());
            request.push(SEPARATOR);
        }
        Self {
            request: request.into_boxed_slice(),
            scope,
        }
    }

    /// The callers that share the response.
    #[must_use]
    pub fn scope(&self) -> &IsolationScope {
        &self.scope
    }

    /// The memory of the key, roughly, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.request.len() + self.scope.bytes()
    }
}

/// A read whose response may be cached.
#[derive(Debug, Clone)]
pub struct CacheQuery {
    /// The key of its response.
    pub key: CacheKey,
    /// The tag whose invalidation invalidates its response.
    pub tag: CacheTag,
}

/// How the cache takes part in a request.
#[derive(Debug, Clone)]
pub enum Cacheability {
    /// The response is looked up, and cached when it is fetched.
    Cacheable(CacheQuery),
    /// The response to this read is not cached.
    Uncacheable(NoCacheReason),
    /// The request is a write, or the cache is off.
    NotApplicable,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_are_equal_exactly_when_all_parts_are(
            one in prop::collection::vec("[ab/]{0,2}", 0..4),
            other in prop::collection::vec("[ab/]{0,2}", 0..4),
        ) {
            let key = |parts: &[String]| CacheKey::new(IsolationScope::anonymous(), parts.iter().map(String::as_str));
            prop_assert_eq!(key(&one) == key(&other), one == other);
        }
    }

    #[test]
    fn a_key_weighs_what_it_holds() {
        let empty = CacheKey::new(IsolationScope::anonymous(), []).bytes();
        let key = CacheKey::new(IsolationScope::anonymous(), ["12345", "12345"]);
        assert_eq!(key.bytes(), empty + 12);
    }
}
