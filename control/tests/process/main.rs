//! The API server as a process of its own: killed, flooded, watched by a thousand.

mod history;
mod hostile;
mod linear;
mod server;
