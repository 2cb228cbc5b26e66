//! Answering at the node's devices. Enters: the addresses to answer for and until when. Leaves: ARP replies and neighbour
//! advertisements to whoever asks, and announcements where an address is new.
//!
//! No interface has the addresses: the kernel would take them for the node's own. The sockets see ARP and neighbour
//! solicitations only, and exist only while there is an address to answer for.
#![expect(unsafe_code, reason = "packet sockets' addresses and filters")]

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use tokio::io::unix::AsyncFd;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};
use xebec_dataplane::addresses::{Ethernet, ethernet_devices, network_devices};

use crate::wire;

/// How often a new address is announced, against loss.
pub const ANNOUNCEMENTS: u8 = 5;
/// Between two announcements; RFC 5227 has two seconds, RFC 4861 at least one.
pub const SPACING: Duration = Duration::from_millis(1_100);

/// The addresses that are answered for, and until when.
#[derive(Debug, Default)]
struct Answers {
    addresses: BTreeSet<IpAddr>,
    until: Option<Instant>,
}

impl Answers {
    fn has(&self, address: IpAddr, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until) && self.addresses.contains(&address)
    }
}

/// The devices and what is answered at them. Needs a tokio runtime in the network namespace of the devices.
pub struct Links {
    only: Option<Vec<String>>,
    answers: Arc<Mutex<Answers>>,
    ports: HashMap<u32, Port>,
    /// Joined so that the questions reach the devices through filters and switches.
    groups: Option<OwnedFd>,
    joined: BTreeSet<(u32, Ipv6Addr)>,
    /// What is still to be announced, how often and when next.
    due: Vec<(IpAddr, u8, Instant)>,
}

