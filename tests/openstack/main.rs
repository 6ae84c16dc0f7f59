//! Tests against real OpenStack services.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what fails here is a failed test"
)]

mod glance_contract;
