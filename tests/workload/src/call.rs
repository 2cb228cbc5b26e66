//! One-shot clients: call a Service, resolve a name, send a datagram. Enters: an address. Leaves: what was answered.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use crate::Args;

const TIMEOUT: Duration = Duration::from_secs(5);

/// One request on a connection of its own; the answer's body.
pub(crate) fn request(address: &SocketAddr, timeout: Duration) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: xebec\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.trim().to_owned()),
        _ => Err(std::io::Error::other(format!("unexpected answer {answer:?}"))),
    }
}

/// The socket addresses of `HOST:PORT`, by the system's resolver.
pub(crate) fn addresses(target: &str) -> Result<Vec<SocketAddr>, String> {
    let found: Vec<_> =
        target.to_socket_addrs().map_err(|error| format!("cannot resolve {target:?}: {error}"))?.collect();
    if found.is_empty() { Err(format!("{target:?} has no address")) } else { Ok(found) }
}

/// Calls the target until `--distinct` different servers have answered, at most `--tries` times.
pub(crate) fn run(args: &Args) -> Result<(), String> {
    let target = args.positional(0, "HOST:PORT")?;
    let distinct = args.number("distinct", 3)?;
    let tries = args.number("tries", 300)?;
    let mut answers: BTreeMap<String, u64> = BTreeMap::new();
    let mut last_error = String::from("no try made");
    for attempt in 1..=tries {
        match addresses(target)
            .and_then(|found| request(&found[0], TIMEOUT).map_err(|error| error.to_string()))
        {
            Ok(body) => {
                let server = body.split_whitespace().next().unwrap_or_default().to_owned();
                *answers.entry(server).or_default() += 1;
            }
            Err(error) => {
                println!("try {attempt}: {error}");
                last_error = error;
                std::thread::sleep(Duration::from_millis(200));
            }
        }
        if answers.len() as u64 >= distinct {
            println!("resolved {target} to {:?}", addresses(target)?);
            for (server, count) in &answers {
                println!("answered name={server} times={count}");
            }
            return Ok(());
        }
    }
    Err(format!(
        "{} of {distinct} servers answered in {tries} tries; last error: {last_error}",
        answers.len()
    ))
}

/// Prints every address of a name.
pub(crate) fn resolve(args: &Args) -> Result<(), String> {
    for address in addresses(&format!("{}:0", args.positional(0, "NAME")?))? {
        println!("{}", address.ip());
    }
    Ok(())
}

/// Sends one datagram from an unconnected socket and prints the answer and the address it came from.
pub(crate) fn udp(args: &Args) -> Result<(), String> {
    let target = addresses(args.positional(0, "HOST:PORT")?)?[0];
    let text = args.positional(1, "TEXT")?;
    let socket = UdpSocket::bind("0.0.0.0:0").map_err(|error| error.to_string())?;
    socket.set_read_timeout(Some(TIMEOUT)).map_err(|error| error.to_string())?;
    socket.send_to(text.as_bytes(), target).map_err(|error| format!("cannot send to {target}: {error}"))?;
    let mut buffer = [0u8; 2048];
    let (length, from) = socket.recv_from(&mut buffer).map_err(|error| format!("no answer: {error}"))?;
    println!("{} from={from}", String::from_utf8_lossy(&buffer[..length]));
    Ok(())
}
