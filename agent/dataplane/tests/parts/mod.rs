//! What belongs to Services and what to the node's pods: a part pins what its programs use, and when Services are removed the
//! pods' policies stay.

use std::collections::BTreeSet;
use std::path::Path;

use aya::maps::MapInfo;
use xebec_dataplane::detach_services;
use xebec_dataplane::load::{Part, load, versioned};
use xebec_rig::Rig;
use xebec_rig::ask::{SILENCE, ask_tcp};
use xebec_rig::objects::Agent;

use crate::policy::net::{A, Cluster};

fn names(dir: &Path) -> BTreeSet<String> {
    std::fs::read_dir(dir).unwrap().map(|pin| pin.unwrap().file_name().into_string().unwrap()).collect()
}

/// The maps that the part's loaded programs use.
fn used(rig: &Rig, part: Part) -> BTreeSet<String> {
    let object = rig.options.bpf_object.as_ref().unwrap();
    let ebpf = load(object, &rig.options, part).unwrap();
    let loaded = ebpf.programs().filter_map(|(_, program)| program.info().ok());
    let ids = loaded.flat_map(|info| info.map_ids().unwrap().unwrap());
    ids.map(|id| MapInfo::from_id(id).unwrap().name_as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_part_pins_what_its_programs_use() {
    let (Some(services), Some(pods)) = (Rig::new(), Rig::new()) else { return };
    let by_services = used(&services, Part::Services);
    let by_pods = &used(&pods, Part::Policy) | &used(&pods, Part::Pods);
    let of_services = names(&versioned(services.pin_dir()).join("maps"));
    let of_pods = names(&versioned(pods.pin_dir()).join("maps"));
    let pinned = &of_services | &of_pods;
    // Those of programs that are loaded for some devices only are among them, too.
    let lost: Vec<_> =
        by_services.intersection(&pinned).filter(|name| !of_services.contains(*name)).collect();
    assert!(lost.is_empty(), "{lost:?} are of Services");
    assert_eq!(&by_pods & &pinned, of_pods);
}

#[test]
fn policies_stay_when_services_are_removed() {
    let Some(mut cluster) = Cluster::new() else { return };
    cluster.set(&[super::policy::deny_ingress()]);
    let version = versioned(cluster.rig.pin_dir());
    let (links, maps) = (version.join("links"), version.join("maps"));
    let (own_links, own_maps) = (names(&links), names(&maps));
    let agent = Agent::new(&cluster.rig.options);
    assert!(names(&links).len() > own_links.len() && names(&maps).len() > own_maps.len());
    drop(agent);
    detach_services(cluster.rig.pin_dir()).unwrap();
    assert_eq!((names(&links), names(&maps)), (own_links, own_maps));
    assert_eq!(ask_tcp(&cluster.b, &format!("{A}:80")), SILENCE);
    // They are followed, too.
    cluster.set(&[]);
    assert!(ask_tcp(&cluster.b, &format!("{A}:80")).starts_with("A "));
}
