//! Dynamic admission: the admission the cluster's users configure, as webhooks and as CEL policies.
//!
//! Enters: a write on its way into the registry ([`Attributes`], the object). Leaves: the object as mutating policies
//! and webhooks changed it, or the refusal upstream would answer; warnings and audit annotations go to a [`Record`].
//! Called by the API server's admission: [`Dynamic::mutate`] after the built-in mutating plug-ins (twice when a change
//! asks for it, see [`Reinvocation`]), [`Dynamic::validate`] after the built-in validating ones.
//!
//! The folders: `matching` (does a rule concern a request; pure), `webhook` (who is called, the call, the answer),
//! `policy` (ValidatingAdmissionPolicy and MutatingAdmissionPolicy). `check` and `device` say whether expressions that
//! are being written may be stored. Everything outside of this crate is behind the
//! traits of `world`: objects, types, addresses.
//!
//! Authority: k8s.io/apiserver/pkg/admission/plugin/{webhook,policy}; KEP-2332, 3488, 3716, 3962.

#![expect(clippy::result_large_err, reason = "an ApiError is built on failure only, and answered at once")]

mod attributes;
mod cache;
mod cel;
mod check;
mod device;
mod dynamic;
pub mod matching;
mod metrics;
mod policy;
mod record;
mod reinvoke;
#[cfg(test)]
mod testing;
mod typecheck;
mod versions;
pub mod webhook;
mod world;

pub use attributes::{Attributes, Kind, Operation, Resource};
pub use check::{Role, Source, check};
pub use device::check_selector;
pub use dynamic::{Dynamic, Enabled};
pub use metrics::{Enforcement, Metrics, NoMetrics, Rejection};
pub use record::{Record, Recorded};
pub use reinvoke::Reinvocation;
pub use typecheck::plan as plan_type_checking;
pub use world::{Decoding, MergeError, ResolveError, Resolver, Types, World};
