//! The HTTP layer between a listener's sockets and the APIs. It knows no API.
//!
//! A request passes these files, top to bottom:
//!
//! | step | file | fails with |
//! |---|---|---|
//! | request ids | `request_ids.rs` | |
//! | requests in flight | `concurrency_limit.rs` | 503 |
//! | length of the URI | `limits.rs` | 414 |
//! | the `Host` | `forwarded.rs` | 400 |
//! | the first API that has a route for it | `dispatch.rs`, [`api::Api`] | 404 |
//!
//! The API goes on in its own order of checks, in a `pipeline.rs` of its own. It finds here: authentication (`auth.rs`), deadlines (`context.rs`), the body (`body.rs`), the public
//! address (`forwarded.rs`), and the response with its kinds of body (`response.rs`) and its memory
//! (`response_memory.rs`). When the
//! response is there, `error_log.rs` logs a failure and `request_observer.rs` counts and logs the
//! request.

pub mod api;
pub mod auth;
pub mod body;
pub mod client_address;
pub mod concurrency_limit;
pub mod context;
mod dispatch;
mod error;
pub mod error_log;
pub mod forwarded;
pub mod limits;
pub mod path_prefix;
mod request_ids;
mod request_observer;
pub mod response;
pub mod response_memory;

pub use dispatch::{AppState, serve};
pub use error::HttpError;
pub use request_ids::RequestIds;
pub use request_observer::RequestObserver;
