//! What happens to the images meanwhile, and what everybody sees afterwards.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use test_support::GatewayProcess;
use test_support::client::{Response, call};

use serde_json::{Value, json};

use super::REQUESTS_PER_CHANGE;
use super::callers::{Caller, Callers};
use super::history::{Change, History, Image, Made, Moment, View};
use super::rng::Rng;

const IMAGES: usize = 12;
const OWNERS: [&str; 3] = ["demo", "alt", "third"];

/// Changes images one after the other. Those it made go when it does.
pub struct Mutator<'a> {
    callers: &'a Callers<'a>,
    gateway: &'a GatewayProcess,
    history: &'a History,
    rng: Rng,
    views: Vec<View>,
    /// Every image ever made, in that order, and who made it.
    images: Arc<Vec<Made>>,
    owners: HashMap<String, &'static str>,
    alive: Vec<String>,
    changes: usize,
}

impl<'a> Mutator<'a> {
    pub fn new(
        callers: &'a Callers<'a>,
        gateway: &'a GatewayProcess,
        history: &'a History,
        rng: Rng,
    ) -> Self {
        let mut mutator = Self {
            callers,
            gateway,
            history,
            rng,
            views: vec![View::default(); callers.all().len()],
            images: Arc::default(),
            owners: HashMap::new(),
            alive: Vec::new(),
            changes: 0,
        };
        for _ in 0..IMAGES {
            mutator.create();
        }
        mutator
    }

    pub fn changes(&self) -> usize {
        self.changes
    }

    /// One change; returns how many requests to wait for before the next.
    pub fn step(&mut self) -> usize {
        if self.alive.len() < IMAGES {
            self.create();
        } else {
            self.alter();
        }
        self.rng.below(REQUESTS_PER_CHANGE)
    }

    fn create(&mut self) {
        let owner = *self.rng.one_of(&OWNERS);
        let rank = self.images.len() + 1;
        let visibility = *self.rng.one_of(&["private", "shared", "community"]);
        let fields = json!({
            "name": format!("isolation-{}", rank % 4), "visibility": visibility,
            "disk_format": "raw", "container_format": "bare", "mark": self.mark(),
        });
        self.history.begin();
        let answer = self
            .callers
            .glance(self.callers.named(owner), "POST", "", &fields);
        let answered = Instant::now();
        assert_eq!(answer.status, 201, "{}", answer.text());
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        Arc::make_mut(&mut self.images).push(Made {
            id: id.clone(),
            owner: self.callers.named(owner).project().to_owned(),
        });
        self.owners.insert(id.clone(), owner);
        self.alive.push(id.clone());
        self.record(
            &id,
            format!("{owner} made it {visibility}"),
            false,
            answered,
        );
    }

    fn mark(&self) -> String {
        format!("mark {} of {}", self.changes, self.images.len())
    }

    fn alter(&mut self) {
        let image = self.rng.one_of(&self.alive).clone();
        let owner = self.callers.named(self.owners[&image]);
        let admin = self.callers.named("admin");
        let others: Vec<_> = OWNERS
            .into_iter()
            .filter(|name| *name != owner.name())
            .collect();
        let member = self.callers.named(others[self.rng.below(others.len())]);
        let of_member = format!("/{image}/members/{}", member.project());
        let set = |field: &str, value: Value| {
            let patch = json!([{"op": "add", "path": format!("/{field}"), "value": value}]);
            (admin, "PATCH", format!("/{image}"), patch)
        };
        let choice = self.rng.below(14);
        let (who, method, path, body) = match choice {
            0..4 => {
                let all = ["private", "shared", "community", "public"];
                set("visibility", json!(self.rng.one_of(&all)))
            }
            4..6 => {
                let body = json!({"member": member.project()});
                (owner, "POST", format!("/{image}/members"), body)
            }
            6..8 => {
                let status = self
                    .rng
                    .one_of(&["accepted", "accepted", "rejected", "pending"]);
                (member, "PUT", of_member, json!({"status": status}))
            }
            8 => (owner, "DELETE", of_member, Value::Null),
            9 => set("os_hidden", json!(self.rng.below(3) == 0)),
            10 => set("mark", json!(self.mark())),
            11 | 12 => return self.write_through_the_gateway(&image, owner),
            _ => return self.remove(&image, owner),
        };
        self.history.begin();
        let answer = self.callers.glance(who, method, &path, &body);
        let answered = Instant::now();
        let what = format!("{} {method} {path} {body}: {}", who.name(), answer.status);
        // Not every image is shared, nor is everybody a member of each; such a change changes nothing.
        let fine = [200, 204, 403, 404, 409].contains(&answer.status);
        assert!(fine, "{what} {}", answer.text());
        self.record(&image, what, false, answered);
    }

