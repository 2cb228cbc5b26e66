//! The Container Runtime Interface (CRI v1), from the agent's side.
//!
//! Enters: what the pod workers and the streaming server ask of the runtime ([`Runtime`]). Leaves: the runtime's
//! answers and the stream of its state changes ([`RuntimeEvents`]). [`Client`] speaks to a real runtime over its
//! unix socket; [`fake::FakeRuntime`] keeps everything in memory, on tokio's clock, for tests.

mod client;
mod error;
mod events;
pub mod fake;
pub mod messages;
mod runtime;

pub use client::Client;
pub use error::CriError;
pub use events::{EventKind, EventStream, RuntimeEvent, RuntimeEvents};
pub use runtime::Runtime;
