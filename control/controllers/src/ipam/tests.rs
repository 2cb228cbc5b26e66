use ipnet::IpNet;

use super::range::Range;
use super::{Shares, shares};
use crate::Options;

fn network(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn range(cluster: &str, part: u8, excluded: &[&str]) -> Range {
    let excluded: Vec<IpNet> = excluded.iter().map(|text| network(text)).collect();
    Range::new(network(cluster), part, &excluded)
}

fn taken(range: &mut Range) -> Vec<String> {
    std::iter::from_fn(|| range.allocate()).map(|part| part.to_string()).collect()
}

fn texts(share: Option<Vec<IpNet>>) -> Option<Vec<String>> {
    share.map(|networks| networks.iter().map(ToString::to_string).collect())
}

fn dual() -> Shares {
    Shares::new(vec![range("10.244.0.0/22", 24, &[]), range("fd00:10:244::/56", 64, &[])])
}

#[test]
fn no_part_twice_and_freed_ones_last() {
    let mut range = range("10.244.0.0/22", 24, &[]);
    range.occupy(&network("10.244.1.0/24"));
    assert_eq!(range.allocate(), Some(network("10.244.0.0/24")));
    assert_eq!(range.allocate(), Some(network("10.244.2.0/24")));
    range.release(&network("10.244.0.0/24"));
    assert_eq!(taken(&mut range), ["10.244.3.0/24", "10.244.0.0/24"]);
}

#[test]
fn service_addresses_are_left_out_of_both_families() {
    let services = ["10.96.0.0/24", "fd00::1:0/112"];
    assert_eq!(taken(&mut range("10.96.0.0/23", 24, &services)), ["10.96.1.0/24"]);
    assert_eq!(taken(&mut range("10.96.0.0/24", 26, &["10.96.0.64/27"])).len(), 3);
    assert_eq!(
        taken(&mut range("fd00::/62", 64, &services)),
        ["fd00:0:0:1::/64", "fd00:0:0:2::/64", "fd00:0:0:3::/64"]
    );
    assert!(taken(&mut range("10.96.0.0/24", 26, &["10.0.0.0/8"])).is_empty());
}

#[test]
fn networks_of_other_sizes_take_every_part_they_touch() {
    let mut larger = range("10.244.0.0/22", 24, &[]);
    larger.occupy(&network("10.244.2.0/23"));
    assert_eq!(taken(&mut larger), ["10.244.0.0/24", "10.244.1.0/24"]);
    let mut smaller = range("10.244.0.0/23", 24, &[]);
    smaller.occupy(&network("10.244.1.128/25"));
    assert_eq!(taken(&mut smaller), ["10.244.0.0/24"]);
    let mut around = range("10.244.0.0/23", 24, &[]);
    around.occupy(&network("10.0.0.0/8"));
    assert!(taken(&mut around).is_empty());
    let mut elsewhere = range("10.244.0.0/23", 24, &[]);
    elsewhere.occupy(&network("10.245.0.0/24"));
    elsewhere.occupy(&network("fd00::/64"));
    assert_eq!(taken(&mut elsewhere).len(), 2);
}

#[test]
fn the_widest_ranges_end() {
    let mut four = range("0.0.0.0/0", 32, &["0.0.0.0/1"]);
    assert_eq!(four.allocate(), Some(network("128.0.0.0/32")));
    let mut last = range("255.255.255.254/31", 32, &[]);
    assert_eq!(taken(&mut last), ["255.255.255.254/32", "255.255.255.255/32"]);
    let mut all = range("::/0", 0, &[]);
    assert_eq!(taken(&mut all), ["::/0"]);
}

#[test]
fn a_node_gets_one_part_of_each_network() {
    let mut shares = dual();
    let first = ["10.244.0.0/24".to_owned(), "fd00:10:244::/64".to_owned()];
    assert_eq!(texts(shares.promise("a")).unwrap(), first);
    assert_eq!(texts(shares.promise("b")).unwrap(), ["10.244.1.0/24", "fd00:10:244:1::/64"]);
}

#[test]
fn a_promise_holds_until_the_node_is_seen_with_it_or_gone() {
    let mut shares = dual();
    let promised = shares.promise("a").unwrap();
    shares.seen("a", &[]);
    assert_eq!(shares.promise("a").unwrap(), promised);
    // Carried out: nobody else gets it, and a promise that is asked for again would be a new one.
    shares.seen("a", &promised);
    for other in ["b", "c", "d"] {
        assert_ne!(shares.promise(other).unwrap(), promised);
    }
    assert_eq!(shares.promise("e"), None);
    shares.gone("a", &promised);
    assert_eq!(shares.promise("e").unwrap()[0], promised[0]);
    // Never carried out: it is free again with the node.
    let lost = shares.promise("b").unwrap();
    shares.gone("b", &[]);
    assert_eq!(shares.promise("f").unwrap()[0], lost[0]);
}

#[test]
fn somebody_else_may_have_written_another_network() {
    let mut shares = Shares::new(vec![range("10.244.0.0/23", 24, &[])]);
    let promised = shares.promise("a").unwrap();
    shares.seen("a", &[network("10.244.1.0/24")]);
    assert_eq!(shares.promise("b").unwrap(), promised);
    assert_eq!(shares.promise("c"), None);
}

#[test]
fn both_or_none() {
    let mut shares = Shares::new(vec![range("10.244.0.0/22", 24, &[]), range("fd00::/64", 64, &[])]);
    assert_eq!(texts(shares.promise("a")).unwrap(), ["10.244.0.0/24", "fd00::/64"]);
    assert_eq!(shares.promise("b"), None);
    shares.gone("a", &[network("10.244.0.0/24"), network("fd00::/64")]);
    // The IPv4 part that was tried for b in vain was given back.
    for name in ["c", "d"] {
        shares.promise(name).unwrap();
        shares.withdraw(name);
    }
    shares.promise("e").unwrap();
}

#[test]
fn a_node_of_the_time_before_dual_stack_keeps_its_one_network() {
    let mut shares = dual();
    shares.seen("old", &[network("10.244.0.0/24")]);
    assert_eq!(texts(shares.promise("new")).unwrap(), ["10.244.1.0/24", "fd00:10:244::/64"]);
}

fn options(cluster: &str, sizes: [Option<u8>; 3]) -> Options {
    let [node_cidr_mask_size, node_cidr_mask_size_ipv4, node_cidr_mask_size_ipv6] = sizes;
    Options {
        cluster_cidr: cluster.to_owned(),
        node_cidr_mask_size,
        node_cidr_mask_size_ipv4,
        node_cidr_mask_size_ipv6,
        ..Options::default()
    }
}

#[test]
fn prefix_lengths() {
    let both = "10.244.0.0/16,fd00:10:244::/56";
    for (cluster, sizes, first) in [
        ("10.244.0.0/16", [None; 3], &["10.244.0.0/24"] as &[&str]),
        ("10.244.0.0/16", [Some(26), None, None], &["10.244.0.0/26"]),
        ("10.244.0.0/16", [None, Some(20), None], &["10.244.0.0/20"]),
        ("10.0.0.0/8", [None, Some(28), None], &["10.0.0.0/28"]),
        ("fd00::/60", [None; 3], &["fd00::/64"]),
        ("fd00::/112", [Some(120), None, None], &["fd00::/120"]),
        (both, [None; 3], &["10.244.0.0/24", "fd00:10:244::/64"]),
        (both, [None, Some(25), Some(72)], &["10.244.0.0/25", "fd00:10:244::/72"]),
        ("fd00:10:244::/56, 10.244.0.0/16", [None; 3], &["fd00:10:244::/64", "10.244.0.0/24"]),
    ] {
        let mut shares = shares(&options(cluster, sizes)).unwrap();
        assert_eq!(texts(shares.promise("a")).unwrap(), first, "{cluster} {sizes:?}");
    }
}

#[test]
fn bad_combinations_are_named() {
    let both = "10.244.0.0/16,fd00:10:244::/56";
    for (cluster, sizes, says) in [
        ("10.244.0.1/16", [None; 3], "--cluster-cidr \"10.244.0.1/16\": \"10.244.0.1/16\" is not a network"),
        ("10.244.0.0/16,", [None; 3], "such as 10.244.0.0/16,fd00:10:244::/56"),
        ("10.0.0.0/16,10.1.0.0/16", [None; 3], "not configured as dual stack"),
        ("10.0.0.0/16,fd00::/56,fd01::/56", [None; 3], "at most two"),
        (both, [Some(24), None, None], "not allowed with dual-stack clusters"),
        ("10.0.0.0/16", [Some(24), Some(24), None], "not allowed if --node-cidr-mask-size is set"),
        ("10.0.0.0/16", [None, None, Some(64)], "not allowed for a single-stack IPv4 cluster"),
        ("fd00::/56", [None, Some(24), None], "not allowed for a single-stack IPv6 cluster"),
        (
            "10.0.0.0/24",
            [Some(16), None, None],
            "--node-cidr-mask-size \"16\": with --cluster-cidr 10.0.0.0/24 it must be from 24 to 32",
        ),
        (
            "fd00::/40",
            [None; 3],
            "--node-cidr-mask-size-ipv6 \"64\": with --cluster-cidr fd00::/40 it must be from 40 to 56",
        ),
    ] {
        let error = shares(&options(cluster, sizes)).unwrap_err().to_string();
        assert!(error.contains(says), "{cluster} {sizes:?}: {error}");
    }
    let services = Options { service_cidr: "10.96.0.0/12,10.0.0.0/24".to_owned(), ..Options::default() };
    let error = shares(&services).unwrap_err().to_string();
    assert!(error.contains("--service-cluster-ip-range"), "{error}");
}
