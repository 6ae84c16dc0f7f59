//! The body of a request for a token.

use serde::Deserialize;

use super::token::Token;
use super::users::{self, DOMAIN, Project, User};
use super::{Fault, identity};

#[derive(Deserialize)]
struct Body {
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    identity: Proof,
    #[serde(default)]
    scope: Option<Scope>,
}

#[derive(Deserialize)]
struct Proof {
    methods: Vec<String>,
    #[serde(default)]
    password: Option<Password>,
    #[serde(default)]
    token: Option<Subject>,
}

#[derive(Deserialize)]
struct Password {
    user: Named,
}

#[derive(Deserialize)]
struct Subject {
    id: String,
}

/// A user or a project, by its id or by its name in a domain.
#[derive(Deserialize)]
struct Named {
    id: Option<String>,
    name: Option<String>,
    #[serde(default)]
    domain: Option<Domain>,
}

#[derive(Deserialize)]
struct Domain {
    id: Option<String>,
    name: Option<String>,
}

/// `"unscoped"`, or what the token is for.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scope {
    Project { project: Named },
    Word(String),
}

impl Named {
    /// Names are those of the one domain.
    fn is_in_domain(&self) -> bool {
        let is_ours = |domain: &Domain| match (&domain.id, &domain.name) {
            (Some(id), _) => id == DOMAIN,
            (None, Some(name)) => name.eq_ignore_ascii_case(DOMAIN),
            (None, None) => true,
        };
        self.domain.as_ref().is_none_or(is_ours)
    }

    fn user(&self) -> Option<User> {
        match (&self.id, &self.name) {
            (Some(id), _) => users::user_by_id(id),
            (None, Some(name)) if self.is_in_domain() => users::user_by_name(name),
            (None, _) => None,
        }
    }

    fn project(&self) -> Option<Project> {
        match (&self.id, &self.name) {
            (Some(id), _) => users::project_by_id(id),
            (None, Some(name)) if self.is_in_domain() => users::project_by_name(name),
            (None, _) => None,
        }
    }
}

/// The token that a request asks for. Any password is right; users and projects must exist.
pub(super) fn authenticate(body: &[u8]) -> Result<Token, Fault> {
    let body: Body = serde_json::from_slice(body).map_err(|_| Fault::BadRequest)?;
    let proof = body.auth.identity;
    let method = proof.methods.first().map(String::as_str);
    let user = match (method, &proof.password, &proof.token) {
        (Some("password"), Some(password), _) => password.user.user(),
        (Some("token"), _, Some(subject)) => {
            Token::parse(&subject.id).and_then(|token| users::user_by_id(token.user_id()))
        }
        _ => None,
    };
    let user = user.ok_or(Fault::Unauthorized)?;
    let project = match &body.auth.scope {
        None => None,
        Some(Scope::Word(word)) if word == "unscoped" => None,
        Some(Scope::Word(_)) => return Err(Fault::BadRequest),
        Some(Scope::Project { project }) => Some(project.project().ok_or(Fault::Unauthorized)?),
    };
    let identity = identity(&user, project).ok_or(Fault::Unauthorized)?;
    Ok(Token::of(identity))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn token(user: &Value, scope: &Value) -> Result<String, Fault> {
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": scope,
        }});
        authenticate(body.to_string().as_bytes()).map(|token| token.text())
    }

    #[test]
    fn a_user_gets_a_token_for_its_project() {
        let domain = json!({"id": "default"});
        let user = json!({"name": "demo", "domain": domain, "password": "anything"});
        let scope = json!({"project": {"name": "demo", "domain": {"name": "Default"}}});
        let text = token(&user, &scope).unwrap();
        assert!(text.ends_with(":member,reader"), "{text}");
        let unscoped = token(&user, &Value::Null).unwrap();
        assert_eq!(unscoped, ":e3bedded0000000000000000000000a3:");
        let again = json!({"auth": {
            "identity": {"methods": ["token"], "token": {"id": unscoped}}, "scope": scope,
        }});
        assert_eq!(
            authenticate(again.to_string().as_bytes()).unwrap().text(),
            text
        );
    }

    #[rstest]
    #[case(json!({"name": "nobody", "password": "x"}), json!(null), Fault::Unauthorized)]
    #[case(json!({"name": "demo", "domain": {"id": "x"}}), json!(null), Fault::Unauthorized)]
    #[case(json!({"name": "demo"}), json!({"project": {"name": "alt"}}), Fault::Unauthorized)]
    #[case(json!({"name": "demo"}), json!({"project": {"id": "x"}}), Fault::Unauthorized)]
    #[case(json!({"name": "demo"}), json!({"domain": {"id": "default"}}), Fault::BadRequest)]
    #[case(json!("demo"), json!(null), Fault::BadRequest)]
    fn others_get_none(#[case] user: Value, #[case] scope: Value, #[case] fault: Fault) {
        assert_eq!(token(&user, &scope), Err(fault));
    }
}
