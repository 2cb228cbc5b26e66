//! PURE: a question and the index in, the answer out. Called by the server for every query.
//!
//! The names (`Z` is the cluster's domain):
//! `<svc>.<ns>.svc.Z`, `<endpoint>.<svc>.<ns>.svc.Z`, `_<port>._<proto>.<svc>.<ns>.svc.Z`, `<a-b-c-d>.<ns>.pod.Z`,
//! `dns-version.Z`, and the reverse names of virtual and endpoint addresses.
//! A name that exists without the asked type gets NODATA, one that does not exist NXDOMAIN (RFC 2308); a name outside
//! the domain is none of ours.

use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::records::{self, address, cname, dashed, glue, ptr, soa, srv, undashed};
use crate::world::{Key, PortEntry, ServiceEntry, World};

/// The version of the specification served, asked as `dns-version.Z`.
const SCHEMA_VERSION: &str = "1.1.0";

/// What to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// NoError (perhaps without records: NODATA) or NXDomain.
    pub code: ResponseCode,
    /// The answer section.
    pub answers: Vec<Record>,
    /// The authority section: the SOA of a negative answer.
    pub authorities: Vec<Record>,
    /// The additional section: addresses of SRV targets.
    pub additionals: Vec<Record>,
}

/// Answers a question about the cluster's names; `None` when the name is not ours, so it is to be forwarded.
///
/// `serial` is the SOA's serial number (RFC 1035: it should grow; seconds since 1970 do).
pub fn answer(world: &World, zone: &Name, name: &Name, kind: RecordType, serial: u32) -> Option<Answer> {
    let found = match name.parse_arpa_name() {
        // Unknown addresses may be known elsewhere: those are passed on.
        Ok(network) => Some(Found::Records(reverse(world, zone, name, kind, network.addr())?)),
        Err(_) => zone.zone_of(name).then(|| forward(world, zone, name, kind, serial)),
    }?;
    let mut answer = Answer::default();
    match found {
        Found::Nothing => answer.code = ResponseCode::NXDomain,
        Found::Records(sections) => (answer.answers, answer.additionals) = sections,
    }
    if answer.answers.is_empty() {
        answer.authorities.push(soa(zone, serial));
    }
    Some(answer)
}

/// Answer and additional records.
type Sections = (Vec<Record>, Vec<Record>);

enum Found {
    /// The name does not exist.
    Nothing,
    /// It exists; perhaps with no record of the asked type.
    Records(Sections),
}

fn only(answers: Vec<Record>) -> Found {
    Found::Records((answers, Vec::new()))
}

fn forward(world: &World, zone: &Name, name: &Name, kind: RecordType, serial: u32) -> Found {
    let lower = name.to_lowercase();
    let own = usize::from(lower.num_labels()).saturating_sub(usize::from(zone.num_labels()));
    let labels: Vec<String> =
        lower.iter().take(own).map(|label| String::from_utf8_lossy(label).into_owned()).collect();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    match labels.as_slice() {
        [] => apex(zone, name, kind, serial),
        ["dns-version"] if kind == RecordType::TXT => {
            let text = RData::TXT(TXT::new(vec![SCHEMA_VERSION.to_owned()]));
            only(vec![Record::from_rdata(name.clone(), records::TTL, text)])
        }
        ["dns-version"] | ["svc" | "pod"] => only(Vec::new()),
        [namespace, "svc" | "pod"] if world.namespaces.contains(*namespace) => only(Vec::new()),
        [label, namespace, "pod"] if world.namespaces.contains(*namespace) => match undashed(label) {
            Some(ip) => only(address(name, kind, ip).into_iter().collect()),
            None => Found::Nothing,
        },
        [rest @ .., service, namespace, "svc"] => {
            let key = ((*namespace).to_owned(), (*service).to_owned());
            match world.services.get(&key) {
                Some(entry) => Asked { world, zone, name, kind, key, entry }.find(rest),
                None => Found::Nothing,
            }
        }
        _ => Found::Nothing,
    }
}

fn apex(zone: &Name, name: &Name, kind: RecordType, serial: u32) -> Found {
    match kind {
        RecordType::SOA => only(vec![soa(zone, serial)]),
        RecordType::NS => {
            let server = zone.prepend_label("dns").and_then(|dns| dns.prepend_label("ns"));
            let record = server.map(|server| {
                let data = RData::NS(hickory_proto::rr::rdata::NS(server));
                Record::from_rdata(name.clone(), records::TTL, data)
            });
            only(record.into_iter().collect())
        }
        _ => only(Vec::new()),
    }
}

/// A question about one Service that exists.
struct Asked<'a> {
    world: &'a World,
    zone: &'a Name,
    name: &'a Name,
    kind: RecordType,
    key: Key,
    entry: &'a ServiceEntry,
}

