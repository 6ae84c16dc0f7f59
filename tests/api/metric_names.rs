//! The names and labels of the metrics, which dashboards and alerts are built on.
//!
//! `tests/fixtures/metrics.txt` holds them. After a change that is meant, `UPDATE_FIXTURES=1` writes it
//! again; the change belongs in the CHANGELOG.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;
use test_support::TestGateway;

use reqwest::Client;

use crate::telemetry::{glance, keystone};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/metrics.txt");

/// Labels that Prometheus or its operator puts on every series of a target.
const TARGET_LABELS: [&str; 8] = [
    "job",
    "instance",
    "endpoint",
    "service",
    "namespace",
    "pod",
    "container",
    "version",
];

/// What a gateway shows that has answered requests of every kind, in the text format 0.0.4.
async fn exposition() -> String {
    let (keystone, one) = (keystone().await, glance(Duration::ZERO).await);
    let another = glance(Duration::ZERO).await;
    let endpoints = format!("{},{}", one.uri(), another.uri());
    let gateway = TestGateway::start(&[
        ("KEYSTONE__AUTH_URL", &keystone.url()),
        ("GLANCE__ENDPOINTS", &endpoints),
        ("CACHE__ENABLED", "true"),
    ]);
    let client = Client::new();
    for (token, path) in [
        ("a-token", "/v2.1/images"),
        ("a-token", "/v2.1/images"),
        ("no-token", "/v2.1/images"),
        (
            "a-token",
            "/v2.1/images/11111111-2222-4333-8444-555555555555",
        ),
        ("a-token", "/"),
    ] {
        let url = format!("{}{path}", gateway.base());
        let request = client.get(url).header("X-Auth-Token", token);
        drop(request.send().await.unwrap());
    }
    let answer = client
        .get(format!("{}/metrics", gateway.admin()))
        .send()
        .await
        .unwrap();
    assert_eq!(
        answer.headers()["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    answer.text().await.unwrap()
}

/// Type, help and labels of each family.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            families.entry(name.to_owned()).or_default().help = help.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            families.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else {
            assert!(!line.starts_with('#'), "{line}");
            let (series, _) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|suffix| name.strip_suffix(suffix))
                .find(|name| families.contains_key(*name))
                .unwrap_or(name);
            let family = families.get_mut(family);
            let family = family.unwrap_or_else(|| panic!("{name} has no type"));
            family.labels.extend(label_names(labels));
        }
    }
    families
}

/// The names in `a="1",b="2"}`.
fn label_names(labels: &str) -> impl Iterator<Item = String> {
    let outside = labels.split('"').step_by(2);
    let names = outside.filter_map(|part| part.strip_suffix('='));
    names.map(|name| name.trim_start_matches(',').to_owned())
}

fn golden(families: &BTreeMap<String, Family>) -> String {
    let mut text = String::new();
    for (name, family) in families {
        let labels: Vec<_> = family.labels.iter().map(String::as_str).collect();
        let labels = labels.join(",");
        writeln!(text, "# TYPE {name} {}\n{name}{{{labels}}}", family.kind).unwrap();
    }
    text
}

#[tokio::test]
async fn the_names_are_those_of_the_fixture() {
    let shown = golden(&families(&exposition().await));
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        std::fs::write(FIXTURE, &shown).unwrap();
    }
    assert_eq!(shown, std::fs::read_to_string(FIXTURE).unwrap());
}

#[tokio::test]
async fn the_names_follow_the_rules_of_prometheus() {
    for (name, Family { kind, help, labels }) in families(&exposition().await) {
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
        let base = name.trim_end_matches("_total");
        for unit in ["seconds", "bytes"] {
            let is_last = base.ends_with(&format!("_{unit}"));
            assert!(
                is_last || !base.split('_').any(|word| word == unit),
                "{name}"
            );
        }
        assert!(!help.is_empty() && !help.ends_with('.'), "{name}: {help}");
        let is_own = name.starts_with("nova_image_proxy_") || name.starts_with("process_");
        assert!(is_own, "{name}");
        for label in labels {
            let is_build = name.ends_with("_build_info") && label == "version";
            let is_bucket = kind == "histogram" && label == "le";
            let is_free = !TARGET_LABELS.contains(&label.as_str()) && label != "le";
            assert!(is_build || is_bucket || is_free, "{name}: {label}");
        }
    }
}

#[test]
fn the_docs_have_every_metric_and_label_and_no_other() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let (_, section) = docs.split_once("\n## Metrics\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let in_docs: BTreeSet<_> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('|').next())
        .flat_map(|cell| cell.split('`'))
        .map(|word| word.trim_matches([' ', ',', '`']))
        .filter(|word| word.contains('_') && !word.contains(' '))
        .collect();
    let fixture = std::fs::read_to_string(FIXTURE).unwrap();
    let mut names = BTreeSet::new();
    for line in fixture.lines().filter(|line| !line.starts_with('#')) {
        let (name, labels) = line.split_once('{').unwrap();
        names.insert(name.trim_start_matches("nova_image_proxy_"));
        for label in labels
            .trim_end_matches('}')
            .split(',')
            .filter(|label| *label != "le")
        {
            let quoted = format!("`{label}`");
            assert!(
                label.is_empty() || section.contains(&quoted),
                "{name}: {quoted}"
            );
        }
    }
    let label_rows = ["upstream_service"];
    let in_docs: BTreeSet<_> = in_docs
        .into_iter()
        .filter(|word| !label_rows.contains(word))
        .collect();
    assert_eq!(in_docs, names);
}
