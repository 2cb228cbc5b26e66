//! The rules of the objects of one version of a definition.
//!
//! Enters: a [`Definition`] and one of its versions, then objects of that version. Leaves: what a
//! [`xebec_kinds::Strategy`] is asked for, and what only custom resources need: decoding by schema ([`CustomStrategy::decode`],
//! [`CustomStrategy::read_stored`]), their scale. Called by the API server's registry.
//!
//! Authority: apiextensions-apiserver, pkg/registry/customresource.

mod cells;
mod metadata;
mod scale;
mod strategy;

#[cfg(test)]
mod tests;

pub use scale::ScaleError;
pub use strategy::{CustomStrategy, ServingError};
