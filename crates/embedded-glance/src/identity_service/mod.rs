//! A small Identity API v3, so that clients that begin with `OS_AUTH_URL` work without a Keystone.
//!
//! It takes any password of the users in [`users`]. A token is the text by which its caller names
//! itself (see [`Identity::parse`](super::Identity::parse)), so there is nothing to keep, and every
//! process knows every token. That admits every caller, so it listens on loopback addresses only.

mod request;
mod token;
mod users;

use std::net::{SocketAddr, TcpListener};

use actix_web::dev::ServerHandle;
use actix_web::http::Method;
use actix_web::web::{self, Bytes};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use serde_json::{Value, json};

use self::token::Token;
use self::users::Project;
use crate::Identity;

/// The largest request body: bytes.
const BODY_LIMIT: usize = 64 << 10;
const SUBJECT_TOKEN: &str = "X-Subject-Token";

/// Why the identity service does not start.
#[derive(Debug, thiserror::Error)]
pub enum IdentityStartError {
    /// The address is not one of this machine alone.
    #[error("the identity service takes any password, so it listens on loopback addresses only")]
    NotLoopback,
    /// The address cannot be listened on.
    #[error("the identity service cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
}

/// The base URLs that the catalog of every token names.
#[derive(Clone, Debug)]
pub struct Catalog {
    /// The image service, without the version.
    pub image: String,
    /// The compute API with its version, where there is one.
    pub compute: Option<String>,
}

/// A running identity service.
pub struct IdentityService {
    address: SocketAddr,
    handle: ServerHandle,
}

struct State {
    base: String,
    catalog: Catalog,
}

impl IdentityService {
    /// Serves on `address`. Must be called inside an actix system.
    pub fn start(address: SocketAddr, catalog: Catalog) -> Result<Self, IdentityStartError> {
        if !address.ip().is_loopback() {
            return Err(IdentityStartError::NotLoopback);
        }
        let failed = |source| IdentityStartError::Listen { address, source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let state = web::Data::new(State {
            base: format!("http://{address}"),
            catalog,
        });
        let server = HttpServer::new(move || {
            App::new()
                .app_data(state.clone())
                .app_data(web::PayloadConfig::new(BODY_LIMIT))
                .default_service(web::to(handle))
        })
        .workers(1)
        .disable_signals()
        .listen(listener)
        .map_err(failed)?
        .run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Ok(Self { address, handle })
    }

    /// The bound address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops at once.
    pub async fn stop(self) {
        self.handle.stop(false).await;
    }
}

/// An error, in Keystone's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
}

impl Fault {
    fn response(self) -> HttpResponse {
        let (code, title, message) = match self {
            Self::BadRequest => (
                400,
                "Bad Request",
                "Expecting to find auth in request body. The server could not comply with the \
                 request since it is either malformed or otherwise incorrect. The client is assumed \
                 to be in error.",
            ),
            Self::Unauthorized => (
                401,
                "Unauthorized",
                "The request you have made requires authentication.",
            ),
            Self::Forbidden => (
                403,
                "Forbidden",
                "You are not authorized to perform the requested action.",
            ),
            Self::NotFound => (404, "Not Found", "The resource could not be found."),
        };
        let body = json!({"error": {"code": code, "message": message, "title": title}});
        let status = actix_web::http::StatusCode::from_u16(code).unwrap_or_default();
        HttpResponse::build(status).json(body)
    }
}

async fn handle(request: HttpRequest, body: Bytes, state: web::Data<State>) -> HttpResponse {
    let path = request.path().trim_end_matches('/');
    let outcome = match path {
        "" => return HttpResponse::MultipleChoices().json(versions(&state.base)),
        "/v3" => return HttpResponse::Ok().json(json!({"version": version(&state.base)})),
        "/v3/auth/tokens" => tokens(&request, &body, &state),
        _ => resource(&request, path, &state),
    };
    outcome.unwrap_or_else(Fault::response)
}

fn version(base: &str) -> Value {
    json!({
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": format!("{base}/v3/")}],
        "media-types": [{
            "base": "application/json",
            "type": "application/vnd.openstack.identity-v3+json",
        }],
    })
}

fn versions(base: &str) -> Value {
    json!({"versions": {"values": [version(base)]}})
}

