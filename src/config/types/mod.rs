//! How values are written in settings: one kind of value a file.

pub mod address;
pub mod duration;
pub mod enum_value;
pub mod range;
pub mod size;
pub mod string_list;
