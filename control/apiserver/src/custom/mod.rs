//! Custom resources, served: the effects around the decisions of `xebec-crd`.
//!
//! Enters: every change of a CustomResourceDefinition, from its watch cache ([`Definitions`]). Leaves: kinds in
//! [`crate::resources::Resources`] (`version` is what each of them does its own way, `convert` takes objects from one
//! version to another, `hook` asks conversion webhooks), the definitions' status, and, for one that is deleted, the end
//! of its objects (`deletion`). Started by `ApiServer::build`, which serves what is established before it is ready.

mod convert;
mod definitions;
mod deletion;
mod hook;
mod memo;
mod rules;
mod serving;
mod version;

pub(crate) use definitions::Definitions;
pub(crate) use hook::Webhooks;
