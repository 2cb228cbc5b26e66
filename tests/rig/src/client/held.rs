//! Sockets that the client keeps from one command to the next.
//!
//! `connected NAME A` / `loose NAME A` (not connected) / `stream NAME A` (TCP) open one; `reconnect NAME A` connects it
//! again; `exchange NAME` asks and reads the answer; `wait NAME` reads without asking.

use std::collections::HashMap;
use std::io::{Error, Read, Result};
use std::net::{SocketAddr, TcpStream, UdpSocket};

use super::socket;

enum Kind {
    Connected,
    Loose(SocketAddr),
    Stream(TcpStream),
}

/// By name.
#[derive(Default)]
pub(super) struct Held(HashMap<String, (Option<UdpSocket>, Kind)>);

impl Held {
    /// Answers a command; `None` if it is none of these.
    pub(super) fn serve(&mut self, words: &[&str]) -> Option<Result<String>> {
        let address = words.get(2).and_then(|a| a.parse::<SocketAddr>().ok());
        let result = match (words.first(), words.get(1), address) {
            (Some(&"connected"), Some(name), Some(to)) => socket(to).and_then(|s| {
                s.connect(to)?;
                self.open(name, Some(s), Kind::Connected)
            }),
            (Some(&"loose"), Some(name), Some(to)) => {
                socket(to).and_then(|s| self.open(name, Some(s), Kind::Loose(to)))
            }
            (Some(&"stream"), Some(name), Some(to)) => {
                TcpStream::connect(to).and_then(|s| self.open(name, None, Kind::Stream(s)))
            }
            (Some(&"reconnect"), Some(name), Some(to)) => {
                self.udp(name).and_then(|s| s.connect(to)).map(|()| "open".to_owned())
            }
            (Some(&"exchange"), Some(name), None) => self.exchange(name),
            (Some(&"wait"), Some(name), None) => self.udp(name).and_then(receive),
            _ => return None,
        };
        Some(result)
    }

    fn open(&mut self, name: &str, socket: Option<UdpSocket>, kind: Kind) -> Result<String> {
        self.0.insert(name.to_owned(), (socket, kind));
        Ok("open".to_owned())
    }

    fn udp(&self, name: &str) -> Result<&UdpSocket> {
        self.0.get(name).and_then(|(socket, _)| socket.as_ref()).ok_or_else(|| Error::other("no such socket"))
    }

    fn exchange(&mut self, name: &str) -> Result<String> {
        match self.0.get_mut(name) {
            Some((_, Kind::Stream(stream))) => {
                let mut text = String::new();
                stream.read_to_string(&mut text).map(|_| text)
            }
            Some((Some(socket), Kind::Loose(to))) => {
                socket.send_to(b"?", *to)?;
                receive(socket)
            }
            _ => {
                let socket = self.udp(name)?;
                socket.send(b"?")?;
                receive(socket)
            }
        }
    }
}

fn receive(socket: &UdpSocket) -> Result<String> {
    let mut buffer = [0; 64];
    let len = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..len]).into_owned())
}
