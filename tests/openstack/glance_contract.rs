//! The same calls to the embedded Glance and to a real one: the same statuses, bodies and order.
//!
//! The calls are data (`fixtures/glance_calls.jsonl`), made in their order, since later ones build on
//! earlier ones. What may differ is data too (`fixtures/glance_differences.json`), each entry with
//! its reason; an entry that no longer differs fails the test as well.

use std::collections::BTreeMap;

use embedded_glance::{EmbeddedGlance, Identity, Settings};
use reqwest::{Client, Method};
use serde::Deserialize;
use serde_json::{Value, json};

const CALLS: &str = include_str!("../fixtures/glance_calls.jsonl");
const DIFFERENCES: &str = include_str!("../fixtures/glance_differences.json");

/// What `OPENSTACK_STACK` names: where the services are.
#[derive(Deserialize)]
struct Stack {
    identity: String,
    image: String,
    password: String,
    projects: BTreeMap<String, String>,
}

/// A Glance and a token for each of `admin`, `demo` and `alt`.
struct Target {
    base: String,
    tokens: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Call {
    name: String,
    r#as: String,
    method: String,
    path: String,
    #[serde(default = "json_media")]
    accept: String,
    #[serde(default)]
    r#type: Option<String>,
    #[serde(default)]
    body: Option<Value>,
    #[serde(default)]
    text: Option<String>,
}

#[derive(Deserialize)]
struct Difference {
    /// The name of the call, or its begin when it ends with `*`.
    call: String,
    reason: String,
}

fn json_media() -> String {
    "application/json".to_owned()
}

fn load_stack() -> Stack {
    let file = std::env::var("OPENSTACK_STACK").expect("OPENSTACK_STACK names a stack.json");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

async fn real_glance(client: &Client, stack: &Stack) -> Target {
    let mut tokens = BTreeMap::new();
    for name in ["admin", "demo", "alt"] {
        let user = json!({"name": name, "domain": {"id": "default"}, "password": stack.password});
        let project = json!({"name": name, "domain": {"id": "default"}});
        let request = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": project},
        }});
        let url = format!("{}/auth/tokens?nocatalog", stack.identity);
        let answer = client.post(url).json(&request).send().await.unwrap();
        let token = answer.headers()["X-Subject-Token"]
            .to_str()
            .unwrap()
            .to_owned();
        tokens.insert(name.to_owned(), token);
    }
    Target {
        base: stack.image.trim_end_matches('/').to_owned(),
        tokens,
    }
}

/// Its projects have the real ones' ids, so that owners and members can be compared.
fn embedded_glance(stack: &Stack) -> (EmbeddedGlance, Target) {
    let settings = Settings {
        sample_images: false,
        ..Settings::default()
    };
    let mut builder = EmbeddedGlance::builder(settings);
    let mut tokens = BTreeMap::new();
    for name in ["admin", "demo", "alt"] {
        let project = &stack.projects[name];
        let identity = match name {
            "admin" => Identity::admin(project, name),
            _ => Identity::member(project, name),
        };
        builder = builder.identity(format!("token-{name}"), identity);
        tokens.insert(name.to_owned(), format!("token-{name}"));
    }
    let glance = builder.start().unwrap();
    let base = glance.endpoint().as_str().trim_end_matches('/').to_owned();
    (glance, Target { base, tokens })
}

/// `{run}` is this run, `{a}` to `{z}` are ids of images of this run, `{demo}` a project's id.
fn fill(text: &str, run: &str, projects: &BTreeMap<String, String>) -> String {
    let mut filled = text.replace("{run}", run);
    for letter in 'a'..='z' {
        filled = filled.replace(&format!("{{{letter}}}"), &image_id(run, letter));
    }
    for (name, id) in projects {
        filled = filled.replace(&format!("{{{name}}}"), id);
    }
    filled
}

fn image_id(run: &str, letter: char) -> String {
    format!("{run}-c0de-4000-8000-{:012x}", u32::from(letter))
}

