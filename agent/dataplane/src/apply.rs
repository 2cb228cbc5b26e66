//! Decisions to effects: holds what should be ([`Tables`]), what is ([`Installed`]) and the door to the maps, and
//! brings the second to the first, one Service at a time. Called by run; tests drive it with the fake maps.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::compile::facts::Owner;
use crate::compile::{Place, Tables, compile};
use crate::diff::{Full, Grace, Installed, NoRow};
use crate::hostports;
use crate::maps::pinned::PinnedMaps;
use crate::maps::{Capacity, MapError, MapWriter, Snapshot, Write};
use crate::metrics::{Fill, Named, NoLocal};
use crate::model::{Family, FrontKey, Protocol, ServicePort, Vip};
use crate::world::World;

/// Brings the maps to what the API says.
#[derive(Debug)]
pub struct Applier<W> {
    tables: Tables,
    installed: Installed,
    maps: W,
    capacity: Capacity,
    place: Place,
    complete: bool,
    /// What others have, while that is not wholly applied.
    held: Option<BTreeSet<IpAddr>>,
    /// Endpoints of UDP ports left: sockets may be connected to them.
    drain: bool,
    /// Service ports that did not fit or could not be written, tried again with every change.
    behind: BTreeSet<FrontKey>,
    /// Those of SCTP, which the maps do not hold.
    sctp: BTreeMap<FrontKey, ServicePort>,
    /// They changed since [`Applier::take_sctp`].
    sctp_changed: bool,
    /// The programs do not know all of their addresses yet.
    unclaimed: bool,
}

/// What one application did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Map writes.
    pub writes: usize,
    /// Service ports that did not fit: what they had before stays in force.
    pub full: Vec<Full>,
    /// Service ports without the Maglev row that they ask for, each told once.
    pub rowless: Vec<NoRow>,
}

impl<W: MapWriter> Applier<W> {
    /// Takes over what the maps hold. Nothing that works is touched.
    ///
    /// # Errors
    /// A map refused a write.
    pub fn adopt(
        mut maps: W,
        capacity: Capacity,
        snapshot: &Snapshot,
        place: Place,
    ) -> Result<Self, MapError> {
        let (installed, repairs) = Installed::adopt(capacity, snapshot);
        for write in &repairs {
            maps.write(write)?;
        }
        let (tables, behind) = (Tables::default(), BTreeSet::new());
        let mut applier = Self {
            tables,
            installed,
            maps,
            capacity,
            place,
            complete: false,
            held: None,
            drain: false,
            behind,
            sctp: BTreeMap::new(),
            sctp_changed: true,
            unclaimed: true,
        };
        let probe = ServicePort::probe();
        applier.reconcile(&probe.primary, Some(&probe), &mut Applied::default())?;
        Ok(applier)
    }

    /// Service ports in the maps, the probe's included.
    pub fn len(&self) -> usize {
        self.installed.len()
    }

    /// Whether the maps hold nothing.
    pub fn is_empty(&self) -> bool {
        self.installed.is_empty()
    }

    /// Where this node is.
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// Whether something did not fit or could not be written.
    pub fn is_behind(&self) -> bool {
        !self.behind.is_empty()
    }

    /// Whether that is so of a pod's hostPort.
    pub fn is_host_port_behind(&self) -> bool {
        self.behind.iter().any(FrontKey::is_host_port)
    }

    /// How full the maps are.
    pub fn fill(&self) -> Vec<Fill> {
        self.installed.fills(self.capacity)
    }

    /// Index, name and primary frontend of every service port in the maps whose name is known by now, in the order of
    /// the frontends.
    pub fn service_ports(&self) -> Vec<(u32, String, FrontKey)> {
        let mut ports: Vec<_> = self
            .installed
            .indices()
            .filter_map(|(key, index)| Some((index, self.tables.name(key)?.to_owned(), *key)))
            .collect();
        ports.sort_unstable_by_key(|(_, _, key)| *key);
        ports
    }

    /// As [`Applier::service_ports`], for the answer to `xebec-agent dataplane`.
    pub fn names(&self) -> Vec<Named> {
        self.service_ports().into_iter().map(|(index, name, _)| Named { index, name }).collect()
    }

