//! Numbers as they stand on the wire.

/// TCP, as in the IP header.
pub const PROTO_TCP: u8 = 6;
/// UDP, as in the IP header.
pub const PROTO_UDP: u8 = 17;
/// SCTP.
pub const PROTO_SCTP: u8 = 132;
/// ICMP, as in the IPv4 header.
pub const PROTO_ICMP: u8 = 1;
/// ICMP, as in the IPv6 header.
pub const PROTO_ICMP6: u8 = 58;
/// MPTCP's socket protocol number (it does not fit the IP header's byte); its services are TCP's.
pub const PROTO_MPTCP: u32 = 262;

/// A 16-bit number in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Be16(pub u16);

impl Be16 {
    /// From host order.
    pub const fn new(host: u16) -> Self {
        Self(host.to_be())
    }
    /// To host order.
    pub const fn host(self) -> u16 {
        u16::from_be(self.0)
    }
}

/// A 32-bit number in network byte order, an IPv4 address mostly.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Be32(pub u32);

impl Be32 {
    /// From host order.
    pub const fn new(host: u32) -> Self {
        Self(host.to_be())
    }
    /// To host order.
    pub const fn host(self) -> u32 {
        u32::from_be(self.0)
    }
}

/// An IPv6 address as four network-order words, the form in which the kernel's context hands it out.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ip6(pub [u32; 4]);

impl Ip6 {
    /// The IPv4-mapped form `::ffff:a.b.c.d`.
    pub const fn mapped(ip4: Be32) -> Self {
        Self([0, 0, 0xffff_u32.to_be(), ip4.0])
    }
    /// The IPv4 address inside `::ffff:a.b.c.d`, if it is one.
    #[inline(always)]
    pub const fn as_mapped(&self) -> Option<Be32> {
        if self.0[0] == 0 && self.0[1] == 0 && self.0[2] == 0xffff_u32.to_be() {
            Some(Be32(self.0[3]))
        } else {
            None
        }
    }
    /// From the sixteen bytes of the address.
    pub const fn from_octets(o: [u8; 16]) -> Self {
        Self([
            u32::from_ne_bytes([o[0], o[1], o[2], o[3]]),
            u32::from_ne_bytes([o[4], o[5], o[6], o[7]]),
            u32::from_ne_bytes([o[8], o[9], o[10], o[11]]),
            u32::from_ne_bytes([o[12], o[13], o[14], o[15]]),
        ])
    }
    /// The sixteen bytes of the address.
    pub const fn octets(&self) -> [u8; 16] {
        let (a, b) = (self.0[0].to_ne_bytes(), self.0[1].to_ne_bytes());
        let (c, d) = (self.0[2].to_ne_bytes(), self.0[3].to_ne_bytes());
        [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3]]
    }
}
