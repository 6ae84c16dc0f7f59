//! Token validation.
//!
//! Only Keystone identifies the caller; no header of a client but its tokens counts.
//! [`TokenValidator`] validates tokens and caches the results for a while; a [`Token`] is one such
//! result and exists only because Keystone returned it.
//!
//! | file | content |
//! |---|---|
//! | `token_validator.rs` | one validation at a time for each token; service tokens |
//! | `token_cache.rs` | the caches of valid and of rejected tokens |
//! | `client.rs` | the requests to Keystone, and the meaning of its status codes |
//! | `service_token.rs` | the gateway's own token, where credentials are configured |
//! | `probe.rs` | the requests of the readiness probes |
//! | `token_response.rs` | Keystone's JSON |
//! | `token.rs` | a validated token |
//! | `access_rules.rs` | access rules of application credentials |
//! | `catalog.rs` | Glance's endpoint in a catalog |
//! | `client_token.rs` | a client's token with its digest |
//! | `digest.rs` | keyed hashes of tokens |

mod access_rules;
mod catalog;
mod client;
mod client_token;
mod clock;
mod digest;
mod error;
mod probe;
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
pub use client_token::ClientToken;
pub use clock::Clock;
pub use digest::{DigestKey, MAX_TOKEN_BYTES, TokenDigest, is_well_formed};
pub use error::{Error, InvalidResponse, InvalidToken, Unavailable};
pub use probe::{NoOwnEndpoint, NotIdentityV3};
pub use token::{Identity, ScopeKind, Token};
pub use token_cache::ExpiredTokens;
pub use token_validator::{BuildError, Catalogs, TokenValidator};
