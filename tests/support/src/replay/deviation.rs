//! Where this project deliberately answers otherwise than Nova, as data: `tests/fixtures/deviations.json`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::case::{Case, Recorded};

/// All deliberate deviations.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Deviations(Vec<Deviation>);

/// One row of `docs/compatibility.md`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Deviation {
    id: String,
    reason: String,
    /// A text that reads otherwise in every recorded answer, and how.
    everywhere: Option<Everywhere>,
    #[serde(default)]
    cases: Vec<Group>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Everywhere {
    nova: String,
    here: String,
}

/// Recorded cases that deviate in the same way.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    names: Names,
    expect: Expect,
}

/// The cases of a group; in the second form each with the text that `{}` stands for in its body.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Names {
    Plain(Vec<String>),
    Filled(BTreeMap<String, String>),
}

impl Names {
    fn each(&self) -> Vec<(&str, &str)> {
        match self {
            Self::Plain(names) => names.iter().map(|name| (name.as_str(), "{}")).collect(),
            Self::Filled(names) => names
                .iter()
                .map(|(a, b)| (a.as_str(), b.as_str()))
                .collect(),
        }
    }
}

/// How an answer differs from the recorded one; what is not named stays as recorded.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    /// The answer is that of this other case.
    same_as: Option<String>,
    status: Option<u16>,
    /// Each named header has exactly this value; null means that it is absent.
    #[serde(default)]
    headers: BTreeMap<String, Option<String>>,
    body: Option<Value>,
    /// The body is the list of exactly these images in this order: an id stands for the image as a
    /// recorded answer shows it, an object for itself.
    images: Option<Vec<Value>>,
    /// A JSON merge patch of what Glance holds afterwards.
    glance_after: Option<Value>,
}

impl Deviations {
    pub fn load() -> Self {
        serde_json::from_str(include_str!("../../../fixtures/deviations.json")).unwrap()
    }

    /// Each case that is listed by name, with the id of its deviation.
    ///
    /// # Panics
    /// A case is listed twice.
    pub fn listed(&self) -> BTreeMap<&str, &str> {
        let mut listed = BTreeMap::new();
        for deviation in &self.0 {
            for (name, _) in deviation.cases.iter().flat_map(|group| group.names.each()) {
                let twice = listed.insert(name, deviation.id.as_str());
                assert!(twice.is_none(), "{}: {name} is listed twice", deviation.id);
            }
        }
        listed
    }

    /// A body of Nova's with what reads otherwise in every answer.
    pub fn everywhere(&self, body: &str) -> String {
        let everywhere = self.0.iter().filter_map(|each| each.everywhere.as_ref());
        everywhere.fold(body.to_owned(), |body, each| {
            body.replace(&each.nova, &each.here)
        })
    }

    /// What this project must answer to each case.
    ///
    /// # Panics
    /// An entry names an unknown case, or one that another entry has, or asks for nothing but what Nova
    /// answered.
    pub fn expected<'a>(&self, cases: &'a [Case]) -> BTreeMap<&'a str, Recorded> {
        let mut expected: BTreeMap<_, _> = cases
            .iter()
            .map(|case| (case.name.as_str(), case.recorded()))
            .collect();
        self.check_everywhere(&expected);
        for recorded in expected.values_mut() {
            let body = self.everywhere(&recorded.answer.body.to_string());
            recorded.answer.body = serde_json::from_str(&body).unwrap();
        }
        // Entries refer to answers as they are before any entry of a single case.
        let before = expected.clone();
        self.listed();
        for deviation in &self.0 {
            let id = &deviation.id;
            assert!(!deviation.reason.is_empty(), "{id} gives no reason");
            assert!(
                deviation.everywhere.is_some() || !deviation.cases.is_empty(),
                "{id} names no case"
            );
            for group in &deviation.cases {
                for (name, text) in group.names.each() {
                    let case = cases.iter().find(|case| case.name == name);
                    let case = case.unwrap_or_else(|| panic!("{id}: there is no case {name}"));
                    let changed = group.expect.apply(case, text, &before);
                    assert_ne!(
                        changed,
                        case.recorded(),
                        "{id}: {name} is what Nova answers"
                    );
                    expected.insert(&case.name, changed);
                }
            }
        }
        expected
    }

    fn check_everywhere(&self, recorded: &BTreeMap<&str, Recorded>) {
        let bodies: Vec<_> = recorded
            .values()
            .map(|each| each.answer.body.to_string())
            .collect();
        for text in self.0.iter().filter_map(|each| each.everywhere.as_ref()) {
            assert!(
                bodies.iter().any(|body| body.contains(&text.nova)),
                "no recorded answer holds {:?}",
                text.nova
            );
        }
    }
}

impl Expect {
    fn apply(&self, case: &Case, text: &str, before: &BTreeMap<&str, Recorded>) -> Recorded {
        let mut result = before[case.name.as_str()].clone();
        if let Some(other) = &self.same_as {
            let other = before.get(other.as_str());
            result.answer = other
                .unwrap_or_else(|| panic!("no case {other:?}"))
                .answer
                .clone();
        }
        result.answer.status = self.status.unwrap_or(result.answer.status);
        for (name, value) in &self.headers {
            result.answer.headers.retain(|(each, _)| each != name);
            let value = value.iter().map(|value| (name.clone(), value.clone()));
            result.answer.headers.extend(value);
        }
        result.answer.headers.sort();
        if let Some(body) = &self.body {
            let filled = body.to_string().replace("{}", text);
            result.answer.body = serde_json::from_str(&filled).unwrap();
        }
        if let Some(images) = &self.images {
            result.answer.body = list(case, images, before);
        }
        if let (Some(patch), Some(after)) = (&self.glance_after, &mut result.glance_after) {
            merge(after, patch);
        }
        result
    }
}

fn list(case: &Case, images: &[Value], before: &BTreeMap<&str, Recorded>) -> Value {
    let detail = case.request.path.contains("/images/detail");
    let images = images.iter().map(|image| {
        let image = image
            .as_str()
            .map_or_else(|| image.clone(), |id| recorded_image(id, before));
        if detail { image } else { summary(&image) }
    });
    json!({"images": images.collect::<Vec<_>>()})
}

fn summary(image: &Value) -> Value {
    json!({"id": image["id"], "name": image["name"], "links": image["links"]})
}

/// An image as some recorded answer below `/v2.1` shows it in full, alone or in a list.
fn recorded_image(id: &str, before: &BTreeMap<&str, Recorded>) -> Value {
    let link = json!(format!("{{{{base}}}}/v2.1/images/{id}"));
    let shown = |body: &Value| {
        let listed = body
            .get("images")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let mut images = body.get("image").into_iter().chain(listed);
        images
            .find(|image| image.get("minRam").is_some() && image["links"][0]["href"] == link)
            .cloned()
    };
    let mut recorded = before.values();
    recorded
        .find_map(|recorded| shown(&recorded.answer.body))
        .unwrap_or_else(|| panic!("no recorded answer shows {id}"))
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Some(target) = target.as_object_mut() {
        for (name, value) in patch {
            if value.is_null() {
                target.remove(name);
            } else {
                merge(target.entry(name).or_insert(Value::Null), value);
            }
        }
    }
}
