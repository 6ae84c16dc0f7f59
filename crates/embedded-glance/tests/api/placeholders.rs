//! One run: what the placeholders of the recording stand for, both ways.

use crate::client;
use crate::recording::{Data, Response, Scenario};
use regex_lite::Regex;
use serde_json::{Map, Value};
use sha1::{Digest as _, Sha1};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// The first digits of every image id of the run.
const RUN: &str = "c0ffee00";

pub struct Run {
    base: String,
    keystone: String,
    /// By the name of their user.
    projects: BTreeMap<String, String>,
    /// By scenario and placeholder.
    saved: HashMap<(String, String), String>,
    /// The placeholders of images by scenario.
    images: HashMap<String, Vec<String>>,
    placeholder: Regex,
    time: Regex,
    uuid: Regex,
    file: Regex,
    path: Regex,
}

fn image_id(scenario: &str, name: &str) -> String {
    let digest = Sha1::digest(format!("{scenario}/{name}"));
    let digest = hex(&digest);
    format!(
        "{RUN}-{}-4{}-8{}-{}",
        &digest[..4],
        &digest[4..7],
        &digest[7..10],
        &digest[10..22]
    )
}

fn is_image(name: &str) -> bool {
    let letters = name.as_bytes();
    matches!(
        letters,
        [b'a'..=b'z'] | [b'p' | b'q', b'0'..=b'9', b'0'..=b'9']
    )
}

impl Run {
    pub fn new(base: &str, keystone: &str, projects: BTreeMap<String, String>) -> Self {
        let time = r"\d{4}-\d\d-\d\dT\d\d(?::|%3A)\d\d(?::|%3A)\d\d(?:\.\d+)?(?:Z|(?:\+|-|%2B)\d\d(?::|%3A)\d\d)?";
        let uuid = r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b";
        Self {
            base: base.to_owned(),
            keystone: keystone.to_owned(),
            projects,
            saved: HashMap::new(),
            images: HashMap::new(),
            placeholder: Regex::new(r"\{\{([a-z0-9_.]+)\}\}").unwrap(),
            time: Regex::new(time).unwrap(),
            uuid: Regex::new(uuid).unwrap(),
            file: Regex::new(r"^file:///\S*/([^/]+)$").unwrap(),
            path: Regex::new(r"^/\S*embedded-glance-\w+$").unwrap(),
        }
    }

    /// The responses to the calls of a scenario, with placeholders.
    pub fn play(&mut self, scenario: &Scenario) -> Vec<Response> {
        self.images
            .insert(scenario.name.clone(), scenario.images.clone());
        let mut responses: Vec<Response> = scenario
            .calls
            .iter()
            .map(|call| self.call(scenario, call))
            .collect();
        if scenario.ranked_times {
            let mut moments = BTreeSet::new();
            for response in &responses {
                let text = response.json.as_ref().map(Value::to_string);
                let text = text.unwrap_or_default();
                moments.extend(
                    self.time
                        .find_iter(&text)
                        .map(|time| time.as_str().to_owned()),
                );
            }
            let moments: Vec<String> = moments.into_iter().collect();
            for response in &mut responses {
                response.json = response.json.take().map(|json| self.ranked(json, &moments));
            }
        }
        responses
    }