/// The part of an answer that a contract is about.
async fn answer(client: &Client, target: &Target, call: &Call, run: &str, stack: &Stack) -> Value {
    let fill = |text: &str| fill(text, run, &stack.projects);
    let method = Method::from_bytes(call.method.as_bytes()).unwrap();
    let token = target
        .tokens
        .get(&call.r#as)
        .map_or("no such token", String::as_str);
    let mut request = client
        .request(method, format!("{}{}", target.base, fill(&call.path)))
        .header("X-Auth-Token", token)
        .header("Accept", &call.accept);
    if let Some(media) = &call.r#type {
        request = request.header("Content-Type", media);
    }
    if let Some(body) = &call.body {
        request = request.body(fill(&body.to_string()));
    }
    if let Some(text) = &call.text {
        request = request.body(text.clone());
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let header = |name: &str| {
        let value = response
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap());
        value.map(|value| value.replace(&target.base, "<base>"))
    };
    let headers = json!({
        "allow": header("Allow"), "location": header("Location"), "patch": header("Accept-Patch"),
    });
    let media = header("Content-Type");
    let text = response
        .text()
        .await
        .unwrap()
        .replace(&target.base, "<base>");
    // Of an answer without a body the type says nothing.
    let media = media.filter(|_| !text.is_empty());
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    let mut seen = json!({"status": status, "headers": headers, "media": media, "body": body});
    normalize(&mut seen, run);
    seen
}

/// Generated ids and times are masked; tags are a set, which Glance shows in no order.
fn normalize(value: &mut Value, run: &str) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| normalize(item, run)),
        Value::Object(members) => {
            if let Some(Value::Array(tags)) = members.get_mut("tags") {
                tags.sort_by_key(ToString::to_string);
            }
            members
                .values_mut()
                .for_each(|member| normalize(member, run));
        }
        Value::String(text) => *text = mask(text, run),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn mask(text: &str, run: &str) -> String {
    let is_time = text.len() == 20 && text.ends_with('Z') && text.as_bytes()[10] == b'T';
    if is_time && text.as_bytes()[0].is_ascii_digit() {
        return "<time>".to_owned();
    }
    let parts = text.split_inclusive('/').map(|part| {
        let (id, slash) = part.strip_suffix('/').map_or((part, ""), |id| (id, "/"));
        let is_generated = uuid::Uuid::parse_str(id).is_ok() && id.len() == 36;
        let masked = if is_generated && !id.starts_with(run) {
            "<id>"
        } else {
            id
        };
        format!("{masked}{slash}")
    });
    parts.collect()
}

/// Deletes the images whose ids Glance gave; those with ids of this run the calls delete themselves.
async fn clean_up(client: &Client, real: &Target, run: &str) {
    let token = &real.tokens["admin"];
    let url = format!("{}/v2/images?contract={run}&visibility=all", real.base);
    let left = client
        .get(url)
        .header("X-Auth-Token", token)
        .send()
        .await
        .unwrap();
    let left: Value = left.json().await.unwrap();
    for image in left["images"].as_array().unwrap() {
        let url = format!("{}/v2/images/{}", real.base, image["id"].as_str().unwrap());
        client
            .delete(url)
            .header("X-Auth-Token", token)
            .send()
            .await
            .unwrap();
    }
}

fn reason<'a>(differences: &'a [Difference], call: &str) -> Option<&'a Difference> {
    differences
        .iter()
        .find(|difference| match difference.call.strip_suffix('*') {
            Some(begin) => call.starts_with(begin),
            None => difference.call == call,
        })
}

#[tokio::test]
async fn the_embedded_glance_answers_as_glance_does() {
    let stack = load_stack();
    let client = Client::builder().no_proxy().build().unwrap();
    let calls: Vec<Call> = CALLS
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(calls.len() >= 150, "{} calls", calls.len());
    let differences: Vec<Difference> = serde_json::from_str(DIFFERENCES).unwrap();
    assert!(
        differences
            .iter()
            .all(|difference| !difference.reason.is_empty())
    );
    let run = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
    let real = real_glance(&client, &stack).await;
    let (glance, embedded) = embedded_glance(&stack);
    let mut unexpected = Vec::new();
    let mut unused: Vec<&str> = differences.iter().map(|d| d.call.as_str()).collect();
    for call in &calls {
        let wanted = answer(&client, &real, call, &run, &stack).await;
        let got = answer(&client, &embedded, call, &run, &stack).await;
        if wanted == got {
            continue;
        }
        match reason(&differences, &call.name) {
            Some(difference) => unused.retain(|name| *name != difference.call),
            None => unexpected.push(format!("{}\n  real {wanted}\n  here {got}", call.name)),
        }
    }
    clean_up(&client, &real, &run).await;
    glance.stop(true).await;
    assert!(
        unexpected.is_empty(),
        "{}:\n{}",
        unexpected.len(),
        unexpected.join("\n")
    );
    assert_eq!(
        unused,
        Vec::<&str>::new(),
        "listed differences that are none"
    );
}
