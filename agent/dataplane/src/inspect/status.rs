//! What is in the kernel: programs at their hooks, maps and how full they are.

use std::collections::HashMap;
use std::fmt;
use std::os::fd::AsFd;
use std::path::Path;

use serde::Serialize;
use xebec_abi::LAYOUT_VERSION;

use crate::addresses::ethernet_devices;
use crate::diff::Installed;
use crate::load::versioned;
use crate::maps::MapError;
use crate::maps::pinned::PinnedMaps;
use crate::maps::shapes::{OF_PODS, PINNED, inspect};
use crate::metrics::Running;
use crate::sctp::TABLE;
use crate::sys;
use crate::upgrade::{own_maps, version};

/// A program at its hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkStatus {
    /// The pin's name.
    pub name: String,
    /// The link's id; absent if the pin is no link.
    pub link: Option<u32>,
    /// The program's id.
    pub program: Option<u32>,
    /// When the program was loaded, RFC 3339.
    pub loaded: Option<String>,
    /// The cgroup or device it is on; absent if that is gone, and the program with it.
    pub on: Option<String>,
}

/// A map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MapStatus {
    /// Name.
    pub name: String,
    /// Entries in use; absent where that has no meaning.
    pub entries: Option<u64>,
    /// The most there can be.
    pub max: u64,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// This program's version.
    pub version: String,
    /// The layout this program speaks.
    pub layout: u32,
    /// The layouts that are pinned: more than one after an upgrade that was not finished.
    pub pinned_layouts: Vec<String>,
    /// Where the pins are.
    pub pins: String,
    /// Full synchronisations by proxies since the maps were made.
    pub syncs: u64,
    /// Service ports in the maps, the self-probe's included.
    pub service_ports: usize,
    /// Programs.
    pub links: Vec<LinkStatus>,
    /// Maps.
    pub maps: Vec<MapStatus>,
    /// What the running proxy says, if one was reached.
    pub running: Option<Running>,
}

/// Looks; `running` is what a running proxy said.
///
/// # Errors
/// [`MapError::Pin`] if no dataplane is installed under the pin directory, [`MapError::Layout`] if only another layout's is.
pub fn status(pin_dir: &Path, running: Option<Running>) -> Result<Report, MapError> {
    let dir = own_maps(pin_dir)?;
    let tables = tables(&dir)?.unwrap_or_default();
    let names = |dir: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_unstable();
        names
    };
    let mut found = Vec::new();
    for shape in PINNED {
        let Some(info) = inspect(&dir, shape)? else { continue };
        let counted = || {
            let map = sys::open_pin(&dir.join(shape.name)).ok()?;
            sys::count_keys(map.as_fd(), info.key_size(), 2 * u64::from(info.max_entries())).ok()
        };
        // An array has all of its keys always.
        let entries =
            tables.arrays.get(shape.name).copied().or_else(|| shape.is_keyed().then(counted).flatten());
        found.push(MapStatus { name: shape.name.to_owned(), entries, max: info.max_entries().into() });
    }
    let links = versioned(pin_dir).join("links");
    Ok(Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        layout: LAYOUT_VERSION,
        pinned_layouts: names(pin_dir)
            .into_iter()
            .filter(|name| version(Path::new(name)).is_some())
            .collect(),
        pins: pin_dir.display().to_string(),
        syncs: tables.syncs,
        service_ports: tables.service_ports,
        links: names(&links).into_iter().map(|name| link(&links, name)).collect(),
        maps: found,
        running,
    })
}

/// What the maps of Services hold.
#[derive(Default)]
struct Tables {
    syncs: u64,
    service_ports: usize,
    /// Entries of arrays in use.
    arrays: HashMap<&'static str, u64>,
}

