//! The API we call: the Image service, version 2. The only code that knows its wire.

pub mod client;
mod error;
mod model;
mod query;

pub use client::{Call, Caller, Glance, PageStream};
pub use error::GlanceError;
pub use model::{BASE_PROPERTIES, Image, ImagePage, NotGlance, is_null, plain, text};
pub use query::{Endpoint, ImageQuery, path_segment};