fn tokens(request: &HttpRequest, body: &[u8], state: &State) -> Result<HttpResponse, Fault> {
    if request.method() == Method::POST {
        let token = request::authenticate(body)?;
        let with_catalog = !request.query_string().contains("nocatalog");
        let catalog = with_catalog.then_some(&state.catalog);
        return Ok(HttpResponse::Created()
            .insert_header((SUBJECT_TOKEN, token.text()))
            .json(json!({"token": token.view(catalog, &state.base)})));
    }
    caller(request)?;
    let subject = header(request, SUBJECT_TOKEN).and_then(Token::parse);
    let token = subject.ok_or(Fault::NotFound)?;
    match *request.method() {
        Method::GET | Method::HEAD => Ok(HttpResponse::Ok()
            .insert_header((SUBJECT_TOKEN, token.text()))
            .json(json!({"token": token.view(Some(&state.catalog), &state.base)}))),
        // A token is a name; it cannot be taken back.
        Method::DELETE => Ok(HttpResponse::NoContent().finish()),
        _ => Err(Fault::NotFound),
    }
}

fn header<'r>(request: &'r HttpRequest, name: &str) -> Option<&'r str> {
    request.headers().get(name)?.to_str().ok()
}

fn caller(request: &HttpRequest) -> Result<Token, Fault> {
    header(request, "X-Auth-Token")
        .and_then(Token::parse)
        .ok_or(Fault::Unauthorized)
}

fn resource(request: &HttpRequest, path: &str, state: &State) -> Result<HttpResponse, Fault> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let ["v3", segments @ ..] = segments.as_slice() else {
        return Err(Fault::NotFound);
    };
    let caller = caller(request)?;
    if request.method() != Method::GET {
        return Err(Fault::Forbidden);
    }
    let base = &state.base;
    let view = match segments {
        ["auth", "catalog"] => {
            let catalog = token::catalog(&state.catalog, base);
            json!({"catalog": catalog, "links": {"self": format!("{base}{path}")}})
        }
        ["auth", "projects"] => list("projects", caller.projects(), path, request, base),
        ["users", id, "projects"] if *id == caller.user_id() || caller.is_admin() => {
            let user = users::user_by_id(id).ok_or(Fault::NotFound)?;
            list("projects", user.projects(), path, request, base)
        }
        ["projects"] if caller.is_admin() => {
            list("projects", users::projects(), path, request, base)
        }
        ["projects", id] if caller.is_admin() || caller.project_id() == *id => {
            let project = users::project_by_id(id).ok_or(Fault::NotFound)?;
            json!({"project": project.view()})
        }
        ["users"] if caller.is_admin() => list("users", users::users(), path, request, base),
        ["users", id] if caller.is_admin() || caller.user_id() == *id => {
            json!({"user": users::user_by_id(id).ok_or(Fault::NotFound)?.view()})
        }
        ["domains"] if caller.is_admin() => json!({
            "domains": [users::domain()],
            "links": {"self": format!("{base}{path}"), "previous": null, "next": null},
        }),
        ["domains", "default"] => json!({"domain": users::domain()}),
        ["projects" | "users" | "domains", ..] => return Err(Fault::Forbidden),
        _ => return Err(Fault::NotFound),
    };
    Ok(HttpResponse::Ok().json(view))
}

/// Things that a list shows.
trait Listed {
    fn name(&self) -> &str;
    fn view(&self) -> Value;
}

/// A list, which the parameter `name` may filter.
fn list<T: Listed>(
    key: &str,
    items: impl IntoIterator<Item = T>,
    path: &str,
    request: &HttpRequest,
    base: &str,
) -> Value {
    let query = crate::params::Params::parse(request.query_string()).unwrap_or_default();
    let wanted = query.last("name");
    let views: Vec<Value> = items
        .into_iter()
        .filter(|item| wanted.is_none_or(|name| item.name() == name))
        .map(|item| item.view())
        .collect();
    json!({
        key: views,
        "links": {"self": format!("{base}{path}"), "previous": null, "next": null},
    })
}

/// The caller that a user is in a project.
fn identity(user: &users::User, project: Option<Project>) -> Option<Identity> {
    let roles = match project {
        Some(project) => user.roles_in(project)?,
        None => "",
    };
    let project = project.map_or("", |project| project.id);
    Identity::parse(&format!("{project}:{}:{roles}", user.id))
}
