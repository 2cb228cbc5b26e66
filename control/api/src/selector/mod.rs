//! Label and field selectors: the texts of query parameters and the objects of specs, and what they match.
//!
//! Enters: `app=web,tier in (a,b)`, a `LabelSelector` object, `status.phase!=Running`. Leaves: predicates.
//! Called by list and watch, controllers, the scheduler and admission.
//! Authority: k8s.io/apimachinery/pkg/labels and pkg/fields.

mod fields;
mod labels;
mod parse;

pub use fields::{FieldOperator, FieldRequirement, FieldSelector, escape_value};
pub use labels::{LabelSelector, Operator, Requirement};

/// Why a selector was refused; the text is upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// A requirement inside the text is malformed.
    #[error("unable to parse requirement: {0}")]
    Requirement(String),
    /// The text breaks the grammar.
    #[error("{0}")]
    Grammar(String),
    /// A selector object is not of the right shape, or its values are wrong.
    #[error("{0}")]
    Object(String),
    /// A field selector is malformed.
    #[error("{0}")]
    Field(String),
}
