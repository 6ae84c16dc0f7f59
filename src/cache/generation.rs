//! Which answers a write has made old.
//!
//! A reader takes the stamp of what it reads *before* it asks Glance, and its answer counts only
//! for as long as the stamp is the same. Every write through this process changes the stamp of its
//! image and that of all lists when its outcome is there, before its client hears of it. So an
//! answer that a read brings back from before the write is kept by nobody.
//!
//! After a write whose outcome nobody knows (a time-out, a broken connection) Glance may still act
//! for a while. Until that is over what the write is about stays *closed*: answers are fetched one
//! by one and not kept.

use crate::glance::ImageId;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// Two images that share a slot make each other's answers old, which costs a call and nothing else.
const SLOTS: usize = 4096;
/// How long after the deadline of a call Glance may still act on it.
const GRACE: Duration = Duration::from_secs(5);

/// What an answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheTag {
    /// A list, so every image.
    List,
    /// One image.
    Image(Uuid),
}

impl CacheTag {
    /// The image with this id. Only canonical ids are told apart here: a database may take any other
    /// text for a second spelling of the same image's id.
    #[must_use]
    pub fn image(id: &ImageId) -> Option<Self> {
        id.canonical().map(Self::Image)
    }
}

/// The state of what a read is about, as far as this process has changed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation {
    tag: u64,
    global: u64,
    token: u64,
}

#[derive(Debug, Default)]
struct Slot {
    writes: AtomicU64,
    /// In milliseconds since the stamps began.
    uncacheable_until: AtomicU64,
}

impl Slot {
    fn bump(&self) {
        self.writes.fetch_add(1, Ordering::SeqCst);
    }

    fn read(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }
}

/// All stamps there are: a fixed number.
#[derive(Debug)]
pub struct GenerationTable {
    began: Instant,
    images: Box<[Slot]>,
    list: Slot,
    /// For writes to ids that name nobody knows which image.
    global: Slot,
    tokens: Box<[AtomicU64]>,
}

impl Default for GenerationTable {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            images: (0..SLOTS).map(|_| Slot::default()).collect(),
            list: Slot::default(),
            global: Slot::default(),
            tokens: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl GenerationTable {
    /// The stamp of `tag` for readers with this [`super::IsolationScope::token_number`].
    pub fn read(&self, tag: CacheTag, token: u64) -> Generation {
        Generation {
            tag: self.slot(tag).read(),
            global: self.global.read(),
            token: self.token(token).load(Ordering::SeqCst),
        }
    }

    /// Whether a write of unknown outcome may still change `tag`. To be asked after
    /// [`GenerationTable::read`].
    pub fn is_uncacheable(&self, tag: CacheTag, now: Instant) -> bool {
        let now = self.since_began(now);
        [self.slot(tag), &self.global]
            .iter()
            .any(|slot| now < slot.uncacheable_until.load(Ordering::SeqCst))
    }

    /// Makes every answer given for this [`super::IsolationScope::token_number`] old.
    pub fn invalidate_token(&self, token: u64) {
        self.token(token).fetch_add(1, Ordering::SeqCst);
    }

    /// Makes every response old that was fetched until now.
    pub fn invalidate_all(&self) {
        self.global.writes.fetch_add(1, Ordering::SeqCst);
    }

    /// Begins a write to the image with this id.
    pub fn write(&self, id: &ImageId) -> WriteGuard<'_> {
        let image = CacheTag::image(id).map_or(&self.global, |tag| self.slot(tag));
        WriteGuard {
            generations: self,
            image,
            pending_until: None,
        }
    }

    fn slot(&self, tag: CacheTag) -> &Slot {
        match tag {
            CacheTag::List => &self.list,
            CacheTag::Image(id) => {
                let (high, low) = id.as_u64_pair();
                self.images.get(index(high ^ low)).unwrap_or(&self.list)
            }
        }
    }

    fn token(&self, number: u64) -> &AtomicU64 {
        self.tokens.get(index(number)).unwrap_or(&self.list.writes)
    }

    fn since_began(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.began).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX)
    }
}

/// Folds the number, so that ids which differ in one place only are spread too.
fn index(number: u64) -> usize {
    let folded = number ^ (number >> 32);
    let folded = (folded ^ (folded >> 16)) % SLOTS as u64;
    usize::try_from(folded).unwrap_or(0)
}

/// A write under way; when it is dropped, every answer from before is old.
#[derive(Debug)]
pub struct WriteGuard<'s> {
    generations: &'s GenerationTable,
    image: &'s Slot,
    /// The deadline of a call whose outcome is not known yet.
    pending_until: Option<Instant>,
}

