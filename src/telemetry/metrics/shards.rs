//! One copy of what is counted for each thread that counts much, so that workers do not fight for
//! the same cache lines. Whoever reads adds the copies up.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// More threads than this share copies.
const MOST: usize = 16;

static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static NUMBER: usize = NEXT.fetch_add(1, Relaxed);
}

/// Copies of `T`, one for the threads with the same number.
#[derive(Debug)]
pub struct Shards<T>(Box<[T]>);

impl<T> Shards<T> {
    /// Copies made by `shard`.
    pub fn new(shard: impl Fn() -> T) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self((0..threads.clamp(1, MOST)).map(|_| shard()).collect())
    }

    /// The copy of this thread; always the same one.
    pub fn local(&self) -> Option<&T> {
        let number = NUMBER.with(|number| *number);
        self.0.get(number % self.0.len().max(1))
    }

    /// Every copy.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}
