//! Servers that answer with their own name. What reached them is read from them, not from the client.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::netns::{NetNs, enter};

/// A server on a thread; it ends when dropped.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    served: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Runs `serve` in a namespace, with its counter, whether to stop, and what to call once it listens.
    pub fn start(
        netns: &NetNs,
        address: SocketAddr,
        serve: impl FnOnce(Arc<AtomicUsize>, Arc<AtomicBool>, Box<dyn Fn() + Send>) + Send + 'static,
    ) -> Self {
        let (served, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (path, s, t) = (netns.path(), Arc::clone(&served), Arc::clone(&stop));
        let (ready, is_ready) = channel();
        let thread = std::thread::spawn(move || {
            enter(&path);
            serve(s, t, Box::new(move || ready.send(()).unwrap()));
        });
        is_ready.recv().unwrap();
        Self { address, served, stop, thread: Some(thread) }
    }

    /// Accepts, says `name`, closes.
    pub fn tcp(netns: &NetNs, address: &str, name: &str) -> Self {
        let address: SocketAddr = address.parse().unwrap();
        let name = name.to_owned();
        Self::start(netns, address, move |served, stop, ready| {
            let listener = TcpListener::bind(address).unwrap();
            listener.set_nonblocking(true).unwrap();
            ready();
            accept(&listener, &stop, |mut stream, _| {
                served.fetch_add(1, Ordering::Relaxed);
                let _ = stream.write_all(name.as_bytes());
            });
        })
    }

    /// Answers every datagram with `name`.
    pub fn udp(netns: &NetNs, address: &str, name: &str) -> Self {
        let address: SocketAddr = address.parse().unwrap();
        let name = name.to_owned();
        Self::start(netns, address, move |served, stop, ready| {
            let socket = UdpSocket::bind(address).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            ready();
            let mut buffer = [0; 64];
            while !stop.load(Ordering::Relaxed) {
                if let Ok((_, from)) = socket.recv_from(&mut buffer) {
                    served.fetch_add(1, Ordering::Relaxed);
                    let _ = socket.send_to(name.as_bytes(), from);
                }
            }
        })
    }

    /// Says `name` and whom it sees, as `NAME ADDRESS`.
    pub fn seeing_tcp(netns: &NetNs, address: &str, name: &str) -> Self {
        let (address, name): (SocketAddr, _) = (address.parse().unwrap(), name.to_owned());
        Self::start(netns, address, move |served, stop, ready| {
            let listener = TcpListener::bind(address).unwrap();
            listener.set_nonblocking(true).unwrap();
            ready();
            accept(&listener, &stop, |mut stream, peer| {
                served.fetch_add(1, Ordering::Relaxed);
                let _ = stream.write_all(format!("{name} {}", peer.ip()).as_bytes());
            });
        })
    }

    /// Answers with name, source, length, and as many zeros as it got bytes.
    pub fn seeing_udp(netns: &NetNs, address: &str, name: &str) -> Self {
        let (address, name): (SocketAddr, _) = (address.parse().unwrap(), name.to_owned());
        Self::start(netns, address, move |served, stop, ready| {
            let socket = UdpSocket::bind(address).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            ready();
            let mut buffer = [0; 8192];
            while !stop.load(Ordering::Relaxed) {
                if let Ok((len, from)) = socket.recv_from(&mut buffer) {
                    served.fetch_add(1, Ordering::Relaxed);
                    let mut answer = format!("{name} {} {len}", from.ip()).into_bytes();
                    answer.resize(answer.len() + len, 0);
                    let _ = socket.send_to(&answer, from);
                }
            }
        })
    }

    /// Connections accepted, or datagrams received.
    pub fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }
}

/// Takes connections until it is told to stop.
pub fn accept(listener: &TcpListener, stop: &AtomicBool, mut take: impl FnMut(TcpStream, SocketAddr)) {
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, peer)) => take(stream, peer),
            Err(_) => std::thread::sleep(Duration::from_micros(200)),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
