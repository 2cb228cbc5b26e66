//! Requests as they are, without a client library in between. Enters: method, path, body. Leaves: status and body.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{PATIENCE, Stream, kubectl};

/// An HTTP answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Body.
    pub body: String,
}

impl Response {
    /// The body as JSON.
    ///
    /// # Errors
    /// It is not JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("not JSON: {:?}", self.body))
    }
}

/// One GET.
///
/// # Errors
/// No connection, or no HTTP answer.
pub fn get(address: SocketAddr, path: &str) -> Result<Response> {
    send(address, "GET", path, &[], b"")
}

/// HTTP/1.0, so that the answer ends with the connection and is never chunked.
fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Response> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)
        .with_context(|| format!("cannot connect to {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head = format!("{method} {path} HTTP/1.0\r\nHost: {}\r\n", address.ip());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse(&String::from_utf8_lossy(&answer))
}

fn parse(answer: &str) -> Result<Response> {
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no answer in {answer:?}"))?;
    let status = head.split_whitespace().nth(1).and_then(|code| code.parse().ok());
    Ok(Response { status: status.with_context(|| format!("no status in {head:?}"))?, body: body.to_owned() })
}

/// `kubectl proxy` on a port of its own: raw requests with kubectl's credentials.
pub struct Proxy {
    address: SocketAddr,
    // Locked by nobody: the mutex lets several threads share the proxy.
    _process: Mutex<Stream>,
}

impl Proxy {
    /// As the administrator.
    ///
    /// # Errors
    /// kubectl did not start to serve.
    pub fn start() -> Result<Self> {
        let mut process = kubectl("proxy --port=0").stream()?;
        let line = process.line("the proxy serves", |line| line.starts_with("Starting to serve on "))?;
        let address = line.rsplit(' ').next().unwrap_or_default();
        Ok(Self {
            address: address.parse().with_context(|| format!("no address in {line:?}"))?,
            _process: Mutex::new(process),
        })
    }

    /// One request with a body of this content type.
    ///
    /// # Errors
    /// No connection, or no HTTP answer.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: impl AsRef<[u8]>,
    ) -> Result<Response> {
        send(self.address, method, path, &[("Content-Type", content_type)], body.as_ref())
    }

    /// One GET.
    ///
    /// # Errors
    /// No connection, or no HTTP answer.
    pub fn get(&self, path: &str) -> Result<Response> {
        get(self.address, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_body_are_read() {
        let response = parse("HTTP/1.0 404 Not Found\r\nContent-Type: x\r\n\r\n{\"code\": 404}").unwrap();
        assert_eq!((response.status, response.json().unwrap()["code"].as_i64()), (404, Some(404)));
        parse("").unwrap_err();
    }
}
