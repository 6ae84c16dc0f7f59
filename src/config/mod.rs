//! Settings: one small file per section.

mod auth;
mod keystone;
mod problem;

pub use auth::{Auth, AuthMode};
pub use keystone::{Credentials, Domain, Interface, Keystone, SecretSource};
pub use problem::Problem;
