//! Tokens and their description.

use chrono::{Duration, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use super::Catalog;
use super::users::{self, DOMAIN, Project};
use crate::Identity;

/// What a description says of a token's life; a token that is a name has no end.
const LIFETIME: Duration = Duration::hours(24);
const REGION: &str = "RegionOne";

/// A token of a known user.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Token(Identity);

impl Token {
    pub(super) fn of(identity: Identity) -> Self {
        Self(identity)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Identity::parse(text).map(Self)
    }

    pub(super) fn text(&self) -> String {
        let Identity {
            project,
            user,
            roles,
        } = &self.0;
        format!("{project}:{user}:{}", roles.join(","))
    }

    pub(super) fn user_id(&self) -> &str {
        &self.0.user
    }

    pub(super) fn project_id(&self) -> &str {
        &self.0.project
    }

    pub(super) fn is_admin(&self) -> bool {
        self.0.is_admin()
    }

    pub(super) fn projects(&self) -> Vec<Project> {
        let user = users::user_by_id(&self.0.user);
        user.map(|user| user.projects().collect())
            .unwrap_or_default()
    }

    /// As Keystone describes it. Users and projects that a caller made up are named by their ids.
    pub(super) fn view(&self, catalog: Option<&Catalog>, base: &str) -> Value {
        let now = Utc::now();
        let moment =
            |time: chrono::DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Micros, true);
        let domain = json!({"id": DOMAIN, "name": "Default"});
        let user = users::user_by_id(&self.0.user);
        let user_name = user.map_or(self.0.user.as_str(), |user| user.name);
        let described = json!({
            "methods": ["password"],
            "user": {
                "id": self.0.user, "name": user_name, "domain": domain,
                "password_expires_at": null,
            },
            "audit_ids": ["embedded"],
            "issued_at": moment(now),
            "expires_at": moment(now + LIFETIME),
        });
        let mut view = match described {
            Value::Object(view) => view,
            _ => Map::new(),
        };
        if !self.0.project.is_empty() {
            let project = users::project_by_id(&self.0.project);
            let name = project.map_or(self.0.project.as_str(), |project| project.name);
            let project = json!({"id": self.0.project, "name": name, "domain": domain});
            let role = |role: &String| json!({"id": format!("role-{role}"), "name": role});
            view.insert("project".to_owned(), project);
            view.insert("is_domain".to_owned(), json!(false));
            let roles = self.0.roles.iter().map(role).collect();
            view.insert("roles".to_owned(), roles);
            if let Some(found) = catalog {
                view.insert("catalog".to_owned(), self::catalog(found, base));
            }
        }
        Value::Object(view)
    }
}

/// The services, each with the same URL for every interface.
pub(super) fn catalog(catalog: &Catalog, base: &str) -> Value {
    let service = |kind: &str, name: &str, url: &str| {
        let endpoint = |interface: &str| {
            json!({
                "id": format!("{kind}-{interface}"), "interface": interface, "url": url,
                "region": REGION, "region_id": REGION,
            })
        };
        let endpoints: Vec<Value> = ["public", "internal", "admin"].map(endpoint).into();
        json!({"id": kind, "type": kind, "name": name, "endpoints": endpoints})
    };
    let mut services = vec![
        service("identity", "keystone", &format!("{base}/v3")),
        service("image", "glance", &catalog.image),
    ];
    if let Some(compute) = &catalog.compute {
        services.push(service("compute", "nova", compute));
    }
    Value::from(services)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scoped_token_names_both_services() {
        let token = Token::parse("p:u:member").unwrap();
        let catalog = Catalog {
            image: "http://i".into(),
            compute: Some("http://c/v2.1".into()),
        };
        let view = token.view(Some(&catalog), "http://k");
        assert_eq!(view["catalog"][1]["endpoints"][0]["url"], "http://i");
        assert_eq!(view["catalog"][2]["endpoints"][2]["url"], "http://c/v2.1");
        assert_eq!(view["project"]["name"], "p");
        let unscoped = Token::parse(":u:").unwrap();
        assert!(
            unscoped
                .view(Some(&catalog), "http://k")
                .get("catalog")
                .is_none()
        );
    }

    #[test]
    fn a_token_reads_as_it_was_written() {
        let token = Token::parse("p:u:admin").unwrap();
        assert_eq!(Token::parse(&token.text()), Some(token));
    }
}
