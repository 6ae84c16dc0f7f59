//! Nova's recorded answers, asked for again from the gateway in front of the embedded Glance.
//!
//! Keystone is a stand-in that knows the tokens of the replay, so that what depends on tokens and
//! projects is compared as well, and no case is left out. The same cases run against real services
//! in `tests/openstack`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use test_support::client::call;
use test_support::fake_keystone::{scoped, unscoped};
use test_support::{FakeKeystone, TestGateway};

use embedded_glance::{EmbeddedGlance, Identity, Settings};
use nova_image_proxy::util::python_json;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use test_support::replay::{Case, Cloud, Deviations, cases, compare, replay};

/// How many cases the recording has. Each is a read or a write.
const RECORDED: usize = 1491;

/// Users with the project each works in.
const USERS: [(&str, &str); 3] = [
    ("admin", "0ad00000000000000000000000000001"),
    ("demo", "0de00000000000000000000000000002"),
    ("alt", "0a100000000000000000000000000003"),
];

fn project(user: &str) -> &'static str {
    USERS.iter().find(|(name, _)| *name == user).unwrap().1
}

fn token(user: &str) -> String {
    format!("gAAAAAB-token-of-{user}")
}

fn roles(user: &str) -> &'static [&'static str] {
    match user {
        "admin" => &["admin", "member", "reader"],
        _ => &["member", "reader"],
    }
}

/// The embedded Glance, Keystone's stand-in and the gateway, with the seeds in Glance.
struct Place {
    glance: EmbeddedGlance,
    keystone: FakeKeystone,
    gateway: TestGateway,
}

impl Place {
    async fn new(cache: &[(&str, &str)]) -> Self {
        let mut glance = EmbeddedGlance::builder(Settings {
            sample_images: false,
            // The recorded images hold short texts for data, whatever their format.
            inspect_formats: false,
            ..Settings::default()
        });
        let mut known = HashMap::from([(token("unscoped"), unscoped("demo"))]);
        for (user, project) in USERS {
            let identity = Identity {
                project: project.to_owned(),
                user: user.to_owned(),
                roles: roles(user).iter().map(|&role| role.to_owned()).collect(),
            };
            glance = glance.identity(token(user), identity);
            known.insert(token(user), scoped(user, project, roles(user)));
        }
        let glance = glance.start().unwrap();
        seed(&glance);
        let keystone = FakeKeystone::start(known).await;
        let keystone_url = keystone.url();
        let settings = [
            ("SERVER__TRUSTED_PROXIES", "127.0.0.1"),
            ("AUTH__MODE", "keystone"),
            ("KEYSTONE__AUTH_URL", &keystone_url),
            ("GLANCE__ENDPOINTS", glance.endpoint().as_str()),
        ];
        let gateway = TestGateway::start(&[&settings, cache].concat());
        Self {
            glance,
            keystone,
            gateway,
        }
    }

    fn cloud(&self) -> Cloud {
        let names = ["admin", "demo", "alt", "unscoped"];
        Cloud::new(
            self.gateway.base(),
            self.glance.endpoint().as_str().trim_end_matches('/'),
            &self.keystone.url(),
            names.map(|name| (name.to_owned(), token(name))).into(),
            USERS
                .map(|(user, project)| (user.to_owned(), project.to_owned()))
                .into(),
        )
    }
}

/// One of `seed_images.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Seed {
    user: String,
    fields: Map<String, Value>,
    data: Option<String>,
    then: Option<String>,
}

