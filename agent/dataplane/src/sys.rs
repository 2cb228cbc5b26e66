//! The bpf(2) commands that aya 0.14 has no door for: replacing the program of a pinned cgroup link, asking which
//! cgroup a link is on, detaching it. Enters: paths and descriptors. Leaves: the kernel's answer.
#![expect(unsafe_code, reason = "raw bpf(2)")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const BPF_OBJ_GET: libc::c_long = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_LINK_UPDATE: libc::c_long = 29;
const BPF_LINK_DETACH: libc::c_long = 34;

fn bpf<T>(command: libc::c_long, attributes: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: every caller passes the kernel's struct for its command, zero-filled where unused, alive for the call.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

#[repr(C)]
#[derive(Default)]
struct ObjectGet {
    path: u64,
    fd: u32,
    flags: u32,
}

/// Opens a pinned object.
///
/// # Errors
/// The kernel's: ENOENT without a pin, EPERM without the right.
pub(crate) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let fd = bpf(BPF_OBJ_GET, &mut ObjectGet { path: path.as_ptr() as u64, ..ObjectGet::default() })?;
    // SAFETY: a new descriptor, ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// What the kernel says of a cgroup link.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LinkInfo {
    /// `BPF_LINK_TYPE_CGROUP` is 3.
    pub(crate) link_type: u32,
    /// The link's id.
    pub(crate) id: u32,
    /// The program's id.
    pub(crate) program: u32,
    pad: u32,
    /// The cgroup's id, zero once the cgroup is gone.
    pub(crate) cgroup: u64,
    /// The hook.
    pub(crate) attach_type: u32,
    pad2: u32,
}

impl LinkInfo {
    /// The device's index, if this is a tcx link whose device is there. The kernel's answer for tcx has the index
    /// where that for a cgroup has the low half of its id.
    pub(crate) fn device(&self) -> Option<u32> {
        const BPF_LINK_TYPE_TCX: u32 = 11;
        (self.link_type == BPF_LINK_TYPE_TCX).then_some(self.cgroup as u32).filter(|index| *index != 0)
    }
}

#[repr(C)]
struct InfoByFd {
    fd: u32,
    len: u32,
    info: u64,
}

/// Asks about a link.
///
/// # Errors
/// The kernel's.
pub(crate) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut info = LinkInfo::default();
    let mut request = InfoByFd {
        fd: link.as_raw_fd() as u32,
        len: size_of::<LinkInfo>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut request)?;
    Ok(info)
}

#[repr(C)]
#[derive(Default)]
struct LinkUpdate {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

/// Replaces the program of a link; no call in between sees none.
///
/// # Errors
/// The kernel's: ENOLINK if the cgroup is gone.
pub(crate) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let (link, program) = (link.as_raw_fd() as u32, program.as_raw_fd() as u32);
    bpf(BPF_LINK_UPDATE, &mut LinkUpdate { link, program, ..LinkUpdate::default() }).map(|_| ())
}

/// Detaches a link now, whoever else holds it.
///
/// # Errors
/// The kernel's: EOPNOTSUPP for links that cannot.
pub(crate) fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    bpf(BPF_LINK_DETACH, &mut (link.as_raw_fd() as u32)).map(|_| ())
}

/// Returns after an RCU grace period: no program that started before the call is still running.
///
/// # Errors
/// The kernel's: EINVAL on kernels with nohz_full, ENOSYS before 4.3.
pub(crate) fn grace_period() -> io::Result<()> {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: no pointers.
    let answer = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The time that the programs stamp flows with: monotonic nanoseconds.
pub(crate) fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The cookie of this process's network namespace.
///
/// # Errors
/// The kernel's: ENOPROTOOPT before 5.14.
pub(crate) fn netns_cookie() -> io::Result<u64> {
    const SO_NETNS_COOKIE: libc::c_int = 71;
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    let mut cookie = 0_u64;
    let mut len = size_of::<u64>() as libc::socklen_t;
    // SAFETY: an open socket and a buffer of the stated length.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            std::ptr::from_mut(&mut cookie).cast(),
            &raw mut len,
        )
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(cookie) }
}
