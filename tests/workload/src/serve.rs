//! The server: HTTP and UDP echo of its own name. Enters: requests. Leaves: answers, and a log line for each.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use crate::{Args, hostname};

/// Serves until killed; `/healthz` answers `ok`, everything else the host name and the peer's address.
pub(crate) fn run(args: &Args) -> Result<(), String> {
    let port = args.number("port", 8080)?;
    let udp_port = args.number("udp-port", 0)?;
    // `::` takes IPv4 too (bindv6only is off by default); a kernel without IPv6 has only 0.0.0.0.
    let listener = TcpListener::bind(format!("[::]:{port}"))
        .or_else(|_| TcpListener::bind(format!("0.0.0.0:{port}")))
        .map_err(|error| format!("cannot listen on TCP port {port}: {error}"))?;
    let name = hostname();
    if udp_port != 0 {
        let socket = UdpSocket::bind(format!("0.0.0.0:{udp_port}"))
            .map_err(|error| format!("cannot bind UDP port {udp_port}: {error}"))?;
        let name = name.clone();
        std::thread::spawn(move || echo(&socket, &name));
    }
    println!("listening name={name} port={port} udp-port={udp_port}");
    for stream in listener.incoming().flatten() {
        let name = name.clone();
        std::thread::spawn(move || answer(stream, &name));
    }
    Ok(())
}

fn answer(mut stream: TcpStream, name: &str) -> Option<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let peer = stream.peer_addr().ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut request = String::new();
    reader.read_line(&mut request).ok()?;
    let mut header = String::new();
    while reader.read_line(&mut header).ok()? > 2 {
        header.clear();
    }
    let path = request.split_whitespace().nth(1).unwrap_or("/").to_owned();
    let body = if path == "/healthz" { "ok\n".to_owned() } else { format!("{name} {peer}\n") };
    if path != "/healthz" {
        println!("served name={name} peer={peer} path={path}");
    }
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .ok()
}

fn echo(socket: &UdpSocket, name: &str) {
    let mut buffer = [0u8; 2048];
    while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
        println!("served-udp name={name} peer={peer} bytes={length}");
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if let Err(error) = socket.send_to(format!("{name} {text}").as_bytes(), peer) {
            println!("udp answer to {peer} failed: {error}");
        }
    }
}
