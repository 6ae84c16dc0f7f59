//! The users and projects that there are.

use serde_json::{Value, json};

use super::Listed;
use crate::{DEFAULT_PROJECT, DEFAULT_USER};

/// The id of the only domain, whose name is `Default`.
pub(super) const DOMAIN: &str = "default";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Project {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
}

/// A user of the project of the same name; an admin has that role in every project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
}

const PROJECTS: [Project; 3] = [
    Project {
        id: DEFAULT_PROJECT,
        name: "admin",
    },
    Project {
        id: "e3bedded000000000000000000000003",
        name: "demo",
    },
    Project {
        id: "e3bedded000000000000000000000004",
        name: "alt",
    },
];

const USERS: [User; 3] = [
    User {
        id: DEFAULT_USER,
        name: "admin",
    },
    User {
        id: "e3bedded0000000000000000000000a3",
        name: "demo",
    },
    User {
        id: "e3bedded0000000000000000000000a4",
        name: "alt",
    },
];

pub(super) fn projects() -> [Project; 3] {
    PROJECTS
}

pub(super) fn users() -> [User; 3] {
    USERS
}

pub(super) fn project_by_id(id: &str) -> Option<Project> {
    PROJECTS.into_iter().find(|project| project.id == id)
}

pub(super) fn project_by_name(name: &str) -> Option<Project> {
    PROJECTS.into_iter().find(|project| project.name == name)
}

pub(super) fn user_by_id(id: &str) -> Option<User> {
    USERS.into_iter().find(|user| user.id == id)
}

pub(super) fn user_by_name(name: &str) -> Option<User> {
    USERS.into_iter().find(|user| user.name == name)
}

pub(super) fn domain() -> Value {
    json!({"id": DOMAIN, "name": "Default", "enabled": true, "description": ""})
}

impl User {
    /// The role that brings all the user has in a project; none where the user has no role.
    pub(super) fn roles_in(&self, project: Project) -> Option<&'static str> {
        match self.name {
            "admin" => Some("admin"),
            own if own == project.name => Some("member"),
            _ => None,
        }
    }

    pub(super) fn projects(&self) -> impl Iterator<Item = Project> + use<> {
        let user = *self;
        PROJECTS
            .into_iter()
            .filter(move |project| user.roles_in(*project).is_some())
    }
}

impl Listed for Project {
    fn name(&self) -> &str {
        self.name
    }

    fn view(&self) -> Value {
        json!({
            "id": self.id, "name": self.name, "domain_id": DOMAIN, "parent_id": DOMAIN,
            "is_domain": false, "enabled": true, "description": "", "tags": [], "options": {},
        })
    }
}

impl Listed for User {
    fn name(&self) -> &str {
        self.name
    }

    fn view(&self) -> Value {
        let project = project_by_name(self.name).map(|project| project.id);
        json!({
            "id": self.id, "name": self.name, "domain_id": DOMAIN, "enabled": true,
            "default_project_id": project, "password_expires_at": null, "options": {},
        })
    }
}
