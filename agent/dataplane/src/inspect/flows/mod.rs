//! Live flows. Enters: the kernel's events (`watcher`), who has which address (`names`). Leaves: what became of each new
//! flow, as text or data (`flow`, PURE), if it is asked for (`filter`, PURE). Called by `xebec-agent dataplane flows`.
//!
//! One process at a time watches: a ring buffer has one reader. The watch is a lease, so that the programs stop writing
//! when the watcher ends, however it ends.

mod filter;
mod flow;
mod names;
#[cfg(test)]
mod tests;
mod watcher;

pub use filter::{Filter, namespaced, network, verdict};
pub use flow::{End, Flow, Process, VERDICTS};
pub use names::Names;
pub use watcher::{FlowsError, Lost, RENEWAL, Wanted, Watcher};
use xebec_abi::event::Verdict;
pub use xebec_abi::flow::NO_SERVICE;

/// What is watched for unless told otherwise: all but what happens with each datagram.
pub const NEW_FLOWS: u32 = ((1 << VERDICTS.len()) - 1) & !(1 << Verdict::Reversed as u32);

/// What the clock on the wall shows, in nanoseconds of the Unix epoch, when the programs' is zero.
pub fn clock_zero() -> i128 {
    let now = k8s_openapi::jiff::Timestamp::now().as_nanosecond();
    now - i128::from(crate::sys::monotonic())
}
