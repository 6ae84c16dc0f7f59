//! What operators see of a running gateway: the log and the metrics.

pub mod access_log;
mod log_line;
pub mod log_writer;
pub mod logging;
pub mod metrics;
mod timestamp;
pub mod upstream_time;