/// A device.
struct Port {
    device: Ethernet,
    socket: Arc<AsyncFd<OwnedFd>>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl Links {
    /// Nothing is answered yet. `only`: the devices' names; every one with an address of the node if absent.
    pub fn new(only: Option<Vec<String>>) -> Self {
        Self {
            only,
            answers: Arc::default(),
            ports: HashMap::new(),
            groups: None,
            joined: BTreeSet::new(),
            due: Vec::new(),
        }
    }

    /// Answers for these addresses and no others, until then; without `until`, for none. New ones are announced.
    pub fn set(&mut self, addresses: BTreeSet<IpAddr>, until: Option<Instant>, now: Instant) {
        let mut answers = self.answers.lock();
        // Silent for a while, another may have answered meanwhile.
        let was: BTreeSet<IpAddr> =
            answers.addresses.iter().copied().filter(|a| answers.has(*a, now)).collect();
        self.due.retain(|(address, ..)| addresses.contains(address));
        if until.is_some() {
            let new = addresses.iter().filter(|address| !was.contains(address));
            let new: Vec<_> = new.map(|address| (*address, ANNOUNCEMENTS, now)).collect();
            self.due.retain(|(address, ..)| !new.iter().any(|(other, ..)| other == address));
            self.due.extend(new);
        }
        let changed = addresses != answers.addresses;
        *answers = Answers { addresses, until };
        drop(answers);
        if changed {
            self.refresh();
        }
    }

    /// The devices may have changed.
    pub fn refresh(&mut self) {
        let wanted = !self.answers.lock().addresses.is_empty();
        let found = if wanted { devices(self.only.as_deref()) } else { Ok(Vec::new()) };
        let found = match found {
            Ok(found) => found,
            Err(error) => return warn!(%error, "cannot list the node's devices; those known are answered at"),
        };
        self.ports.retain(|_, port| found.contains(&port.device));
        for device in found {
            if self.ports.contains_key(&device.index) {
                continue;
            }
            let (index, name) = (device.index, device.name.clone());
            match Port::open(device, &self.answers) {
                Ok(port) => {
                    debug!(device = name, "answers for load balancers' addresses");
                    self.ports.insert(index, port);
                    // Who is behind a new device has heard nothing.
                    let addresses = self.answers.lock().addresses.clone();
                    self.due = addresses.into_iter().map(|a| (a, ANNOUNCEMENTS, Instant::now())).collect();
                }
                Err(error) => {
                    warn!(device = name, %error, "cannot answer for load balancers' addresses here")
                }
            }
        }
        if let Err(error) = self.join() {
            warn!(%error, "cannot join the groups of IPv6 addresses; questions may not arrive");
        }
    }

    fn join(&mut self) -> io::Result<()> {
        let mut wanted = BTreeSet::new();
        for address in &self.answers.lock().addresses {
            if let IpAddr::V6(six) = address {
                wanted.extend(self.ports.keys().map(|index| (*index, wire::solicited(*six))));
            }
        }
        if wanted.is_empty() {
            // Closing leaves every group.
            self.groups = None;
            self.joined.clear();
            return Ok(());
        }
        if self.groups.is_none() {
            let flags = SocketFlags::CLOEXEC;
            self.groups =
                Some(rustix::net::socket_with(AddressFamily::INET6, SocketType::DGRAM, flags, None)?);
        }
        let Some(socket) = &self.groups else { return Ok(()) };
        for (index, group) in self.joined.difference(&wanted) {
            // A device that is gone has left by itself.
            let _ = rustix::net::sockopt::set_ipv6_drop_membership(socket, group, *index);
        }
        let mut joined: BTreeSet<_> = self.joined.intersection(&wanted).copied().collect();
        let mut outcome = Ok(());
        for (index, group) in wanted.difference(&self.joined) {
            match rustix::net::sockopt::set_ipv6_add_membership(socket, group, *index) {
                Ok(()) => drop(joined.insert((*index, *group))),
                Err(error) => outcome = Err(error.into()),
            }
        }
        self.joined = joined;
        outcome
    }

    /// When [`Links::announce`] has something to do.
    pub fn next(&self) -> Option<Instant> {
        self.due.iter().map(|(.., at)| *at).min()
    }

    /// Says what is due.
    pub fn announce(&mut self, now: Instant) {
        for (address, left, at) in &mut self.due {
            if *at > now || !self.answers.lock().has(*address, now) {
                continue;
            }
            for port in self.ports.values() {
                for frame in wire::announcement(*address, port.device.mac) {
                    send(&port.socket, &frame, &port.device.name);
                }
            }
            *left -= 1;
            *at = now + SPACING;
        }
        self.due.retain(|(_, left, _)| *left > 0);
    }
}

/// The devices where other machines may ask.
fn devices(only: Option<&[String]>) -> io::Result<Vec<Ethernet>> {
    let networks = network_devices()?;
    let mut found = ethernet_devices()?;
    found.retain(|device| {
        networks.contains_key(&device.index) && only.is_none_or(|only| only.contains(&device.name))
    });
    Ok(found)
}

impl Port {
    fn open(device: Ethernet, answers: &Arc<Mutex<Answers>>) -> io::Result<Self> {
        let arp = Arc::new(packet_socket(device.index, wire::ARP, None)?);
        let discovery = Arc::new(packet_socket(device.index, wire::IPV6, Some(&SOLICITATIONS))?);
        let serve = |socket: &Arc<AsyncFd<OwnedFd>>| {
            let served = serve(Arc::clone(socket), device.clone(), Arc::clone(answers));
            AbortOnDropHandle::new(tokio::spawn(served))
        };
        let tasks = [serve(&arp), serve(&discovery)];
        info!(device = device.name, "load balancers' addresses are answered for at a device");
        Ok(Self { device, socket: arp, _tasks: tasks })
    }
}

/// Answers what comes by a socket.
async fn serve(socket: Arc<AsyncFd<OwnedFd>>, device: Ethernet, answers: Arc<Mutex<Answers>>) {
    let mut buffer = [0_u8; 1_600];
    loop {
        let Ok(mut guard) = socket.readable().await else { return };
        match rustix::net::recv(socket.get_ref(), &mut buffer[..], RecvFlags::empty()) {
            Ok((length, _)) => answer(&socket, &buffer[..length], &device, &answers),
            Err(rustix::io::Errno::AGAIN) => guard.clear_ready(),
            // A device that goes down says so once, and may come up again.
            Err(rustix::io::Errno::NETDOWN | rustix::io::Errno::INTR) => {}
            Err(error) => return warn!(device = device.name, %error, "no more questions can be heard"),
        }
    }
}

fn answer(socket: &AsyncFd<OwnedFd>, frame: &[u8], device: &Ethernet, answers: &Mutex<Answers>) {
    let Some(question) = wire::question(frame) else { return };
    if answers.lock().has(question.target, Instant::now()) {
        send(socket, &wire::answer(&question, device.mac), &device.name);
    }
}

fn send(socket: &AsyncFd<OwnedFd>, frame: &[u8], device: &str) {
    if let Err(error) = rustix::net::send(socket.get_ref(), frame, SendFlags::empty()) {
        debug!(device, %error, "an answer is not sent");
    }
}

/// A classic BPF instruction.
const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

const LOAD_BYTE: u16 = 0x30;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// Lets neighbour solicitations pass: next header ICMPv6, type 135.
static SOLICITATIONS: [libc::sock_filter; 6] = [
    instruction(LOAD_BYTE, 0, 0, 20),
    instruction(JUMP_IF_EQUAL, 0, 3, 58),
    instruction(LOAD_BYTE, 0, 0, 54),
    instruction(JUMP_IF_EQUAL, 0, 1, 135),
    instruction(RETURN, 0, 0, u32::MAX),
    instruction(RETURN, 0, 0, 0),
];

/// A socket for the frames of one protocol at one device.
fn packet_socket(
    index: u32,
    protocol: u16,
    filter: Option<&'static [libc::sock_filter]>,
) -> io::Result<AsyncFd<OwnedFd>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // Without a protocol it hears nothing before it is bound.
    let socket = rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
    if let Some(filter) = filter {
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
        // SAFETY: an open socket; the kernel copies the program, whose instructions are static, and changes nothing.
        let answer = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                std::ptr::from_ref(&program).cast(),
                size_of_val(&program) as libc::socklen_t,
            )
        };
        if answer < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: index as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: an open socket and an address of the stated length, alive for the call.
    let answer = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            std::ptr::from_ref(&address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is owned by the AsyncFd and stays the same until both are dropped.
    unsafe { AsyncFd::register(socket) }.map_err(Into::into)
}
