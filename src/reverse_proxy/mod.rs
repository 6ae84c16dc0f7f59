//! The reverse proxy: requests that no API of this gateway answers go on to the service itself.
//!
//! | part | file |
//! |---|---|
//! | which headers go on | `headers.rs` |
//! | the URI that is called | `target.rs` |
//! | bodies, both ways | `body.rs` |
//! | what makes cached responses old | `invalidation.rs` |
//! | failures | `error.rs` |
//! | the exchange | `proxy.rs`, [`crate::upstream::StreamedResponse`] |
//!
//! Requests are not authenticated here: the service validates their tokens. Bodies of any length pass with a bounded
//! number of chunks in memory. A side that breaks breaks the other. Trailers and interim responses other than `100
//! Continue` are dropped.

mod body;
mod error;
mod headers;
mod invalidation;
mod proxy;
mod target;

pub use error::ProxyError;
pub use invalidation::Service;
pub use proxy::{ProxySettings, ReverseProxy, Upstream};
pub use target::Endpoint;
