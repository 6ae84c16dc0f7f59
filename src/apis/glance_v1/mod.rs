//! Glance's v1 API, as Glance 15 served it, over Glance v2.

pub mod headers;
pub mod routes;
