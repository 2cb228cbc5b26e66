//! Any sequence of changes, checked after every single write: what a program could see at that moment.

mod rows;
mod vips;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proptest::prelude::*;

use xebec_abi::service::META_SOURCE_RANGES;

use super::frontends::vip;
use super::rows::range as row_range;
use super::*;
use crate::maps::MapWriter;
use crate::maps::fake::{Broken, FakeMaps, slots_of};
use crate::model::{Protocol, Sets, Vip};

const CAPACITY: Capacity =
    Capacity { frontends: 64, services: 12, slots4: 96, slots6: 8, backends: 64, rows: 2600 };

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
        // Few, since a row takes long to make where nothing is optimised.
        consistent: node_port.is_some() && service < 4,
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
    rows: BTreeSet<Range>,
    backends: BTreeSet<u32>,
    indices: BTreeSet<u32>,
}

impl Held {
    fn look(&mut self, maps: &FakeMaps) {
        for value in maps.frontends.values() {
            self.indices.insert(value.index());
            let meta = maps.metas[&value.index()];
            self.rows.extend(row_range(meta.lut));
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
            Write::Row { at, elements } => {
                let end = at + elements.len() as u32;
                self.rows.iter().any(|row| row.base < end && *at < row.base + row.len)
            }
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
    /// The agent is killed after this many writes of the next change, or before as many of the last ones, and another one
    /// adopts the maps.
    Kill {
        after: usize,
        from_end: bool,
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
        1 => (0_usize..6, any::<bool>()).prop_map(|(after, from_end)| Step::Kill { after, from_end }),
    ];
    proptest::collection::vec(step, 1..40)
}

/// Every frontend reaches, now, only endpoints of its own service that are live.
fn consistent(maps: &FakeMaps, changed: &FrontKey) -> Result<(), TestCaseError> {
    let fail = |e: Broken| TestCaseError::fail(e.to_string());
    for key in maps.frontends.keys() {
        for local in [false, true] {
            maps.reachable(key, local).map_err(fail)?;
        }
    }
    // Rows of others are not written to, as `Held` knows.
    maps.row(changed).map_err(fail)?;
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
    kill: Option<(usize, bool)>,
}

impl World {
    fn change(&mut self, primary: FrontKey, wanted: Option<ServicePort>) -> Result<(), TestCaseError> {
        let Ok(writes) = self.installed.reconcile(&primary, wanted.as_ref()) else {
            // No room: nothing may have changed, which `holds` checks against the old desire.
            return holds(&self.maps, &self.desired);
        };
        let kill = self.kill.take().and_then(|(after, from_end)| {
            let after = if from_end { writes.len().checked_sub(after + 1)? } else { after };
            (after < writes.len()).then_some(after)
        });
        for write in &writes[..kill.unwrap_or(writes.len())] {
            prop_assert!(!self.held.violated_by(write), "{write:?} is under a program's hands");
            self.maps.write(write).unwrap();
            consistent(&self.maps, &primary)?;
            self.held.look(&self.maps);
        }
        match wanted {
            Some(port) => self.desired.insert(primary, port),
            None => self.desired.remove(&primary),
        };
        if kill.is_some() {
            self.adopt()?;
        }
        self.row_holds(&primary)?;
        holds(&self.maps, &self.desired)
    }

    /// The row is that of the endpoints, or there is none and that is known.
    fn row_holds(&self, primary: &FrontKey) -> Result<(), TestCaseError> {
        let row = self.maps.row(primary).unwrap();
        let desired = self.desired.get(primary);
        let wanted = desired.filter(|port| port.consistent).map_or(&[][..], |port| &port.sets.cluster);
        let made: Vec<SocketAddr> =
            maglev::row(wanted).into_iter().flatten().map(|at| wanted[usize::from(at)]).collect();
        let lost = self.installed.rowless.contains_key(primary);
        prop_assert!(row == made || row.is_empty() && lost, "{} of {} {lost}", row.len(), made.len());
        prop_assert!(!lost || row.is_empty());
        Ok(())
    }

    /// A new agent: grace period, snapshot, repairs, then every service once, as the first full sync does.
    fn adopt(&mut self) -> Result<(), TestCaseError> {
        self.held = Held::default();
        let (installed, repairs) = Installed::adopt(CAPACITY, &self.maps.snapshot());
        self.installed = installed;
        for write in repairs {
            self.maps.write(&write).unwrap();
            consistent(&self.maps, &key(0))?;
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
                consistent(&self.maps, &primary)?;
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
        let mut world = World { maps, installed, desired, held, kill: None };
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
                Step::Kill { after, from_end } => world.kill = Some((after, from_end)),
            }
        }
        // An agent that starts now finds nothing to do: what is in the maps says all there is to know.
        let (mut next, repairs) = Installed::adopt(CAPACITY, &world.maps.snapshot());
        prop_assert_eq!(repairs, vec![]);
        for (primary, port) in &world.desired {
            let mut writes = next.reconcile(primary, Some(port)).unwrap();
            if world.installed.rowless.contains_key(primary) {
                // Room for a row, maybe, as nothing waits.
                writes.retain(|write| !matches!(write, Write::Row { .. } | Write::Lut { .. }));
            }
            prop_assert_eq!(writes, vec![]);
        }
        // And when everything is gone and the grace period is over, everything is free again.
        for primary in world.desired.keys().copied().collect::<Vec<_>>() {
            world.change(primary, None)?;
        }
        if let Some(grace) = world.installed.seal() {
            world.installed.release(grace);
        }
        prop_assert_eq!(world.installed.slots4.left(), CAPACITY.slots4);
        prop_assert_eq!(world.installed.rows.left(), CAPACITY.rows);
        prop_assert!(world.installed.rowless.is_empty());
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
    // The row, 3 backends, 3 slots, META, two frontends, the range of node ports, the VIP.
    assert_eq!(writes.len(), 12);
    assert_eq!(installed.reconcile(&first.primary, Some(&first)).unwrap(), vec![]);
    let second = port(1, &all(&[1, 2, 4]), &all(&[2]), Some(30_001), false);
    let writes = installed.reconcile(&first.primary, Some(&second)).unwrap();
    // The new endpoint comes to life before its slot, the selections and the row's name follow, the old one is retired last.
    assert!(matches!(writes.get(1), Some(Write::Backend { id: 3, state }) if state.is_live()));
    assert!(matches!(writes.last(), Some(Write::Backend { id: 2, state }) if !state.is_live()));
    assert_eq!(writes.len(), 1 + 1 + 3 + 3 + 1);
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
