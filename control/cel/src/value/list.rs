//! Lists: a view of a JSON array, items that an expression made, or two lists end to end.

use std::sync::Arc;

use serde_json::Value as Json;

use super::{Value, json};
use crate::decl::Decl;
use crate::error::{EvalError, EvalResult};

/// A list.
#[derive(Clone, Debug)]
pub enum List<'a> {
    /// An array of the input, with the declaration of the list if it has a schema.
    Json(&'a [Json], Option<Arc<Decl>>),
    /// Items that an expression made.
    Owned(Arc<Vec<Value<'a>>>),
    /// One list and then another: adding lists copies neither.
    Concat(Arc<Concat<'a>>),
}

/// Two lists end to end.
#[derive(Debug)]
pub struct Concat<'a> {
    left: List<'a>,
    right: List<'a>,
    len: usize,
    depth: u32,
}

/// Lists nest this deep before adding copies: it bounds the recursion of [`List::get`].
const MAX_DEPTH: u32 = 24;
/// Lists up to this long are cheaper to copy than to nest.
const SHORT: usize = 16;
/// No list grows longer. It is far above what any budget lets an expression read.
const MAX_LEN: usize = 16 << 20;

impl<'a> List<'a> {
    /// The number of items.
    pub fn len(&self) -> usize {
        match self {
            List::Json(items, _) => items.len(),
            List::Owned(items) => items.len(),
            List::Concat(concat) => concat.len,
        }
    }

    /// Whether it has no items.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The item at `index`. Errors: the index is out of bounds, or the item does not match its schema.
    pub fn get(&self, index: usize) -> EvalResult<Value<'a>> {
        let out_of_bounds = || EvalError::other(format_args!("index out of bounds: {index}"));
        match self {
            List::Json(items, decl) => {
                let item = items.get(index).ok_or_else(out_of_bounds)?;
                json::typed(item, decl.as_ref().and_then(|decl| decl.item()))
            }
            List::Owned(items) => items.get(index).cloned().ok_or_else(out_of_bounds),
            List::Concat(concat) => {
                let left = concat.left.len();
                if index < left { concat.left.get(index) } else { concat.right.get(index - left) }
            }
        }
    }

    /// The items in order.
    pub fn iter(&self) -> impl Iterator<Item = EvalResult<Value<'a>>> + '_ {
        (0..self.len()).map(|index| self.get(index))
    }

    /// The items in order, or the first error.
    pub fn to_vec(&self) -> EvalResult<Vec<Value<'a>>> {
        self.iter().collect()
    }

    /// This list and then `other`.
    pub(crate) fn concat(self, other: List<'a>) -> EvalResult<List<'a>> {
        if other.is_empty() {
            return Ok(self);
        }
        if self.is_empty() {
            return Ok(other);
        }
        let len = self.len() + other.len();
        if len > MAX_LEN {
            return Err(EvalError::CostLimit);
        }
        let depth = self.depth().max(other.depth()) + 1;
        if len <= SHORT || depth > MAX_DEPTH {
            let items: EvalResult<Vec<_>> = self.iter().chain(other.iter()).collect();
            return Ok(List::Owned(Arc::new(items?)));
        }
        Ok(List::Concat(Arc::new(Concat { left: self, right: other, len, depth })))
    }

    fn depth(&self) -> u32 {
        match self {
            List::Concat(concat) => concat.depth,
            _ => 0,
        }
    }
}
