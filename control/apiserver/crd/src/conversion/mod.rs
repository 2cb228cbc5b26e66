//! Objects of one version become those of another.
//!
//! Enters: objects and the version wanted. Leaves: converted objects; for a webhook the ConversionReview to send and,
//! from its answer, the objects. The call itself is the API server's. Called where an object leaves the store, enters
//! it, or is compared with an old one.
//!
//! Authority: apiextensions-apiserver, pkg/apiserver/conversion.

mod answer;
mod request;

#[cfg(test)]
mod tests;

use serde_json::Value;

pub use answer::ConversionError;
pub use request::{Plan, Review};

/// Sets the apiVersion: the conversion of strategy `None`, and of objects that are nothing but a type.
pub fn rewrite(object: &mut Value, api_version: &str) {
    if let Some(map) = object.as_object_mut() {
        map.insert("apiVersion".to_owned(), Value::from(api_version));
    }
}
