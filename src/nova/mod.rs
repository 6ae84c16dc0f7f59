//! nova
pub mod fault;
pub mod links;
pub mod microversion;
pub mod python;
pub mod query;
pub mod routes;
pub mod view;
