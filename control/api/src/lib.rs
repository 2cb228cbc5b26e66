//! The vocabulary every part of Xebec speaks: resources, quantities, selectors, errors, patches, wire formats.
//!
//! Everything here is pure: no clock, no I/O, no tasks. Facts come from `data/`, compiled in and parsed once.

pub mod config_file;
pub mod field;
pub mod gotext;
pub mod intstr;
pub mod load_balancer;
pub mod meta;
pub mod names;
pub mod patch;
pub mod protobuf;
pub mod quantity;
pub mod resource;
pub mod schema;
pub mod selector;
pub mod status;
pub mod time;
pub mod types;
