//! Following the API, renewing the own Lease, answering. Called by the agent.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures::{FutureExt, Stream, StreamExt};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::DeleteParams;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};
use xebec_dataplane::addresses::Notices;
use xebec_dataplane::events::{Note, ServiceEvents};
use xebec_lease::NodeLease;

use crate::election::{Announced, Cluster};
use crate::lease::{self, Leases};
use crate::link::Links;
use crate::{AnnounceError, Options};

/// Between two looks at the devices while nothing else happens: a link address may change without a notice.
const LOOK: Duration = Duration::from_secs(10);

/// Announces until `stop`; then the Lease is given up, so that another node takes over at once.
///
/// # Errors
/// The kernel's notices cannot be followed. An unreachable API server is no error: it is waited for, in silence once the
/// Lease has run out.
pub async fn run(client: Client, options: Options, stop: CancellationToken) -> Result<(), AnnounceError> {
    let devices = Notices::of_addresses().map_err(AnnounceError::Addresses)?;
    let mut links = Links::new(options.devices.clone());
    let (sender, mut renewals) = watch::channel(None);
    let renewing =
        AbortOnDropHandle::new(tokio::spawn(renew(client.clone(), options.node_name.clone(), sender)));
    let labelled = watcher::Config::default().labels(&format!("{}={}", lease::LABEL.0, lease::LABEL.1));
    let leases = Api::<Lease>::namespaced(client.clone(), lease::NAMESPACE);
    let mut leases = pin!(watcher(leases, labelled).default_backoff());
    let config = watcher::Config::default;
    let mut services = pin!(watcher(Api::<Service>::all(client.clone()), config()).default_backoff());
    let mut slices = pin!(watcher(Api::<EndpointSlice>::all(client.clone()), config()).default_backoff());
    let mut nodes = pin!(watcher(Api::<Node>::all(client.clone()), config()).default_backoff());
    let events = ServiceEvents::new(client.clone(), "xebec-announcer", options.node_name.clone());
    let (mut known, mut cluster) = (Leases::default(), Cluster::default());
    let mut owned: BTreeMap<IpAddr, Announced> = BTreeMap::new();
    loop {
        let now = Instant::now();
        let next = [known.next(now), links.next(), Some(now + LOOK)].into_iter().flatten().min();
        tokio::select! {
            () = stop.cancelled() => break,
            event = leases.next() => take(event, "leases", |event| follow(&mut known, event)),
            event = services.next() => take(event, "services", |event| cluster.service(event)),
            event = slices.next() => take(event, "endpointslices", |event| cluster.slice(event)),
            event = nodes.next() => take(event, "nodes", |event| cluster.node(event)),
            Ok(()) = renewals.changed() => {}
            changed = devices.changed() => {
                changed.map_err(AnnounceError::Addresses)?;
                links.refresh();
            }
            () = tokio::time::sleep_until(next.unwrap_or(now + LOOK).into()) => links.refresh(),
        }
        // Everything that has already arrived counts.
        drain(&mut leases, "leases", |event| follow(&mut known, event));
        drain(&mut services, "services", |event| cluster.service(event));
        drain(&mut slices, "endpointslices", |event| cluster.slice(event));
        drain(&mut nodes, "nodes", |event| cluster.node(event));
        if let Some(began) = *renewals.borrow_and_update() {
            known.renewed(began);
        }
        let now = Instant::now();
        let until = known.valid(now);
        let fresh = known.fresh(&options.node_name, now);
        let decided =
            if until.is_some() { cluster.owned(&options.node_name, &fresh) } else { BTreeMap::new() };
        tell(&events, &options.node_name, &owned, &decided);
        links.set(decided.keys().copied().collect(), until, now);
        links.announce(now);
        owned = decided;
    }
    links.set(BTreeSet::new(), None, Instant::now());
    // The renewals end first: one under way would make the Lease anew.
    renewing.abort();
    let _ = renewing.await;
    let api = Api::<Lease>::namespaced(client, lease::NAMESPACE);
    let (name, how) = (lease::name(&options.node_name), DeleteParams::default());
    let gone = api.delete(&name, &how);
    if !matches!(tokio::time::timeout(lease::RENEWAL, gone).await, Ok(Ok(_))) {
        debug!("the lease of announcements is not given up; others wait for its end");
    }
    Ok(())
}

/// Says in the log, and to whoever looks at the Service, what this node answers for from now on.
fn tell(
    events: &ServiceEvents,
    node: &str,
    old: &BTreeMap<IpAddr, Announced>,
    new: &BTreeMap<IpAddr, Announced>,
) {
    for (address, announced) in old.iter().filter(|(address, _)| !new.contains_key(address)) {
        info!(%address, service = %announced.service.name, "no longer answers for a load balancer's address");
    }
    for (address, announced) in new.iter().filter(|(address, announced)| old.get(address) != Some(announced))
    {
        let service = &announced.service;
        info!(%address, namespace = %service.namespace, service = %service.name, "answers for a load balancer's address");
        let note = Note {
            kind: "Normal",
            reason: "NodeAssigned",
            message: format!("node {node} answers for {address}"),
        };
        events.write(&announced.service, &announced.uid, note);
    }
}

fn follow(known: &mut Leases, event: Event<Lease>) {
    match event {
        Event::Init => known.listing(),
        Event::InitApply(lease) | Event::Apply(lease) => known.observe(&lease, Instant::now()),
        Event::InitDone => known.listed(),
        Event::Delete(lease) => known.forget(&lease),
    }
}

fn take<T>(event: Option<Result<T, watcher::Error>>, what: &'static str, put: impl FnOnce(T)) {
    match event {
        Some(Ok(event)) => put(event),
        Some(Err(error)) => {
            warn!(what, error = %xebec_program::chain(&error), "cannot watch, taking it up again");
        }
        None => {}
    }
}

fn drain<T>(
    events: &mut (impl Stream<Item = Result<T, watcher::Error>> + Unpin),
    what: &'static str,
    mut put: impl FnMut(T),
) {
    while let Some(event) = events.next().now_or_never() {
        take(event, what, &mut put);
    }
}

/// Renews the own Lease for ever, on a task of its own, and tells when the last renewal that succeeded began.
async fn renew(client: Client, node: String, renewed: watch::Sender<Option<Instant>>) {
    let name = lease::name(&node);
    let own = NodeLease {
        namespace: lease::NAMESPACE,
        name: &name,
        node: &node,
        label: Some(lease::LABEL),
        duration: lease::DURATION,
    };
    let mut ticks = tokio::time::interval(lease::RENEWAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        ticks.tick().await;
        let began = Instant::now();
        let problem = match tokio::time::timeout(lease::RENEWAL, own.renew(&client)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(xebec_program::chain(&error)),
            Err(_) => Some("no answer in time".to_owned()),
        };
        match problem {
            None => {
                failing = false;
                renewed.send_replace(Some(began));
            }
            Some(error) if !failing => {
                failing = true;
                warn!(
                    error,
                    "the lease of announcements is not renewed; no address is answered for once it ends"
                );
            }
            Some(error) => debug!(error, "the lease of announcements is not renewed"),
        }
    }
}
