//! The node group: RuntimeClasses.

pub mod runtime_class;
