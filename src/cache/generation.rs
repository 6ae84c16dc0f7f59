//! Generations: whether a response is older than a write.
//!
//! A reader takes the generation of its tag *before* it calls Glance, and the response counts only
//! while the generation is the same. A write through this process bumps the generations of its image
//! and of the lists when its outcome is known, before its client learns of it. A response fetched
//! before the write is therefore never cached.
//!
//! After a write of unknown outcome (a time-out, a broken connection) Glance may still act for a
//! while. Until that is over its image and the lists are *uncacheable*: each response is fetched for
//! one reader and not stored.

use super::invalidation::{InvalidatedImages, Invalidation};
use super::isolation::IsolationScope;
use super::token_generations::TokenGenerations;
use crate::glance::ImageId;
use crate::util::slot_table::SlotTable;
use foldhash::quality::FixedState;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// The images that a response depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheTag {
    /// A list: every image.
    List,
    /// One image.
    Image(Uuid),
}

impl CacheTag {
    /// The image with this id. `None` for an id that is not canonical: a database may take it for a
    /// second spelling of another image's id, so a write to that image could not invalidate it.
    #[must_use]
    pub fn image(id: &ImageId) -> Option<Self> {
        id.canonical().map(Self::Image)
    }
}

/// The state of a tag, as far as this process has changed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation {
    tag: u64,
    global: u64,
    token: u64,
}

#[derive(Debug, Default)]
struct Slot {
    generation: AtomicU64,
    /// In milliseconds since the table was made.
    uncacheable_until: AtomicU64,
}

impl Slot {
    fn bump(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    fn read(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }
}

/// All generations. Two images that share a slot invalidate each other's responses, which costs a
/// call to Glance and nothing else.
#[derive(Debug)]
pub struct GenerationTable {
    created_at: Instant,
    /// Seeded at random: a client that chooses the ids of its images must not choose their slots.
    hasher: FixedState,
    images: SlotTable<Slot>,
    lists: Slot,
    /// Bumped by a write whose id is not canonical: it may affect any image.
    global: Slot,
    tokens: TokenGenerations,
}

impl GenerationTable {
    /// `max_age` is the longest time that a response stays in the cache.
    pub fn new(max_age: Duration) -> Self {
        Self::with_seed(max_age, fastrand::u64(..))
    }

    fn with_seed(max_age: Duration, seed: u64) -> Self {
        Self {
            created_at: Instant::now(),
            hasher: FixedState::with_seed(seed),
            images: SlotTable::default(),
            lists: Slot::default(),
            global: Slot::default(),
            tokens: TokenGenerations::new(max_age),
        }
    }

    /// The generation that a cached response of `scope` must have to be valid.
    pub fn read(&self, tag: CacheTag, scope: &IsolationScope) -> Generation {
        self.with_token(
            tag,
            scope
                .opaque_token()
                .map_or(0, |token| self.tokens.read(token)),
        )
    }

    /// The same for a reader that is about to call Glance.
    pub fn read_for_fetch(&self, tag: CacheTag, scope: &IsolationScope) -> Generation {
        let token = scope.opaque_token();
        self.with_token(
            tag,
            token.map_or(0, |token| self.tokens.read_or_begin(token)),
        )
    }

    fn with_token(&self, tag: CacheTag, token: u64) -> Generation {
        Generation {
            tag: self.slot(tag).read(),
            global: self.global.read(),
            token,
        }
    }

    /// Whether a write of unknown outcome may still change what has this tag. To be called after
    /// [`GenerationTable::read_for_fetch`].
    pub fn is_uncacheable(&self, tag: CacheTag, now: Instant) -> bool {
        let now = self.millis(now);
        [self.slot(tag), &self.global]
            .iter()
            .any(|slot| now < slot.uncacheable_until.load(Ordering::SeqCst))
    }

    /// Invalidates every response to the token of this scope, and to no other.
    pub fn invalidate_token(&self, scope: &IsolationScope) {
        if let Some(token) = scope.opaque_token() {
            self.tokens.end(token);
        }
    }

    /// Invalidates every response that the write may have changed.
    pub fn invalidate(&self, invalidation: Invalidation) {
        let image = match invalidation.images {
            InvalidatedImages::One(id) => Some(self.slot(CacheTag::Image(id))),
            InvalidatedImages::All => Some(&self.global),
            InvalidatedImages::None => None,
        };
        let slots = || image.into_iter().chain([&self.lists]);
        // First, because a reader of the new generation must find it uncacheable.
        if !invalidation.uncacheable_for.is_zero() {
            let until = self.millis(Instant::now() + invalidation.uncacheable_for);
            for slot in slots() {
                slot.uncacheable_until.fetch_max(until, Ordering::SeqCst);
            }
        }
        for slot in slots() {
            slot.bump();
        }
    }

    fn slot(&self, tag: CacheTag) -> &Slot {
        match tag {
            CacheTag::List => &self.lists,
            CacheTag::Image(id) => self.images.slot(self.hasher.hash_one(id)),
        }
    }

