//! The highest microversion served: what the settings allow, and what the Nova behind the gateway has.

use crate::upstream::{ExchangeLimits, InstrumentedClient};
use serde::Deserialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use url::Url;

/// Nova's, where neither the settings nor a Nova say.
const DEFAULT: u64 = 104;

const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_BODY: usize = 64 << 10;
/// Pauses between two looks at Nova: until it has answered once, and after that.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_secs(300);

/// The highest minor version.
#[derive(Debug, Default)]
pub struct MaxMicroversion {
    /// `nova.max_microversion`
    configured: Option<u64>,
    /// Zero until Nova has answered.
    of_nova: AtomicU64,
}

#[derive(Deserialize)]
struct Document {
    version: Version,
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

impl MaxMicroversion {
    /// The one of the settings, if it is there.
    #[must_use]
    pub fn new(configured: Option<u64>) -> Self {
        Self {
            configured,
            of_nova: AtomicU64::new(0),
        }
    }

    /// The N of 2.N. Where both are known the smaller one holds.
    #[must_use]
    pub fn minor(&self) -> u64 {
        let of_nova = self.of_nova.load(Ordering::Relaxed);
        match (self.configured, of_nova) {
            (Some(configured), 0) => configured,
            (None, 0) => DEFAULT,
            (Some(configured), of_nova) => configured.min(of_nova),
            (None, of_nova) => of_nova,
        }
    }

    /// Asks Nova now and then, as long as the runtime lives. `endpoints` are base URLs without a version.
    pub async fn follow(self: Arc<Self>, client: InstrumentedClient, endpoints: Vec<Url>) {
        loop {
            for endpoint in &endpoints {
                if let Some(minor) = ask(&client, endpoint).await {
                    let before = self.of_nova.swap(minor, Ordering::Relaxed);
                    if before != minor {
                        tracing::info!(minor, "Nova's highest microversion is 2.{minor}");
                    }
                    break;
                }
            }
            let is_known = self.of_nova.load(Ordering::Relaxed) != 0;
            sleep(if is_known { PAUSE } else { FIRST_PAUSE }).await;
        }
    }
}

async fn ask(client: &InstrumentedClient, endpoint: &Url) -> Option<u64> {
    let url = format!("{}/v2.1/", endpoint.as_str().trim_end_matches('/'));
    let request = reqwest::Request::new(http::Method::GET, url.parse().ok()?);
    let limits = ExchangeLimits {
        deadline: Instant::now() + TIMEOUT,
        max_body: MAX_BODY,
    };
    match client.send(request, limits).await {
        Ok(response) if response.status.is_success() => minor(&response.body),
        Ok(_) => None,
        Err(error) => {
            tracing::debug!(%error, "Nova does not tell its highest microversion");
            None
        }
    }
}

/// The minor version that a version document names.
fn minor(document: &[u8]) -> Option<u64> {
    let document: Document = serde_json::from_slice(document).ok()?;
    document.version.version.strip_prefix("2.")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(None, 0, 104)]
    #[case(None, 96, 96)]
    #[case(None, 110, 110)]
    #[case(Some(90), 0, 90)]
    #[case(Some(90), 96, 90)]
    #[case(Some(104), 96, 96)]
    fn the_smaller_of_both_holds(
        #[case] configured: Option<u64>,
        #[case] of_nova: u64,
        #[case] expected: u64,
    ) {
        let max = MaxMicroversion::new(configured);
        max.of_nova.store(of_nova, Ordering::Relaxed);
        assert_eq!(max.minor(), expected);
    }

    #[rstest]
    #[case(
        r#"{"version": {"id": "v2.1", "version": "2.96", "min_version": "2.1"}}"#,
        Some(96)
    )]
    #[case(r#"{"version": {"id": "v2.0", "version": ""}}"#, None)]
    #[case("<html>", None)]
    fn a_version_document_names_it(#[case] document: &str, #[case] expected: Option<u64>) {
        assert_eq!(minor(document.as_bytes()), expected);
    }
}
