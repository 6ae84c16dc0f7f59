//! The API we serve: Nova's image proxy, as Nova 34 has it.
//!
//! A request arrives here with its route found, its token judged and its body read. [`NovaService`]
//! hands it to an operation, which parses what is left (a query, a body), asks Glance and renders
//! the answer. Everything but the operations themselves is pure.

pub mod cache_query;
pub mod fault;
pub mod handler_response;
pub mod images;
pub mod json;
pub mod links;
pub mod list_query;
pub mod metadata;
pub mod metadata_body;
pub mod microversion;
pub mod python;
pub mod routes;
pub mod service;
pub mod versions;
pub mod view;

pub use fault::{ApiError, Fault};
pub use handler_response::HandlerResponse;
pub use service::{NovaService, OperationInput};
