//! Nova's image API, as Nova 34 serves it.
//!
//! `api.rs` implements [`Api`](crate::http::api::Api); `routes.rs` is the route table and
//! `pipeline.rs` the order of checks. [`NovaService`] passes the typed [`NovaRequest`] to a handler,
//! which calls Glance and renders the response. Everything but pipeline and handlers is pure.

pub mod api;
pub mod cache_query;
mod dispatch;
pub mod fault;
pub mod handler_response;
pub mod headers;
pub mod images;
pub mod json;
pub mod labels;
pub mod links;
pub mod list_query;
pub mod max_microversion;
pub mod media_type;
pub mod metadata;
pub mod metadata_body;
pub mod microversion;
mod pipeline;
pub mod python;
pub mod request;
mod request_labels;
mod response;
pub mod routes;
pub mod service;
mod version_documents;
pub mod versions;
pub mod view;

pub use api::NovaApi;
pub use fault::{ApiError, Fault};
pub use handler_response::HandlerResponse;
pub use request::NovaRequest;
pub use service::{HandlerContext, NovaService};
