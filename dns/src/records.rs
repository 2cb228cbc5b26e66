//! From an index entry to DNS records. PURE; called by `answer`.

use std::net::IpAddr;

use hickory_proto::rr::rdata::{A, AAAA, CNAME, PTR, SOA, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// Seconds that an answer may be kept: CoreDNS's default, low since endpoints move.
pub(crate) const TTL: u32 = 5;

/// A or AAAA, when the address is of the asked family.
pub(crate) fn address(name: &Name, kind: RecordType, address: IpAddr) -> Option<Record> {
    let data = match (kind, address) {
        (RecordType::A, IpAddr::V4(v4)) => RData::A(A(v4)),
        (RecordType::AAAA, IpAddr::V6(v6)) => RData::AAAA(AAAA(v6)),
        _ => return None,
    };
    Some(Record::from_rdata(name.clone(), TTL, data))
}

/// The additional record that saves a client the look-up of an SRV target.
pub(crate) fn glue(name: &Name, ip: IpAddr) -> Option<Record> {
    address(name, if ip.is_ipv4() { RecordType::A } else { RecordType::AAAA }, ip)
}

pub(crate) fn srv(name: &Name, weight: u16, port: u16, target: Name) -> Record {
    Record::from_rdata(name.clone(), TTL, RData::SRV(SRV::new(0, weight, port, target)))
}

pub(crate) fn ptr(name: &Name, target: Name) -> Record {
    Record::from_rdata(name.clone(), TTL, RData::PTR(PTR(target)))
}

pub(crate) fn cname(name: &Name, target: Name) -> Record {
    Record::from_rdata(name.clone(), TTL, RData::CNAME(CNAME(target)))
}

/// The zone's SOA: in the authority section of a negative answer it bounds how long that is kept (RFC 2308).
pub(crate) fn soa(zone: &Name, serial: u32) -> Record {
    let label = |label: &str| zone.prepend_label(label).unwrap_or_else(|_| zone.clone());
    let ns = label("dns").prepend_label("ns").unwrap_or_else(|_| zone.clone());
    let data = SOA::new(ns, label("hostmaster"), serial, 7200, 1800, 86400, TTL);
    Record::from_rdata(zone.clone(), TTL, RData::SOA(data))
}

/// The label of an endpoint without a hostname: its address with dashes.
pub(crate) fn dashed(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}

/// The address that a dashed label names.
pub(crate) fn undashed(label: &str) -> Option<IpAddr> {
    label.replace('-', ".").parse().ok().or_else(|| label.replace('-', ":").parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_name_both_families() {
        for text in ["10.244.0.5", "fd00:1::5"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(undashed(&dashed(address)), Some(address));
        }
        assert_eq!(undashed("web-0"), None);
    }
}
