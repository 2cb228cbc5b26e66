//! API priority and fairness: which requests run now, which wait, which are told to come back.
//!
//! Enters: what a request is about ([`Digest`]) and the FlowSchema and PriorityLevelConfiguration objects. Leaves: a
//! [`Ticket`] that holds the request's seats until it is dropped, or a [`Rejection`] (429 with Retry-After). Called by
//! the API server between authentication and authorization.
//!
//! The way of a request: [`config`] (objects to schemas and levels, pure) -> [`classify`] (which level, which flow,
//! pure) -> [`queues`] (fair queuing of one level, pure: time is passed in) -> [`control`] (the locks and wake-ups around
//! it), which [`report`] tells of. [`share`] moves unused seats between levels. Authority: KEP-1040, and its borrowing between levels (1.26).

pub mod classify;
pub mod config;
pub mod control;
pub mod dangling;
pub mod objects;
pub mod queues;
pub mod report;
pub mod share;

pub use classify::Digest;
pub use control::{FlowControl, Rejection, Ticket};
