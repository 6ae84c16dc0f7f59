//! A gateway that gives legacy compute clients back the image API that Nova took away.
//!
//! A request comes in through [`server`], passes [`http`] (ids, token, microversion, route), is
//! answered by [`nova`] with the help of [`glance`], and leaves as Nova would have answered it.
//! What leaves this process goes through [`upstream`]; tokens are judged by [`keystone`]; [`app`]
//! puts the parts together from [`config`].
//!
//! Modules use only what stands below them:
//!
//! ```text
//! app ▸ server ▸ http ▸ nova ▸ cache ▸ glance, keystone ▸ upstream ▸ telemetry ▸ config
//! ```

pub mod app;
pub mod cache;
pub mod cli;
pub mod config;
pub mod embedded;
pub mod glance;
pub mod http;
pub mod keystone;
pub mod nova;
pub mod server;
pub mod telemetry;
pub mod upstream;
