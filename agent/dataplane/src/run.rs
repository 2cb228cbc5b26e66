//! The dataplane's life: load, attach, prove, adopt, follow the API. Called by the agent.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use parking_lot::{Mutex, RwLock};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error, warn};

use crate::addresses::Notices;
use crate::apply::Applier;
use crate::devices::Devices;
use crate::drain::worker::Drained;
use crate::events::ServiceEvents;
use crate::health::{self, Checks, Places, Status};
use crate::install::install;
use crate::maps::pinned::PinnedMaps;
use crate::metrics::{self, Exporter, ProxyMetrics};
use crate::node::OwnNode;
use crate::packet_pods;
use crate::refresh::Refresh;
use crate::reserved::reserve_ports;
use crate::sctp;
use crate::sources::Sources;
use crate::tunnel::follow::Direct;
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
    let healthz = listen("--healthz-bind-address", options.healthz)?;
    let exports = listen("--metrics-bind-address", options.metrics)?;
    let status = Arc::new(RwLock::new(Status::default()));
    let metrics = Arc::new(Mutex::new(ProxyMetrics::new(Timestamp::now())));
    let _healthz = healthz.map(|listener| {
        let answers = health::serve(listener, Arc::clone(&status), Arc::clone(&metrics));
        AbortOnDropHandle::new(tokio::spawn(answers))
    });
    let events = ServiceEvents::new(client.clone(), "kube-proxy", options.node_name.clone());
    let mut checks = Checks::new(Arc::clone(&status), events.clone());
    let (applier, mut devices) = install(&options)?;
    let applier = Arc::new(Mutex::new(applier));
    let (drained, _draining) = follow_drained(&mut devices, &applier);
    let sources = Sources::start(Arc::clone(&applier)).map_err(DataplaneError::Addresses)?;
    let sctp = sctp::Worker::start(sctp::Table::new(sctp::Kernel, &options.pin_dir), events.clone());
    let exporter = Exporter {
        metrics: Arc::clone(&metrics),
        applier: Arc::clone(&applier),
        drained: drained.clone(),
        sctp: sctp.state(),
        more: options.more_metrics.clone(),
    };
    let _exports =
        exports.map(|listener| AbortOnDropHandle::new(tokio::spawn(metrics::serve(listener, exporter))));
    if options.devices.as_ref().is_none_or(|only| !only.is_empty())
        && let Err(error) = reserve_ports(&options.pin_dir)
    {
        warn!(%error, "cannot reserve the ports of translated sources, or not remember that for --cleanup");
    }
    let addresses = Notices::of_addresses().map_err(DataplaneError::Addresses)?;
    let mut own = OwnNode::default();
    let (mut places, mut refresh) = (Places::new(), Refresh::default());
    refresh.all(&applier, &mut devices, &options, own.facts(), (&mut places, &sctp));
    let mut collection = tokio::time::interval(COLLECTION);
    collection.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let config = || watcher::Config::default();
    let mut services = pin!(watcher(Api::<Service>::all(client.clone()), config()).default_backoff());
    let mut slices = pin!(watcher(Api::<EndpointSlice>::all(client.clone()), config()).default_backoff());
    let mut cidrs = pin!(watcher(Api::<ServiceCIDR>::all(client.clone()), config()).default_backoff());
    let only_own = config().fields(&format!("metadata.name={}", options.node_name));
    let mut nodes = pin!(watcher(Api::<Node>::all(client.clone()), only_own).default_backoff());
    let mut direct = Direct::new(client, &options)?;
    let mut world = World::default();
    let mut host_ports = options.host_ports.follow();
    world.set_host_ports(&host_ports.take());
    let mut behind = false;
    loop {
        tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            event = services.next() => take(event, "services", |e| world.service(e)),
            event = slices.next() => take(event, "endpointslices", |e| world.slice(e)),
            event = cidrs.next() => follow_ranges(event, &mut world),
            event = nodes.next() => {
                let known = own.is_settled();
                if follow_node(event, &mut own, &mut status.write()) {
                    applier.lock().set_zone(own.facts().zone.as_deref(), &mut world);
                    refresh.all(&applier, &mut devices, &options, own.facts(), (&mut places, &sctp));
                    direct.stale = true;
                } else if known {
                    continue;
                }
            }
            event = direct.next() => take(event, "nodes", |e| world.node(e)),
            () = options.packet_pods.arrival() => {
                let own = packet_pods::own_addresses(&options, own.facts());
                options.packet_pods.serve_all(&applier, &mut devices, &own);
                continue;
            }
            () = host_ports.changed() => world.set_host_ports(&host_ports.take()),
            changed = addresses.changed() => {
                changed.map_err(DataplaneError::Addresses)?;
                behind |= refresh.all(&applier, &mut devices, &options, own.facts(), (&mut places, &sctp));
                direct.stale = true;
                behind |= !devices.waits() && direct.prepare(&mut world, &mut devices, own.facts());
                continue;
            }
            _ = collection.tick() => {
                collect_flows(&applier);
                if refresh.has_failed() || packet_pods::is_one_gone(applier.lock().maps()) {
                    behind |= refresh.all(&applier, &mut devices, &options, own.facts(), (&mut places, &sctp));
                }
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
        for (service, uid, note) in world.take_notes() {
            events.write(&service, &uid, note);
        }
        metrics.lock().queue(world.changes().services, world.changes().slices, Timestamp::now());
        // Before the node's zone is known, hints could only be read wrong.
        if world.synced() && own.is_settled() {
            let start = Instant::now();
            let from = own.facts().addresses_beside(&options.node_ips);
            sources.prepare(world.has_source_ranges(), from).await;
            // The tunnel is one of the hooks that may still be another layout's.
            let mut unprepared = !devices.waits() && direct.prepare(&mut world, &mut devices, own.facts());
            let unwritten = step(&applier, &mut world, &options);
            if devices.waits() && applier.lock().is_complete() && go_live(&mut devices, &options) {
                refresh.all(&applier, &mut devices, &options, own.facts(), (&mut places, &sctp));
                unprepared |= direct.prepare(&mut world, &mut devices, own.facts());
            }
            // Without it everything is served, by the node's own address.
            let indirect = unprepared | devices.waits() | direct.finish();
            if let Some(ports) = applier.lock().take_sctp() {
                sctp.want(|wanted| (wanted.ports, wanted.services) = (Some(ports), world.sctp_services()));
            }
            if applier.lock().take_drain() {
                drained.want();
            }
            if !applier.lock().is_host_port_behind() {
                host_ports.applied();
            }
            let triggers = (!unwritten).then(|| world.settle());
            metrics.lock().applied(start.elapsed(), triggers.as_deref(), Timestamp::now());
            status.write().applied(unwritten, Timestamp::now(), Instant::now());
            behind =
                checks.sync(&world.health_checks(&options.node_name), &places).await || unwritten || indirect;
        }
    }
}