impl WriteGuard<'_> {
    /// A call that changes the image is about to be sent, to be answered until `deadline`.
    pub fn call_started(&mut self, deadline: Instant) {
        self.pending_until = Some(deadline);
    }

    /// Glance has said what became of the call.
    pub fn outcome_known(&mut self) {
        self.pending_until = None;
    }
}

impl Drop for WriteGuard<'_> {
    fn drop(&mut self) {
        let slots = [self.image, &self.generations.list];
        // Closed first: who reads the new stamp must find the slot closed.
        if let Some(deadline) = self.pending_until {
            let until = self.generations.since_began(deadline + GRACE);
            for slot in slots {
                slot.uncacheable_until.fetch_max(until, Ordering::SeqCst);
            }
        }
        for slot in slots {
            slot.bump();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "11111111-2222-4333-8444-555555555555";

    fn id(text: &str) -> ImageId {
        ImageId::parse(text).unwrap()
    }

    fn image(text: &str) -> CacheTag {
        CacheTag::image(&id(text)).unwrap()
    }

    #[test]
    fn a_write_changes_the_stamps_of_its_image_and_of_lists_and_no_other() {
        let generations = GenerationTable::default();
        let other = image("11111111-2222-4333-8444-555555555556");
        let before = [CacheTag::List, image(ONE), other].map(|tag| generations.read(tag, 0));
        drop(generations.write(&id(ONE)));
        let after = [CacheTag::List, image(ONE), other].map(|tag| generations.read(tag, 0));
        assert_ne!(before[0], after[0]);
        assert_ne!(before[1], after[1]);
        assert_eq!(before[2], after[2]);
    }

    #[test]
    fn the_case_of_an_id_does_not_matter_and_other_forms_of_it_are_no_subject() {
        let text = "aaaaaaaa-2222-4333-8444-555555555555";
        assert_eq!(image(text), image(&text.to_uppercase()));
        for other in [&text.replace('-', ""), &format!("{text}~"), "detail"] {
            assert_eq!(CacheTag::image(&id(other)), None, "{other}");
        }
    }

    #[test]
    fn a_write_to_an_odd_id_makes_everything_old() {
        let generations = GenerationTable::default();
        let before = generations.read(image(ONE), 0);
        drop(generations.write(&id(&format!("{ONE}~"))));
        assert_ne!(before, generations.read(image(ONE), 0));
    }

    #[test]
    fn the_stamps_change_when_the_write_is_over_and_not_before() {
        let generations = GenerationTable::default();
        let before = generations.read(CacheTag::List, 0);
        let guard = generations.write(&id(ONE));
        assert_eq!(before, generations.read(CacheTag::List, 0));
        drop(guard);
        assert_ne!(before, generations.read(CacheTag::List, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_outcome_closes_until_the_deadline_and_a_grace_have_passed() {
        let generations = GenerationTable::default();
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut guard = generations.write(&id(ONE));
        guard.call_started(deadline);
        drop(guard);
        for tag in [image(ONE), CacheTag::List] {
            assert!(generations.is_uncacheable(tag, Instant::now()));
            let end = deadline + GRACE;
            assert!(
                generations.is_uncacheable(tag, end.checked_sub(Duration::from_millis(1)).unwrap())
            );
            assert!(!generations.is_uncacheable(tag, end));
        }
        assert!(!generations.is_uncacheable(
            image("11111111-2222-4333-8444-555555555556"),
            Instant::now()
        ));
    }

    #[test]
    fn a_known_outcome_closes_nothing() {
        let generations = GenerationTable::default();
        let mut guard = generations.write(&id(ONE));
        guard.call_started(Instant::now() + Duration::from_secs(30));
        guard.outcome_known();
        drop(guard);
        assert!(!generations.is_uncacheable(image(ONE), Instant::now()));
        assert!(!generations.is_uncacheable(CacheTag::List, Instant::now()));
    }

    #[test]
    fn an_unknown_outcome_of_an_odd_id_closes_everything() {
        let generations = GenerationTable::default();
        let mut guard = generations.write(&id("odd"));
        guard.call_started(Instant::now() + Duration::from_secs(30));
        drop(guard);
        assert!(generations.is_uncacheable(image(ONE), Instant::now()));
    }

    #[test]
    fn a_refused_token_makes_its_own_answers_old() {
        let generations = GenerationTable::default();
        let (own, other) = (
            generations.read(CacheTag::List, 7),
            generations.read(CacheTag::List, 9),
        );
        generations.invalidate_token(7);
        assert_ne!(own, generations.read(CacheTag::List, 7));
        assert_eq!(other, generations.read(CacheTag::List, 9));
    }
}
