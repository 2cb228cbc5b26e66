//! IPv4 networks.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use crate::NetworkError;

/// An IPv4 network: a base address whose host bits are zero, and a prefix length of 0 to 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cidr {
    base: u32,
    length: u8,
}

impl Cidr {
    /// Whether the address lies in the network.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask() == self.base
    }

    /// The addresses that pods may get: all but the first and the last, which old programs take for the network and
    /// the broadcast; of a /31 or /32 all.
    pub fn hosts(self) -> std::ops::RangeInclusive<u32> {
        let last = self.base | !self.mask();
        if self.length >= 31 { self.base..=last } else { self.base + 1..=last - 1 }
    }

    /// The first address, which stands for the network itself.
    pub fn base(self) -> Ipv4Addr {
        self.base.into()
    }

    /// The last address.
    pub fn last(self) -> Ipv4Addr {
        (self.base | !self.mask()).into()
    }

    /// The length of the prefix, 0 to 32.
    pub fn length(self) -> u8 {
        self.length
    }

    /// The network that an address with this prefix length lies in; `None` for a length beyond 32.
    pub fn of(address: Ipv4Addr, length: u8) -> Option<Self> {
        let mut network = Self { base: 0, length };
        network.base = (length <= 32).then(|| u32::from(address) & network.mask())?;
        Some(network)
    }

    /// Whether the two have an address in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.base()) || other.contains(self.base())
    }

    fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.length)).unwrap_or(0)
    }
}

impl FromStr for Cidr {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let parse = || {
            let (address, length) = text.split_once('/')?;
            let (address, length): (Ipv4Addr, u8) = (address.parse().ok()?, length.parse().ok()?);
            Self::of(address, length)
        };
        parse().ok_or_else(|| NetworkError::BadCidr(text.to_owned()))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", Ipv4Addr::from(self.base), self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_masks_and_bounds() {
        let network: Cidr = "10.244.3.77/24".parse().unwrap();
        assert_eq!(network.to_string(), "10.244.3.0/24");
        assert!(network.contains(Ipv4Addr::new(10, 244, 3, 255)));
        assert!(!network.contains(Ipv4Addr::new(10, 244, 4, 0)));
        assert_eq!(Ipv4Addr::from(*network.hosts().start()), Ipv4Addr::new(10, 244, 3, 1));
        assert_eq!(Ipv4Addr::from(*network.hosts().end()), Ipv4Addr::new(10, 244, 3, 254));
        assert_eq!("0.0.0.0/0".parse::<Cidr>().unwrap().to_string(), "0.0.0.0/0");
        assert_eq!(network.last(), Ipv4Addr::new(10, 244, 3, 255));
        let within = |text: &str| network.overlaps(text.parse().unwrap());
        assert!(within("10.244.3.128/25") && within("10.0.0.0/8") && within("10.244.3.0/24"));
        assert!(!within("10.244.2.0/24") && !within("10.244.4.0/22"));
        assert_eq!("10.0.0.7/32".parse::<Cidr>().unwrap().hosts().count(), 1);
    }

    #[test]
    fn refuses_what_is_no_network() {
        for text in ["", "10.0.0.0", "10.0.0.0/33", "fd00::/64", "10.0.0/8", "10.0.0.0/-1"] {
            let error = text.parse::<Cidr>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
