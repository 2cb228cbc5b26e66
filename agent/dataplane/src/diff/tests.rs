//! Any sequence of changes, checked after every single write: what a program could see at that moment.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proptest::prelude::*;

use xebec_abi::service::META_SOURCE_RANGES;

use super::frontends::vip;
use super::*;
use crate::maps::MapWriter;
use crate::maps::fake::{FakeMaps, slots_of};
use crate::model::{Protocol, Sets, Vip};

const CAPACITY: Capacity = Capacity { frontends: 64, services: 12, slots4: 96, slots6: 8, backends: 64 };

fn key(service: u8) -> FrontKey {
    FrontKey::at(IpAddr::V4(Ipv4Addr::new(10, 96, 0, service)), 80, Protocol::Tcp)
}

fn endpoint(i: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 244, 0, i)), 8080)
}

fn port(
    service: u8,
    cluster: &BTreeSet<u8>,
    local: &BTreeSet<u8>,
    node_port: Option<u16>,
    affinity: bool,
) -> ServicePort {
    let alias =
        |port| (FrontKey { vip: Vip::Node(Family::V4), port, protocol: Protocol::Tcp }, Kind::NodePort);
    ServicePort {
        name: format!("default/s{service}:80"),
        primary: key(service),
        kind: Kind::ClusterIp,
        aliases: node_port.map(alias).into_iter().collect(),
        internal_local: affinity,
        direct: false,
        external_local: !affinity,
        source_ranges: crate::model::SourceRange::parse("10.0.0.0/8")
            .filter(|_| affinity)
            .into_iter()
            .collect(),
        affinity: affinity.then_some(60),
        sets: Sets {
            cluster: cluster.iter().map(|i| endpoint(*i)).collect(),
            local: local.iter().map(|i| endpoint(*i)).collect(),
            serving: Vec::new(),
        },
    }
}

/// What a program holds in its hands at worst: everything reachable since the last grace period.
#[derive(Default)]
struct Held {
    slots: BTreeSet<u32>,
    backends: BTreeSet<u32>,
    indices: BTreeSet<u32>,
}

impl Held {
    fn look(&mut self, maps: &FakeMaps) {
        for value in maps.frontends.values() {
            self.indices.insert(value.index());
            let meta = maps.metas[&value.index()];
            for at in slots_of(meta.sel_cluster).chain(slots_of(meta.sel_local)) {
                self.slots.insert(at);
                self.backends.insert(maps.slots[&(Family::V4, at)].2);
            }
        }
    }

