//! The pod that serves: a thread for connections, one for the datagrams to each address, all on the second processor.
//!
//! A connection's first byte says what it is: `c` gets one byte and is closed, `r` gets every byte back, `s` is read to
//! its end, and that is told by a byte.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;

use anyhow::{Context, Result};

use xebec_rig::enter;
use xebec_rig::netns::pin;

/// Where it listens, on all its addresses.
pub(crate) const PORT: u16 = 8080;

/// What has arrived.
pub(crate) struct Server {
    connections: Arc<AtomicU64>,
}

impl Server {
    /// Starts the threads in a namespace; they end with the process.
    pub(crate) fn start(netns: &Path, addresses: &[String]) -> Result<Self> {
        let connections = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&connections);
        let (ready, is_ready) = channel();
        let (path, told) = (netns.to_owned(), ready.clone());
        std::thread::spawn(move || {
            let listener = prepared(&path, || TcpListener::bind(("0.0.0.0", PORT)));
            let (listener, outcome) = split(listener);
            let _ = told.send(outcome);
            let Some(listener) = listener else { return };
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::Relaxed);
                // A client that went away in the middle is the client's to tell.
                let _ = answer(stream);
            }
        });
        // A datagram is answered from the address it was sent to: a socket each.
        for address in addresses {
            let (path, ready, address) = (netns.to_owned(), ready.clone(), address.clone());
            std::thread::spawn(move || {
                let (socket, outcome) = split(prepared(&path, || UdpSocket::bind((address.as_str(), PORT))));
                let _ = ready.send(outcome);
                let Some(socket) = socket else { return };
                let mut buffer = [0; 2048];
                while let Ok((size, from)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(&buffer[..size], from);
                }
            });
        }
        for _ in 0..=addresses.len() {
            is_ready.recv().context("a server thread ended")??;
        }
        Ok(Self { connections })
    }

    /// Connections it has taken.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

fn prepared<T>(netns: &Path, bind: impl FnOnce() -> std::io::Result<T>) -> Result<T> {
    enter(netns);
    pin(1);
    bind().context("the server cannot listen")
}

/// The thing, and whether there is one.
fn split<T>(result: Result<T>) -> (Option<T>, Result<()>) {
    match result {
        Ok(thing) => (Some(thing), Ok(())),
        Err(error) => (None, Err(error)),
    }
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 1 << 16];
    let size = stream.read(&mut buffer[..1])?;
    match &buffer[..size] {
        b"c" => stream.write_all(b"c"),
        b"r" => {
            stream.write_all(b"r")?;
            loop {
                let size = stream.read(&mut buffer)?;
                if size == 0 {
                    return Ok(());
                }
                stream.write_all(&buffer[..size])?;
            }
        }
        _ => {
            while stream.read(&mut buffer)? > 0 {}
            stream.write_all(b"s")
        }
    }
}
