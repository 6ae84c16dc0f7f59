//! Validation against a Keystone that answers what a test wants.

mod fixture;
mod secrets;
mod service;
mod trouble;
mod validation;
