//! What is asked, what was answered, and what should have been.

use serde_json::Value;
use test_support::client::{self, Response};
use uuid::Uuid;

use super::callers::{Caller, Callers};
use super::history::{Epoch, Image};
use super::rng::Rng;

const NOT_FOUND: &str = "Image not found.";
/// An image without the property.
const NO_ITEM: &str = "The resource could not be found.";

/// One request.
#[derive(Debug)]
pub struct Request {
    ask: Ask,
    /// Such as `/v2.1/PROJECT`.
    prefix: String,
}

#[derive(Debug)]
enum Ask {
    List {
        detail: bool,
        part: Part,
    },
    Show(String),
    Metadata(String),
    MetadataItem(String),
    /// By somebody who may not; the answer still tells whether there is such an image.
    ForeignWrite(String),
    ForeignDelete(String),
    /// An image nobody ever had.
    Nothing(String),
    WrongProject {
        own: String,
        other: String,
    },
    BadToken,
}

#[derive(Debug)]
enum Part {
    All,
    Named(String),
    First(usize),
    After { marker: String, rank: usize },
}

/// An answer, as far as it is compared.
#[derive(Debug, PartialEq)]
pub enum Seen {
    /// Ids and names.
    Names(Vec<(String, Option<String>)>),
    Details(Vec<Details>),
    Image(Details),
    /// The property that no other image has.
    Mark(Option<String>),
    Fault(u16, String),
    /// A status whose message is Glance's or nobody's.
    Status(u16),
}

#[derive(Debug)]
pub struct Details {
    id: String,
    name: Option<String>,
    updated: Option<String>,
    mark: Option<String>,
}

/// A time that nobody knows may be any.
impl PartialEq for Details {
    fn eq(&self, other: &Self) -> bool {
        let known = |details: &Self| details.updated.is_some();
        (&self.id, &self.name, &self.mark) == (&other.id, &other.name, &other.mark)
            && (!known(self) || !known(other) || self.updated == other.updated)
    }
}

impl Details {
    fn of(image: &Image) -> Self {
        Self {
            id: image.id.clone(),
            name: image.name.clone(),
            updated: image.updated.clone(),
            mark: image.mark.clone(),
        }
    }

    /// An image as Nova writes it.
    fn read(view: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Self {
            id: text(&view["id"]).unwrap(),
            name: text(&view["name"]),
            updated: text(&view["updated"]),
            mark: text(&view["metadata"]["mark"]),
        }
    }
}

impl Request {
    pub fn any(rng: &mut Rng, callers: &Callers, caller: &Caller, newest: &Epoch) -> Self {
        let prefixes = ["/v2.1", "/v2", "/v2.1/", "/v2/"];
        let mut prefix = (*rng.one_of(&prefixes)).to_owned();
        if prefix.ends_with('/') {
            prefix.push_str(caller.project());
        }
        Self {
            ask: Ask::any(rng, callers, caller, newest),
            prefix,
        }
    }

