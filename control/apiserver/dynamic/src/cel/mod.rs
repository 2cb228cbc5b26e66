//! The expressions of webhooks and policies: their environment, variables that build on each other, budgets.
//!
//! Enters: sources, compiled once ([`Composition`]), and a request ([`Input`]). Leaves: values, or upstream's texts of
//! what went wrong. Called by `webhook` (match conditions) and `policy`; the only part of this crate that knows
//! `xebec_cel`. No I/O.

mod authorize;
mod composition;
mod conditions;
mod environment;
mod input;

pub(crate) use composition::{Composition, Expression, Returns, Stop};
pub(crate) use conditions::{Conditions, Verdict};
pub(crate) use input::{Input, request};
pub(crate) use xebec_cel::{BUDGET, Budget};
