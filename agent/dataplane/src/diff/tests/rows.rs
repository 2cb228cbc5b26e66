//! Rows come, go, and wait for room.

use std::collections::BTreeSet;

use xebec_abi::service::Sel;

use super::{CAPACITY, all, key, port};
use crate::diff::{Installed, NoRow, Why};
use crate::maps::fake::FakeMaps;
use crate::maps::{Capacity, MapWriter, Write};
use crate::model::ServicePort;

/// Room for three rows of few endpoints.
const ROOM: u32 = 3 * 626;

struct Node {
    installed: Installed,
    maps: FakeMaps,
}

impl Node {
    fn new(rows: u32) -> Self {
        Self { installed: Installed::new(Capacity { rows, ..CAPACITY }), maps: FakeMaps::default() }
    }

    fn set(&mut self, port: &ServicePort) -> Vec<Write> {
        let writes = self.installed.reconcile(&port.primary, Some(port)).unwrap();
        writes.iter().for_each(|write| self.maps.write(write).unwrap());
        writes
    }

    fn grace(&mut self) {
        let grace = self.installed.seal().unwrap();
        self.installed.release(grace);
    }
}

/// A service port of these endpoints, which asks for a row or not.
fn asks(service: u8, endpoints: &[u8], row: bool) -> ServicePort {
    port(service, &all(endpoints), &BTreeSet::new(), row.then_some(30_000 + u16::from(service)), false)
}

/// Which kinds of writes that matter to a row, in their order.
fn order(writes: &[Write]) -> Vec<&'static str> {
    let kind = |write: &Write| match write {
        Write::Row { .. } => Some("row"),
        Write::Slot { .. } => Some("slot"),
        Write::Meta { .. } => Some("meta"),
        Write::Select { local: false, .. } => Some("cluster"),
        Write::Select { local: true, .. } => Some("local"),
        Write::Lut { lut, .. } if *lut == Sel::default() => Some("no lut"),
        Write::Lut { .. } => Some("lut"),
        _ => None,
    };
    let mut order: Vec<_> = writes.iter().filter_map(kind).collect();
    order.dedup();
    order
}

#[test]
fn a_row_is_there_before_it_is_named_and_gone_after() {
    let mut node = Node::new(2 * ROOM);
    assert_eq!(order(&node.set(&asks(1, &[1, 2], true))), ["row", "slot", "meta"]);
    assert_eq!(order(&node.set(&asks(1, &[1, 2, 3], true))), ["row", "slot", "cluster", "local", "lut"]);
    // One endpoint needs no choice.
    assert_eq!(order(&node.set(&asks(1, &[1], true))), ["no lut", "slot", "cluster", "local"]);
    assert_eq!(order(&node.set(&asks(1, &[1, 2], true))), ["row", "slot", "cluster", "local", "lut"]);
    // Asked for or not, with the same endpoints.
    assert_eq!(order(&node.set(&asks(1, &[1, 2], false))), ["no lut"]);
    assert_eq!(order(&node.set(&asks(1, &[1, 2], true))), ["row", "lut"]);
    assert_eq!(order(&node.set(&asks(1, &[1, 2], true))), [""; 0]);
}

#[test]
fn a_service_port_without_room_for_a_row_works_and_gets_one_later() {
    // Of two endpoints 626 elements.
    let mut node = Node::new(1000);
    let (first, second) = (asks(1, &[1, 2], true), asks(2, &[3, 4], true));
    node.set(&first);
    assert_eq!(order(&node.set(&second)), ["slot", "meta"]);
    assert_eq!(node.maps.reachable(&second.primary, false).unwrap().map(|all| all.len()), Some(2));
    let missing = NoRow { service: second.name.clone(), endpoints: 2, why: Why::Room(626) };
    assert_eq!(node.installed.take_rowless(), std::slice::from_ref(&missing));
    let text = missing.to_string();
    assert!(text.contains("default/s2:80") && text.contains("--bpf-max-endpoints"), "{text}");
    // Its next changes say nothing, and there is nothing to be tried before room is there.
    node.set(&asks(2, &[3, 5], true));
    assert_eq!((node.installed.take_rowless(), node.installed.take_crowded()), (vec![], vec![]));
    node.set(&asks(1, &[1, 2], false));
    assert_eq!(node.installed.take_crowded(), []);
    node.grace();
    assert_eq!(node.installed.take_crowded(), [key(2)]);
    assert_eq!(node.installed.take_crowded(), [], "tried once for each time that room is made");
    assert_eq!(order(&node.set(&asks(2, &[3, 5], true))), ["row", "lut"]);
    assert_eq!(node.maps.row(&key(2)).unwrap().len(), 2503);
}

#[test]
fn too_many_endpoints_are_told_and_chosen_from() {
    let rows = 1 << 17;
    let size = Capacity { slots4: 100_000, backends: 50_000, rows, ..CAPACITY };
    let mut installed = Installed::new(size);
    let many = |count: u32| {
        let endpoint = |i: u32| (std::net::Ipv4Addr::from_bits(0x0a00_0000 + i), 80).into();
        let mut port = asks(1, &[], true);
        port.sets.cluster = (0..count).map(endpoint).collect();
        port
    };
    let has_row = |installed: &mut Installed, count| {
        let writes = installed.reconcile(&key(1), Some(&many(count))).unwrap();
        order(&writes).contains(&"row")
    };
    assert!(has_row(&mut installed, 13_107));
    assert!(!has_row(&mut installed, 13_108));
    let why = installed.take_rowless().into_iter().map(|missing| (missing.endpoints, missing.why));
    assert_eq!(why.collect::<Vec<_>>(), [(13_108, Why::Endpoints)]);
    let grace = installed.seal().unwrap();
    installed.release(grace);
    assert_eq!(installed.take_crowded(), [], "room would not help");
}

#[test]
fn what_a_killed_agent_had_not_named_is_named_by_the_next() {
    let (old, new) = (asks(1, &[1, 2], true), asks(1, &[1, 2, 3], true));
    let mut before = Node::new(ROOM);
    before.set(&old);
    let writes = before.installed.clone().reconcile(&key(1), Some(&new)).unwrap();
    let named = writes.iter().position(|write| matches!(write, Write::Lut { .. })).unwrap();
    let mut torn = before.maps.clone();
    writes[..named].iter().for_each(|write| torn.write(write).unwrap());
    assert_eq!(torn.row(&key(1)).unwrap(), [], "of another generation");
    let (installed, repairs) = Installed::adopt(Capacity { rows: ROOM, ..CAPACITY }, &torn.snapshot());
    assert_eq!(repairs, []);
    // The range of the row that is still named is not given to another before a grace period.
    assert_eq!(installed.rows.left(), ROOM - 626);
    let mut next = Node { installed, maps: torn };
    assert_eq!(order(&next.set(&new)), ["row", "lut"]);
    assert_eq!(next.maps.row(&key(1)).unwrap().len(), 2503);
    next.grace();
    assert_eq!(next.installed.rows.left(), ROOM - 626);
    // One that nobody asks for any more loses its name.
    let (installed, _) = Installed::adopt(Capacity { rows: ROOM, ..CAPACITY }, &next.maps.snapshot());
    let mut last = Node { installed, maps: next.maps };
    assert_eq!(order(&last.set(&asks(1, &[1, 2, 3], false))), ["no lut"]);
    last.grace();
    assert_eq!(last.installed.rows.left(), ROOM);
}
