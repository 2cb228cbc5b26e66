//! Looking at a dataplane from beside it: what is in the kernel (`status`, `services`), where a packet from outside
//! would go (`packet`), whether the maps say what the API says (`compare`), what is amiss on this node (`doctor`), and live flows
//! (`flows`).
//! Enters: a pin directory. Leaves: data that prints itself. Works with and without a running proxy, and changes
//! nothing but the word that says who watches. Called by `xebec-agent dataplane`.

mod compare;
mod doctor;
pub mod flows;
mod others;
mod packet;
mod services;
mod status;

pub use crate::sctp::{LiveService, live as sctp};
pub use compare::{Difference, compare, compare_pinned};
pub use doctor::{Check, State, doctor, from_api, from_running};
pub use packet::{Fate, Route, RouteError, route};
pub use services::{ServiceRow, services};
pub(crate) use services::{endpoints, row};
pub use status::{LinkStatus, MapStatus, Report, status};