    /// Service ports that a Local traffic policy leaves without endpoints here, of IPv4 and of IPv6.
    pub fn no_local(&self) -> [NoLocal; 2] {
        let mut out = [NoLocal::default(); 2];
        for port in self.tables.without_local() {
            let count = &mut out[usize::from(port.primary.family() == Family::V6)];
            count.internal += usize::from(port.internal_local);
            count.external += usize::from(port.external_local && !port.aliases.is_empty());
        }
        out
    }

    /// Whether the maps followed the API wholly at least once.
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    /// The service ports of SCTP, if they may have changed since the last call; not before the API was followed wholly.
    pub fn take_sctp(&mut self) -> Option<Vec<ServicePort>> {
        let changed = self.complete && std::mem::take(&mut self.sctp_changed);
        changed.then(|| self.sctp.values().cloned().collect())
    }

    /// The maps.
    pub fn maps(&mut self) -> &mut W {
        &mut self.maps
    }

    /// Where this node is, which decides about endpoints' hints; everything is compiled again if that is news.
    pub fn set_zone(&mut self, zone: Option<&str>, world: &mut World) {
        if self.place.zone.as_deref() != zone {
            self.place.zone = zone.map(str::to_owned);
            world.touch_all();
        }
    }

    /// Applies the Services that changed. The first call with a complete world also removes what the maps hold and
    /// the API does not; before that nothing is done at all, since half a world looks like deletions.
    ///
    /// # Errors
    /// A map refused a write; the service port is tried again with the next change.
    pub fn apply(&mut self, world: &mut World) -> Result<Applied, MapError> {
        let mut applied = Applied::default();
        if !world.synced() {
            return Ok(applied);
        }
        if let Some(held) = world.take_held() {
            self.held = Some(held);
        }
        let mut failure = self.hold().err();
        let mut dirty = std::mem::take(&mut self.behind);
        for owner in world.take_dirty() {
            dirty.extend(self.recompile(&owner, world));
        }
        if !self.complete {
            dirty.extend(self.installed.primaries());
            dirty.extend(self.tables.primaries());
            dirty.remove(&ServicePort::probe().primary);
        }
        dirty.extend(self.installed.take_crowded());
        let (sctp, dirty): (BTreeSet<_>, BTreeSet<_>) =
            dirty.into_iter().partition(|primary| primary.protocol == Protocol::Sctp);
        sctp.iter().for_each(|primary| self.set_sctp(primary));
        if let Err(error) = self.claim() {
            failure.get_or_insert(error);
        }
        for primary in dirty {
            let desired = self.tables.effective(&primary);
            if let Err(error) = self.reconcile(&primary, desired.as_ref(), &mut applied) {
                self.behind.insert(primary);
                failure.get_or_insert(error);
            }
        }
        applied.rowless = self.installed.take_rowless();
        match failure {
            Some(error) => Err(error),
            None => {
                if std::mem::take(&mut self.unclaimed) {
                    let gone = self.installed.claim_only(&self.sctp_addresses());
                    gone.iter().try_for_each(|write| self.maps.write(write))?;
                }
                if let Some(held) = self.held.take() {
                    let gone = self.installed.hold_only(&held);
                    gone.iter().try_for_each(|write| self.maps.write(write))?;
                }
                if !self.complete {
                    self.maps.write(&Write::Synced)?;
                    self.complete = true;
                    // What left while no agent ran.
                    self.drain = true;
                }
                Ok(applied)
            }
        }
    }

    /// Makes what others have known to be held, before anything of ours is taken away.
    fn hold(&mut self) -> Result<(), MapError> {
        let Some(held) = &self.held else { return Ok(()) };
        let writes = self.installed.hold(held);
        let result = writes.iter().try_for_each(|write| self.maps.write(write));
        if result.is_err() {
            // All of it is written again with the next change.
            self.installed.hold_only(&BTreeSet::new());
        }
        result
    }

