//! The object's maps: made, or taken over. Enters: the object's bytes, a part, sizes. Leaves: the part's maps pinned and full, and
//! the object ready for its programs to be loaded, which are told what the maps' sizes are.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported};
use aya::{Ebpf, EbpfLoader};
use xebec_abi::LAYOUT_VERSION;

use super::{LoadError, Part, ensure_bpffs, object_version, versioned};
use crate::maps::shapes::PINNED;
use crate::maps::{Capacity, MapError, Mapping, frontends, pinned, shards};
use crate::upgrade::fill::{fill, filler};
use crate::upgrade::maps::{Source, filling, prepare, remove};
use crate::upgrade::{Layout, others};
use crate::{Options, sys};

/// Whether socket programs may call a helper.
fn known(helper: BpfHelper) -> bool {
    is_helper_supported(ProgramType::CgroupSockAddr, helper).unwrap_or(false)
}

/// Whether the kernel tells the socket programs which process calls; where it does not, events name none.
fn tells_process() -> bool {
    known(BpfHelper::BPF_FUNC_get_current_pid_tgid) && known(BpfHelper::BPF_FUNC_get_current_comm)
}

/// Reads the object and makes or takes over the maps of one part, by our layout or one before.
pub(super) fn open(object: &Path, options: &Options, part: Part) -> Result<Ebpf, LoadError> {
    let Options { pin_dir, capacity, log_programs, .. } = options;
    let bytes =
        std::fs::read(object).map_err(|source| LoadError::Read { path: object.to_owned(), source })?;
    match object_version(&bytes) {
        None => return Err(LoadError::NoVersion(object.to_owned())),
        Some(found) if found != LAYOUT_VERSION => {
            return Err(LoadError::Version { path: object.to_owned(), found });
        }
        Some(_) => {}
    }
    ensure_bpffs(pin_dir)?;
    let dir = versioned(pin_dir).join("maps");
    if part == Part::Services {
        distrust(pin_dir)?;
    }
    let sources = prepare(pin_dir, part)?;
    let globals = Globals::new(&dir, &sources, *capacity, *log_programs)?;
    let mut loader = EbpfLoader::new();
    globals.set(&mut loader);
    for shape in PINNED {
        let Some(source) = sources.get(shape.name) else {
            if !shape.is_of_sockets() {
                loader.map_max_entries(shape.name, 1);
            }
            continue;
        };
        if let Some(size) = source.entries().or_else(|| globals.entries(shape.name, *capacity)) {
            loader.map_max_entries(shape.name, size);
        }
        let pin = match source {
            Source::Filled(..) => filling(&dir, shape.name),
            Source::Pinned(_) | Source::New => dir.join(shape.name),
        };
        loader.map_pin_path(shape.name, Cow::Owned(pin));
    }
    let feature = "it needs bpf(2) as root, BTF, socket storage and mappable arrays (5.5 or later)";
    let ebpf = loader.load(&bytes).map_err(|e| LoadError::Kernel { feature, source: Box::new(e) })?;
    if part == Part::Services {
        // Before anything is in FE4, or what is there already.
        keep_salt(&dir, globals.salt)?;
    }
    for (name, source) in &sources {
        if let (Source::Filled(_, old), Some(filler)) = (source, filler(name)) {
            fill(name, &filler, old, &dir, globals.salt)?;
        }
    }
    Ok(ebpf)
}

/// What the programs are told when they are loaded.
struct Globals {
    log_level: u8,
    netns: u64,
    process: u8,
    mptcp: u8,
    services: u32,
    frontends: u32,
    homes: u32,
    salt: u32,
    shards: u32,
    shard_mask: u32,
    seed: u32,
}

