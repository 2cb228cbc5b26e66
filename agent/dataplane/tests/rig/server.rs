//! Servers that answer with their own name. What reached them is read from them, not from the client.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::Duration;

use super::{NetNs, enter};

pub struct Server {
    pub address: SocketAddr,
    served: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
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
            while !stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((mut stream, _)) => {
                        served.fetch_add(1, Ordering::Relaxed);
                        let _ = stream.write_all(name.as_bytes());
                    }
                    Err(_) => std::thread::sleep(Duration::from_micros(200)),
                }
            }
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

    /// Connections accepted, or datagrams received.
    pub fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
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
