//! The messages of the CRI v1 protocol that Xebec uses, written by hand.
//!
//! Field numbers and types follow `runtime.v1` of cri-api (v0.36). Unknown fields are skipped by protobuf, so a
//! message here may leave out what the agent never reads. Nothing but plain data lives here; [`crate::Runtime`]
//! is the room that sends and receives it.
#![expect(missing_docs, reason = "the names are the protocol's own; its specification documents them")]

mod common;
mod container;
mod image;
mod native;
mod sandbox;

pub use common::*;
pub use container::*;
pub use image::*;
pub(crate) use native::*;
pub use sandbox::*;
