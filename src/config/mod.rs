//! Configuration, one small file per section.

pub mod embedded;
