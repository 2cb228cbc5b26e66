use super::plan::{Network, Ranges};

fn network(text: &str) -> Network {
    Network::parse(text).unwrap()
}

#[test]
fn networks() {
    for good in ["10.244.0.0/16", "10.0.0.1/32", "fd00::/48", "0.0.0.0/0"] {
        assert_eq!(network(good).to_string(), good);
    }
    for bad in ["10.244.0.1/16", "10.0.0.0", "10.0.0.0/33", "x/8"] {
        assert_eq!(Network::parse(bad), None, "{bad}");
    }
    assert!(network("10.96.0.0/12").overlaps(&network("10.100.1.0/24")));
    assert!(!network("10.96.0.0/12").overlaps(&network("10.112.0.0/24")));
}

#[test]
fn no_part_twice_and_freed_ones_last() {
    let mut ranges = Ranges::new(network("10.244.0.0/22"), 24, None).unwrap();
    ranges.occupy(&network("10.244.1.0/24"));
    let mut take = || ranges.allocate().map(|n| n.to_string());
    assert_eq!(take().as_deref(), Some("10.244.0.0/24"));
    assert_eq!(take().as_deref(), Some("10.244.2.0/24"));
    ranges.release(&network("10.244.0.0/24"));
    let mut take = || ranges.allocate().map(|n| n.to_string());
    assert_eq!(take().as_deref(), Some("10.244.3.0/24"));
    assert_eq!(take().as_deref(), Some("10.244.0.0/24"));
    assert_eq!(take(), None);
}

#[test]
fn service_addresses_are_left_out() {
    let mut ranges = Ranges::new(network("10.96.0.0/23"), 24, Some(network("10.96.0.0/24"))).unwrap();
    assert_eq!(ranges.allocate().unwrap().to_string(), "10.96.1.0/24");
    assert_eq!(ranges.allocate(), None);
    assert!(Ranges::new(network("10.0.0.0/24"), 16, None).is_none());
}
