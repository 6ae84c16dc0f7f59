//! The recorded calls of a real Glance, made again to this one.
//!
//! See `tests/fixtures/README.md` for the recording, and `differences.json` there for the calls that
//! are answered otherwise on purpose.

use crate::placeholders::Run;
use crate::recording::{Difference, Scenario, read};
use embedded_glance::{AuthenticationError, EmbeddedGlance, Identity, Settings};
use std::collections::BTreeMap;

const CALLS: &[u8] = include_bytes!("../fixtures/glance_33_calls.jsonl.gz");
const DIFFERENCES: &str = include_str!("../fixtures/differences.json");
/// As many as were recorded, with those that only prepare others.
const RECORDED: usize = 2314;
const KEYSTONE: &str = "http://127.0.0.1:5000";

/// Projects by the name of their user.
fn projects() -> BTreeMap<String, String> {
    ["admin", "demo", "alt"]
        .map(|name| (name.to_owned(), format!("{name:0<32}")))
        .into()
}

fn start() -> EmbeddedGlance {
    let projects = projects();
    let settings = Settings {
        sample_images: false,
        www_authenticate_uri: Some(KEYSTONE.to_owned()),
        ..Settings::default()
    };
    let refused = |_: &str| -> embedded_glance::Authentication {
        Box::pin(async { Err(AuthenticationError::InvalidToken) })
    };
    let mut glance = EmbeddedGlance::builder(settings).authenticate_with(refused);
    for (name, project) in &projects {
        let identity = match name.as_str() {
            "admin" => Identity::admin(project, name),
            _ => Identity::member(project, name),
        };
        glance = glance.identity(format!("token-{name}"), identity);
    }
    let reader = Identity {
        project: projects["demo"].clone(),
        user: "reader".to_owned(),
        roles: vec!["reader".to_owned()],
    };
    let unscoped = Identity {
        project: String::new(),
        user: "demo".to_owned(),
        roles: Vec::new(),
    };
    glance
        .identity("token-reader", reader)
        .identity("token-unscoped", unscoped)
        .start()
        .unwrap()
}

/// The scenario with those that it needs before it.
fn replay(scenarios: &[Scenario], glance: &EmbeddedGlance) -> Vec<String> {
    let base = glance.endpoint().as_str().trim_end_matches('/');
    let mut run = Run::new(base, KEYSTONE, projects());
    let mut differing = Vec::new();
    for scenario in scenarios {
        for (call, got) in scenario.calls.iter().zip(run.play(scenario)) {
            if let Some(parts) = call.response.differs_from(&got) {
                let name = format!("{}#{}", scenario.name, call.n);
                differing.push(format!(
                    "{name} [{}]\n  {} {} as {}\n  recorded {:?}\n  here     {got:?}",
                    parts.join(", "),
                    call.request.method,
                    call.request.path,
                    call.caller,
                    call.response,
                ));
            }
        }
    }
    differing
}

#[test]
fn every_recorded_call_is_answered_as_glance_did() {
    let scenarios = read(CALLS);
    let calls: usize = scenarios.iter().map(|scenario| scenario.calls.len()).sum();
    assert_eq!(calls, RECORDED);
    let differences: Vec<Difference> = serde_json::from_str(DIFFERENCES).unwrap();
    let mut listed: Vec<&str> = differences
        .iter()
        .flat_map(|difference| {
            assert!(!difference.reason.is_empty());
            difference.calls.iter().map(String::as_str)
        })
        .collect();
    let glance = start();
    let mut unexpected = replay(&scenarios, &glance);
    unexpected.retain(|difference| {
        let name = difference.split(' ').next().unwrap();
        let before = listed.len();
        listed.retain(|listed| *listed != name);
        listed.len() == before
    });
    assert!(
        unexpected.is_empty(),
        "{}:\n{}",
        unexpected.len(),
        unexpected.join("\n")
    );
    assert!(listed.is_empty(), "answered as Glance did: {listed:?}");
}
