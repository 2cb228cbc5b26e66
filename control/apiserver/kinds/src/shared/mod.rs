//! Pieces several kinds share: reading values, metadata, labels, quantities, small field rules.

pub mod access;
pub mod addresses;
pub mod conditions;
pub mod formats;
pub mod labels;
pub mod meta;
pub mod node_labels;
pub mod quantities;
pub mod rules;
