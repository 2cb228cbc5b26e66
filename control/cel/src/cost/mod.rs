//! Costs: what an expression may spend (estimated when it is written) and what it spends (counted when it runs).
//!
//! The numbers are upstream's and part of its API: whether a custom resource definition is accepted depends on them.

pub(crate) mod estimate;
mod functions;
pub mod range;
pub(crate) mod runtime;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::decl::Decl;
use range::SizeEstimate;

/// Making a list.
pub(crate) const LIST_COST: u64 = 10;
/// Making a map.
pub(crate) const MAP_COST: u64 = 30;
/// Making an object.
pub(crate) const STRUCT_COST: u64 = 40;
/// Reading a character or an octet.
pub(crate) const TRAVERSAL: f64 = 0.1;
/// A character of a regular expression.
pub(crate) const REGEX: f64 = 0.25;
/// An authorization check: an expression has room for two.
pub(crate) const AUTHORIZATION: u64 = 350_000;
/// The longest regular expression that a named format is taken to be.
pub(crate) const FORMAT_REGEX: u64 = 128;

/// The most characters, items or entries of what a path leads to: a variable, then fields, `@items`, `@values` or `@keys`.
pub type PathSizes = fn(&[String]) -> Option<u64>;

/// How large the variables of an expression can be, by their schemas or their paths. What neither tells can be of any
/// size.
#[derive(Clone, Debug, Default)]
pub struct SizeHints {
    decls: BTreeMap<String, Arc<Decl>>,
    by_path: Option<PathSizes>,
}

impl SizeHints {
    /// Nothing known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a variable.
    #[must_use]
    pub fn with(mut self, name: &str, decl: Arc<Decl>) -> Self {
        self.decls.insert(name.to_owned(), decl);
        self
    }

    /// Sizes of variables without a schema; `None` where nothing is known.
    #[must_use]
    pub fn by_path(sizes: PathSizes) -> Self {
        Self { by_path: Some(sizes), ..Self::default() }
    }

    /// The size of what a path of fields, `@items`, `@values` and `@keys` leads to.
    pub(crate) fn size(&self, path: &[String]) -> Option<SizeEstimate> {
        let (name, steps) = path.split_first()?;
        let Some(mut decl) = self.decls.get(name) else {
            return self.by_path?(path).map(|max| SizeEstimate { min: 0, max });
        };
        for (at, step) in steps.iter().enumerate() {
            if step == "@keys" {
                // Upstream knows no bound for keys and takes them for empty; nothing follows a key.
                return (at + 1 == steps.len()).then_some(SizeEstimate { min: 0, max: 0 });
            }
            decl = decl.step(step)?;
        }
        Some(SizeEstimate { min: 0, max: decl.max_elements.unwrap_or(0) })
    }
}
