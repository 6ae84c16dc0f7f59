//! Answers that can be given again.
//!
//! | part | file |
//! |---|---|
//! | whose an answer is | `scope.rs` |
//! | what it answers | `key.rs` |
//! | whether a write has made it old | `stamp.rs` |
//! | where answers are kept, within a bound | `store.rs` |
//! | many readers of one fetch | `flight.rs` |
//! | how these act together | `answers.rs` |

mod answers;
mod flight;
mod key;
mod scope;
mod stamp;
mod store;

pub use crate::config::Share;
pub use answers::{Answers, Body, Failure, Fetched, Given};
pub use key::{Key, Question};
pub use scope::Scope;
pub use stamp::{Subject, WriteGuard};
