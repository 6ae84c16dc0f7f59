//! Whether Glance answers where it is called.

use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::time::Instant;
use url::Url;

use super::probe::{Probe, ProbeOutcome};
use crate::glance::is_compute_api;
use crate::upstream::{ExchangeLimits, InstrumentedClient, Response};
use crate::util::endpoint_url::without_version;
use crate::util::recent_outcomes::RecentOutcomes;

const VERSIONS: &str = "glance.versions";
const RECENT: &str = "glance.recent";

/// How media types of the Compute API begin.
const COMPUTE_MEDIA_TYPE: &str = "application/vnd.openstack.compute";
/// Version documents are a few KiB.
const MAX_BODY: usize = 1 << 20;

/// One probe for each endpoint. Where one of them is Glance, the others are only warned of.
pub(super) async fn probe(
    client: &InstrumentedClient,
    endpoints: &[Url],
    deadline: Instant,
) -> Vec<Probe> {
    let probes = endpoints.iter().map(|url| versions(client, url, deadline));
    let mut probes = join_all(probes).await;
    let is_ok = |probe: &Probe| probe.outcome == ProbeOutcome::Ok;
    if probes.iter().any(is_ok) {
        for probe in probes.iter_mut().filter(|probe| !is_ok(probe)) {
            probe.outcome = ProbeOutcome::Warn;
        }
    }
    probes
}

async fn versions(client: &InstrumentedClient, endpoint: &Url, deadline: Instant) -> Probe {
    let mut url = without_version(endpoint.clone());
    let path = format!("{}/versions", url.path().trim_end_matches('/'));
    url.set_path(&path);
    let target = Some(url.to_string());
    let limits = ExchangeLimits {
        deadline,
        max_body: MAX_BODY,
    };
    let request = reqwest::Request::new(Method::GET, url);
    match client.send(request, limits).await {
        Ok(response) => match objection(&response) {
            None => Probe::ok(VERSIONS, target, "a Glance"),
            Some((detail, advice)) => Probe::fail(VERSIONS, target, detail, advice),
        },
        Err(error) => {
            let advice = "look at Glance, or correct glance.endpoints";
            Probe::fail(VERSIONS, target, error.to_string(), advice)
        }
    }
}

/// Why a response to `/versions` is not Glance's, with advice; `None` for Glance's.
fn objection(response: &Response) -> Option<(String, &'static str)> {
    let status = response.status;
    let advice = "correct glance.endpoints, or the endpoint in Keystone's catalog: Glance's URL, with or \
                without /v2";
    if is_compute_api(&response.headers) || names_compute(&response.body) {
        let detail = "a Compute API answers there, perhaps this gateway itself, and not Glance";
        return Some((detail.to_owned(), advice));
    }
    if status.is_server_error() {
        let detail = format!("it answered {}", status.as_u16());
        return Some((detail, "look at Glance"));
    }
    // At any other path Glance answers 300 with the same document.
    if status == StatusCode::OK && describes_glance(&response.body) {
        return None;
    }
    let detail = format!(
        "it answered {} without Glance's version document",
        status.as_u16()
    );
    Some((detail, advice))
}

/// The Compute API's choice of versions, which it gives at a path it does not know, names its media
/// type.
fn names_compute(body: &[u8]) -> bool {
    let name = COMPUTE_MEDIA_TYPE.as_bytes();
    body.windows(name.len()).any(|window| window == name)
}

/// Glance's versions have an id, a status and links; those of Nova and Cinder have microversions
/// as well.
fn describes_glance(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Body {
        versions: Vec<Version>,
    }
    #[derive(Deserialize)]
    struct Version {
        id: String,
        min_version: Option<IgnoredAny>,
    }
    serde_json::from_slice::<Body>(body).is_ok_and(|body| {
        let is_v2 = |version: &Version| version.id == "v2" || version.id.starts_with("v2.");
        body.versions.iter().any(is_v2)
            && body
                .versions
                .iter()
                .all(|version| version.min_version.is_none())
    })
}

pub(super) fn recent(outcomes: &RecentOutcomes) -> Probe {
    match outcomes.persistent_failure() {
        None => Probe::ok(RECENT, None, "requests reach Glance, or none came"),
        Some(reason) => Probe::fail(
            RECENT,
            None,
            format!("the last requests all failed: {reason}"),
            "correct glance.endpoints, or the endpoint in Keystone's catalog; the gateway is tried \
             again a minute after the last failure",
        ),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[rstest]
    #[case(json!({"versions": [{"id": "v2.16", "status": "CURRENT", "links": []}]}), true)]
    #[case(json!({"versions": [{"id": "v1.1"}, {"id": "v2"}]}), true)]
    #[case(json!({"versions": [{"id": "v2.0", "min_version": "", "version": ""}]}), false)]
    #[case(json!({"versions": [{"id": "v3.0"}]}), false)]
    #[case(json!({"versions": {"values": [{"id": "v3.14"}]}}), false)]
    #[case(json!({"versions": []}), false)]
    #[case(json!([]), false)]
    fn only_glances_version_document_counts(#[case] document: Value, #[case] expected: bool) {
        assert_eq!(describes_glance(document.to_string().as_bytes()), expected);
    }
}
