//! The system calls that aya 0.14 has no door for. Links: replacing a pinned one's program, asking what it is on,
//! detaching it; iterators over a map. Maps of types known only by their pin: walking, reading, removing. Programs: which are at a hook, and one
//! run on a packet. Beside bpf(2): grace periods, clocks, namespaces, free memory. Enters: paths and descriptors. Leaves: the kernel's
//! answer.
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

/// What the kernel says of a link to a cgroup or a device.
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
    /// The cgroup's id, zero once the cgroup is gone; of a link to a device see [`LinkInfo::device`].
    pub(crate) cgroup: u64,
    /// The hook.
    pub(crate) attach_type: u32,
    pad2: u32,
}

impl LinkInfo {
    /// Whether this is a link to a cgroup.
    pub(crate) const fn is_cgroup(&self) -> bool {
        const BPF_LINK_TYPE_CGROUP: u32 = 3;
        self.link_type == BPF_LINK_TYPE_CGROUP
    }

    /// The device's index, if this is a tcx or XDP link whose device is there. The kernel's answer for them has the index
    /// where that for a cgroup has the low half of its id.
    pub(crate) fn device(&self) -> Option<u32> {
        const BPF_LINK_TYPE_XDP: u32 = 6;
        const BPF_LINK_TYPE_TCX: u32 = 11;
        let has_device = [BPF_LINK_TYPE_XDP, BPF_LINK_TYPE_TCX].contains(&self.link_type);
        has_device.then_some(self.cgroup as u32).filter(|index| *index != 0)
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

#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    iterator: u64,
    iterator_len: u32,
    pad: u32,
}

/// Puts an iterator program on a map; the link is what [`iterate`] reads by.
///
/// # Errors
/// The kernel's: EACCES if the program reads more than the map's values have.
pub(crate) fn iterate_map(program: BorrowedFd<'_>, map: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const BPF_LINK_CREATE: libc::c_long = 28;
    const BPF_TRACE_ITER: u32 = 28;
    let map = map.as_raw_fd() as u32;
    let mut request = LinkCreate {
        program: program.as_raw_fd() as u32,
        attach_type: BPF_TRACE_ITER,
        iterator: std::ptr::from_ref(&map) as u64,
        iterator_len: size_of::<u32>() as u32,
        ..LinkCreate::default()
    };
    let fd = bpf(BPF_LINK_CREATE, &mut request)?;
    // SAFETY: a new descriptor, ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// One walk of an iterator, as a file to be read to its end.
///
/// # Errors
/// The kernel's.
pub(crate) fn iterate(link: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const BPF_ITER_CREATE: libc::c_long = 33;
    let fd = bpf(BPF_ITER_CREATE, &mut [link.as_raw_fd() as u32, 0])?;
    // SAFETY: a new descriptor, ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

#[repr(C)]
#[derive(Default)]
struct NextKey {
    map: u32,
    pad: u32,
    key: u64,
    next: u64,
    flags: u64,
}

/// How many keys a map has, of any type that can be walked; those that come and go meanwhile count or not. At most
/// `most`, twice the entries there can be: a walk begins anew when its key vanishes.
///
/// # Errors
/// The kernel's: ENOTSUPP for maps without keys.
pub(crate) fn count_keys(map: BorrowedFd<'_>, key_size: u32, most: u64) -> io::Result<u64> {
    const BPF_MAP_GET_NEXT_KEY: libc::c_long = 4;
    let (mut key, mut next) = (vec![0_u8; key_size as usize], vec![0_u8; key_size as usize]);
    let mut count = 0;
    while count < most {
        let first = if count == 0 { 0 } else { key.as_ptr() as u64 };
        let map = map.as_raw_fd() as u32;
        let next_key = next.as_mut_ptr() as u64;
        match bpf(
            BPF_MAP_GET_NEXT_KEY,
            &mut NextKey { map, key: first, next: next_key, ..NextKey::default() },
        ) {
            Ok(_) => count += 1,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => break,
            Err(error) => return Err(error),
        }
        std::mem::swap(&mut key, &mut next);
    }
    Ok(count)
}

#[repr(C)]
#[derive(Default)]
struct Element {
    map: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Reads an element into `value`, which is as long as the map's values; false if there is none.
///
/// # Errors
/// The kernel's.
pub(crate) fn lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
    const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
    let (map, key, value) = (map.as_raw_fd() as u32, key.as_ptr() as u64, value.as_mut_ptr() as u64);
    match bpf(BPF_MAP_LOOKUP_ELEM, &mut Element { map, key, value, ..Element::default() }) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        result => result.map(|_| true),
    }
}

/// Removes an element; that there was none is no error.
///
/// # Errors
/// The kernel's.
pub(crate) fn delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<()> {
    const BPF_MAP_DELETE_ELEM: libc::c_long = 3;
    let (map, key) = (map.as_raw_fd() as u32, key.as_ptr() as u64);
    match bpf(BPF_MAP_DELETE_ELEM, &mut Element { map, key, ..Element::default() }) {
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
        _ => Ok(()),
    }
}

/// Opens a program by its id.
///
/// # Errors
/// The kernel's: ENOENT if it is gone.
pub(crate) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;
    let mut request = [id, 0, 0];
    let fd = bpf(BPF_PROG_GET_FD_BY_ID, &mut request)?;
    // SAFETY: a new descriptor, ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    answer: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    pad: u32,
}

/// Runs a packet program once on a frame, as if it came by the device of that index. Returns the program's answer and
/// the frame as it left it.
///
/// # Errors
/// The kernel's: ENODEV without such a device in this network namespace.
pub(crate) fn run_packet(program: BorrowedFd<'_>, frame: &[u8], device: u32) -> io::Result<(i32, Vec<u8>)> {
    const BPF_PROG_TEST_RUN: libc::c_long = 10;
    /// Of `ifindex` in `struct __sk_buff`, in words.
    const IFINDEX: usize = 10;
    let mut context = [0_u32; IFINDEX + 1];
    context[IFINDEX] = device;
    let mut out = vec![0_u8; frame.len() + 256];
    let mut run = TestRun {
        program: program.as_raw_fd() as u32,
        data_size_in: frame.len() as u32,
        data_size_out: out.len() as u32,
        data_in: frame.as_ptr() as u64,
        data_out: out.as_mut_ptr() as u64,
        repeat: 1,
        context_size_in: size_of_val(&context) as u32,
        context_in: context.as_ptr() as u64,
        ..TestRun::default()
    };
    bpf(BPF_PROG_TEST_RUN, &mut run)?;
    out.truncate(run.data_size_out as usize);
    Ok((run.answer as i32, out))
}

#[repr(C)]
#[derive(Default)]
struct ProgramQuery {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    pad: u32,
}

/// The ids of the programs at a hook of a cgroup, in the order they run.
///
/// # Errors
/// The kernel's.
pub(crate) fn cgroup_programs(cgroup: BorrowedFd<'_>, attach_type: u32) -> io::Result<Vec<u32>> {
    const BPF_PROG_QUERY: libc::c_long = 16;
    let mut ids = vec![0_u32; 64];
    let mut query = ProgramQuery {
        target: cgroup.as_raw_fd() as u32,
        attach_type,
        ids: ids.as_mut_ptr() as u64,
        count: ids.len() as u32,
        ..ProgramQuery::default()
    };
    bpf(BPF_PROG_QUERY, &mut query)?;
    ids.truncate(query.count as usize);
    Ok(ids)
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
    // Of no address: the loopback device may be down.
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))?;
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

/// Gives memory that is free back to the system, after something that needed much for a moment: glibc keeps it. Takes less
/// than a millisecond; other C libraries do so themselves or not at all.
pub(crate) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes no pointers, and the allocator locks itself.
    unsafe {
        libc::malloc_trim(0);
    }
}
