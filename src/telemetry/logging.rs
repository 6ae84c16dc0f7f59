//! The log, on standard error.

use crate::config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// The server library logs every malformed request of anybody as an error, and its own start as
/// news. `log.level` can name these targets to hear them again.
const QUIET: &str = "actix_http=off,actix_server=warn";

/// Starts logging for the whole process. `log.level` has been checked before.
pub fn start(settings: &Log) -> Result<(), TryInitError> {
    let filter = EnvFilter::new(format!("{QUIET},{}", settings.level));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(std::io::stderr);
    match settings.format {
        LogFormat::Text => registry.with(layer.with_ansi(false)).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    }
}
