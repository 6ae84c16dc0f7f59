//! The log and the metrics of a running gateway.

pub mod access_log;
mod log_file;
mod log_line;
pub mod log_writer;
pub mod logging;
pub mod metrics;
mod timestamp;
pub mod trace_context;
mod tracing_format;
pub mod upstream_time;

pub use log_file::Reopen;
