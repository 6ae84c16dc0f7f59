//! Coherence: the other gateways in front of the same Glance learn of a change too.

mod single_process;

pub use single_process::SingleProcess;

use super::invalidation::Invalidation;
use futures_util::future::BoxFuture;
use std::fmt::Debug;

/// Publishes invalidations to the other gateways. The cache of this process does not depend on it.
pub trait InvalidationBus: Debug + Send + Sync + 'static {
    /// Returns when the others have been told. A write returns to its client after that.
    fn publish(&self, invalidation: Invalidation) -> BoxFuture<'_, ()>;
}