    pub fn kind(&self) -> &'static str {
        match self.ask {
            Ask::List {
                detail: false,
                part: Part::All,
            } => "list",
            Ask::List {
                detail: true,
                part: Part::All,
            } => "detail",
            Ask::List {
                part: Part::Named(_),
                ..
            } => "list by name",
            Ask::List {
                part: Part::First(_),
                ..
            } => "list of the first few",
            Ask::List {
                part: Part::After { .. },
                ..
            } => "list after a marker",
            Ask::Show(_) => "show",
            Ask::Metadata(_) => "metadata",
            Ask::MetadataItem(_) => "metadata item",
            Ask::ForeignWrite(_) => "foreign write",
            Ask::ForeignDelete(_) => "foreign delete",
            Ask::Nothing(_) => "show of nothing",
            Ask::WrongProject { .. } => "wrong project",
            Ask::BadToken => "bad token",
        }
    }

    /// The image asked for, where it is one.
    pub fn image(&self) -> Option<&str> {
        match &self.ask {
            Ask::Show(id)
            | Ask::Metadata(id)
            | Ask::MetadataItem(id)
            | Ask::ForeignWrite(id)
            | Ask::ForeignDelete(id)
            | Ask::Nothing(id) => Some(id),
            Ask::List { .. } | Ask::WrongProject { .. } | Ask::BadToken => None,
        }
    }

    /// # Panics
    /// There is no answer.
    pub fn send(&self, base: &str, token: &str) -> Response {
        let (method, path, body) = match &self.ask {
            Ask::List { detail, part } => {
                let query = match part {
                    Part::All => String::new(),
                    Part::Named(name) => format!("?name={name}"),
                    Part::First(limit) => format!("?limit={limit}"),
                    Part::After { marker, .. } => format!("?marker={marker}"),
                };
                let detail = if *detail { "/detail" } else { "" };
                (
                    "GET",
                    format!("{}/images{detail}{query}", self.prefix),
                    None,
                )
            }
            Ask::Show(id) | Ask::Nothing(id) => {
                ("GET", format!("{}/images/{id}", self.prefix), None)
            }
            Ask::Metadata(id) => ("GET", format!("{}/images/{id}/metadata", self.prefix), None),
            Ask::MetadataItem(id) => (
                "GET",
                format!("{}/images/{id}/metadata/mark", self.prefix),
                None,
            ),
            Ask::ForeignWrite(id) => (
                "POST",
                format!("{}/images/{id}/metadata", self.prefix),
                Some(r#"{"metadata": {"mark": "broken"}}"#),
            ),
            Ask::ForeignDelete(id) => ("DELETE", format!("{}/images/{id}", self.prefix), None),
            Ask::WrongProject { other, .. } => ("GET", format!("/v2.1/{other}/images"), None),
            Ask::BadToken => ("GET", format!("{}/images", self.prefix), None),
        };
        let token = if matches!(self.ask, Ask::BadToken) {
            "nobody's token"
        } else {
            token
        };
        client::ask(base, method, &path, &[("X-Auth-Token", token)], body)
    }

    pub fn read(&self, answer: &Response) -> Seen {
        if answer.status != 200 {
            let is_of_glance = matches!(self.ask, Ask::List { .. });
            let fault = || Some(answer.json().as_object()?.values().next()?.clone());
            let message = fault().and_then(|fault| Some(fault["message"].as_str()?.to_owned()));
            return match message {
                Some(message) if !is_of_glance => Seen::Fault(answer.status, message),
                _ => Seen::Status(answer.status),
            };
        }
        let body = answer.json();
        let images = || body["images"].as_array().unwrap().iter();
        match &self.ask {
            Ask::List { detail: true, .. } => Seen::Details(images().map(Details::read).collect()),
            Ask::List { .. } | Ask::WrongProject { .. } | Ask::BadToken => {
                let text = |value: &Value| value.as_str().map(str::to_owned);
                let names =
                    images().map(|image| (text(&image["id"]).unwrap(), text(&image["name"])));
                Seen::Names(names.collect())
            }
            Ask::Show(_) | Ask::Nothing(_) => Seen::Image(Details::read(&body["image"])),
            Ask::Metadata(_) | Ask::ForeignWrite(_) => {
                Seen::Mark(body["metadata"]["mark"].as_str().map(str::to_owned))
            }
            Ask::MetadataItem(_) => Seen::Mark(body["meta"]["mark"].as_str().map(str::to_owned)),
            Ask::ForeignDelete(_) => Seen::Status(200),
        }
    }

    /// What the caller is to be told in that state.
    pub fn expected(&self, caller: &Caller, epoch: &Epoch) -> Seen {
        let view = epoch.view(caller.number());
        let not_found = || Seen::Fault(404, NOT_FOUND.to_owned());
        match &self.ask {
            Ask::List { detail, part } => part.expected(*detail, caller, epoch),
            Ask::Show(id) => view
                .shown
                .get(id)
                .map_or_else(not_found, |image| Seen::Image(Details::of(image))),
            Ask::Metadata(id) | Ask::MetadataItem(id) => {
                match (view.shown.get(id).map(|image| &image.mark), &self.ask) {
                    (None, _) => not_found(),
                    (Some(None), Ask::MetadataItem(_)) => Seen::Fault(404, NO_ITEM.to_owned()),
                    (Some(mark), _) => Seen::Mark(mark.clone()),
                }
            }
            Ask::ForeignWrite(id) if view.shown.contains_key(id) => {
                Seen::Fault(403, format!("Not authorized for image {id}."))
            }
            Ask::ForeignDelete(id) if view.shown.contains_key(id) => {
                Seen::Fault(403, "You are not allowed to delete the image.".to_owned())
            }
            Ask::ForeignWrite(_) | Ask::ForeignDelete(_) | Ask::Nothing(_) => not_found(),
            Ask::WrongProject { own, other } => Seen::Fault(
                400,
                format!(
                    "Malformed request URL: URL's project_id '{other}' doesn't match Context's \
                     project_id '{own}'"
                ),
            ),
            Ask::BadToken => Seen::Fault(
                401,
                "The request you have made requires authentication.".to_owned(),
            ),
        }
    }
}

