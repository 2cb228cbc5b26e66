//! What every controller stands on.
//!
//! Enters: watch events of one shared reflector per kind. Leaves: keys in a controller's work queue, and writes through
//! the public API. Called by the controllers' `mod.rs` files; the `plan.rs` files use only [`pods`] and [`claim`].

pub mod cache;
pub mod census;
pub mod children;
pub mod claim;
pub mod events;
pub mod expect;
pub mod fetch;
pub mod index;
pub mod pods;
pub mod queue;
pub mod time;
pub mod world;
pub mod write;

pub use cache::{Cache, Change, Key};
pub use census::Census;
pub use expect::Expectations;
pub use queue::{Queue, work};
pub use world::World;
pub use write::{Failed, Writer};