    /// A write that would change what a program holds under its hands.
    fn violated_by(&self, write: &Write) -> bool {
        match write {
            Write::Slot { at, .. } => self.slots.contains(at),
            Write::Meta { index, .. } => self.indices.contains(index),
            Write::Backend { id, state } => state.is_live() && self.backends.contains(id),
            _ => false,
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Set {
        service: u8,
        cluster: BTreeSet<u8>,
        local: BTreeSet<u8>,
        node_port: bool,
        affinity: bool,
    },
    Remove {
        service: u8,
    },
    /// A grace period begins and ends.
    Grace,
    /// The agent is killed after this many writes of the next change, and another one adopts the maps.
    Kill {
        after: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let set = proptest::collection::btree_set(0_u8..12, 0..9);
    let local = proptest::collection::btree_set(0_u8..14, 0..4);
    let step = prop_oneof![
        6 => (0_u8..8, set, local, any::<bool>(), any::<bool>())
            .prop_map(|(service, cluster, local, node_port, affinity)| Step::Set { service, cluster, local, node_port, affinity }),
        2 => (0_u8..8).prop_map(|service| Step::Remove { service }),
        2 => Just(Step::Grace),
        1 => (0_usize..6).prop_map(|after| Step::Kill { after }),
    ];
    proptest::collection::vec(step, 1..40)
}

/// Every frontend reaches, now, only endpoints of its own service that are live.
fn consistent(maps: &FakeMaps) -> Result<(), TestCaseError> {
    for key in maps.frontends.keys() {
        for local in [false, true] {
            maps.reachable(key, local).map_err(|e| TestCaseError::fail(e.to_string()))?;
        }
    }
    // A service that asks for source ranges has some: no client of its own is ever turned away by a missing one.
    for index in maps.frontends.values().map(|v| v.index()) {
        let asked = maps.metas[&index].flags & META_SOURCE_RANGES != 0;
        prop_assert!(!asked || maps.sources.get(&index).is_some_and(|ranges| !ranges.is_empty()));
    }
    Ok(())
}

fn holds(maps: &FakeMaps, desired: &BTreeMap<FrontKey, ServicePort>) -> Result<(), TestCaseError> {
    let mut keys = BTreeSet::new();
    for port in desired.values() {
        for key in std::iter::once(&port.primary).chain(port.aliases.iter().map(|(k, _)| k)) {
            keys.insert(*key);
            let reach =
                |local| maps.reachable(key, local).unwrap().map(|s| s.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(reach(false), Some(port.sets.cluster.clone()));
            prop_assert_eq!(reach(true), Some(port.sets.local.clone()));
            let meta = maps.metas[&maps.frontends[key].index()];
            prop_assert_eq!((meta.flags, meta.affinity_seconds), (flags(port), port.affinity.unwrap_or(0)));
        }
    }
    prop_assert_eq!(&maps.vips, &keys.iter().filter_map(vip).collect());
    prop_assert_eq!(maps.frontends.keys().copied().collect::<BTreeSet<_>>(), keys);
    Ok(())
}

struct World {
    maps: FakeMaps,
    installed: Installed,
    desired: BTreeMap<FrontKey, ServicePort>,
    held: Held,
    kill_after: Option<usize>,
}

impl World {
    fn change(&mut self, primary: FrontKey, wanted: Option<ServicePort>) -> Result<(), TestCaseError> {
        let Ok(writes) = self.installed.reconcile(&primary, wanted.as_ref()) else {
            // No room: nothing may have changed, which `holds` checks against the old desire.
            return holds(&self.maps, &self.desired);
        };
        let kill = self.kill_after.take().filter(|after| *after < writes.len());
        for write in &writes[..kill.unwrap_or(writes.len())] {
            prop_assert!(!self.held.violated_by(write), "{write:?} is under a program's hands");
            self.maps.write(write).unwrap();
            consistent(&self.maps)?;
            self.held.look(&self.maps);
        }
        match wanted {
            Some(port) => self.desired.insert(primary, port),
            None => self.desired.remove(&primary),
        };
        if kill.is_some() {
            self.adopt()?;
        }
        holds(&self.maps, &self.desired)
    }

    /// A new agent: grace period, snapshot, repairs, then every service once, as the first full sync does.
    fn adopt(&mut self) -> Result<(), TestCaseError> {
        self.held = Held::default();
        let (installed, repairs) = Installed::adopt(CAPACITY, &self.maps.snapshot());
        self.installed = installed;
        for write in repairs {
            self.maps.write(&write).unwrap();
            consistent(&self.maps)?;
        }
        self.held.look(&self.maps);
        let all: BTreeSet<FrontKey> =
            self.installed.primaries().chain(self.desired.keys()).copied().collect();
        for primary in all {
            let desired = self.desired.get(&primary).cloned();
            let Ok(writes) = self.installed.reconcile(&primary, desired.as_ref()) else {
                return Err(TestCaseError::reject("the killed change left too little room to finish it"));
            };
            for write in writes {
                self.maps.write(&write).unwrap();
                consistent(&self.maps)?;
                self.held.look(&self.maps);
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_maps_are_right_after_every_write(steps in steps()) {
        let installed = Installed::new(CAPACITY);
        let (maps, desired, held) = (FakeMaps::default(), BTreeMap::new(), Held::default());
        let mut world = World { maps, installed, desired, held, kill_after: None };
        for step in steps {
            match step {
                Step::Set { service, cluster, local, node_port, affinity } => {
                    let node_port = node_port.then_some(30_000 + u16::from(service));
                    world.change(key(service), Some(port(service, &cluster, &local, node_port, affinity)))?;
                }
                Step::Remove { service } => world.change(key(service), None)?,
                Step::Grace => {
                    if let Some(grace) = world.installed.seal() {
                        world.installed.release(grace);
                    }
                    world.held = Held::default();
                    world.held.look(&world.maps);
                }
                Step::Kill { after } => world.kill_after = Some(after),
            }
        }
        // An agent that starts now finds nothing to do: what is in the maps says all there is to know.
        let (mut next, repairs) = Installed::adopt(CAPACITY, &world.maps.snapshot());
        prop_assert_eq!(repairs, vec![]);
        for (primary, port) in &world.desired {
            prop_assert_eq!(next.reconcile(primary, Some(port)).unwrap(), vec![]);
        }
        // And when everything is gone and the grace period is over, everything is free again.
        for primary in world.desired.keys().copied().collect::<Vec<_>>() {
            world.change(primary, None)?;
        }
        if let Some(grace) = world.installed.seal() {
            world.installed.release(grace);
        }
        prop_assert_eq!(world.installed.slots4.left(), CAPACITY.slots4);
        prop_assert_eq!(world.installed.backends.left(), CAPACITY.backends);
        prop_assert_eq!(world.installed.indices.left(), CAPACITY.services);
        prop_assert!(world.maps.frontends.is_empty());
        prop_assert!(world.maps.sources.values().all(BTreeSet::is_empty));
        prop_assert!(world.maps.backends.values().all(|s| !s.is_live()));
    }
}

fn all(list: &[u8]) -> BTreeSet<u8> {
    list.iter().copied().collect()
}

#[test]
fn an_unchanged_service_costs_nothing_and_an_endpoint_only_its_range() {
    let mut installed = Installed::new(CAPACITY);
    let first = port(1, &all(&[1, 2, 3]), &all(&[2]), Some(30_001), false);
    let writes = installed.reconcile(&first.primary, Some(&first)).unwrap();
    // 3 backends, 3 slots, META, two frontends, the range of node ports, the VIP.
    assert_eq!(writes.len(), 11);
    assert_eq!(installed.reconcile(&first.primary, Some(&first)).unwrap(), vec![]);
    let second = port(1, &all(&[1, 2, 4]), &all(&[2]), Some(30_001), false);
    let writes = installed.reconcile(&first.primary, Some(&second)).unwrap();
    // The new endpoint comes to life before its slot, the selections follow, the old one is retired last.
    assert!(matches!(writes.first(), Some(Write::Backend { id: 3, state }) if state.is_live()));
    assert!(matches!(writes.last(), Some(Write::Backend { id: 2, state }) if !state.is_live()));
    assert_eq!(writes.len(), 1 + 3 + 2 + 1);
}

#[test]
fn freed_numbers_wait_for_the_grace_period() {
    let mut installed = Installed::new(Capacity { backends: 2, ..CAPACITY });
    let first = port(1, &all(&[1, 2]), &all(&[]), None, false);
    installed.reconcile(&first.primary, Some(&first)).unwrap();
    let second = port(1, &all(&[3]), &all(&[]), None, false);
    let full = installed.reconcile(&first.primary, Some(&second)).unwrap_err();
    assert_eq!((full.what, full.wanted, full.left), ("endpoints", 1, 0));
    installed.reconcile(&first.primary, None).unwrap();
    let early = installed.seal().unwrap();
    assert!(installed.reconcile(&second.primary, Some(&second)).is_err());
    installed.release(early);
    assert!(installed.reconcile(&second.primary, Some(&second)).is_ok());
}

#[test]
fn a_frontend_taken_over_is_not_removed_by_its_old_owner() {
    let mut installed = Installed::new(CAPACITY);
    let mut maps = FakeMaps::default();
    let mut apply = |installed: &mut Installed, primary: FrontKey, port: Option<&ServicePort>| {
        installed.reconcile(&primary, port).unwrap().iter().for_each(|w| maps.write(w).unwrap());
        maps.clone()
    };
    let old = port(1, &all(&[1]), &all(&[]), Some(30_000), false);
    let new = port(2, &all(&[2]), &all(&[]), Some(30_000), false);
    apply(&mut installed, old.primary, Some(&old));
    apply(&mut installed, new.primary, Some(&new));
    let maps = apply(&mut installed, old.primary, None);
    let node = new.aliases[0].0;
    assert_eq!(maps.reachable(&node, false), Ok(Some(BTreeSet::from([endpoint(2)]))));
    assert_eq!(maps.reachable(&old.primary, false), Ok(None));
}

proptest! {
    #[test]
    fn ranges_never_overlap_and_merge_back(lens in proptest::collection::vec(1_u32..9, 1..30), order in any::<u64>()) {
        let mut ranges = Ranges::new(100);
        let mut taken: Vec<Range> = lens.iter().filter_map(|len| ranges.take(*len)).collect();
        let mut used = BTreeSet::new();
        for range in &taken {
            for slot in range.base..range.base + range.len {
                prop_assert!(slot < 100 && used.insert(slot));
            }
        }
        let adopted = Ranges::adopt(100, &taken.iter().copied().collect());
        prop_assert_eq!(adopted.left(), ranges.left());
        let mut seed = order;
        while !taken.is_empty() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ranges.give(taken.swap_remove((seed >> 33) as usize % taken.len()));
        }
        prop_assert_eq!(ranges.take(100), Some(Range { base: 0, len: 100 }));
    }
}

#[test]
fn an_address_is_a_vip_while_it_has_a_frontend() {
    let shared = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
    let service = |n: u8| {
        let alias = FrontKey::at(shared, 80 + u16::from(n), Protocol::Tcp);
        ServicePort { aliases: vec![(alias, Kind::ExternalIp)], ..port(n, &all(&[]), &all(&[]), None, false) }
    };
    let (mut installed, mut maps) = (Installed::new(CAPACITY), FakeMaps::default());
    let mut set = |service: &ServicePort, there: bool| {
        for write in installed.reconcile(&service.primary, there.then_some(service)).unwrap() {
            maps.write(&write).unwrap();
        }
        maps.vips.contains(&shared)
    };
    let (one, two) = (service(1), service(2));
    assert!(set(&one, true) && set(&two, true));
    assert!(set(&one, false), "the other still has it");
    assert!(!set(&two, false));
    set(&ServicePort::probe(), true);
    assert!(maps.vips.is_empty(), "the probe's address is nobody's");
    // What an agent killed between two writes left is mended.
    let mut torn = maps.snapshot();
    torn.vips.insert(shared);
    assert!(Installed::adopt(CAPACITY, &torn).1.contains(&Write::RemoveVip { addr: shared }));
}

proptest! {
    /// An address that is ours or another's before and after a change is never taken for nobody's in between.
    #[test]
    fn what_is_allocated_never_looks_free(
        worlds in proptest::collection::vec((proptest::collection::btree_set(0_u8..4, 0..4), proptest::collection::btree_set(0_u8..4, 0..4)), 1..12),
        restart in proptest::collection::vec(any::<bool>(), 12),
    ) {
        let capacity = Capacity { frontends: 64, services: 64, slots4: 64, slots6: 8, backends: 64 };
        let address = |service: u8| vip(&key(service)).unwrap();
        let (mut maps, mut installed) = (FakeMaps::default(), Installed::new(capacity));
        let mut before = BTreeSet::new();
        for ((served, held), restart) in worlds.into_iter().zip(restart) {
            let held: BTreeSet<IpAddr> = held.into_iter().map(address).collect();
            let after: BTreeSet<IpAddr> = served.iter().map(|s| address(*s)).chain(held.iter().copied()).collect();
            let mut repairs = Vec::new();
            if restart {
                (installed, repairs) = Installed::adopt(capacity, &maps.snapshot());
            }
            let mut write = |writes: Vec<Write>| {
                for write in writes {
                    maps.write(&write).unwrap();
                    let known = |a: &&IpAddr| maps.vips.contains(*a) || maps.held.contains(*a);
                    let free = before.intersection(&after).find(|a| !known(a));
                    prop_assert_eq!(free, None, "{:?}", write);
                }
                Ok(())
            };
            write(repairs)?;
            write(installed.hold(&held))?;
            for service in 0..4 {
                let port = served.contains(&service).then(|| port(service, &BTreeSet::from([1]), &BTreeSet::new(), None, false));
                write(installed.reconcile(&key(service), port.as_ref()).unwrap())?;
            }
            write(installed.hold_only(&held))?;
            let ours: BTreeSet<IpAddr> = served.iter().map(|s| address(*s)).collect();
            prop_assert_eq!(&maps.held, &held.difference(&ours).copied().collect());
            prop_assert_eq!(&maps.vips, &ours);
            before = after;
        }
    }
}