    fn write_through_the_gateway(&mut self, image: &str, owner: &Caller) {
        let body = json!({"metadata": {"mark": self.mark()}});
        let path = format!("/v2.1/images/{image}/metadata");
        let answer = self.through_the_gateway("POST", &path, owner, &body);
        assert_eq!(answer.0.status, 200, "{}", answer.0.text());
        self.record(
            image,
            format!("{} wrote {body}", owner.name()),
            true,
            answer.1,
        );
    }

    fn remove(&mut self, image: &str, owner: &Caller) {
        let through_gateway = self.rng.below(2) == 0;
        let (answer, answered) = if through_gateway {
            let path = format!("/v2.1/images/{image}");
            self.through_the_gateway("DELETE", &path, owner, &Value::Null)
        } else {
            self.history.begin();
            let path = format!("/{image}");
            let answer = self.callers.glance(owner, "DELETE", &path, &Value::Null);
            (answer, Instant::now())
        };
        assert_eq!(answer.status, 204, "{}", answer.text());
        let halfway = self.halfway(image);
        self.alive.retain(|each| each != image);
        let now = self.look(image);
        let what = format!("{} removed it", owner.name());
        self.end(image, what, through_gateway, answered, vec![halfway, now]);
    }

    /// Glance removes an image in two steps, and with the first only its properties: it is there
    /// without them until the second, for whoever may see it.
    fn halfway(&self, image: &str) -> Moment {
        let mut moment = self.moment();
        for view in &mut moment.views {
            let listed = view.list.iter_mut().filter(|each| each.id == image);
            for image in listed.chain(view.shown.get_mut(image)) {
                (image.mark, image.updated) = (None, None);
            }
        }
        moment
    }

    fn through_the_gateway(
        &self,
        method: &str,
        path: &str,
        caller: &Caller,
        body: &Value,
    ) -> (Response, Instant) {
        let url = format!("{}{path}", self.gateway.base());
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.history.begin();
        let token = Some(caller.tokens()[0].as_str());
        let answer = call(method, &url, token, "application/json", body.as_bytes());
        (answer, Instant::now())
    }

    /// Adds what everybody sees now to the history.
    fn record(&mut self, image: &str, what: String, through_gateway: bool, answered: Instant) {
        let now = self.look(image);
        self.end(image, what, through_gateway, answered, vec![now]);
    }

    /// Asks Glance what everybody sees now.
    fn look(&mut self, image: &str) -> Moment {
        for caller in self.callers.all() {
            let list = self
                .callers
                .glance(caller, "GET", "?limit=1000", &Value::Null);
            assert_eq!(list.status, 200, "{}", list.text());
            let list = list.json();
            assert_eq!(list.get("next"), None);
            let view = &mut self.views[caller.number()];
            let records = list["images"].as_array().unwrap();
            view.list = records
                .iter()
                .map(|record| read(record, &self.images))
                .collect();
            let shown = self
                .callers
                .glance(caller, "GET", &format!("/{image}"), &Value::Null);
            match shown.status {
                200 => {
                    let shown = read(&shown.json(), &self.images);
                    view.shown.insert(image.to_owned(), shown);
                }
                404 => {
                    view.shown.remove(image);
                }
                _ => panic!("{} {}", shown.status, shown.text()),
            }
        }
        self.moment()
    }

    fn moment(&self) -> Moment {
        Moment {
            views: self.views.clone(),
            alive: self.alive.iter().cloned().collect(),
        }
    }

    fn end(
        &mut self,
        image: &str,
        what: String,
        through_gateway: bool,
        answered: Instant,
        moments: Vec<Moment>,
    ) {
        self.changes += 1;
        let change = Change {
            image: image.to_owned(),
            what,
            through_gateway,
        };
        self.history.end(&change, answered, &self.images, moments);
    }
}

/// An image as Glance writes it.
fn read(record: &Value, images: &[Made]) -> Image {
    let text = |field: &str| record[field].as_str().map(str::to_owned);
    let id = text("id").unwrap();
    Image {
        rank: images
            .iter()
            .position(|each| each.id == id)
            .map_or(0, |at| at + 1),
        id,
        name: text("name"),
        updated: text("updated_at"),
        mark: text("mark"),
    }
}

impl Drop for Mutator<'_> {
    fn drop(&mut self) {
        for image in &self.alive {
            self.callers.stack().remove_image(image);
        }
    }
}
