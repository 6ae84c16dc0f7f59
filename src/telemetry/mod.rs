//! What operators see of a running gateway.

pub mod logging;
pub mod metrics;
