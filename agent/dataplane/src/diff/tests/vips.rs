//! Addresses of frontends and of others' Services.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::{CAPACITY, all, key, port};
use crate::diff::Installed;
use crate::diff::frontends::vip;
use crate::maps::fake::FakeMaps;
use crate::maps::{Capacity, MapWriter, Write};
use crate::model::{FrontKey, Kind, Protocol, ServicePort};

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
    let (mut installed, repairs) = Installed::adopt(CAPACITY, &torn);
    assert!(!repairs.contains(&Write::RemoveVip { addr: shared }), "perhaps it is one of SCTP");
    assert_eq!(installed.claim_only(&BTreeSet::new()), [Write::RemoveVip { addr: shared }]);
}

proptest! {
    /// An address that is ours or another's before and after a change is never taken for nobody's in between.
    #[test]
    fn what_is_allocated_never_looks_free(
        worlds in proptest::collection::vec([(); 3].map(|()| proptest::collection::btree_set(0_u8..4, 0..4)), 1..12),
        restart in proptest::collection::vec(any::<bool>(), 12),
    ) {
        let capacity = Capacity { frontends: 64, services: 64, slots4: 64, slots6: 8, backends: 64, rows: 8 };
        let address = |service: u8| vip(&key(service)).unwrap();
        let (mut maps, mut installed) = (FakeMaps::default(), Installed::new(capacity));
        let mut before = BTreeSet::new();
        for ([served, held, claimed], restart) in worlds.into_iter().zip(restart) {
            let [held, claimed] = [held, claimed].map(|set| set.into_iter().map(address).collect::<BTreeSet<IpAddr>>());
            let ours: BTreeSet<IpAddr> = served.iter().map(|s| address(*s)).chain(claimed.iter().copied()).collect();
            let after: BTreeSet<IpAddr> = ours.union(&held).copied().collect();
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
            write(installed.claim(&claimed))?;
            for service in 0..4 {
                let port = served.contains(&service).then(|| port(service, &BTreeSet::from([1]), &BTreeSet::new(), None, false));
                write(installed.reconcile(&key(service), port.as_ref()).unwrap())?;
            }
            write(installed.claim_only(&claimed))?;
            write(installed.hold_only(&held))?;
            prop_assert_eq!(&maps.held, &held.difference(&ours).copied().collect());
            prop_assert_eq!(&maps.vips, &ours);
            before = after;
        }
    }
}
