//! Custom resources: everything about a CustomResourceDefinition and the objects it defines that is a decision.
//!
//! Enters: definitions and objects as JSON values, already decoded. Leaves: defaults, errors, conditions, conversions,
//! tables and OpenAPI documents. Called by xebec-apiserver: its registry (through [`xebec_kinds::Strategy`]), its
//! discovery and its loop over definitions. Pure: no clock, no I/O, no tasks.

pub mod conversion;
pub mod definition;
pub mod merge;
pub mod openapi;
pub mod path;
pub mod resource;
pub mod rules;
pub mod schema;
pub mod served;
pub mod shape;
pub mod status;
pub mod value;

#[cfg(test)]
mod testing;
