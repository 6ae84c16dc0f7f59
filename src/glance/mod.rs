//! The client of Glance, the Image service, version 2. The only code that knows its wire format.

pub mod client;
mod date;
mod endpoint_pools;
mod error;
mod explanation;
mod image_document;
mod image_id;
mod misdirected;
mod model;
mod page;
mod pagination;
pub mod patch;
mod query;

pub use client::{CallContext, CallLimits, GlanceClient};
pub use date::utc;
pub use error::{GlanceError, WriteOutcome};
pub use image_document::ImageDocument;
pub use image_id::{ImageId, InvalidImageId};
pub use misdirected::is_compute_api;
pub use model::{
    BASE_PROPERTIES, Image, ImagePage, InvalidResponse, is_null, json_str, python_str,
};
pub use pagination::{FetchedPage, PageStream};
pub use patch::{PatchOp, Properties};
pub use query::{Endpoint, ImageQuery};
