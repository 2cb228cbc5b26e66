//! Programs of a few instructions that are loaded without an object file, and what the kernel counts of any program.
//! Enters: instructions, hooks, pins. Leaves: descriptors, mean times.
#![expect(unsafe_code, reason = "bpf(2)")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use aya::programs::links::{FdLink, PinnedLink};

/// Eight bytes, as the kernel takes them.
pub type Instruction = [u8; 8];

/// A hook, as `enum bpf_attach_type` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// `connect` of AF_INET, on a cgroup.
    Connect4 = 10,
    /// A device's driver.
    Xdp = 37,
}

/// bpf(2) with an attribute of 120 bytes, more than any used here: its eight-byte fields and its four-byte fields, by offset.
///
/// # Errors
/// The kernel's.
pub fn bpf(command: libc::c_long, words: &[(usize, u64)], halves: &[(usize, u32)]) -> io::Result<i32> {
    let mut attribute = [0_u8; 120];
    for (at, word) in words {
        attribute[*at..at + 8].copy_from_slice(&word.to_ne_bytes());
    }
    for (at, half) in halves {
        attribute[*at..at + 4].copy_from_slice(&half.to_ne_bytes());
    }
    // SAFETY: pointers among the words point to what the callers hold during the call.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, attribute.as_mut_ptr(), attribute.len()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer as i32) }
}

/// `r0 = value; exit`.
pub fn answer(value: u8) -> [Instruction; 2] {
    [[0xb7, 0, 0, 0, value, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]]
}

/// Loads a program for a hook.
///
/// # Errors
/// The kernel's.
pub fn load(hook: Hook, instructions: &[Instruction]) -> io::Result<OwnedFd> {
    const BPF_PROG_LOAD: libc::c_long = 5;
    const BPF_PROG_TYPE_XDP: u32 = 6;
    const BPF_PROG_TYPE_CGROUP_SOCK_ADDR: u32 = 18;
    // A driver's programs need not say where they go.
    let (kind, expected) = match hook {
        Hook::Xdp => (BPF_PROG_TYPE_XDP, 0),
        Hook::Connect4 => (BPF_PROG_TYPE_CGROUP_SOCK_ADDR, hook as u32),
    };
    let fd = bpf(
        BPF_PROG_LOAD,
        &[(8, instructions.as_ptr() as u64), (16, c"GPL".as_ptr() as u64)],
        &[(0, kind), (4, instructions.len() as u32), (68, expected)],
    )?;
    // SAFETY: a new descriptor, ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Puts a program on a device (by index) or a cgroup (by descriptor); it leaves when the link is dropped.
///
/// # Errors
/// The kernel's.
pub fn attach(program: BorrowedFd<'_>, target: u32, hook: Hook) -> io::Result<OwnedFd> {
    const BPF_LINK_CREATE: libc::c_long = 28;
    const XDP_FLAGS_DRV_MODE: u32 = 4;
    let flags = if hook == Hook::Xdp { XDP_FLAGS_DRV_MODE } else { 0 };
    let halves = [(0, program.as_raw_fd() as u32), (4, target), (8, hook as u32), (12, flags)];
    let fd = bpf(BPF_LINK_CREATE, &[], &halves)?;
    // SAFETY: a new descriptor, ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Counts time and runs of all programs while it lives. That is part of every program's time: see [`Nothing`].
///
/// # Errors
/// The kernel's.
pub fn count() -> io::Result<OwnedFd> {
    aya::sys::enable_stats(aya::sys::Stats::RunTime).map_err(io::Error::other)
}

/// What the kernel has counted of a program.
#[derive(Clone, Debug)]
pub struct Counted {
    /// The program's id.
    pub id: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Its time in all.
    pub time: Duration,
    /// How often it ran.
    pub runs: u64,
}

impl Counted {
    /// Nanoseconds a run since an earlier look; `None` if it did not run.
    pub fn mean_since(&self, before: Option<&Self>) -> Option<f64> {
        let (time, runs) = before.map_or((Duration::ZERO, 0), |b| (b.time, b.runs));
        let runs = self.runs.checked_sub(runs).filter(|runs| *runs > 0)?;
        Some(self.time.saturating_sub(time).as_nanos() as f64 / runs as f64)
    }
}

/// The ids of the programs whose links are pinned in the folder `links` of `pins`.
///
/// # Errors
/// A pin that cannot be opened.
pub fn pinned(pins: &Path) -> io::Result<Vec<u32>> {
    let mut ids = Vec::new();
    for pin in std::fs::read_dir(pins.join("links"))? {
        let link = FdLink::from(PinnedLink::from_pin(pin?.path()).map_err(io::Error::other)?);
        ids.push(link.info().map_err(io::Error::other)?.program_id());
    }
    Ok(ids)
}

/// What the kernel has counted of programs, by their ids; those that are gone are left out.
pub fn counted(ids: &[u32]) -> Vec<Counted> {
    let mut all: Vec<Counted> = aya::programs::loaded_programs()
        .filter_map(Result::ok)
        .filter(|program| ids.contains(&program.id()))
        .map(|program| Counted {
            id: program.id(),
            name: program.name_as_str().unwrap_or("?").to_owned(),
            time: program.run_time(),
            runs: program.run_count(),
        })
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// A program that does nothing, at `connect` of a cgroup beside what else is there: its time is what counting itself adds to
/// each program's.
#[derive(Debug)]
pub struct Nothing {
    /// Its id.
    pub id: u32,
    _link: OwnedFd,
}

impl Nothing {
    /// Puts it there.
    ///
    /// # Errors
    /// The kernel's, or the cgroup cannot be opened.
    pub fn attach(cgroup: &Path) -> io::Result<Self> {
        const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
        let program = load(Hook::Connect4, &answer(1))?;
        let cgroup = std::fs::File::open(cgroup)?;
        let link = attach(program.as_fd(), cgroup.as_raw_fd() as u32, Hook::Connect4)?;
        // The first two words: the type and the id.
        let mut info = [0_u32; 2];
        let halves = [(0, program.as_raw_fd() as u32), (4, size_of_val(&info) as u32)];
        bpf(BPF_OBJ_GET_INFO_BY_FD, &[(8, info.as_mut_ptr() as u64)], &halves)?;
        Ok(Self { id: info[1], _link: link })
    }
}