/// None where there are none, as the agent leaves Services to somebody else and has only its pods' maps.
fn tables(dir: &Path) -> Result<Option<Tables>, MapError> {
    if dir.join(OF_PODS).exists() && !dir.join("META").exists() {
        return Ok(None);
    }
    let maps = PinnedMaps::open(dir)?;
    let snapshot = maps.snapshot()?;
    let (installed, _) = Installed::adopt(maps.capacity(), &snapshot);
    let fills = installed.fills(maps.capacity());
    Ok(Some(Tables {
        syncs: snapshot.epoch,
        service_ports: installed.len(),
        arrays: fills.into_iter().map(|fill| (fill.map, fill.entries)).collect(),
    }))
}

fn link(dir: &Path, name: String) -> LinkStatus {
    let info = sys::open_pin(&dir.join(&name)).and_then(|link| sys::link_info(link.as_fd())).ok();
    let Some(info) = info else {
        return LinkStatus { name, link: None, program: None, loaded: None, on: None };
    };
    let program = aya::programs::loaded_programs().flatten().find(|program| program.id() == info.program);
    let loaded = program.and_then(|program| program.loaded_at());
    let loaded = loaded.and_then(|time| k8s_openapi::jiff::Timestamp::try_from(time).ok());
    let on = match info.device() {
        Some(index) => {
            let devices = ethernet_devices().unwrap_or_default();
            let known = devices.into_iter().find(|device| device.index == index);
            let name = known.map_or_else(|| index.to_string(), |device| device.name);
            Some(format!("device {name}"))
        }
        None if info.is_cgroup() && info.cgroup != 0 => Some(format!("cgroup {}", info.cgroup)),
        None => None,
    };
    LinkStatus {
        name,
        link: Some(info.id),
        program: Some(info.program),
        loaded: loaded.map(|time| time.to_string()),
        on,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "version {}, map layout {} (pinned: {})",
            self.version,
            self.layout,
            self.pinned_layouts.join(", ")
        )?;
        writeln!(f, "pins    {}", self.pins)?;
        match &self.running {
            Some(running) => {
                let zone = running.zone.as_deref().unwrap_or("none");
                let sync = running.last_sync.as_deref().unwrap_or("never");
                let behind =
                    if running.behind { ", BEHIND: something does not fit or cannot be written" } else { "" };
                writeln!(
                    f,
                    "proxy   version {} on node {} (zone {zone}), last sync {sync}{behind}",
                    running.version, running.node
                )?;
            }
            None => writeln!(f, "proxy   not reached: what is in the kernel serves on, and changes wait")?,
        }
        writeln!(f, "tables  {} service ports, {} full syncs", self.service_ports, self.syncs)?;
        if let Some(sctp) = self.running.as_ref().map(|running| &running.sctp).filter(|sctp| sctp.ports > 0) {
            let why = sctp.failure.as_ref().map_or_else(String::new, |why| format!(", BEHIND: {why}"));
            writeln!(f, "sctp    {} service ports, in the nft table {TABLE}{why}", sctp.ports)?;
        }
        writeln!(f, "\n{:<18} {:>6} {:>8}  {:<22} LOADED", "PROGRAM", "LINK", "PROGRAM", "ON")?;
        for link in &self.links {
            let number = |id: Option<u32>| id.map_or_else(|| "-".to_owned(), |id| id.to_string());
            let on = link.on.as_deref().unwrap_or("NOTHING");
            let loaded = link.loaded.as_deref().unwrap_or("-");
            writeln!(
                f,
                "{:<18} {:>6} {:>8}  {on:<22} {loaded}",
                link.name,
                number(link.link),
                number(link.program)
            )?;
        }
        write!(f, "\n{:<18} {:>9} {:>9}  FULL", "MAP", "ENTRIES", "MOST")?;
        for map in &self.maps {
            let Some(entries) = map.entries else { continue };
            let percent = entries as f64 * 100.0 / map.max.max(1) as f64;
            write!(f, "\n{:<18} {entries:>9} {:>9}  {percent:.1} %", map.name, map.max)?;
        }
        Ok(())
    }
}
