//! The API we serve: Nova's image proxy, as Nova 34 has it.
//!
//! A request arrives here with its route found, its token judged and its body read. [`Service`]
//! hands it to an operation, which parses what is left (a query, a body), asks Glance and renders
//! the answer. Everything but the operations themselves is pure.

pub mod answer;
pub mod body;
pub mod change;
pub mod fault;
pub mod images;
pub mod json;
pub mod links;
pub mod locks;
pub mod metadata;
pub mod microversion;
pub mod python;
pub mod query;
pub mod question;
pub mod routes;
pub mod service;
pub mod transitional;
pub mod versions;
pub mod view;

pub use answer::Answer;
pub use fault::{ApiError, Fault};
pub use service::{Request, Service};
