//! The legacy APIs that are served, one folder each. They do not know each other.

pub mod nova;
