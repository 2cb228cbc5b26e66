//! A range of addresses and the order in which free ones are tried. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Most addresses of a range are never needed: only this many are handed out of larger (IPv6) ranges.
const MOST: u128 = 1 << 20;

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    base: IpAddr,
    bits: u8,
}

/// Text that is no range.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a range of addresses such as 10.96.0.0/12 (with at least 8 addresses)")]
pub struct CidrError(String);

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let fail = || CidrError(text.to_owned());
        let (address, bits) = text.split_once('/').ok_or_else(fail)?;
        let base: IpAddr = address.parse().map_err(|_| fail())?;
        let bits: u8 = bits.parse().map_err(|_| fail())?;
        let width = if base.is_ipv4() { 32 } else { 128 };
        if bits > width - 3 {
            return Err(fail());
        }
        let cidr = Self { base, bits };
        Ok(Self { base: cidr.from_number(number(base) & !cidr.host_mask()), bits })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.base, self.bits)
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl Cidr {
    fn host_mask(&self) -> u128 {
        let host = u32::from(if self.base.is_ipv4() { 32 - self.bits } else { 128 - self.bits });
        if host >= 128 { u128::MAX } else { (1u128 << host) - 1 }
    }

    #[expect(clippy::wrong_self_convention, reason = "the family comes from the range")]
    fn from_number(&self, number: u128) -> IpAddr {
        if self.base.is_ipv4() {
            IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(number & u128::from(u32::MAX)).unwrap_or_default()))
        } else {
            IpAddr::V6(Ipv6Addr::from_bits(number))
        }
    }

    /// `IPv4` or `IPv6`.
    #[must_use]
    pub fn family(&self) -> &'static str {
        if self.base.is_ipv4() { "IPv4" } else { "IPv6" }
    }

    /// Whether the address lies in the range.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.base.is_ipv4() && number(address) & !self.host_mask() == number(self.base)
    }

    /// Whether a Service may have the address: neither the range's first nor (IPv4) its last.
    #[must_use]
    pub fn usable(&self, address: IpAddr) -> bool {
        let host = number(address) & self.host_mask();
        self.contains(address) && host != 0 && (host != self.host_mask() || !self.base.is_ipv4())
    }

    /// The n-th address, 0 being the base.
    #[must_use]
    pub fn nth(&self, n: u128) -> IpAddr {
        self.from_number(number(self.base) + n)
    }

    /// Every usable address: first the dynamic band from a place chosen by `random` on, then the low band that is left to
    /// addresses people choose (KEP-3070).
    pub fn candidates(&self, random: u64) -> impl Iterator<Item = IpAddr> + use<> {
        let this = *self;
        let size = (this.host_mask()).min(MOST);
        let offset = (size / 16).clamp(16, 256);
        let offset = if offset >= size { 1 } else { offset };
        let band = size - offset;
        let start = if band == 0 { 0 } else { u128::from(random) % band };
        let upper = (0..band).map(move |i| offset + (start + i) % band);
        let lower = 1..offset;
        upper.chain(lower).map(move |n| this.nth(n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_its_addresses() {
        let range: Cidr = "10.96.0.7/12".parse().unwrap();
        assert_eq!(range.to_string(), "10.96.0.0/12");
        assert_eq!(range.nth(1).to_string(), "10.96.0.1");
        assert!(range.usable("10.111.255.254".parse().unwrap()));
        for unusable in ["10.96.0.0", "10.111.255.255", "10.112.0.1", "fd00::1"] {
            assert!(!range.usable(unusable.parse().unwrap()), "{unusable}");
        }
        for wrong in ["10.96.0.0", "10.96.0.0/30", "x/12", "10.96.0.0/99"] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
        assert!("fd00::/108".parse::<Cidr>().unwrap().usable("fd00::f".parse().unwrap()));
    }

    #[test]
    fn tries_every_address_once_and_the_low_band_last() {
        let range: Cidr = "10.0.0.0/24".parse().unwrap();
        let all: Vec<IpAddr> = range.candidates(7).collect();
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!((all.len(), distinct.len()), (254, 254));
        assert!(all[..239].iter().all(|a| number(*a) & 0xff >= 16));
        assert!(all.iter().all(|a| range.usable(*a)));
    }
}
