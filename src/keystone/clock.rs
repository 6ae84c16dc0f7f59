//! The clock that token lifetimes are judged by.

use chrono::{DateTime, Utc};
use std::sync::Arc;

/// The wall clock. Tests bring their own.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;
