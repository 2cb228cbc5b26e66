//! Names outside the cluster. Enters: a query's bytes. Leaves: the resolver's answer, byte for byte.
//!
//! UDP with a port and an id of our own for each query (RFC 5452), or TCP when the client came by TCP; a truncated UDP
//! answer goes back truncated and the client comes again by TCP. Resolvers are asked in order, each `timeout` long.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// The largest DNS message (RFC 1035, 4.2.2: a 16-bit length).
const MAX_MESSAGE: usize = 65535;

/// Who to ask.
#[derive(Clone, Debug)]
pub struct Forwarder {
    /// Resolvers in order.
    pub upstreams: Vec<SocketAddr>,
    /// How long each may take.
    pub timeout: Duration,
}

impl Forwarder {
    /// Asks the resolvers in order; `None` when none answered.
    pub async fn ask(&self, query: &[u8], tcp: bool) -> Option<Vec<u8>> {
        for upstream in &self.upstreams {
            let asked =
                async { if tcp { by_tcp(*upstream, query).await } else { by_udp(*upstream, query).await } };
            match tokio::time::timeout(self.timeout, asked).await {
                Ok(Ok(mut answer)) => {
                    answer[..2].copy_from_slice(&query[..2]);
                    return Some(answer);
                }
                Ok(Err(error)) => tracing::debug!(%upstream, %error, "resolver failed"),
                Err(_) => tracing::debug!(%upstream, "resolver timed out"),
            }
        }
        None
    }
}

/// The query with a random id, so that an answer cannot be guessed (RFC 5452, 4.3).
fn with_fresh_id(query: &[u8]) -> Vec<u8> {
    let mut query = query.to_vec();
    query[..2].copy_from_slice(&rand::random::<[u8; 2]>());
    query
}

async fn by_udp(upstream: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any: SocketAddr = if upstream.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    // A new socket: the kernel picks a random port, and a connected one takes datagrams from the resolver alone.
    let socket = UdpSocket::bind(any).await?;
    socket.connect(upstream).await?;
    let query = with_fresh_id(query);
    socket.send(&query).await?;
    let mut buffer = vec![0; MAX_MESSAGE];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if length >= 12 && buffer[..2] == query[..2] {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn by_tcp(upstream: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(upstream).await?;
    let query = with_fresh_id(query);
    let length = u16::try_from(query.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    stream.write_all(&[&length.to_be_bytes()[..], &query].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    if answer.len() < 12 || answer[..2] != query[..2] {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    Ok(answer)
}

/// The resolvers of a resolv.conf(5); those in `except` are left out, so that we never ask ourselves.
pub fn resolvers(resolv_conf: &str, except: &[IpAddr]) -> Vec<SocketAddr> {
    let servers = resolv_conf.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()? == "nameserver").then(|| words.next()?.parse::<IpAddr>().ok()).flatten()
    });
    servers.filter(|ip| !except.contains(ip)).map(|ip| SocketAddr::new(ip, 53)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_come_in_order_without_ourselves() {
        let text = "# comment\nsearch example.org\nnameserver 10.96.0.10\nnameserver 192.0.2.1\nnameserver fd00::1\nnameserver x\n";
        let found = resolvers(text, &["10.96.0.10".parse().unwrap()]);
        assert_eq!(found, ["192.0.2.1:53".parse().unwrap(), "[fd00::1]:53".parse().unwrap()]);
    }
}
