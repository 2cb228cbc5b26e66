//! Headers: read once into one form for both families, written back with their checksums.

use xebec_abi::{
    Be16, Be32, Ip6, PROTO_TCP, PROTO_UDP,
    flow::{FlowKey, FragmentKey},
};

use super::access::{Packet, Sum, difference, mended, together};
use crate::maps::flow::FRAGMENTS;

/// An Ethernet header's length: where IP begins.
pub const ETHERNET: usize = 14;
const NEXT_FRAGMENT: u8 = 44;

/// What an IP header says.
#[derive(Clone, Copy)]
pub struct Header {
    /// Where it begins.
    pub at: usize,
    /// Where the transport's begins.
    pub l4: usize,
    pub v6: bool,
    pub proto: u8,
    /// A fragment but not the first: no transport header.
    pub later: bool,
    /// More fragments follow.
    pub more: bool,
    /// Which packet a fragment is of.
    pub id: u32,
    pub src: Ip6,
    pub dst: Ip6,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct V4 {
    version_length: u8,
    tos: u8,
    len: u16,
    id: u16,
    fragment: Be16,
    ttl: u8,
    proto: u8,
    sum: u16,
    src: Be32,
    dst: Be32,
}

/// What of a packet of IPv4 is replaced, from its hops to its ports: without options they lie side by side.
#[repr(C)]
struct Middle {
    ttl: u8,
    proto: u8,
    sum: u16,
    src: Be32,
    dst: Be32,
    ports: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct V6 {
    first: u32,
    len: u16,
    next: u8,
    hops: u8,
    src: Ip6,
    dst: Ip6,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Fragment {
    next: u8,
    reserved: u8,
    offset: Be16,
    id: u32,
}

impl Header {
    /// The header at an offset; `None` if it is cut off. IPv6 extension headers other than a fragment's are not
    /// followed: such packets are no TCP and no UDP here, and pass.
    #[inline(always)]
    pub fn read<P: Packet>(p: &P, at: usize, v6: bool) -> Option<Self> {
        p.reach(at + if v6 { 40 } else { 20 });
        let out = Self::parse(p, at, v6)?;
        // The ports, a message's type and identifier; TCP's flags.
        p.reach(out.l4 + if out.proto == PROTO_TCP { 14 } else { 8 });
        Some(out)
    }

    #[inline(always)]
    fn parse<P: Packet>(p: &P, at: usize, v6: bool) -> Option<Self> {
        if v6 {
            let h: V6 = p.load(at)?;
            let mut out = Self {
                at,
                l4: at + 40,
                v6,
                proto: h.next,
                later: false,
                more: false,
                id: 0,
                src: h.src,
                dst: h.dst,
            };
            if h.next == NEXT_FRAGMENT {
                p.reach(at + 48);
                let f: Fragment = p.load(at + 40)?;
                out.l4 = at + 48;
                out.proto = f.next;
                out.later = f.offset.host() & 0xfff8 != 0;
                out.more = f.offset.host() & 1 != 0;
                out.id = f.id;
            }
            return Some(out);
        }
        let h: V4 = p.load(at)?;
        let length = (h.version_length as usize & 15) * 4;
        if length < 20 {
            return None;
        }
        let fragment = h.fragment.host();
        Some(Self {
            at,
            l4: at + length,
            v6,
            proto: h.proto,
            later: fragment & 0x1fff != 0,
            more: fragment & 0x2000 != 0,
            id: h.id as u32,
            src: Ip6::mapped(h.src),
            dst: Ip6::mapped(h.dst),
        })
    }

    /// The packet's key at a hook; `None` for a transport without ports, and for a fragment whose first is unknown.
    #[inline(always)]
    pub fn key<P: Packet>(&self, p: &P, hook: u8) -> Option<FlowKey> {
        if self.proto != PROTO_TCP && self.proto != PROTO_UDP {
            return None;
        }
        let (sport, dport) = split(self.ports(p, hook)?);
        Some(FlowKey { src: self.src, dst: self.dst, sport, dport, proto: self.proto, hook, pad: 0 })
    }

    /// Both ports of a transport that has them; `None` for a fragment whose first is unknown, which is looked for among
    /// those of the same hook.
    #[inline(always)]
    pub fn ports<P: Packet>(&self, p: &P, hook: u8) -> Option<u32> {
        if !self.later && !self.more {
            return p.load(self.l4);
        }
        let part = FragmentKey { src: self.src, dst: self.dst, id: self.id, proto: self.proto, hook, pad: 0 };
        if self.later {
            // SAFETY: one word; at worst that of a packet with the same id that followed.
            return unsafe { FRAGMENTS.get(part) }.copied();
        }
        let ports: u32 = p.load(self.l4)?;
        let _ = FRAGMENTS.insert(part, ports, 0);
        Some(ports)
    }

    /// A number of TCP's header, at an offset in it: 4 its own, 8 what it acknowledges.
    #[inline(always)]
    pub fn number<P: Packet>(&self, p: &P, at: usize) -> u32 {
        p.load::<[u8; 4]>(self.l4 + at).map_or(0, u32::from_be_bytes)
    }

    /// Where the transport's checksum is.
    #[inline(always)]
    pub fn sum(&self) -> Sum {
        let udp = self.proto == PROTO_UDP;
        Sum { at: self.l4 + if udp { 6 } else { 16 }, optional: udp, v6: self.v6 }
    }

    /// Makes the packet `to`, which was `from`, with so many hops left, if that is said.
    #[inline(always)]
    pub fn rewrite<P: Packet>(&self, p: &P, from: &FlowKey, to: &FlowKey, hops: Option<u8>) {
        if !self.v6 && !self.later && self.l4 == self.at + 20 {
            self.rewrite_middle(p, from, to, hops);
            return;
        }
        self.rewrite_apart(p, from, to);
        if let Some(hops) = hops {
            self.renew(p, hops);
        }
    }

    /// As [`Header::rewrite`], by one write: each is a helper's call, which looks at the whole packet first.
    #[inline(always)]
    fn rewrite_middle<P: Packet>(&self, p: &P, from: &FlowKey, to: &FlowKey, hops: Option<u8>) {
        let Some([hop, proto, low, high]) = p.load::<[u8; 4]>(self.at + 8) else { return };
        let ttl = hops.unwrap_or(hop);
        let ends = |key: &FlowKey| [key.src.0[3], key.dst.0[3]];
        let addresses = difference(ends(from), ends(to));
        let sum = mended(u16::from_ne_bytes([low, high]), together(addresses, respent(proto, hop, ttl)));
        let [src, dst] = ends(to);
        let (old, ports) = (join(from), join(to));
        p.store(self.at + 8, &Middle { ttl, proto, sum, src: Be32(src), dst: Be32(dst), ports });
        p.fix_l4_sum(self.sum(), addresses, true);
        if old != ports {
            p.fix_l4_sum(self.sum(), difference([old], [ports]), false);
        }
    }

    #[inline(always)]
    fn rewrite_apart<P: Packet>(&self, p: &P, from: &FlowKey, to: &FlowKey) {
        let diff = self.rewrite_addresses(p, from, to);
        if self.later {
            return;
        }
        p.fix_l4_sum(self.sum(), diff, true);
        let diff = self.rewrite_ports(p, from, to);
        if diff != 0 {
            p.fix_l4_sum(self.sum(), diff, false);
        }
    }

    /// Replaces the ports and returns the difference.
    #[inline(always)]
    pub fn rewrite_ports<P: Packet>(&self, p: &P, from: &FlowKey, to: &FlowKey) -> u32 {
        let (old, new) = (join(from), join(to));
        if old == new {
            return 0;
        }
        p.store(self.l4, &new);
        difference([old], [new])
    }

    /// How many hops the packet has left.
    #[inline(always)]
    pub fn hops<P: Packet>(&self, p: &P) -> Option<u8> {
        p.load(self.at + if self.v6 { 7 } else { 8 })
    }

    /// Gives the packet as many hops as if it began here.
    #[inline(always)]
    pub fn renew<P: Packet>(&self, p: &P, hops: u8) {
        if self.v6 {
            return p.store(self.at + 7, &hops);
        }
        let Some([hop, proto, low, high]) = p.load::<[u8; 4]>(self.at + 8) else { return };
        let [low, high] = mended(u16::from_ne_bytes([low, high]), respent(proto, hop, hops)).to_ne_bytes();
        p.store(self.at + 8, &[hops, proto, low, high]);
    }

    /// Replaces the addresses, mends the header's own checksum and returns the difference.
    #[inline(always)]
    pub fn rewrite_addresses<P: Packet>(&self, p: &P, from: &FlowKey, to: &FlowKey) -> u32 {
        if self.v6 {
            let text = |k: &FlowKey| {
                let (s, d) = (k.src.0, k.dst.0);
                [s[0], s[1], s[2], s[3], d[0], d[1], d[2], d[3]]
            };
            let new = text(to);
            p.store(self.at + 8, &new);
            return difference(text(from), new);
        }
        let text = |k: &FlowKey| [k.src.0[3], k.dst.0[3]];
        let new = text(to);
        let diff = difference(text(from), new);
        p.store(self.at + 12, &new);
        p.fix_ip_sum(self.at + 10, diff);
        diff
    }
}

/// The difference that other hops make to an IPv4 header, where the protocol follows them.
#[inline(always)]
fn respent(proto: u8, old: u8, new: u8) -> u32 {
    let word = |hops| [u16::from_ne_bytes([hops, proto]) as u32];
    difference(word(old), word(new))
}

/// Source and destination port as they stand in the header.
#[inline(always)]
fn join(key: &FlowKey) -> u32 {
    key.sport.0 as u32 | (key.dport.0 as u32) << 16
}

/// The inverse of [`join`].
#[inline(always)]
pub fn split(ports: u32) -> (Be16, Be16) {
    (Be16(ports as u16), Be16((ports >> 16) as u16))
}
