//! The API server as a process of its own: killed, flooded, watched by a thousand, spoken to by kubectl.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod history;
mod hostile;
mod kubectl;
mod linear;
mod namespaces;
mod server;