impl Globals {
    /// A pinned map keeps its size, and what is reckoned from it its own.
    fn new(
        dir: &Path,
        sources: &HashMap<&'static str, Source>,
        capacity: Capacity,
        log_programs: bool,
    ) -> Result<Self, LoadError> {
        let entries = |name: &str| sources.get(name).and_then(Source::entries);
        let netns = sys::netns_cookie().map_err(LoadError::NoNetnsCookie)?;
        let frontends = entries("FE4").unwrap_or(frontends::elements(capacity.frontends));
        let salt = match salt(dir)? {
            Some(salt) => salt,
            None => RandomState::new().hash_one(dir) as u32 | 1,
        };
        let shards = shards(aya::util::nr_cpus().map_or(1, |cpus| cpus as u32));
        Ok(Self {
            // aya-log's levels are 1 (error) to 5 (trace); at 0 the verifier drops the programs' logging.
            log_level: if log_programs { 5 } else { 0 },
            netns,
            process: u8::from(tells_process()),
            mptcp: u8::from(known(BpfHelper::BPF_FUNC_skc_to_mptcp_sock)),
            services: entries("META").unwrap_or(capacity.services),
            frontends,
            homes: frontends::homes(frontends),
            salt,
            shards,
            shard_mask: shards - 1,
            // Nodes that begin at the same moment are not to give all their first connections to the same endpoint.
            seed: RandomState::new().hash_one(netns) as u32,
        })
    }

    fn set<'a>(&'a self, loader: &mut EbpfLoader<'a>) {
        loader
            .override_global("AYA_LOG_LEVEL", &self.log_level, true)
            .override_global("HOST_NETNS", &self.netns, true)
            .override_global("PROCESS_KNOWN", &self.process, false)
            .override_global("MPTCP_KNOWN", &self.mptcp, false)
            .override_global("FE4_HOMES", &self.homes, true)
            .override_global("FE4_SALT", &self.salt, true)
            .override_global("SEED", &self.seed, true)
            .override_global("SERVICES", &self.services, true)
            .override_global("SHARD_MASK", &self.shard_mask, true);
    }

    /// Entries of a map that is to be made, where the object does not say.
    fn entries(&self, map: &str, capacity: Capacity) -> Option<u32> {
        Some(match map {
            "FE4" => self.frontends,
            "FE6" => capacity.frontends,
            "META" => capacity.services,
            "SERVED" => self.services.saturating_mul(self.shards),
            "SLOT4" => capacity.slots4,
            "SLOT6" => capacity.slots6,
            "BE_STATE" => capacity.backends,
            "LUT" => capacity.rows,
            _ => return None,
        })
    }
}

/// Forgets an FE4 of ours whose salt is gone: an agent of layout 1, which knows of none, worked on the shared STATE after ours
/// had been killed half-way, and its own FE4 is what it served by.
fn distrust(pin_dir: &Path) -> Result<(), LoadError> {
    let dir = versioned(pin_dir).join("maps");
    let fail = |source| LoadError::PinDir { path: pin_dir.to_owned(), source };
    let older = others(pin_dir)?;
    let is_there = |layout: &Layout| layout.is_known() && layout.dir.join("maps/FE4").exists();
    if older.iter().any(is_there) && salt(&dir)?.is_none() {
        remove(&dir.join("FE4")).map_err(fail)?;
    }
    Ok(())
}

/// The salt of the pinned FE4 (see [`xebec_abi::frontend`]); `None` before there is one.
fn salt(dir: &Path) -> Result<Option<u32>, MapError> {
    if !dir.join("STATE").exists() {
        return Ok(None);
    }
    let word = state(dir)?.load(0, 0)?;
    Ok(Some((word >> 32) as u32).filter(|salt| *salt != 0))
}

fn keep_salt(dir: &Path, salt: u32) -> Result<(), MapError> {
    let state = state(dir)?;
    let version = state.load(0, 0)? as u32;
    state.publish(0, 0, u64::from(salt) << 32 | u64::from(version))
}

fn state(dir: &Path) -> Result<Mapping, MapError> {
    let (data, len) = pinned::open(dir, "STATE")?;
    Mapping::new("STATE", &data, len, 4)
}
