//! Tables of the core group's kinds.

mod data;
mod endpoints;
mod limits;
mod namespaces;
mod nodes;
mod services;