fn seed(glance: &EmbeddedGlance) {
    let seeds: Vec<Seed> =
        serde_json::from_str(include_str!("../fixtures/seed_images.json")).unwrap();
    assert_eq!(seeds.len(), 17);
    for (number, seed) in (1..).zip(seeds) {
        let id = format!("{number:08}-5eed-4000-8000-{number:012}");
        let send = |method: &str, user: &str, below: &str, kind: &str, body: &[u8]| {
            let url = format!("{}v2/images{below}", glance.endpoint());
            let answer = call(method, &url, Some(&token(user)), kind, body);
            assert!(answer.status < 300, "{method} {url}: {}", answer.text());
        };
        let json = |method: &str, user: &str, below: &str, body: Value| {
            send(
                method,
                user,
                below,
                "application/json",
                body.to_string().as_bytes(),
            );
        };
        let mut fields = seed.fields;
        fields.insert("id".to_owned(), json!(id));
        json("POST", &seed.user, "", Value::Object(fields));
        if let Some(data) = seed.data.as_deref().map(data) {
            let below = format!("/{id}/file");
            send("PUT", &seed.user, &below, "application/octet-stream", &data);
        }
        let share_with = |other: &str| {
            let member = json!({"member": project(other)});
            json("POST", &seed.user, &format!("/{id}/members"), member);
        };
        match seed.then.as_deref() {
            None => {}
            Some("deactivate") => {
                send(
                    "POST",
                    "admin",
                    &format!("/{id}/actions/deactivate"),
                    "",
                    b"",
                );
            }
            Some("share with alt") => {
                share_with("alt");
                let below = format!("/{id}/members/{}", project("alt"));
                json("PUT", "alt", &below, json!({"status": "accepted"}));
            }
            Some("offer to demo") => share_with("demo"),
            Some(other) => panic!("what is {other:?}?"),
        }
    }
}

/// As many bytes as were uploaded to the Glance of the recording.
fn data(kind: &str) -> Vec<u8> {
    match kind {
        "raw" => vec![0; 4096],
        "qcow2" => vec![0; 0x4_0000],
        other => panic!("what is {other:?}?"),
    }
}

/// Says how many cases were compared, in each of so many rounds.
async fn replay_on_the_embedded_glance(
    cache: &[(&str, &str)],
    rounds: usize,
    wanted: impl Fn(&Case) -> bool,
) -> usize {
    let cases = cases();
    assert_eq!(cases.len(), RECORDED, "a case of the recording is missing");
    let expected = Deviations::load().expected(&cases);
    let wanted: Vec<_> = cases.iter().filter(|case| wanted(case)).collect();
    let place = Place::new(cache).await;
    for _ in 0..rounds {
        replay(&place.cloud(), &wanted, &expected);
    }
    wanted.len()
}

const UNCACHED: &[(&str, &str)] = &[("CACHE__ENABLED", "false")];
const CACHED: &[(&str, &str)] = &[("CACHE__TTL", "1m")];

#[tokio::test]
async fn every_recorded_read_is_answered_as_nova_did() {
    let compared = replay_on_the_embedded_glance(UNCACHED, 1, |case| !case.is_write()).await;
    println!("{compared} of {RECORDED} recorded cases are reads; all were compared");
}

#[tokio::test]
async fn every_recorded_write_is_answered_as_nova_did_and_leaves_the_same_in_glance() {
    let compared = replay_on_the_embedded_glance(UNCACHED, 1, Case::is_write).await;
    println!("{compared} of {RECORDED} recorded cases are writes; all were compared");
}

/// Twice, so that what can be kept is given from the cache the second time. A list among the
/// writes would show the image that its case has just made in Glance itself.
#[tokio::test]
async fn with_the_cache_on_the_answers_are_the_same() {
    let wanted = |case: &Case| !case.makes_images_behind_a_list();
    let compared = replay_on_the_embedded_glance(CACHED, 2, wanted).await;
    println!("{compared} of {RECORDED} recorded cases were compared with the cache on");
}

/// Pure ASCII, and separators and numbers as in `json.dumps`, whatever the body says: an answer, an
/// echo, a fault, a version document. `tests/openstack/bodies.rs` compares the bodies with Nova's own.
#[tokio::test]
async fn every_json_body_is_written_as_python_writes_json() {
    let place = Place::new(UNCACHED).await;
    let cloud = place.cloud();
    let cases = cases();
    let json = AtomicUsize::new(0);
    compare(&cloud, &cases.iter().collect::<Vec<_>>(), |case| {
        let body = cloud.body(case)?;
        if !body.content_type.as_deref()?.contains("json") || body.text.is_empty() {
            return None;
        }
        json.fetch_add(1, Ordering::Relaxed);
        let value: Value = serde_json::from_str(&body.text).unwrap();
        let expected = python_json::to_string(&value);
        (body.text != expected).then(|| format!("{}: {}", case.name, body.text))
    });
    assert!(json.into_inner() > 1000, "hardly any body was JSON");
}
