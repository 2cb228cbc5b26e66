//! Endpoints as they are kept: an address and a port take 6 or 18 bytes here, and 32 as a [`SocketAddr`]. PURE.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Endpoints, each with something of its own. Those of IPv4 come first, which is how [`SocketAddr`]s are sorted; within a
/// family they are in the order they came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoints<T = ()> {
    v4: Box<[(Ipv4Addr, u16, T)]>,
    v6: Box<[(Ipv6Addr, u16, T)]>,
}

impl<T> Default for Endpoints<T> {
    fn default() -> Self {
        Self { v4: Box::default(), v6: Box::default() }
    }
}

impl<T> FromIterator<(SocketAddr, T)> for Endpoints<T> {
    fn from_iter<I: IntoIterator<Item = (SocketAddr, T)>>(all: I) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (endpoint, of) in all {
            match endpoint {
                SocketAddr::V4(at) => v4.push((*at.ip(), at.port(), of)),
                // An endpoint is a pod or a host that is routed to: it has no flow label and no scope.
                SocketAddr::V6(at) => v6.push((*at.ip(), at.port(), of)),
            }
        }
        Self { v4: v4.into(), v6: v6.into() }
    }
}

impl<T: Copy> Endpoints<T> {
    /// Each with its own.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SocketAddr, T)> {
        let v4 = self.v4.iter().map(|(ip, port, of)| (SocketAddr::from((*ip, *port)), *of));
        v4.chain(self.v6.iter().map(|(ip, port, of)| (SocketAddr::from((*ip, *port)), *of)))
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

impl Endpoints {
    /// Of these alone.
    pub(crate) fn of(all: &[SocketAddr]) -> Self {
        all.iter().map(|endpoint| (*endpoint, ())).collect()
    }

    /// The endpoints.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.iter().map(|(endpoint, ())| endpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_come_back_as_they_were() {
        let mut list: Vec<SocketAddr> =
            ["[fd00::1]:80", "10.0.0.2:8080", "10.0.0.1:80", "[::ffff:10.0.0.1]:80"]
                .map(|text| text.parse().unwrap())
                .into();
        list.sort_unstable();
        let kept = Endpoints::of(&list);
        assert_eq!(kept.addresses().collect::<Vec<_>>(), list);
        assert!(!kept.is_empty() && Endpoints::of(&[]).is_empty());
        // Of one family the order stays, and each its own.
        let numbered: Endpoints<u32> = list[..2].iter().rev().copied().zip(7..).collect();
        assert_eq!(numbered.iter().collect::<Vec<_>>(), [(list[1], 7), (list[0], 8)]);
    }

    #[test]
    fn an_endpoint_of_ipv4_is_small() {
        assert_eq!((size_of::<(Ipv4Addr, u16, ())>(), size_of::<(Ipv6Addr, u16, ())>()), (6, 18));
    }
}