/// Swaps the links of a layout that could not be read, now that our tables say all; false if that is to be tried again.
fn go_live(devices: &mut Devices, options: &Options) -> bool {
    match devices.go_live() {
        Ok(()) => {
            options.health.send_modify(|health| health.attached = true);
            true
        }
        Err(error) => {
            error!(error = %xebec_program::chain(&error), "another layout's programs serve on; will try again");
            false
        }
    }
}

/// Takes an address, if there is to be one.
fn listen(
    option: &'static str,
    address: Option<SocketAddr>,
) -> Result<Option<tokio::net::TcpListener>, DataplaneError> {
    let Some(address) = address else { return Ok(None) };
    health::bind(address).map(Some).map_err(|source| DataplaneError::Listen { option, address, source })
}

/// An event of the own Node, or that there are none for now; true if what is known of it changed.
fn follow_node(
    event: Option<Result<watcher::Event<Node>, watcher::Error>>,
    own: &mut OwnNode,
    status: &mut Status,
) -> bool {
    let mut changed = false;
    if matches!(event, Some(Err(_))) {
        own.give_up();
    }
    take(event, "nodes", |event| changed = own.follow(event, status));
    changed
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
            for missing in &applied.rowless {
                warn!("{missing}");
            }
            !applied.full.is_empty()
        }
        Err(error) => {
            error!(error = %xebec_program::chain(&error), "cannot write a map; will try again");
            true
        }
    };
    let behind = behind | write_ranges(&mut guard, world);
    let grace = guard.seal();
    let len = guard.len();
    drop(guard);
    options.health.send_if_modified(|health| {
        let next = crate::Health { attached: health.attached, synced: true, service_ports: len, behind };
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

/// Writes the networks of ClusterIPs once every Service is in the maps; true if that has to be tried again.
fn write_ranges(applier: &mut Applier<PinnedMaps>, world: &World) -> bool {
    let Some(ranges) = world.ranges().filter(|_| applier.is_complete()) else { return false };
    match applier.maps().set_cluster_ranges(&ranges) {
        Ok(left) => {
            for range in left {
                warn!(cidr = %format!("{}/{}", range.addr, range.bits), "more networks of ClusterIPs than fit; calls to its unallocated addresses are not refused");
            }
            false
        }
        Err(error) => {
            error!(error = %xebec_program::chain(&error), "cannot write the networks of ClusterIPs; will try again");
            true
        }
    }
}

/// An event of ServiceCIDRs. Where there are none (clusters before 1.33), or where they may not be read, addresses
/// without a Service are like any others.
fn follow_ranges(event: Option<Result<watcher::Event<ServiceCIDR>, watcher::Error>>, world: &mut World) {
    match event {
        Some(Err(error)) if is_absent(&error) => {
            debug!(%error, "no ServiceCIDRs: unallocated addresses are not refused");
            world.no_service_cidrs();
        }
        event => take(event, "servicecidrs", |event| world.service_cidr(event)),
    }
}

/// Whether a list failed as the API has no such kind, or not for us: RBAC refuses before the kind is looked for.
fn is_absent(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::InitialListFailed(kube::Error::Api(status)) if matches!(status.code, 403 | 404))
}

fn take<T>(event: Option<Result<T, watcher::Error>>, what: &'static str, put: impl FnOnce(T)) {
    match event {
        Some(Ok(event)) => put(event),
        Some(Err(error)) => {
            warn!(what, error = %xebec_program::chain(&error), "watch failed; the tables stay as they are")
        }
        None => {}
    }
}

/// Starts to release sockets of endpoints that left, when it is asked to; a kernel that cannot goes without.
fn follow_drained(
    devices: &mut Devices,
    applier: &Arc<Mutex<Applier<PinnedMaps>>>,
) -> (Drained, Option<AbortOnDropHandle<()>>) {
    let drained = Drained::default();
    let applier = Arc::clone(applier);
    let following = match devices.drain() {
        Ok(drain) => {
            let serves = move |vip: &SocketAddr, endpoint: &SocketAddr| applier.lock().serves(vip, endpoint);
            Some(AbortOnDropHandle::new(tokio::spawn(drained.clone().follow(drain, serves))))
        }
        Err(error) => {
            warn!(error = %xebec_program::chain(&error), "connected UDP sockets of endpoints that leave stay");
            None
        }
    };
    (drained, following)
}

fn collect_flows(applier: &Mutex<Applier<PinnedMaps>>) {
    match applier.lock().collect(sys::monotonic()) {
        Ok((0, 0)) => {}
        Ok((removed, restored)) => debug!(removed, restored, "collected flows"),
        Err(error) => warn!(error = %xebec_program::chain(&error), "cannot collect flows; will try again"),
    }
}
