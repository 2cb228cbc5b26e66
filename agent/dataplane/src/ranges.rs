//! The networks that ClusterIPs are from (KEP-1880), beside which addresses no Service has are told from others. PURE.
//! Enters: ServiceCIDR objects. Leaves: what the programs compare with. Called by run and maps.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::networking::v1::ServiceCIDR;
use xebec_abi::state::{MAX_RANGES, Range, Ranges};
use xebec_abi::{Be32, Ip6};

use crate::model::SourceRange;

/// The networks of an object; a malformed one is no network.
pub fn of(object: &ServiceCIDR) -> BTreeSet<SourceRange> {
    let cidrs = object.spec.iter().flat_map(|spec| spec.cidrs.iter().flatten());
    cidrs.filter_map(|cidr| SourceRange::parse(cidr)).collect()
}

/// The networks as the programs hold them, how many there are ([`xebec_abi::state::State::ranges`]), and those that
/// found no room. One that lies in another is not listed.
pub fn encode(networks: &BTreeSet<SourceRange>) -> (Ranges, u64, Vec<SourceRange>) {
    let within = |a: &SourceRange, b: &SourceRange| a != b && a.bits >= b.bits && b.contains(&a.addr);
    let outermost = networks.iter().filter(|a| !networks.iter().any(|b| within(a, b)));
    let (mut ranges, mut v4, mut v6, mut left) = (Ranges::default(), 0, 0, Vec::new());
    for network in outermost {
        match network.addr {
            IpAddr::V4(addr) if v4 < MAX_RANGES => {
                let mask = u32::MAX.checked_shl(32 - u32::from(network.bits)).unwrap_or(0);
                ranges.v4[v4] = Range { addr: Be32::new(addr.to_bits()), mask: Be32::new(mask) };
                v4 += 1;
            }
            IpAddr::V6(addr) if v6 < MAX_RANGES => {
                let mask = u128::MAX.checked_shl(128 - u32::from(network.bits)).unwrap_or(0);
                let mask = Ip6::from_octets(mask.to_be_bytes());
                ranges.v6[v6] = Range { addr: Ip6::from_octets(addr.octets()), mask };
                v6 += 1;
            }
            _ => left.push(*network),
        }
    }
    (ranges, v4 as u64 | (v6 as u64) << 8, left)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// As the programs compare.
    fn holds((ranges, count, _): &(Ranges, u64, Vec<SourceRange>), addr: &IpAddr) -> bool {
        match addr {
            IpAddr::V4(a) => ranges.v4[..(*count & 0xff) as usize]
                .iter()
                .any(|r| Be32::new(a.to_bits()).0 & r.mask.0 == r.addr.0),
            IpAddr::V6(a) => ranges.v6[..(*count >> 8) as usize].iter().any(|r| {
                let a = Ip6::from_octets(a.octets()).0;
                (0..4).all(|i| a[i] & r.mask.0[i] == r.addr.0[i])
            }),
        }
    }

    fn network() -> impl Strategy<Value = SourceRange> {
        // Few bits that differ, so that networks overlap.
        prop_oneof![
            (0_u32..4, 0_u8..=32).prop_map(|(a, bits)| (IpAddr::from(Ipv4Addr::from(a << 28 | a)), bits)),
            (0_u128..4, 0_u8..=128).prop_map(|(a, bits)| (IpAddr::from(Ipv6Addr::from(a << 124 | a)), bits)),
        ]
        .prop_map(|(addr, bits)| SourceRange::parse(&format!("{addr}/{bits}")).unwrap())
    }

    proptest! {
        #[test]
        fn the_programs_see_the_networks(
            networks in prop::collection::btree_set(network(), 0..12),
            v4 in 0_u32..4, v6 in 0_u128..4, low in 0_u32..4,
        ) {
            let encoded = encode(&networks);
            for addr in [IpAddr::from(Ipv4Addr::from(v4 << 28 | low)), Ipv6Addr::from(v6 << 124 | u128::from(low)).into()] {
                let wanted = networks.iter().any(|n| n.contains(&addr));
                let left = encoded.2.iter().any(|n| n.contains(&addr));
                prop_assert_eq!(holds(&encoded, &addr) || left, wanted, "{}", addr);
            }
        }
    }

    #[test]
    fn an_object_has_networks_of_both_families() {
        let object = |cidrs| serde_json::from_value(json!({"spec": {"cidrs": cidrs}})).unwrap();
        let networks = of(&object(json!(["10.96.0.0/12", "fd96::/112", "no network"])));
        assert_eq!(networks.len(), 2);
        let encoded = encode(&networks);
        assert_eq!((encoded.1, encoded.2.len()), (0x101, 0));
        for (addr, inside) in [
            ("10.96.0.1", true),
            ("10.111.255.255", true),
            ("10.112.0.0", false),
            ("fd96::ffff", true),
            ("fd96::1:0", false),
            ("::ffff:10.96.0.1", false),
        ] {
            assert_eq!(holds(&encoded, &addr.parse().unwrap()), inside, "{addr}");
        }
    }

    #[test]
    fn more_networks_than_fit_are_named_and_those_inside_others_need_no_room() {
        let text = |i: usize| format!("10.{i}.0.0/16");
        let networks: BTreeSet<_> = (0..9).map(|i| SourceRange::parse(&text(i)).unwrap()).collect();
        assert_eq!(encode(&networks).2, [SourceRange::parse("10.8.0.0/16").unwrap()]);
        let mut all = networks.clone();
        all.insert(SourceRange::parse("10.0.0.0/8").unwrap());
        let (_, count, left) = encode(&all);
        assert_eq!((count, left.len()), (1, 0));
    }
}
