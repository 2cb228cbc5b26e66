//! Who did what, written down: upstream's audit events.
//!
//! Enters: a [`Policy`] file (`--audit-policy-file`) and, for each request, who asks for what. Leaves: [`Event`]s in
//! a log (`--audit-log-path`) or at a webhook (`--audit-webhook-config-file`). Called by the API server's audit
//! filter: [`Auditor::begin`] once the user is known, then [`Audit`]'s stages as the request goes on. [`policy`]
//! decides (pure), [`event`] is the record, [`sink`] writes.
//!
//! Authority: `k8s.io/apiserver/pkg/{audit,apis/audit/v1,endpoints/filters/audit.go}`, `plugin/pkg/audit`.

pub mod event;
pub mod policy;
mod recorder;
pub mod sink;
mod sources;

pub use event::{Event, ObjectReference, Stage};
pub use policy::{Level, Policy, PolicyError};
pub use recorder::{Audit, Auditor, Failure, Subject};
pub use sink::Sink;
pub use sources::source_ips;