    /// Takes over what the service port of SCTP at a frontend has become.
    fn set_sctp(&mut self, primary: &FrontKey) {
        let desired = self.tables.effective(primary);
        if self.sctp.get(primary) == desired.as_ref() {
            return;
        }
        (self.sctp_changed, self.unclaimed) = (true, true);
        match desired {
            Some(port) => drop(self.sctp.insert(*primary, port)),
            None => drop(self.sctp.remove(primary)),
        }
    }

    fn sctp_addresses(&self) -> BTreeSet<IpAddr> {
        let of = |port: &ServicePort| -> Vec<FrontKey> {
            port.aliases.iter().map(|(key, _)| *key).chain([port.primary]).collect()
        };
        let address = |key: FrontKey| if let Vip::Address(addr) = key.vip { Some(addr) } else { None };
        self.sctp.values().flat_map(of).filter_map(address).collect()
    }

    /// Lets the programs know the addresses of SCTP, before anything of ours is taken away.
    fn claim(&mut self) -> Result<(), MapError> {
        if !self.unclaimed {
            return Ok(());
        }
        let writes = self.installed.claim(&self.sctp_addresses());
        let result = writes.iter().try_for_each(|write| self.maps.write(write));
        if result.is_err() {
            // All of it is written again with the next change.
            self.installed.claim_only(&BTreeSet::new());
        }
        result
    }

    fn recompile(&mut self, owner: &Owner, world: &World) -> BTreeSet<FrontKey> {
        let before = self.tables.answering(owner);
        let dirty = match world.get(owner) {
            Some((service, slices)) => {
                let ports = compile(owner, service, &slices, &self.place);
                self.tables.set(owner, service.created, ports)
            }
            None => {
                let pod = world.host_ports(owner);
                let ports = pod.map(hostports::compile).unwrap_or_default();
                self.tables.set(owner, pod.map_or(0, |pod| pod.created), ports)
            }
        };
        self.drain |= !before.is_subset(&self.tables.answering(owner));
        dirty
    }

    /// Whether endpoints of UDP ports left since the last call, or may have left before the first full application.
    pub fn take_drain(&mut self) -> bool {
        self.complete && std::mem::take(&mut self.drain)
    }

    /// Whether an endpoint still answers for what a UDP socket asked for: selected, or terminating and serving, or
    /// meant for other places.
    pub fn serves(&self, vip: &SocketAddr, endpoint: &SocketAddr) -> bool {
        serves(&self.tables, vip, endpoint)
    }

    fn reconcile(
        &mut self,
        primary: &FrontKey,
        desired: Option<&ServicePort>,
        applied: &mut Applied,
    ) -> Result<(), MapError> {
        match self.installed.reconcile(primary, desired) {
            Ok(writes) => {
                applied.writes += writes.len();
                writes.iter().try_for_each(|write| self.maps.write(write))
            }
            Err(full) => {
                self.behind.insert(*primary);
                applied.full.push(full);
                Ok(())
            }
        }
    }

    /// See [`Installed::seal`].
    pub fn seal(&mut self) -> Option<Grace> {
        self.installed.seal()
    }

    /// See [`Installed::release`].
    pub fn release(&mut self, grace: Grace) {
        self.installed.release(grace);
    }
}

fn serves(tables: &Tables, vip: &SocketAddr, endpoint: &SocketAddr) -> bool {
    let (ip, family) = (vip.ip(), Family::of(&vip.ip()));
    let all = [Vip::Address(ip), Vip::Node(family), Vip::HostAddress(ip), Vip::Host(family)];
    all.into_iter().any(|at| {
        let frontend = FrontKey { vip: at, port: vip.port(), protocol: Protocol::Udp };
        tables.answers(&frontend, endpoint)
    })
}

impl Applier<PinnedMaps> {
    /// Collects flows at a time (monotonic nanoseconds), as [`Tracked::collect`](crate::maps::tracked::Tracked::collect); once the
    /// API was followed wholly, those of datagrams, too, whose endpoint answers for the VIP no more.
    ///
    /// # Errors
    /// The kernel's; call again.
    pub fn collect(&mut self, now: u64) -> Result<(usize, usize), MapError> {
        let (tables, complete) = (&self.tables, self.complete);
        self.maps.tracked().collect(now, |vip, endpoint| complete && !serves(tables, vip, endpoint))
    }
}
