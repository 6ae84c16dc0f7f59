//! Serves Nova's removed image API in front of Glance.

pub mod config;
pub mod embedded;
