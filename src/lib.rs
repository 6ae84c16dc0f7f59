//! A gateway that gives legacy compute clients back the image API that Nova took away.

pub mod cache;
pub mod config;
pub mod glance;
pub mod keystone;
pub mod nova;
pub mod upstream;