impl Asked<'_> {
    /// `rest` is what stands before the Service's own name.
    fn find(&self, rest: &[&str]) -> Found {
        match (rest, &self.entry.external_name) {
            ([], Some(target)) => self.external(target),
            ([], None) if self.kind == RecordType::SRV => self.service_records(|_| true),
            ([], None) => only(self.addresses()),
            ([port, protocol], None) if port.starts_with('_') && protocol.starts_with('_') => {
                let wanted = (&port[1..], &protocol[1..]);
                let matches = |entry: &PortEntry| (entry.name.as_str(), entry.protocol.as_str()) == wanted;
                let known = self.entry.ports.iter().any(matches)
                    || self
                        .world
                        .published(&self.key, self.entry)
                        .any(|(_, ports)| ports.iter().any(matches));
                if !known {
                    return Found::Nothing;
                }
                if self.kind == RecordType::SRV { self.service_records(matches) } else { only(Vec::new()) }
            }
            // `_tcp.<svc>` has names below it, so it exists (RFC 8020).
            ([protocol], None) if protocol.strip_prefix('_').is_some_and(|p| self.has_protocol(p)) => {
                only(Vec::new())
            }
            ([label], None) if self.entry.headless => self.endpoint(label),
            _ => Found::Nothing,
        }
    }

    fn has_protocol(&self, protocol: &str) -> bool {
        self.entry.ports.iter().any(|port| port.protocol == protocol && !port.name.is_empty())
    }

    fn external(&self, target: &str) -> Found {
        // The server adds what the target is: that may take a question to another resolver.
        match Name::from_utf8(target) {
            Ok(mut target) => {
                target.set_fqdn(true);
                only(vec![cname(self.name, target)])
            }
            Err(_) => only(Vec::new()),
        }
    }

    fn addresses(&self) -> Vec<Record> {
        if !self.entry.headless {
            return self
                .entry
                .cluster_ips
                .iter()
                .filter_map(|ip| address(self.name, self.kind, *ip))
                .collect();
        }
        let mut ips: Vec<IpAddr> =
            self.world.published(&self.key, self.entry).map(|(endpoint, _)| endpoint.address).collect();
        ips.sort_unstable();
        ips.dedup();
        ips.into_iter().filter_map(|ip| address(self.name, self.kind, ip)).collect()
    }

    fn endpoint(&self, label: &str) -> Found {
        let named =
            self.world.published(&self.key, self.entry).map(|(endpoint, _)| endpoint).filter(|endpoint| {
                match &endpoint.hostname {
                    Some(hostname) => hostname.eq_ignore_ascii_case(label),
                    None => dashed(endpoint.address) == label,
                }
            });
        let mut ips: Vec<IpAddr> = named.map(|endpoint| endpoint.address).collect();
        if ips.is_empty() {
            return Found::Nothing;
        }
        ips.sort_unstable();
        ips.dedup();
        only(ips.into_iter().filter_map(|ip| address(self.name, self.kind, ip)).collect())
    }

    fn service_records(&self, wanted: impl Fn(&PortEntry) -> bool) -> Found {
        let (mut answers, mut additionals) = (Vec::new(), Vec::new());
        let mut add = |port: u16, target: Name, ip: IpAddr| {
            let record = srv(self.name, 100, port, target.clone());
            if !answers.contains(&record) {
                answers.push(record);
            }
            additionals.extend(glue(&target, ip).filter(|record| !additionals.contains(record)));
        };
        let own_name = service_name(self.zone, &self.key);
        if self.entry.headless {
            for (endpoint, ports) in self.world.published(&self.key, self.entry) {
                let label = endpoint.hostname.clone().unwrap_or_else(|| dashed(endpoint.address));
                let Some(target) = own_name.as_ref().and_then(|own| own.prepend_label(label.as_str()).ok())
                else {
                    continue;
                };
                ports
                    .iter()
                    .filter(|port| wanted(port))
                    .for_each(|port| add(port.port, target.clone(), endpoint.address));
            }
        } else if let Some(target) = own_name {
            for port in self.entry.ports.iter().filter(|port| wanted(port)) {
                self.entry.cluster_ips.iter().for_each(|ip| add(port.port, target.clone(), *ip));
            }
        }
        Found::Records((answers, additionals))
    }
}

fn service_name(zone: &Name, (namespace, service): &Key) -> Option<Name> {
    let name = zone.prepend_label("svc").ok()?.prepend_label(namespace.as_str()).ok()?;
    name.prepend_label(service.as_str()).ok()
}

/// Names of an address; `None` when no Service has it.
fn reverse(world: &World, zone: &Name, name: &Name, kind: RecordType, ip: IpAddr) -> Option<Sections> {
    let virtual_ips = world.services.iter().filter(|(_, entry)| entry.cluster_ips.contains(&ip));
    let mut targets: Vec<Name> = virtual_ips.filter_map(|(key, _)| service_name(zone, key)).collect();
    if targets.is_empty() {
        for (key, entry) in world.services.iter().filter(|(_, entry)| entry.headless) {
            for (endpoint, _) in world.published(key, entry).filter(|(endpoint, _)| endpoint.address == ip) {
                let label = endpoint.hostname.clone().unwrap_or_else(|| dashed(ip));
                targets
                    .extend(service_name(zone, key).and_then(|own| own.prepend_label(label.as_str()).ok()));
            }
        }
    }
    if targets.is_empty() {
        return None;
    }
    targets.sort_unstable();
    targets.dedup();
    let answers = targets.into_iter().filter(|_| kind == RecordType::PTR).map(|target| ptr(name, target));
    Some((answers.collect(), Vec::new()))
}
