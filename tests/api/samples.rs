//! The pairs of request and answer in `api-samples/` are true.
//!
//! They are asked for in the order of their names, one after the other, of a gateway with the
//! embedded Glance's sample images. Only times may differ.

use reqwest::{Client, Method};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use test_support::TestGateway;

#[derive(Deserialize)]
struct Sample {
    request: Request,
    response: Response,
}

#[derive(Deserialize)]
struct Request {
    method: String,
    path: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<Value>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Response {
    status: u16,
    /// Those of the answer that are written down, not all it has.
    headers: BTreeMap<String, String>,
    body: Option<Value>,
}

/// Times go by; everything else must be as written.
fn without_times(mut value: Value) -> Value {
    match &mut value {
        Value::String(text) if chrono::DateTime::parse_from_rfc3339(text).is_ok() => {
            *text = "a time".to_owned();
        }
        Value::Array(items) => {
            for item in items {
                *item = without_times(item.take());
            }
        }
        Value::Object(map) => {
            for item in map.values_mut() {
                *item = without_times(item.take());
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    value
}

async fn ask(client: &Client, base: &str, sample: &Sample) -> Response {
    let method: Method = sample.request.method.parse().unwrap();
    let mut request = client.request(method, format!("{base}{}", sample.request.path));
    for (name, value) in &sample.request.headers {
        request = request.header(name, value);
    }
    if let Some(body) = &sample.request.body {
        request = request.json(body);
    }
    let answer = request.send().await.unwrap();
    let headers = sample.response.headers.keys().map(|name| {
        let value = answer
            .headers()
            .get(name)
            .map_or("absent", |value| value.to_str().unwrap());
        (name.clone(), value.to_owned())
    });
    Response {
        status: answer.status().as_u16(),
        headers: headers.collect(),
        body: serde_json::from_str(&answer.text().await.unwrap()).ok(),
    }
}

#[tokio::test]
async fn every_sample_is_answered_as_written() {
    let gateway = TestGateway::start(&[
        ("NOVA__COMPUTE_LINK_PREFIX", "http://compute.example"),
        ("NOVA__GLANCE_LINK_PREFIX", "http://image.example"),
    ]);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("api-samples");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    files.sort();
    assert!(files.len() > 15, "the samples were not found");
    let client = Client::new();
    for file in files {
        let mut sample: Sample = serde_json::from_slice(&fs::read(&file).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut answer = ask(&client, gateway.base(), &sample).await;
        for response in [&mut sample.response, &mut answer] {
            response.body = response.body.take().map(without_times);
        }
        assert_eq!(answer, sample.response, "{}", file.display());
    }
}
