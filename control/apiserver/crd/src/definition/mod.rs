//! The kind CustomResourceDefinition: what a definition says, its defaults, validation and update rules.
//!
//! Enters: a definition as a JSON value. Leaves: a [`Definition`], or the field errors upstream would answer. Called by
//! the API server's registry through [`CustomResourceDefinition`], and by everything here that serves objects.
//!
//! Authority: apiextensions-apiserver, pkg/apis/apiextensions/validation and pkg/registry/customresourcedefinition.
//! Upstream validates its internal form, in which what all versions share stands once at the top; the paths of errors
//! show it (`spec.validation.openAPIV3Schema` for a definition with one version), and so do ours.

pub mod approval;
mod conversion;
mod cost;
mod defaults;
mod kind;
mod model;
mod names;
mod openapi;
mod options;
mod spec;
mod version;
mod warnings;
mod webhook;

#[cfg(test)]
mod tests;

pub use defaults::default_errors;
pub use kind::CustomResourceDefinition;
pub use model::{
    ColumnDefinition, Conversion, Definition, Names, Scale, Subresources, Version, WebhookClient,
};
pub use webhook::is_ca_bundle;

/// The finalizer that keeps a definition until its objects are gone.
pub const CLEANUP_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";
/// How many fields of a version may be selectable.
pub const MAX_SELECTABLE_FIELDS: usize = 8;
