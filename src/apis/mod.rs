//! The legacy APIs that are served, one folder each. They do not know each other.

pub mod glance_v1;
pub mod nova;
pub mod webob;
