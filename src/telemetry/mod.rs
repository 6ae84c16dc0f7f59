//! What operators see of a running gateway: the log and the metrics.

pub mod access_log;
mod line;
pub mod logging;
pub mod metrics;
pub mod sink;
pub mod spent;
mod timestamp;
