//! The API we call: the Image service, version 2. The only code that knows its wire.

pub mod client;
mod error;
mod model;
mod pages;
pub mod patch;
mod query;
mod services;

pub use client::{Call, Caller, Glance};
pub use error::GlanceError;
pub use model::{BASE_PROPERTIES, Image, ImagePage, NotGlance, is_null, plain, text};
pub use pages::PageStream;
pub use patch::{PatchOp, Properties};
pub use query::{Endpoint, ImageQuery, path_segment};
