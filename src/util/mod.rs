//! Parts that know nothing of this gateway.

pub mod build_info;
pub mod byte_budget;
pub mod endpoint_url;
pub mod python_json;
pub mod recent_outcomes;
pub mod single_flight;
pub mod slot_table;
pub mod wsgi_path;
