//! One write at a time for each image in this process.
//!
//! Glance's PATCH reads, changes and writes without a lock: of fifty concurrent patches sent to it
//! directly, twenty got lost. Writers of one image therefore queue here, in this process: there is
//! no lease that other gateways know of. The queues are a fixed
//! number; two images that share one wait for each other, which costs time and nothing else.

use crate::glance::ImageId;
use crate::util::slot_table::SlotTable;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout_at};

/// Writes that wait for one image, in each lane; one more is refused at once.
pub const MAX_WAITING_WRITES: usize = 64;

/// The queues of all images.
#[derive(Debug, Default)]
pub struct WriteLocks {
    queues: SlotTable<WriteQueue>,
    hasher: RandomState,
}

/// The queue of one image, and of those that share it.
#[derive(Debug, Default)]
pub struct WriteQueue {
    turn: Mutex<()>,
    /// Grows with each write that was sent.
    version: AtomicU64,
    /// Held by the one outsider that may wait for `turn`.
    outsider: Mutex<()>,
    waiting_members: AtomicUsize,
    waiting_outsiders: AtomicUsize,
}

/// How a writer waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// The image belongs to the writer's project, as far as is known.
    Member,
    /// The image belongs to another project. Only Glance can tell whether the writer may change it,
    /// so outsiders wait one behind the other, and a member waits for one of them at most.
    Outsider,
}

/// Why a writer did not get its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockError {
    /// [`MAX_WAITING_WRITES`] are waiting.
    QueueFull,
    /// The deadline passed.
    Timeout,
}

/// A writer's turn, until it is dropped.
#[derive(Debug)]
pub struct Turn<'q> {
    queue: &'q WriteQueue,
    sent: bool,
    // Dropped after the version has grown.
    _guards: (MutexGuard<'q, ()>, Option<MutexGuard<'q, ()>>),
}

impl WriteLocks {
    /// The queue of this image.
    pub fn queue(&self, id: &ImageId) -> &WriteQueue {
        self.queues.slot(self.hasher.hash_one(id.lock_key()))
    }
}

impl WriteQueue {
    /// What was read from Glance after this call is older than no write, if the version is the same
    /// at the writer's [`Turn`].
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    /// Waits for the image's turn, but not beyond `deadline`.
    pub async fn lock(&self, lane: Lane, deadline: Instant) -> Result<Turn<'_>, LockError> {
        let waiting = match lane {
            Lane::Member => &self.waiting_members,
            Lane::Outsider => &self.waiting_outsiders,
        };
        let _place = Place::take(waiting)?;
        let lock = async {
            let outsider = match lane {
                Lane::Member => None,
                Lane::Outsider => Some(self.outsider.lock().await),
            };
            (self.turn.lock().await, outsider)
        };
        let guards = timeout_at(deadline, lock).await;
        Ok(Turn {
            queue: self,
            sent: false,
            _guards: guards.map_err(|_| LockError::Timeout)?,
        })
    }
}

impl Turn<'_> {
    /// Whether no write was sent since [`WriteQueue::version`] was `version`.
    #[must_use]
    pub fn is_unchanged_since(&self, version: u64) -> bool {
        self.queue.version() == version
    }

    /// A write is about to be sent.
    pub fn sending(&mut self) {
        self.sent = true;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.sent {
            self.queue.version.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// A place among those that wait.
struct Place<'q>(&'q AtomicUsize);

impl<'q> Place<'q> {
    fn take(waiting: &'q AtomicUsize) -> Result<Self, LockError> {
        waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
                (waiting < MAX_WAITING_WRITES).then_some(waiting + 1)
            })
            .map(|_| Self(waiting))
            .map_err(|_| LockError::QueueFull)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use std::time::Duration;

    fn id(text: &str) -> ImageId {
        ImageId::parse(text).unwrap()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(50)
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_writer_waits_for_the_first_and_not_beyond_its_deadline() {
        let locks = WriteLocks::default();
        let lock = |text| {
            let queue = locks.queue(&id(text));
            queue.lock(Lane::Member, soon())
        };
        let first = lock("image").await.unwrap();
        assert_eq!(lock("image").await.unwrap_err(), LockError::Timeout);
        assert_eq!(lock("IMAGE").await.unwrap_err(), LockError::Timeout);
        drop(first);
        assert!(lock("image").await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_are_bounded_and_those_who_left_do_not_count() {
        let queue = WriteQueue::default();
        let first = queue.lock(Lane::Member, soon()).await.unwrap();
        let mut waiting: Vec<_> = (0..MAX_WAITING_WRITES)
            .map(|_| Box::pin(queue.lock(Lane::Member, soon())))
            .collect();
        for writer in &mut waiting {
            assert!(writer.now_or_never().is_none());
        }
        let refused = queue.lock(Lane::Member, soon()).await;
        assert_eq!(refused.unwrap_err(), LockError::QueueFull);
        waiting.pop();
        let next = queue.lock(Lane::Member, soon());
        assert!(next.now_or_never().is_none(), "a place was free");
        drop(waiting);
        drop(first);
        assert!(queue.lock(Lane::Member, soon()).await.is_ok());
    }

    #[tokio::test]
    async fn a_member_waits_for_one_outsider_at_most() {
        let (queue, deadline) = (
            WriteQueue::default(),
            Instant::now() + Duration::from_secs(60),
        );
        let first = queue.lock(Lane::Outsider, deadline).await.unwrap();
        let mut outsiders: Vec<_> = (0..MAX_WAITING_WRITES)
            .map(|_| Box::pin(queue.lock(Lane::Outsider, deadline)))
            .collect();
        for outsider in &mut outsiders {
            assert!(outsider.now_or_never().is_none());
        }
        let mut member = Box::pin(queue.lock(Lane::Member, deadline));
        assert!((&mut member).now_or_never().is_none());
        drop(first);
        for outsider in &mut outsiders {
            assert!(outsider.now_or_never().is_none(), "overtook the member");
        }
        assert!(member.now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_turn_tells_whether_anything_was_sent_before_it() {
        let (queue, deadline) = (
            WriteQueue::default(),
            Instant::now() + Duration::from_secs(60),
        );
        let version = queue.version();
        drop(queue.lock(Lane::Member, deadline).await.unwrap());
        let mut turn = queue.lock(Lane::Member, deadline).await.unwrap();
        assert!(turn.is_unchanged_since(version));
        turn.sending();
        assert!(turn.is_unchanged_since(version));
        drop(turn);
        let turn = queue.lock(Lane::Member, deadline).await.unwrap();
        assert!(!turn.is_unchanged_since(version));
    }
}
