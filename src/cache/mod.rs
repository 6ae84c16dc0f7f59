//! The response cache.
//!
//! | part | file |
//! |---|---|
//! | which callers share responses | `isolation.rs` |
//! | key of a response | `key.rs` |
//! | whether a write has invalidated it | `generation.rs`, `token_generations.rs` |
//! | a write, and what it invalidates | `pending_write.rs`, `invalidation.rs` |
//! | other gateways | `coherence/` |
//! | storage, bounded by bytes | `store.rs` |
//! | lookup and storing | `response_cache.rs` |
//! | one fetch for concurrent requests | `read_through.rs` |

pub mod coherence;
mod generation;
mod invalidation;
mod isolation;
mod key;
mod metrics;
mod outcome;
mod pending_write;
mod read_through;
mod response_cache;
mod store;
mod token_generations;

pub use crate::config::CacheIsolation;
pub use generation::CacheTag;
pub use invalidation::{InvalidatedImages, Invalidation};
pub use isolation::IsolationScope;
pub use key::{CacheKey, CacheQuery, Cacheability};
pub use metrics::CacheMetrics;
pub use outcome::{CacheOutcome, NoCacheReason};
pub use pending_write::PendingWrite;
pub use read_through::{CacheResult, CacheableError, Fetch, ReadThrough};
pub use response_cache::{Fetched, ResponseCache};
pub use store::Body;
