//! The watch cache: what GET, LIST and WATCH are answered from.
//!
//! Enters: every change of the store, through one [`feeder`]. Leaves: objects as shared bytes, consistent lists, and
//! event streams. Called by the registry (reads, read-your-writes), by `serve` (watch streams) and, through
//! [`xebec_identity::ObjectReader`], by the authorizers and admission.
//!
//! One [`Cache`] per stored resource holds its objects in key order and one ordered log of events; a watcher is a
//! cursor (a revision) into that log, so a thousand watchers share one copy of every encoded event. All caches are fed
//! by a single store watch, therefore the newest applied revision is known for all of them at once: bookmarks and
//! consistent reads need nothing more.

mod cache;
mod caches;
mod drafts;
mod event;
mod feeder;
mod object;
mod progress;
mod scan;
mod selection;
mod stream;

pub use cache::{Cache, Listed, ReadFrom};
pub use caches::Caches;
pub use drafts::Left;
pub use event::{Change, Encoding, Event, json_line};
pub use feeder::{FeederError, add, start};
pub use object::{Draft, Object, set_resource_version};
pub use selection::{Cut, Selection};
pub use stream::{EventSink, WatchRequest, WatchStart, stream};
