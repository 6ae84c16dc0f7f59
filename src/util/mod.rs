//! Rules that several modules need and that belong to none of them.

pub mod python_json;
