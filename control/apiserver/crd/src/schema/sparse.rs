//! A part of a schema node that is mostly empty: a real definition has tens of thousands of nodes, and few of them say
//! more than a type.

use std::ops::{Deref, DerefMut};

/// A value that takes no room while it is the empty one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sparse<T>(Option<Box<T>>);

/// A type with one empty value.
pub trait Empty: Default + PartialEq + 'static {
    /// The empty value.
    fn empty() -> &'static Self;
}

impl<T: Empty> From<T> for Sparse<T> {
    fn from(value: T) -> Self {
        Self((value != *T::empty()).then(|| Box::new(value)))
    }
}

impl<T: Empty> Deref for Sparse<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or_else(|| T::empty())
    }
}

impl<T: Empty> DerefMut for Sparse<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}
