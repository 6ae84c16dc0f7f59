//! Answers that can be given again.

mod scope;

pub use scope::{Scope, Share};
