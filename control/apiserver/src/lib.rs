//! The API server: the only part of Xebec that sees the store, and the only way to it.
//!
//! Enters: HTTP requests over TLS ([`ApiServer::serve`]) or from parts in the same process
//! ([`ApiServer::local_client`]). Leaves: Kubernetes objects, as upstream 1.36 would answer. The folders are the
//! request's way: `serve` (listener, who, what, in which form) -> `admission` and `registry` (the verbs, per-kind
//! rules from `xebec-kinds`) -> the store; `watch` brings every change back into memory, where reads and watches are
//! answered from. `gateway` leads on to the nodes, `aggregate` to other API servers; `discovery` and `reviews` answer without storing.

#![expect(clippy::result_large_err, reason = "an ApiError is built on failure only, and answered at once")]

pub mod admission;
pub mod aggregate;
pub mod bootstrap;
mod config;
mod custom;
pub mod discovery;
pub mod gateway;
mod id;
pub mod identity;
mod local;
mod maintenance;
pub mod registry;
pub mod resources;
pub mod reviews;
pub mod serve;
mod server;
#[cfg(test)]
mod tests;
pub mod watch;

pub use config::Config;
pub use serve::listener::{ListenError, bind};
pub use server::{ApiServer, BuildError, ServeError};
