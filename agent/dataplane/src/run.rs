//! The dataplane's life: load, attach, prove, adopt, follow the API. Called by the agent.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use parking_lot::{Mutex, RwLock};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error, info, warn};

use crate::addresses::{AddressWatch, local_addresses, outside_devices};
use crate::apply::Applier;
use crate::attach::{attach, root_cgroup};
use crate::compile::Place;
use crate::devices::{Devices, reserve_ports};
use crate::health::{self, Checks, Status};
use crate::load::{find_object, load, versioned};
use crate::maps::pinned::PinnedMaps;
use crate::probe::{Probe, probe};
use crate::world::World;
use crate::{DataplaneError, Options, sys};

/// Wait before what could not be written is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Between two collections of flows.
const COLLECTION: Duration = Duration::from_secs(10);

/// Puts the dataplane into the kernel and keeps it in step with the API until `cancel`.
///
/// Everything in the kernel stays when this returns or the process dies: services go on working, only changes wait
/// for the next start. [`crate::detach`] removes it.
///
/// # Errors
/// Bad options, a missing kernel feature, maps of another layout: nothing a retry would help. An unreachable API
/// server is no error; it is waited for.
pub async fn run(client: Client, options: Options, cancel: CancellationToken) -> Result<(), DataplaneError> {
    options.validate()?;
    // Before anything is changed: an address in use is mostly another agent's.
    let status = Arc::new(RwLock::new(Status::default()));
    let _healthz = healthz(&options, &status)?;
    let mut checks = Checks::new(Arc::clone(&status));
    let (applier, mut devices) = install(&options)?;
    let applier = Arc::new(Mutex::new(applier));
    if options.devices.as_ref().is_none_or(|only| !only.is_empty())
        && let Err(error) = reserve_ports()
    {
        warn!(%error, "cannot reserve the ports of translated sources; a socket may be given one of them");
    }
    let addresses = AddressWatch::new().map_err(DataplaneError::Addresses)?;
    refresh_addresses(&applier, &mut devices);
    let mut collection = tokio::time::interval(COLLECTION);
    collection.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let config = || watcher::Config::default();
    let mut services = pin!(watcher(Api::<Service>::all(client.clone()), config()).default_backoff());
    let mut slices = pin!(watcher(Api::<EndpointSlice>::all(client.clone()), config()).default_backoff());
    let own = config().fields(&format!("metadata.name={}", options.node_name));
    let mut nodes = pin!(watcher(Api::<Node>::all(client), own).default_backoff());
    let mut world = World::default();
    let (mut behind, mut listed) = (false, false);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            event = services.next() => take(event, "services", |e| world.service(e)),
            event = slices.next() => take(event, "endpointslices", |e| world.slice(e)),
            event = nodes.next() => {
                take(event, "nodes", |e| follow_node(&mut status.write(), &mut listed, e));
                continue;
            }
            changed = addresses.changed() => {
                changed.map_err(DataplaneError::Addresses)?;
                refresh_addresses(&applier, &mut devices);
                continue;
            }
            _ = collection.tick() => {
                collect_flows(&applier);
                continue;
            }
            () = tokio::time::sleep(RETRY), if behind => {}
        }
        // Everything that has already arrived is applied together.
        while let Some(event) = services.next().now_or_never() {
            take(event, "services", |e| world.service(e));
        }
        while let Some(event) = slices.next().now_or_never() {
            take(event, "endpointslices", |e| world.slice(e));
        }
        if world.synced() {
            let unwritten = step(&applier, &mut world, &options);
            status.write().applied(unwritten, Timestamp::now(), Instant::now());
            behind = checks.sync(&world.health_checks(&options.node_name)).await || unwritten;
        }
    }
}

/// Answers `/healthz` and `/livez` if that is wanted, until the handle is dropped.
fn healthz(
    options: &Options,
    status: &Arc<RwLock<Status>>,
) -> Result<Option<AbortOnDropHandle<()>>, DataplaneError> {
    let Some(address) = options.healthz else { return Ok(None) };
    let listener = health::bind(address).map_err(|source| DataplaneError::Healthz { address, source })?;
    let serving = tokio::spawn(health::serve(listener, Arc::clone(status)));
    Ok(Some(AbortOnDropHandle::new(serving)))
}

/// An event of the own Node. A whole list without it says that it is gone; one that only began, as without an API
/// server, says nothing.
fn follow_node(status: &mut Status, listed: &mut bool, event: watcher::Event<Node>) {
    match event {
        watcher::Event::Init => *listed = false,
        watcher::Event::Apply(node) | watcher::Event::InitApply(node) => {
            *listed = true;
            status.node(Some(&node));
        }
        watcher::Event::InitDone if *listed => {}
        watcher::Event::InitDone | watcher::Event::Delete(_) => status.node(None),
    }
}

/// Applies what changed; true if something has to be tried again.
fn step(applier: &Arc<Mutex<Applier<PinnedMaps>>>, world: &mut World, options: &Options) -> bool {
    let mut guard = applier.lock();
    let behind = match guard.apply(world) {
        Ok(applied) => {
            if applied.writes > 0 {
                debug!(writes = applied.writes, service_ports = guard.len(), "applied");
            }
            for full in &applied.full {
                error!(error = %full, "a service does not fit into the maps; its previous state stays");
            }
            !applied.full.is_empty()
        }
        Err(error) => {
            error!(error = %crate::chain(&error), "cannot write a map; will try again");
            true
        }
    };
    let grace = guard.seal();
    let len = guard.len();
    drop(guard);
    options.health.send_if_modified(|health| {
        let next = crate::Health { attached: true, synced: true, service_ports: len, behind };
        std::mem::replace(health, next) != next
    });
    if let Some(grace) = grace {
        let applier = Arc::clone(applier);
        tokio::task::spawn_blocking(move || match sys::grace_period() {
            Ok(()) => applier.lock().release(grace),
            // Only on kernels with nohz_full: a program runs for microseconds, a second is a grace period in effect.
            Err(error) => {
                debug!(%error, "membarrier is not available, waiting a second instead");
                std::thread::sleep(Duration::from_secs(1));
                applier.lock().release(grace);
            }
        });
    }
    behind
}

