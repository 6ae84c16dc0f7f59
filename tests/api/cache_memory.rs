//! The memory of the process, seen from outside.

use embedded_glance::{EmbeddedGlance, Settings};
use serde_json::json;
use test_support::client::{RawClient, call};
use test_support::{GatewayProcess, gateway_command};

const MAX_BYTES: u64 = 32 << 20;
const VALUE_BYTES: usize = 60_000;
const ID: &str = "f0075e1f-0000-4000-8000-000000000001";

#[test]
fn kept_answers_stay_within_their_bound_with_ten_times_as_much_offered() {
    let glance = EmbeddedGlance::builder(Settings {
        sample_images: false,
        ..Settings::default()
    });
    let glance = glance.start().unwrap();
    let image = json!({"id": ID, "name": "large", "text": "x".repeat(VALUE_BYTES)}).to_string();
    let url = format!("{}v2/images", glance.endpoint());
    let made = call("POST", &url, None, "application/json", image.as_bytes());
    assert_eq!(made.status, 201, "{}", made.text());

    let settings = [
        ("AUTH__MODE", "none"),
        ("GLANCE__ENDPOINTS", glance.endpoint().as_str()),
        ("CACHE__MAX_BYTES", &MAX_BYTES.to_string()),
        ("CACHE__TTL", "1h"),
        ("CACHE__TRANSITIONAL_WINDOW", "0s"),
        ("LOG__ACCESS", "false"),
    ];
    let process = GatewayProcess::start(gateway_command!(), &settings);
    let mut client = RawClient::connect(process.base()).unwrap();
    // What the process takes to answer at all, caches of the allocator included.
    let mut ask = |project: usize| {
        let answer = client.get(&format!("/v2.1/{project:08}/images/{ID}"));
        assert_eq!(answer.status, 200);
        answer.header("cache-status").unwrap().to_owned()
    };
    for _ in 0..20 {
        ask(0);
    }
    let before = process.memory() << 10;
    let offered = usize::try_from(10 * MAX_BYTES).unwrap() / VALUE_BYTES;
    let mut most = 0;
    for project in 1..=offered {
        assert_eq!(ask(project), "nova-image-proxy; fwd=miss");
        most = most.max((process.memory() << 10).saturating_sub(before));
    }
    println!(
        "{offered} answers of {VALUE_BYTES} bytes: {most} bytes more than before, at the most"
    );
    assert!(most < MAX_BYTES * 12 / 10, "{most}");
    let kept = (1..=offered)
        .rev()
        .take(100)
        .filter(|&project| ask(project).ends_with("hit"));
    assert!(kept.count() > 0, "nothing is kept");
}
