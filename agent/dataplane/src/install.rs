//! The dataplane into the kernel, without the API. Enters: options. Leaves: tables that an earlier agent's content was taken over
//! from, and programs at their hooks or ready for them. Called by run, and by tests in its place.

use std::path::PathBuf;

use tracing::{debug, info, warn};

use crate::apply::Applier;
use crate::attach::{is_root, resolve_cgroup, root_cgroup};
use crate::compile::Place;
use crate::devices::Devices;
use crate::load::{Part, find_object, load, versioned};
use crate::maps::pinned::PinnedMaps;
use crate::probe::{Probe, probe};
use crate::proglog::follow_log;
use crate::upgrade::{Layout, links, others};
use crate::{DataplaneError, Options, sys};

/// The hooks in the socket calls, and whose they are until then.
#[derive(Debug)]
pub(crate) struct Hooks {
    /// The cgroup that the programs go on.
    pub(crate) cgroup: PathBuf,
    /// Where its hierarchy is mounted, if that is in sight.
    mount: Option<PathBuf>,
    /// The base directory of the pins.
    pub(crate) pin_dir: PathBuf,
    /// Layouts beside ours.
    pub(crate) others: Vec<Layout>,
}

impl Hooks {
    fn find(options: &Options) -> Result<Self, DataplaneError> {
        let cgroup = match &options.cgroup_path {
            Some(path) => resolve_cgroup(path)?,
            None => root_cgroup()?,
        };
        // In a container the hierarchy's own mount may be out of sight, and then only the probe is without it.
        let mount = if is_root(&cgroup) { Some(cgroup.clone()) } else { root_cgroup().ok() };
        let pin_dir = options.pin_dir.clone();
        let others = others(&pin_dir)?;
        Ok(Self { cgroup, mount, pin_dir, others })
    }

    /// Whether the programs at the hooks see this process.
    pub(crate) fn prove(&self) -> Result<(), DataplaneError> {
        match self.mount.as_ref().map_or(Probe::Outside, |mount| probe(&self.cgroup, mount)) {
            Probe::Working => debug!("self-probe: the hooks see this process"),
            Probe::Outside => {
                debug!("self-probe skipped: this process is outside the cgroup the programs are on")
            }
            Probe::Unseen(what) => return Err(DataplaneError::Unseen(what)),
        }
        Ok(())
    }
}

/// Loads, attaches, adopts and probes. [`Devices::refresh`] then puts the packet programs on devices. Where programs serve by the
/// tables of a layout that this agent cannot read, nothing is attached before [`Devices::go_live`] is called, once the tables say
/// all that the API says.
///
/// # Errors
/// As [`run`](crate::run).
pub fn install(options: &Options) -> Result<(Applier<PinnedMaps>, Devices), DataplaneError> {
    let object = find_object(options.bpf_object.as_deref())?;
    let hooks = Hooks::find(options)?;
    let waits = links::services_wait(&hooks.pin_dir, &hooks.others)?;
    let mut ebpf = load(&object, options, Part::Services)?;
    if options.log_programs {
        follow_log(&mut ebpf);
    }
    let cgroup = hooks.cgroup.clone();
    let mut devices = Devices::new(ebpf, options, hooks)?;
    if !waits {
        devices.attach()?;
    }
    // What an agent killed a moment ago had removed may still be in a program's hands.
    if let Err(error) = sys::grace_period() {
        debug!(%error, "membarrier is not available");
    }
    let maps = PinnedMaps::open(&versioned(&options.pin_dir).join("maps"))?;
    let snapshot = maps.snapshot()?;
    let capacity = maps.capacity();
    let place = Place { node: options.node_name.clone(), zone: None };
    let applier = Applier::adopt(maps, capacity, &snapshot, place)?;
    if waits {
        warn!("the programs of another layout of the maps serve on until all Services are in this one's");
        return Ok((applier, devices));
    }
    info!(
        object = %object.display(), cgroup = %cgroup.display(), pins = %options.pin_dir.display(),
        adopted = snapshot.services.len(), epoch = snapshot.epoch, "service dataplane attached"
    );
    devices.go_live()?;
    options.health.send_modify(|health| health.attached = true);
    Ok((applier, devices))
}
