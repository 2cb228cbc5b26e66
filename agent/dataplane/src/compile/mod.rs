//! Objects to tables. PURE. Enters: a Service's facts, its slices, where this node is. Leaves: [`ServicePort`]s, and
//! in [`Tables`] who has a frontend that several claim. Called by run; its output goes to diff.

pub mod balancing;
pub mod facts;
pub mod forwarding;
pub mod names;
mod sets;
mod tables;
#[cfg(test)]
mod tests;

use facts::{Owner, ServiceFacts, SliceFacts};
use forwarding::Forwarding;
pub use sets::{Place, local_ready, sets};
pub use tables::Tables;

use crate::model::{Family, FrontKey, Kind, ServicePort, Vip};

/// Every port of a Service in every family it has a ClusterIP in.
pub fn compile(
    owner: &Owner,
    service: &ServiceFacts,
    slices: &[&SliceFacts],
    place: &Place,
) -> Vec<ServicePort> {
    let mut out = Vec::with_capacity(service.cluster_ips.len() * service.ports.len());
    for cluster_ip in &*service.cluster_ips {
        let family = Family::of(cluster_ip);
        for port in &*service.ports {
            let slices = slices.iter().copied();
            let of_family = |kind: Kind, list: &[std::net::IpAddr]| -> Vec<(FrontKey, Kind)> {
                let list = list.iter().filter(|a| Family::of(a) == family && *a != cluster_ip);
                list.map(|a| (FrontKey::at(*a, port.port, port.protocol), kind)).collect()
            };
            let mut aliases = of_family(Kind::ExternalIp, &service.external_ips);
            aliases.extend(of_family(Kind::LoadBalancer, &service.load_balancer_ips));
            aliases.extend(port.node_port.map(|number| {
                (FrontKey { vip: Vip::Node(family), port: number, protocol: port.protocol }, Kind::NodePort)
            }));
            aliases.sort_unstable();
            aliases.dedup_by_key(|(key, _)| *key);
            let direct = service.forwarding == Forwarding::Direct;
            let consistent = service.balancing.is_consistent(&aliases, direct, service.external_local);
            out.push(ServicePort {
                name: format!("{}/{}:{}", owner.namespace, owner.name, port_label(&port.name, port.port)),
                primary: FrontKey::at(*cluster_ip, port.port, port.protocol),
                kind: Kind::ClusterIp,
                aliases,
                internal_local: service.internal_local,
                external_local: service.external_local,
                direct,
                source_ranges: service
                    .source_ranges
                    .iter()
                    .filter(|r| Family::of(&r.addr) == family)
                    .copied()
                    .collect(),
                affinity: service.affinity,
                consistent,
                sets: sets(slices, family, &port.name, port.protocol, service.publish_not_ready, place),
            });
        }
    }
    out
}

fn port_label(name: &str, number: u16) -> String {
    if name.is_empty() { number.to_string() } else { name.to_owned() }
}