    fn ranked(&self, value: Value, moments: &[String]) -> Value {
        map_texts(value, &|text| {
            let rank = |found: &regex_lite::Captures<'_>| {
                let rank = moments.iter().position(|moment| *moment == found[0]);
                rank.map_or("{{time}}".to_owned(), |rank| format!("{{{{t{rank}}}}}"))
            };
            self.time.replace_all(text, rank).into_owned()
        })
    }

    fn call(&mut self, scenario: &Scenario, call: &crate::recording::Call) -> Response {
        let request = &call.request;
        if let Some(seconds) = request.pause {
            std::thread::sleep(Duration::from_secs_f64(seconds));
        }
        let target = self.fill(&request.path, scenario).replace(' ', "%20");
        if target.starts_with("{{") {
            return no_response(Some("no such link"));
        }
        let mut headers: Vec<(String, String)> = request
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), self.fill(value, scenario)))
            .collect();
        let token = match call.caller.as_str() {
            "none" => None,
            "bad" => Some("no-such-token".to_owned()),
            "empty" => Some(String::new()),
            name => Some(format!("token-{name}")),
        };
        headers.extend(token.map(|token| ("X-Auth-Token".to_owned(), token)));
        let host = self.base.strip_prefix("http://").unwrap();
        let sent = client::Request {
            method: &request.method,
            target: &target,
            headers,
            body: request.payload(|text| self.fill(text, scenario)),
            chunked: request.chunked,
            cut: request.cut,
        };
        let Ok(Some(response)) = client::send(host, &sent) else {
            return Response {
                cut: request.cut.is_some(),
                ..no_response(None)
            };
        };
        for (name, path) in &call.save {
            let document: Value = serde_json::from_slice(&response.body).unwrap_or_default();
            let value = path
                .split('.')
                .try_fold(&document, |value, part| match value {
                    Value::Array(items) => items.get(part.parse::<usize>().ok()?),
                    value => value.get(part),
                });
            if let Some(value) = value.filter(|value| !value.is_null()) {
                let text = value.as_str().map_or(value.to_string(), str::to_owned);
                let key = (scenario.name.clone(), name.clone());
                self.saved.insert(key, text);
            }
        }
        self.normalized(&response, scenario)
    }

    /// What a placeholder stands for in a scenario.
    fn value(&self, name: &str, scenario: &Scenario) -> Option<String> {
        let places = std::iter::once(&scenario.name).chain(&scenario.needs);
        for place in places {
            if let Some(value) = self.saved.get(&(place.clone(), name.to_owned())) {
                return Some(value.clone());
            }
        }
        match name {
            "run" => Some(RUN.to_owned()),
            "base" => Some(self.base.clone()),
            name if name.starts_with("pid.") => self.projects.get(&name[4..]).cloned(),
            name if is_image(name) => {
                let has = |place: &&String| {
                    let images = self.images.get(*place);
                    images.is_some_and(|images| images.iter().any(|own| own == name))
                };
                let home = scenario.needs.iter().find(has);
                Some(image_id(home.unwrap_or(&scenario.name), name))
            }
            _ => None,
        }
    }

    fn fill(&self, text: &str, scenario: &Scenario) -> String {
        let fill = |found: &regex_lite::Captures<'_>| {
            self.value(&found[1], scenario)
                .unwrap_or_else(|| found[0].to_owned())
        };
        self.placeholder.replace_all(text, fill).into_owned()
    }

    /// Values and their placeholders, the longest first.
    fn names(&self, scenario: &Scenario) -> Vec<(String, String)> {
        let mut names = BTreeMap::new();
        let mut add = |value: String, name: &str| {
            names
                .entry(value)
                .or_insert_with(|| format!("{{{{{name}}}}}"));
        };
        for letter in 'a'..='z' {
            add(
                image_id(&scenario.name, &letter.to_string()),
                &letter.to_string(),
            );
        }
        for place in std::iter::once(&scenario.name).chain(&scenario.needs) {
            for name in self.images.get(place).into_iter().flatten() {
                add(image_id(place, name), name);
            }
        }
        for ((place, name), value) in &self.saved {
            let is_id = self
                .uuid
                .find(value)
                .is_some_and(|id| id.len() == value.len());
            if *place == scenario.name && is_id {
                add(value.clone(), name);
            }
        }
        for (name, project) in &self.projects {
            add(project.clone(), &format!("pid.{name}"));
        }
        add(self.base.clone(), "base");
        add(self.base.replace("http://", ""), "host");
        add(RUN.to_owned(), "run");
        let mut names: Vec<(String, String)> = names.into_iter().collect();
        names.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        names
    }

    fn normalized(&self, response: &client::Response, scenario: &Scenario) -> Response {
        let names = self.names(scenario);
        let text = |text: &str| {
            let mut text = text.replace(&self.keystone, "{{keystone}}");
            for (value, name) in &names {
                text = text.replace(value, name);
            }
            if !scenario.ranked_times {
                text = self.time.replace_all(&text, "{{time}}").into_owned();
            }
            text = self
                .file
                .replace(&text, "file://{{data_dir}}/$1")
                .into_owned();
            text = self.path.replace(&text, "{{data_dir}}").into_owned();
            self.uuid.replace_all(&text, "{{uuid}}").into_owned()
        };
        let headers: BTreeMap<String, String> = response
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), text(value)))
            .collect();
        let media = headers.get("content-type").cloned().unwrap_or_default();
        let mut normalized = Response {
            status: response.status,
            headers,
            json: None,
            text: None,
            data: None,
            cut: false,
        };
        if media.contains("octet-stream") {
            normalized.data = Some(Data {
                bytes: response.body.len(),
                sha256: sha256(&response.body),
            });
        } else if let Ok(json) = serde_json::from_slice(&response.body) {
            normalized.json = Some(sorted_tags(map_texts(json, &text)));
        } else if !response.body.is_empty() {
            normalized.text = Some(text(&String::from_utf8_lossy(&response.body)));
        }
        normalized
    }
}

fn no_response(text: Option<&str>) -> Response {
    Response {
        status: 0,
        headers: BTreeMap::new(),
        json: None,
        text: text.map(str::to_owned),
        data: None,
        cut: false,
    }
}

fn sha256(bytes: &[u8]) -> String {
    let digest = sha2::Sha256::digest(bytes);
    hex(&digest)
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap();
    let digits = bytes
        .iter()
        .map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    digits.flatten().collect()
}

fn map_texts(value: Value, map: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(map(&text)),
        Value::Array(items) => items.into_iter().map(|item| map_texts(item, map)).collect(),
        Value::Object(members) => {
            let member = |(name, value): (String, Value)| (map(&name), map_texts(value, map));
            Value::Object(members.into_iter().map(member).collect::<Map<_, _>>())
        }
        other => other,
    }
}

/// Tags are a set, which Glance shows in any order.
fn sorted_tags(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(sorted_tags).collect(),
        Value::Object(members) => {
            let member = |(name, value): (String, Value)| {
                let value = match value {
                    Value::Array(mut tags) if name == "tags" => {
                        tags.sort_by_key(ToString::to_string);
                        Value::Array(tags)
                    }
                    other => sorted_tags(other),
                };
                (name, value)
            };
            Value::Object(members.into_iter().map(member).collect())
        }
        other => other,
    }
}
