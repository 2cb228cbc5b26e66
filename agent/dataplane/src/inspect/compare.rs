//! Whether the maps say what the API says: the proxy's own decisions, run over what the maps hold, with nobody to carry
//! them out. What they would still write is the difference.

use std::path::Path;

use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::Event;

use crate::apply::Applier;
use crate::compile::Place;
use crate::hostports::{AllPorts, HostPort, PodPorts};
use crate::maps::pinned::PinnedMaps;
use crate::maps::{Capacity, MapError, MapWriter, Snapshot, StoredSlot, Write};
use crate::model::Vip;
use crate::node::NodeFacts;
use crate::upgrade::own_maps;
use crate::world::World;

/// What the maps lack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Map writes that a proxy would still make.
    pub writes: Vec<Write>,
    /// Service ports that do not fit.
    pub full: Vec<String>,
}

/// Takes writes down.
#[derive(Debug, Default)]
struct Paper(Vec<Write>);

impl MapWriter for Paper {
    fn write(&mut self, write: &Write) -> Result<(), MapError> {
        if *write != Write::Synced {
            self.0.push(write.clone());
        }
        Ok(())
    }
}

/// Compares what is pinned.
///
/// # Errors
/// [`MapError::Pin`] if no dataplane is installed under the pin directory.
pub fn compare_pinned(
    pin_dir: &Path,
    node: &Node,
    services: Vec<Service>,
    slices: Vec<EndpointSlice>,
) -> Result<Difference, MapError> {
    let maps = PinnedMaps::open(&own_maps(pin_dir)?)?;
    compare(maps.capacity(), &maps.snapshot()?, node, services, slices)
}

/// Compares. PURE.
///
/// # Errors
/// None that this writer makes.
pub fn compare(
    capacity: Capacity,
    snapshot: &Snapshot,
    node: &Node,
    services: Vec<Service>,
    slices: Vec<EndpointSlice>,
) -> Result<Difference, MapError> {
    let name = node.metadata.name.clone().unwrap_or_default();
    let place = Place { node: name, zone: NodeFacts::of(node).zone };
    let mut world = World::default();
    world.service(Event::Init);
    services.into_iter().for_each(|service| world.service(Event::InitApply(service)));
    world.service(Event::InitDone);
    world.slice(Event::Init);
    slices.into_iter().for_each(|slice| world.slice(Event::InitApply(slice)));
    world.slice(Event::InitDone);
    world.set_host_ports(&host_ports(snapshot));
    let mut applier = Applier::adopt(Paper::default(), capacity, snapshot, place)?;
    let applied = applier.apply(&mut world)?;
    let writes = std::mem::take(&mut applier.maps().0);
    Ok(Difference { writes, full: applied.full.iter().map(ToString::to_string).collect() })
}

/// The host ports that the maps hold: the API does not say which pods have their network.
fn host_ports(snapshot: &Snapshot) -> AllPorts {
    let mut out = AllPorts::new();
    for (key, value) in &snapshot.frontends {
        let stored = snapshot.services.get(&value.index()).and_then(|stored| stored.slots.first());
        let host = match key.vip {
            Vip::Host(_) => None,
            Vip::HostAddress(addr) => Some(addr),
            Vip::Address(_) | Vip::Node(_) => continue,
        };
        let port = |(endpoint, ..): &StoredSlot| HostPort {
            host,
            port: key.port,
            protocol: key.protocol,
            endpoint: *endpoint,
        };
        let ports = stored.map(port).into_iter().collect();
        out.insert(key.to_string(), PodPorts { pod: String::new(), created: 0, ports });
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::maps::fake::FakeMaps;

    #[test]
    fn what_was_applied_is_no_difference_and_a_lost_endpoint_is() {
        let node: Node = serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap();
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "s", "namespace": "d"},
            "spec": {"clusterIP": "10.96.0.5", "ports": [{"port": 80}]},
        }))
        .unwrap();
        let slice = |address: &str| -> EndpointSlice {
            serde_json::from_value(json!({
                "metadata": {"name": "s", "namespace": "d", "labels": {"kubernetes.io/service-name": "s"}},
                "addressType": "IPv4", "ports": [{"port": 8080}], "endpoints": [{"addresses": [address]}],
            }))
            .unwrap()
        };
        let capacity =
            Capacity { frontends: 16, services: 16, slots4: 16, slots6: 16, backends: 16, rows: 16 };
        let find = |maps: &FakeMaps, address: &str| {
            compare(capacity, &maps.snapshot(), &node, vec![service.clone()], vec![slice(address)]).unwrap()
        };
        let mut maps = FakeMaps::default();
        let missing = find(&maps, "10.0.0.1");
        assert!(!missing.writes.is_empty() && missing.full.is_empty());
        missing.writes.iter().for_each(|write| maps.write(write).unwrap());
        assert_eq!(find(&maps, "10.0.0.1"), Difference::default());
        assert!(!find(&maps, "10.0.0.2").writes.is_empty());
    }
}
