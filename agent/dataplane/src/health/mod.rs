//! What load balancers ask this node: whether the proxy works (`/healthz`, `/livez`) and whether a Service has
//! endpoints here (a port per Service, `spec.healthCheckNodePort`). Enters: what was applied, the own Node, the checks
//! the world wants. Leaves: kube-proxy's answers over HTTP. Called by run.
//!
//! `status` decides (PURE), `checks` opens and closes the Services' ports and tells of those that could not be opened,
//! `server` speaks HTTP.

mod checks;
mod server;
mod status;

pub use checks::{Check, Checks, Places, Wanted};
pub(crate) use server::{Answer, accept, answer, code};
pub use server::{bind, serve};
pub use status::{Report, Status};
