//! A dataplane of layout 1, real programs and all, made of one of today's: its object is loaded over second pins of the maps that did
//! not change, its FE4 gets what today's has, and every link its program.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use aya::maps::{Array, HashMap, Map, MapData};
use aya::programs::Program;
use aya::{Ebpf, EbpfLoader};
use xebec_abi::service::FeKey4;
use xebec_dataplane::load::versioned;
use xebec_dataplane::maps::pinned::PinnedMaps;
use xebec_dataplane::maps::{key4, shards};
use xebec_rig::bpf::bpf;

const OBJECT: &[u8] = include_bytes!("layout-1.o.gz");
/// As many as fit into FE4 of layout 1 here.
const FRONTENDS: u32 = 1024;

/// Where layout 1 has its pins.
pub fn directory(pin_dir: &Path) -> PathBuf {
    pin_dir.join("v1")
}

/// The names in a directory, sorted; none if it is not there.
pub fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut names: Vec<_> = entries.map(|pin| pin.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

fn open(pin: &Path) -> OwnedFd {
    const BPF_OBJ_GET: libc::c_long = 7;
    let path = CString::new(pin.as_os_str().as_bytes()).unwrap();
    let fd = bpf(BPF_OBJ_GET, &[(0, path.as_ptr() as u64)], &[]).unwrap();
    // SAFETY: a new descriptor, ours alone.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// The kernel's ids of the links pinned in a layout's directory, by name.
pub fn link_ids(layout: &Path) -> BTreeMap<String, u32> {
    let links = layout.join("links");
    let id = |name: String| {
        let link = aya::programs::links::PinnedLink::from_pin(links.join(&name)).unwrap();
        (name, aya::programs::links::FdLink::from(link).info().unwrap().id())
    };
    names(&links).into_iter().map(id).collect()
}

/// The ids of the programs on the links pinned in a layout's directory.
pub fn program_ids(layout: &Path) -> Vec<u32> {
    xebec_rig::bpf::pinned(layout).unwrap()
}

/// Word 0 of STATE: the layout, and above it the salt of FE4.
pub fn set_state(maps: &Path, word: u64) {
    let state = Map::Array(MapData::from_pin(maps.join("STATE")).unwrap());
    let mut state: Array<MapData, [u64; 4]> = state.try_into().unwrap();
    let mut value = state.get(&0, 0).unwrap();
    value[0] = word;
    state.set(0, value, 0).unwrap();
}

fn bytes(FeKey4 { addr, port, proto, scope }: FeKey4) -> [u8; 8] {
    let ([a, b, c, d], [p, q]) = (addr.0.to_ne_bytes(), port.0.to_ne_bytes());
    [a, b, c, d, p, q, proto, scope]
}

/// Fills FE4 of layout 1 from that of ours.
fn fill(own: &Path, old: &Path) {
    let mut table: HashMap<_, [u8; 8], u64> =
        Map::HashMap(MapData::from_pin(old.join("FE4")).unwrap()).try_into().unwrap();
    for (key, value) in PinnedMaps::open(own).unwrap().snapshot().unwrap().frontends {
        if let Some(key) = key4(&key) {
            table.insert(bytes(key), value.0, 0).unwrap();
        }
    }
}

/// Makes what is pinned by our layout a dataplane of layout 1; no agent of ours may run.
pub fn downgrade(pin_dir: &Path) {
    let (own, old) = (versioned(pin_dir), directory(pin_dir));
    let (own_maps, old_maps) = (own.join("maps"), old.join("maps"));
    for dir in ["maps", "links"] {
        fs::create_dir_all(old.join(dir)).unwrap();
    }
    let maps = names(&own_maps);
    for name in maps.iter().filter(|name| *name != "FE4") {
        fs::hard_link(own_maps.join(name), old_maps.join(name)).unwrap();
    }
    let has_services = maps.iter().any(|name| name == "FE4");
    let services = if has_services {
        MapData::from_pin(own_maps.join("META")).unwrap().info().unwrap().max_entries()
    } else {
        1
    };
    let shard_mask = shards(aya::util::nr_cpus().unwrap() as u32) - 1;
    let mut object = Vec::new();
    flate2::read::GzDecoder::new(OBJECT).read_to_end(&mut object).unwrap();
    let mut loader = EbpfLoader::new();
    loader.override_global("AYA_LOG_LEVEL", &0_u8, true).override_global("PROCESS_KNOWN", &1_u8, false);
    loader.override_global("SERVICES", &services, true).override_global("SHARD_MASK", &shard_mask, true);
    loader.map_max_entries("FE4", FRONTENDS);
    for name in &maps {
        loader.map_pin_path(name, old_maps.join(name));
    }
    let mut ebpf = loader.load(&object).unwrap();
    if has_services {
        fill(&own_maps, &old_maps);
        set_state(&old_maps, 1);
    }
    for name in names(&own.join("links")) {
        let pin = own.join("links").join(&name);
        replace(&mut ebpf, name.split('-').next().unwrap(), &pin);
        fs::rename(&pin, old.join("links").join(&name)).unwrap();
    }
    maps.iter().for_each(|name| fs::remove_file(own_maps.join(name)).unwrap());
    for dir in [own.join("links"), own_maps, own] {
        fs::remove_dir(dir).unwrap();
    }
}

/// Gives a pinned link the object's program.
fn replace(ebpf: &mut Ebpf, name: &str, pin: &Path) {
    const BPF_LINK_UPDATE: libc::c_long = 29;
    let program = ebpf.program_mut(name).unwrap();
    if program.fd().is_err() {
        match program {
            Program::CgroupSock(program) => program.load().unwrap(),
            Program::CgroupSockAddr(program) => program.load().unwrap(),
            Program::SchedClassifier(program) => program.load().unwrap(),
            Program::Xdp(program) => program.load().unwrap(),
            other => panic!("{other:?} in place of {name}"),
        }
    }
    let (link, fd) = (open(pin), program.fd().unwrap());
    let halves = [(0, link.as_raw_fd() as u32), (4, fd.as_fd().as_raw_fd() as u32)];
    bpf(BPF_LINK_UPDATE, &[], &halves).unwrap();
}
