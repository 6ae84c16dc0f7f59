//! Token validation.
//!
//! A request is whoever Keystone says its token is, and nothing a client writes into any other
//! header changes that. [`TokenValidator`] asks about tokens and remembers the answers for a while;
//! a [`Token`] is one such answer and exists only because Keystone gave it.
//!
//! | file | what it is about |
//! |---|---|
//! | `validator.rs` | one validation at a time for each token, and what is kept of it |
//! | `known.rs` | the caches of good and of refused tokens |
//! | `client.rs` | the requests to Keystone, and what its status codes mean |
//! | `service.rs` | the gateway's own token, where credentials are configured |
//! | `wire.rs` | Keystone's JSON |
//! | `token.rs` | a validated token |
//! | `rules.rs` | access rules of application credentials |
//! | `catalog.rs` | Glance's endpoint out of a catalog |
//! | `digest.rs` | tokens by their keyed hash |

mod access_rules;
mod catalog;
mod client;
mod digest;
mod error;
mod service_token;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod token;
mod token_cache;
mod token_response;
mod token_validator;

pub use catalog::NoImageEndpoint;
pub use digest::{DigestKey, MAX_TOKEN_BYTES, TokenDigest, is_well_formed};
pub use error::{Error, InvalidResponse, InvalidToken, Unavailable};
pub use token::{Identity, ScopeKind, Token};
pub use token_validator::{BuildError, Catalogs, Clock, TokenValidator};
