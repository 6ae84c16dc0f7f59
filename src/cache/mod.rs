//! Answers that can be given again.
//!
//! | part | file |
//! |---|---|
//! | whose an answer is | `scope.rs` |
//! | what it answers | `key.rs` |
//! | whether a write has made it old | `generation.rs` |
//! | where answers are kept, within a bound | `store.rs` |
//! | many readers of one fetch | `util/single_flight.rs` |
//! | how these act together | `cache.rs` |

mod generation;
mod isolation;
mod key;
mod response_cache;
mod store;

pub use crate::config::CacheIsolation;
pub use generation::{CacheTag, WriteGuard};
pub use isolation::IsolationScope;
pub use key::{CacheKey, CacheQuery};
pub use response_cache::{Body, CacheResult, CacheableError, Fetched, ResponseCache};
