//! Kubernetes' IP and CIDR libraries.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use xebec_api::gotext::quote;

use super::Args;
use crate::error::{EvalError, EvalResult};
use crate::eval::Ctx;
use crate::function::Def;
use crate::value::{Opaque, Value};

pub(super) const DEFS: &[Def] = &[
    ("string_to_ip", "ip(string): net.IP", ip),
    ("cidr_ip", "net.CIDR!ip(): net.IP", cidr_ip),
    ("ip_family", "net.IP!family(): int", family),
    ("ip_is_canonical", "ip.isCanonical(string): bool", is_canonical),
    ("ip_is_unspecified", "net.IP!isUnspecified(): bool", is_unspecified),
    ("ip_is_loopback", "net.IP!isLoopback(): bool", is_loopback),
    ("ip_is_link_local_multicast", "net.IP!isLinkLocalMulticast(): bool", is_link_local_multicast),
    ("ip_is_link_local_unicast", "net.IP!isLinkLocalUnicast(): bool", is_link_local_unicast),
    ("ip_is_global_unicast", "net.IP!isGlobalUnicast(): bool", is_global_unicast),
    ("is_ip", "isIP(string): bool", is_ip),
    ("string_to_cidr", "cidr(string): net.CIDR", cidr),
    ("cidr_contains_ip_string", "net.CIDR!containsIP(string): bool", contains_ip),
    ("cidr_contains_ip_ip", "net.CIDR!containsIP(net.IP): bool", contains_ip),
    ("cidr_contains_cidr_string", "net.CIDR!containsCIDR(string): bool", contains_cidr),
    ("cidr_contains_cidr", "net.CIDR!containsCIDR(net.CIDR): bool", contains_cidr),
    ("cidr_prefix_length", "net.CIDR!prefixLength(): int", prefix_length),
    ("cidr_masked", "net.CIDR!masked(): net.CIDR", masked),
    ("is_cidr", "isCIDR(string): bool", is_cidr),
];

/// A network: an address, host bits included as they were written, and the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    pub(crate) address: IpAddr,
    pub(crate) bits: u8,
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// The address as a number, at the top of 128 bits, so that prefixes of both families compare alike.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn mask(bits: u8) -> u128 {
    if bits == 0 { 0 } else { u128::MAX << (128 - u32::from(bits)) }
}

impl Cidr {
    fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
            && (number(self.address) ^ number(address)) & mask(self.bits) == 0
    }

    fn masked(&self) -> Cidr {
        let bits = number(self.address) & mask(self.bits);
        let address = match self.address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits((bits >> 96) as u32)),
            IpAddr::V6(_) => IpAddr::V6(bits.into()),
        };
        Cidr { address, bits: self.bits }
    }
}

fn parse_ip(text: &str) -> EvalResult<IpAddr> {
    let quoted = quote(text);
    if text.contains('%') {
        return Err(EvalError::other(format_args!("IP address {quoted} with zone value is not allowed")));
    }
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
            Err(EvalError::other(format_args!("IPv4-mapped IPv6 address {quoted} is not allowed")))
        }
        Ok(address) => Ok(address),
        Err(_) => Err(EvalError::other(format_args!(
            "IP Address {quoted} parse error during conversion from string: ParseAddr({quoted}): unable to parse IP"
        ))),
    }
}

fn parse_cidr(text: &str) -> EvalResult<Cidr> {
    let quoted = quote(text);
    let prefix = "network address parse error during conversion from string: ";
    let refuse =
        |why: &str| EvalError::other(format_args!("{prefix}{prefix}netip.ParsePrefix({quoted}): {why}"));
    let (address, bits) = text.rsplit_once('/').ok_or_else(|| refuse("no '/'"))?;
    let address: IpAddr = address.parse().map_err(|_| refuse("unable to parse IP"))?;
    if let IpAddr::V6(v6) = address
        && v6.to_ipv4_mapped().is_some()
    {
        return Err(EvalError::other(format_args!(
            "{prefix}IPv4-mapped IPv6 address {quoted} is not allowed"
        )));
    }
    let plain = bits.bytes().all(|b| b.is_ascii_digit()) && (bits.len() == 1 || !bits.starts_with('0'));
    let parsed = bits.parse::<u8>().ok().filter(|_| plain);
    let parsed = parsed.ok_or_else(|| refuse(&format!("bad bits after slash: {}", quote(bits))))?;
    if parsed > if address.is_ipv4() { 32 } else { 128 } {
        return Err(refuse("prefix length out of range"));
    }
    Ok(Cidr { address, bits: parsed })
}

fn get_ip(args: &[Value<'_>], at: usize) -> EvalResult<IpAddr> {
    match args.opaque(at)? {
        Opaque::Ip(ip) => Ok(*ip),
        _ => Err(EvalError::no_overload()),
    }
}

fn get_cidr(args: &[Value<'_>], at: usize) -> EvalResult<Cidr> {
    match args.opaque(at)? {
        Opaque::Cidr(cidr) => Ok(*cidr),
        _ => Err(EvalError::no_overload()),
    }
}

fn ip<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    parse_ip(args.string(0)?).map(|ip| Value::Opaque(Opaque::Ip(ip)))
}

fn is_ip<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::Bool(parse_ip(args.string(0)?).is_ok()))
}

fn is_canonical<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let text = args.string(0)?;
    Ok(Value::Bool(parse_ip(text)?.to_string() == text))
}

fn family<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::Int(if get_ip(args, 0)?.is_ipv4() { 4 } else { 6 }))
}

fn is_unspecified<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::Bool(get_ip(args, 0)?.is_unspecified()))
}

fn is_loopback<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::Bool(get_ip(args, 0)?.is_loopback()))
}

fn is_link_local_multicast<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::Bool(match get_ip(args, 0)? {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    }))
}

fn link_local_unicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn is_link_local_unicast<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    get_ip(args, 0).map(link_local_unicast).map(Value::Bool)
}

fn is_global_unicast<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let ip = get_ip(args, 0)?;
    let broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    let special = ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || broadcast;
    Ok(Value::Bool(!special && !link_local_unicast(ip)))
}

fn cidr<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    parse_cidr(args.string(0)?).map(|cidr| Value::Opaque(Opaque::Cidr(cidr)))
}

fn is_cidr<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::Bool(parse_cidr(args.string(0)?).is_ok()))
}

fn cidr_ip<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::Opaque(Opaque::Ip(get_cidr(args, 0)?.address)))
}

fn contains_ip<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let ip = match args.value(1)? {
        Value::String(text) => parse_ip(text)?,
        _ => get_ip(args, 1)?,
    };
    Ok(Value::Bool(get_cidr(args, 0)?.contains(ip)))
}

fn contains_cidr<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let other = match args.value(1)? {
        Value::String(text) => parse_cidr(text)?,
        _ => get_cidr(args, 1)?,
    };
    let cidr = get_cidr(args, 0)?;
    Ok(Value::Bool(cidr.bits <= other.bits && cidr.contains(other.address)))
}

fn prefix_length<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::Int(get_cidr(args, 0)?.bits.into()))
}

fn masked<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(Value::Opaque(Opaque::Cidr(get_cidr(args, 0)?.masked())))
}