fn take<T>(event: Option<Result<T, watcher::Error>>, what: &'static str, put: impl FnOnce(T)) {
    match event {
        Some(Ok(event)) => put(event),
        Some(Err(error)) => {
            warn!(what, error = %crate::chain(&error), "watch failed; the tables stay as they are")
        }
        None => {}
    }
}

fn refresh_addresses(applier: &Mutex<Applier<PinnedMaps>>, devices: &mut Devices) {
    match local_addresses() {
        Ok(addresses) => {
            if let Err(error) = applier.lock().maps().set_node_addresses(&addresses) {
                error!(error = %crate::chain(&error), "cannot write the node's addresses");
            }
        }
        Err(error) => error!(%error, "cannot list the node's addresses"),
    }
    let found = match outside_devices() {
        Ok(found) => found,
        Err(error) => return error!(%error, "cannot list the node's devices"),
    };
    // The devices' addresses go in first: a program without them refuses nobody and hides nobody.
    if let Err(error) = applier.lock().maps().tracked().set_devices(&found) {
        error!(error = %crate::chain(&error), "cannot write the node's devices");
    }
    if let Err(error) = devices.refresh(found) {
        error!(error = %crate::chain(&error), "services are not reachable from outside by every device");
    }
}

fn collect_flows(applier: &Mutex<Applier<PinnedMaps>>) {
    match applier.lock().maps().tracked().collect(sys::monotonic()) {
        Ok((0, 0)) => {}
        Ok((removed, restored)) => debug!(removed, restored, "collected flows"),
        Err(error) => warn!(error = %crate::chain(&error), "cannot collect flows; will try again"),
    }
}

/// Loads, attaches, adopts and probes, without the API. [`Devices::refresh`] then puts the packet programs on devices.
///
/// # Errors
/// As [`run`].
pub fn install(options: &Options) -> Result<(Applier<PinnedMaps>, Devices), DataplaneError> {
    let object = find_object(options.bpf_object.as_deref())?;
    let mount = root_cgroup()?;
    let cgroup = options.cgroup_path.clone().unwrap_or_else(|| mount.clone());
    let mut ebpf = load(&object, &options.pin_dir, options.capacity, options.log_programs)?;
    attach(&mut ebpf, &cgroup, &options.pin_dir)?;
    if options.log_programs {
        follow_log(&mut ebpf);
    }
    // What an agent killed a moment ago had removed may still be in a program's hands.
    if let Err(error) = sys::grace_period() {
        debug!(%error, "membarrier is not available");
    }
    let maps = PinnedMaps::open(&versioned(&options.pin_dir).join("maps"))?;
    let snapshot = maps.snapshot()?;
    let capacity = maps.capacity();
    let place = Place { node: options.node_name.clone(), zone: options.zone.clone() };
    let applier = Applier::adopt(maps, capacity, &snapshot, place)?;
    info!(
        object = %object.display(), cgroup = %cgroup.display(), pins = %options.pin_dir.display(),
        adopted = snapshot.services.len(), epoch = snapshot.epoch, "service dataplane attached"
    );
    options.health.send_modify(|health| health.attached = true);
    match probe(&cgroup, &mount) {
        Probe::Working => debug!("self-probe: the hooks see this process"),
        Probe::Outside => {
            debug!("self-probe skipped: this process is outside the cgroup the programs are on")
        }
        Probe::Unseen(what) => return Err(DataplaneError::Unseen(what)),
    }
    Ok((applier, Devices::new(ebpf, &options.pin_dir, options.devices.clone())))
}

/// Hands the programs' own log records to the `log` facade until the process ends.
fn follow_log(ebpf: &mut aya::Ebpf) {
    let logger = match aya_log::EbpfLogger::init(ebpf) {
        Ok(logger) => logger,
        Err(error) => return warn!(%error, "no log from the programs"),
    };
    let follow = async move {
        #[expect(unsafe_code, reason = "tokio's door for descriptors behind a trait")]
        // SAFETY: the logger's descriptor is its ring buffer map, the same until the logger is dropped.
        let mut logger = unsafe { tokio::io::unix::AsyncFd::register(logger) }?;
        loop {
            let mut ready = logger.readable_mut().await?;
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    };
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => {
            runtime.spawn(async move {
                let result: std::io::Result<()> = follow.await;
                warn!(?result, "the programs' log ended");
            });
        }
        Err(error) => warn!(%error, "no log from the programs"),
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event;

    use super::*;

    #[test]
    fn only_a_whole_list_or_a_deletion_says_that_the_node_is_gone() {
        let (mut status, mut listed) = (Status::default(), false);
        let mut after = |events: Vec<Event<Node>>| {
            events.into_iter().for_each(|e| follow_node(&mut status, &mut listed, e));
            status.report(true, Timestamp::UNIX_EPOCH, Instant::now()).is_ok()
        };
        assert!(!after(vec![Event::Init]));
        assert!(after(vec![Event::InitApply(Node::default()), Event::InitDone]));
        // The API server is away: the watch begins again and again.
        assert!(after(vec![Event::Init, Event::Init]));
        assert!(!after(vec![Event::InitDone]));
        assert!(after(vec![Event::Apply(Node::default())]));
        assert!(!after(vec![Event::Delete(Node::default())]));
    }
}
