//! What sockets send from, by network namespace: a load balancer with loadBalancerSourceRanges asks for it, and when a socket
//! calls the kernel has not chosen it yet. Enters: that there is such a Service; the namespaces of the machine, whoever made
//! them. Leaves: a map. Called by run.
//!
//! Upstream's proxy judges such packets by their source where they leave the pod, and so does this: pods by their own
//! addresses, what runs in the node's network by the node's. A namespace whose address is not known is refused until
//! it is. Pods are looked for when a device of the node came or changed, and a socket in them calls tens of milliseconds
//! after that at the earliest: with any pod network, nobody has to tell.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error};
use xebec_program::chain;

use crate::addresses::{Notices, sending_addresses};
use crate::apply::Applier;
use crate::maps::pinned::PinnedMaps;
use crate::{namespaces, passes, sys};

/// Namespaces are looked for again after this time, whatever was noticed.
const REST: Duration = Duration::from_secs(30);

/// What sockets of each network namespace of the machine send from unless they are bound, by the namespace's cookie: its first
/// addresses of each family count. `own` are those of the calling thread's namespace that go before others.
///
/// # Errors
/// The kernel's; a namespace that cannot be entered is logged and left out.
pub fn list(own: &[IpAddr]) -> io::Result<HashMap<u64, Vec<IpAddr>>> {
    let here = sys::netns_cookie()?;
    let look = || {
        let mut found = HashMap::new();
        namespaces::each(namespaces::USUAL, || {
            found.insert(sys::netns_cookie()?, sending_addresses()?);
            Ok(false)
        });
        found
    };
    // A thread that entered another namespace never comes back.
    let thread = std::thread::Builder::new().name("sources".to_owned()).spawn(look)?;
    let mut found =
        thread.join().map_err(|_| io::Error::other("the thread that looks for namespaces panicked"))?;
    found.entry(here).or_default().splice(..0, own.iter().copied());
    Ok(found)
}

type Maps = Arc<Mutex<Applier<PinnedMaps>>>;

/// Follows the namespaces while somebody asks.
#[derive(Debug)]
pub(crate) struct Sources {
    maps: Maps,
    /// The node's addresses, if somebody asks.
    wanted: watch::Sender<Option<Vec<IpAddr>>>,
    _following: AbortOnDropHandle<()>,
}

impl Sources {
    /// Nothing is looked at yet.
    ///
    /// # Errors
    /// The kernel's, of notices of devices.
    pub(crate) fn start(maps: Maps) -> io::Result<Self> {
        let (wanted, asked) = watch::channel(None);
        let following = tokio::spawn(follow(Arc::clone(&maps), Notices::of_devices()?, asked));
        Ok(Self { maps, wanted, _following: AbortOnDropHandle::new(following) })
    }

    /// Before Services are applied: whether one `has_ranges`, and the node's `own` addresses. Returns when its clients
    /// can be told apart.
    pub(crate) async fn prepare(&self, has_ranges: bool, own: Vec<IpAddr>) {
        let next = has_ranges.then_some(own);
        let before = self.wanted.send_replace(next.clone());
        if before != next
            && let Some(own) = next
        {
            pass(&self.maps, own).await;
        }
    }
}

async fn follow(maps: Maps, notices: Notices, asked: watch::Receiver<Option<Vec<IpAddr>>>) {
    let (maps, notices) = (&maps, &notices);
    let wish = || {
        let mut asked = asked.clone();
        async move {
            // What is asked for first is done by whoever asks.
            if asked.wait_for(Option::is_some).await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::select! {
                changed = notices.changed() => if let Err(error) = changed {
                    error!(%error, "devices are not told of any more; pods are looked for now and then");
                    tokio::time::sleep(REST).await;
                },
                () = tokio::time::sleep(REST) => {}
            }
        }
    };
    let pass = || {
        let own = asked.borrow().clone();
        async {
            if let Some(own) = own {
                pass(maps, own).await;
            }
        }
    };
    passes::follow(wish, pass).await;
}

/// Looks at the namespaces once.
async fn pass(maps: &Mutex<Applier<PinnedMaps>>, own: Vec<IpAddr>) {
    let found = tokio::task::spawn_blocking(move || list(&own)).await;
    match found.unwrap_or_else(|error| Err(io::Error::other(error))) {
        Ok(found) => match maps.lock().maps().set_namespaces(&found) {
            Ok(()) => debug!(namespaces = found.len(), "looked for what sockets send from"),
            Err(error) => {
                error!(error = %chain(&error), "cannot write what sockets send from; loadBalancerSourceRanges may refuse pods");
            }
        },
        Err(error) => {
            error!(%error, "cannot look for network namespaces; loadBalancerSourceRanges may refuse new pods");
        }
    }
}
