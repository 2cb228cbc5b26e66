//! A client of the API server from inside a pod, as programs there are: the service account's token, and the server
//! checked against the cluster's CA. Enters: an address and a path. Leaves: the answer's body.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::Args;

const FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// `api HOST:PORT PATH`: a GET with the token of the pod's service account; fails when the answer is not 2xx.
pub(crate) fn run(args: &Args) -> Result<(), String> {
    let target = args.positional(0, "HOST:PORT")?;
    let path = args.positional(1, "PATH")?;
    let host = target.rsplit_once(':').map_or(target, |(host, _)| host);
    let folder = args.text("folder", FOLDER);
    let token = std::fs::read_to_string(format!("{folder}/token"))
        .map_err(|error| format!("{folder}/token: {error}"))?;
    let mut roots = RootCertStore::empty();
    let file = format!("{folder}/ca.crt");
    for certificate in CertificateDer::pem_file_iter(&file).map_err(|error| format!("{file}: {error}"))? {
        let certificate = certificate.map_err(|error| format!("{file}: {error}"))?;
        roots.add(certificate).map_err(|error| format!("{file}: {error}"))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(|error| format!("{host:?}: {error}"))?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(|error| error.to_string())?;
    let socket =
        TcpStream::connect(target).map_err(|error| format!("cannot connect to {target}: {error}"))?;
    socket.set_read_timeout(Some(Duration::from_secs(10))).map_err(|error| error.to_string())?;
    let mut stream = StreamOwned::new(connection, socket);
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        token.trim()
    );
    stream.write_all(request.as_bytes()).map_err(|error| format!("request: {error}"))?;
    let mut answer = Vec::new();
    // A server may close without close_notify: what came before is the answer.
    if let Err(error) = stream.read_to_end(&mut answer)
        && answer.is_empty()
    {
        return Err(format!("answer: {error}"));
    }
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("the answer has no end of its head")?;
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    println!("{body}");
    if status.starts_with('2') { Ok(()) } else { Err(format!("status {status}")) }
}