    fn millis(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.created_at).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keystone::DigestKey;

    const ONE: &str = "11111111-2222-4333-8444-555555555555";
    const OTHER: &str = "11111111-2222-4333-8444-555555555556";

    fn table() -> GenerationTable {
        GenerationTable::with_seed(Duration::from_secs(60), 7)
    }

    fn image(text: &str) -> CacheTag {
        CacheTag::image(&ImageId::parse(text).unwrap()).unwrap()
    }

    fn read(table: &GenerationTable, tag: CacheTag) -> Generation {
        table.read(tag, &IsolationScope::anonymous())
    }

    fn write(id: &str) -> Invalidation {
        Invalidation::of_write(&ImageId::parse(id).unwrap())
    }

    #[test]
    fn a_write_changes_the_generations_of_its_image_and_of_lists_and_no_other() {
        let table = table();
        let tags = [CacheTag::List, image(ONE), image(OTHER)];
        let before = tags.map(|tag| read(&table, tag));
        table.invalidate(write(ONE));
        let changed: Vec<_> = (0..3)
            .map(|at| read(&table, tags[at]) != before[at])
            .collect();
        assert_eq!(changed, [true, true, false]);
    }

    #[test]
    fn a_change_of_lists_leaves_images_valid() {
        let table = table();
        let (list, shown) = (read(&table, CacheTag::List), read(&table, image(ONE)));
        table.invalidate(Invalidation::of_lists());
        assert_ne!(list, read(&table, CacheTag::List));
        assert_eq!(shown, read(&table, image(ONE)));
    }

    #[test]
    fn spellings_of_one_uuid_have_one_tag_and_other_ids_have_none() {
        let text = "aaaaaaaa-2222-4333-8444-555555555555";
        assert_eq!(image(text), image(&text.to_uppercase()));
        for other in [&text.replace('-', ""), &format!("{text}~"), "detail"] {
            let id = ImageId::parse(other).unwrap();
            assert_eq!(CacheTag::image(&id), None, "{other}");
        }
    }

    #[test]
    fn a_write_to_an_id_that_is_not_canonical_changes_all_generations() {
        let table = table();
        let before = read(&table, image(ONE));
        table.invalidate(write("odd"));
        assert_ne!(before, read(&table, image(ONE)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_outcome_makes_image_and_lists_uncacheable_for_its_time() {
        let table = table();
        let invalidation = Invalidation {
            uncacheable_for: Duration::from_secs(5),
            ..write(ONE)
        };
        table.invalidate(invalidation);
        let end = Instant::now() + Duration::from_secs(5);
        for tag in [image(ONE), CacheTag::List] {
            assert!(table.is_uncacheable(tag, Instant::now()));
            let before = end.checked_sub(Duration::from_millis(1)).unwrap();
            assert!(table.is_uncacheable(tag, before));
            assert!(!table.is_uncacheable(tag, end));
        }
        assert!(!table.is_uncacheable(image(OTHER), Instant::now()));
        table.invalidate(Invalidation {
            uncacheable_for: Duration::from_secs(5),
            ..write("odd")
        });
        assert!(table.is_uncacheable(image(OTHER), Instant::now()));
    }

    #[test]
    fn a_known_outcome_leaves_all_cacheable() {
        let table = table();
        table.invalidate(write(ONE));
        assert!(!table.is_uncacheable(image(ONE), Instant::now()));
        assert!(!table.is_uncacheable(CacheTag::List, Instant::now()));
    }

    #[test]
    fn a_refused_token_invalidates_its_own_responses_alone() {
        let table = table();
        let key = DigestKey::random().unwrap();
        let scope = |token: &str| IsolationScope::for_opaque_token(key.digest(token));
        let fetch = |scope: &IsolationScope| table.read_for_fetch(CacheTag::List, scope);
        let (own, other) = (fetch(&scope("own")), fetch(&scope("other")));
        let shared = fetch(&IsolationScope::anonymous());
        table.invalidate_token(&scope("own"));
        // Tokens that Glance never took are refused in any number.
        for number in 0..100_000 {
            table.invalidate_token(&scope(&number.to_string()));
        }
        table.invalidate_token(&IsolationScope::anonymous());
        let read = |scope: &IsolationScope| table.read(CacheTag::List, scope);
        assert_ne!(own, read(&scope("own")));
        assert_eq!(other, read(&scope("other")));
        assert_eq!(shared, read(&IsolationScope::anonymous()));
    }

    #[test]
    fn a_fetch_that_began_before_its_token_was_refused_is_old() {
        let table = table();
        let digest = DigestKey::random().unwrap().digest("t");
        let scope = IsolationScope::for_opaque_token(digest);
        let before = table.read_for_fetch(CacheTag::List, &scope);
        table.invalidate_token(&scope);
        let after = table.read_for_fetch(CacheTag::List, &scope);
        assert_ne!(before, after);
        assert_eq!(after, table.read(CacheTag::List, &scope));
    }
}
