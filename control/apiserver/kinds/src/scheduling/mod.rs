//! The scheduling group: PriorityClasses.

pub mod priority_class;
