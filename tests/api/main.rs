//! Tests through HTTP that need nothing but the toolchain.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what fails here is a failed test"
)]

mod embedded_glance;
