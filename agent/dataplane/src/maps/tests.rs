//! Keys and slots survive the way into memory and back.

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;
use xebec_abi::service::{FeValue, Sel, Slot4};
use xebec_abi::{Be16, Be32};

use super::*;
use crate::model::{Family, Protocol, Vip};

fn key() -> impl Strategy<Value = FrontKey> {
    let vip = prop_oneof![
        any::<IpAddr>().prop_map(Vip::Address),
        Just(Vip::Node(Family::V4)),
        Just(Vip::Node(Family::V6)),
        Just(Vip::Host(Family::V4)),
        Just(Vip::Host(Family::V6)),
        any::<IpAddr>().prop_filter("an address", |a| !a.is_unspecified()).prop_map(Vip::HostAddress),
    ];
    let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)];
    (vip, any::<u16>(), protocol).prop_map(|(vip, port, protocol)| FrontKey { vip, port, protocol })
}

proptest! {
    #[test]
    fn frontend_keys_round_trip(key in key()) {
        let (v4, v6) = (key4(&key), key6(&key));
        prop_assert!(v4.is_some() != v6.is_some());
        let back = v4.and_then(|k| from_key4(&k)).or_else(|| v6.and_then(|k| from_key6(&k)));
        prop_assert_eq!(back, Some(key));
    }

    #[test]
    fn packed_words_round_trip(base: u32, count in 0_u32..=0xf_ffff, generation in 0_u16..0x1000, index in 0_u32..=0xff_ffff, kind: u8, tag: u32) {
        let sel = Sel::new(base, count, generation);
        prop_assert_eq!((sel.base(), sel.count(), sel.generation()), (base, count, generation));
        let value = FeValue::new(index, kind, tag);
        prop_assert_eq!((value.index(), value.kind(), value.tag()), (index, kind, tag));
    }
}

#[test]
fn addresses_are_in_network_order() {
    let slot = Slot4 { addr: Be32::new(0x0a00_0001), port: Be16::new(8080), flags: 0, index: 1, backend: 2 };
    assert_eq!(endpoint4(&slot), "10.0.0.1:8080".parse::<SocketAddr>().unwrap());
    assert_eq!(slot.addr.0.to_ne_bytes(), [10, 0, 0, 1]);
    assert_eq!(slot.port.0.to_ne_bytes(), [0x1f, 0x90]);
}