impl Ask {
    fn any(rng: &mut Rng, callers: &Callers, caller: &Caller, newest: &Epoch) -> Self {
        let images = newest.images();
        // Those made last; some of them are gone.
        let recent = &images[images.len().saturating_sub(18)..];
        let at = rng.below(recent.len());
        let (id, owner) = (recent[at].id.clone(), &recent[at].owner);
        let rank = images.len() - recent.len() + at + 1;
        match rng.below(40) {
            0..10 => Self::List {
                detail: rng.below(2) == 0,
                part: Part::All,
            },
            10..15 => Self::List {
                detail: rng.below(2) == 0,
                part: match rng.below(3) {
                    0 => Part::Named(format!("isolation-{}", rng.below(4))),
                    1 => Part::First(1 + rng.below(8)),
                    _ => Part::After { marker: id, rank },
                },
            },
            15..25 => Self::Show(id),
            25..29 => Self::Metadata(id),
            29..33 => Self::MetadataItem(id),
            33..36 if caller.is_admin() || (caller.may_write() && *owner == caller.project()) => {
                Self::Show(id)
            }
            33 => Self::ForeignDelete(id),
            34 | 35 => Self::ForeignWrite(id),
            36 => Self::Nothing(Uuid::new_v4().to_string()),
            37 | 38 => {
                let others = callers.all().iter().map(Caller::project);
                let others: Vec<_> = others.filter(|other| *other != caller.project()).collect();
                Self::WrongProject {
                    own: caller.project().to_owned(),
                    other: (*rng.one_of(&others)).to_owned(),
                }
            }
            _ => Self::BadToken,
        }
    }
}

impl Part {
    fn expected(&self, detail: bool, caller: &Caller, epoch: &Epoch) -> Seen {
        let view = epoch.view(caller.number());
        let list = view.list.iter();
        let images: Vec<&Image> = match self {
            Self::All => list.collect(),
            Self::Named(name) => list
                .filter(|image| image.name.as_ref() == Some(name))
                .collect(),
            Self::First(limit) => list.take(*limit).collect(),
            // To an administrator Glance takes one that is gone for a marker still.
            Self::After { marker, .. } if !caller.is_admin() && !epoch.holds(marker) => {
                return Seen::Status(400);
            }
            Self::After { marker, .. }
                if !caller.is_admin() && !view.shown.contains_key(marker) =>
            {
                return Seen::Status(403);
            }
            Self::After { rank, .. } => list.filter(|image| image.rank < *rank).collect(),
        };
        if detail {
            Seen::Details(images.into_iter().map(Details::of).collect())
        } else {
            let names = images
                .into_iter()
                .map(|image| (image.id.clone(), image.name.clone()));
            Seen::Names(names.collect())
        }
    }
}

impl Seen {
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Fault(404, _))
    }

    /// How many images it shows.
    pub fn images(&self) -> usize {
        match self {
            Self::Names(names) => names.len(),
            Self::Details(details) => details.len(),
            Self::Image(_) | Self::Mark(_) => 1,
            Self::Fault(..) | Self::Status(_) => 0,
        }
    }

    pub fn summary(&self) -> String {
        match self {
            Self::Names(_) | Self::Details(_) | Self::Image(_) | Self::Mark(_) => "200".to_owned(),
            Self::Fault(status, _) | Self::Status(status) => status.to_string(),
        }
    }
}
