//! One plain HTTP request to a container, for probes and lifecycle hooks. Enters: an HTTPGetAction, resolved. Leaves:
//! status and the body's beginning. Certificates are not verified, as upstream: the target is the pod itself.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

const BODY_LIMIT: usize = 10 * 1024;

/// Why a container did not answer; the texts are those users know from upstream's Events.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The action names a port that the container does not have, or none that is valid.
    #[error("couldn't find port: {0}")]
    Port(String),
    /// No connection, or it broke.
    #[error("Get \"{url}\": {cause}")]
    Connection {
        /// What was asked.
        url: String,
        /// For people.
        cause: String,
    },
    /// No answer in time.
    #[error("Get \"{0}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)")]
    Timeout(String),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body's first 10 KiB.
    pub body: String,
}

/// The number of a port given by number or by name.
pub fn port(container: &Container, port: &IntOrString) -> Option<u16> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let ports = container.ports.as_deref().unwrap_or_default();
            let named = ports.iter().find(|port| port.name.as_deref() == Some(name));
            named.map(|port| port.container_port).or_else(|| name.parse().ok())
        }
    };
    number.and_then(|number| u16::try_from(number).ok()).filter(|port| *port > 0)
}

/// `host:port`, with brackets around an IPv6 address.
pub fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Sends the request and waits for the answer, `limit` at most.
pub async fn get(
    action: &HTTPGetAction,
    container: &Container,
    pod_ip: &str,
    agent: &str,
    limit: Duration,
) -> Result<Answer, HttpError> {
    let port = port(container, &action.port).ok_or_else(|| HttpError::Port(format!("{:?}", action.port)))?;
    let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(pod_ip);
    let secure = action.scheme.as_deref() == Some("HTTPS");
    let path = action.path.as_deref().unwrap_or("/");
    let slash = if path.starts_with('/') { "" } else { "/" };
    let authority = authority(host, port);
    let url = format!("{}://{authority}{slash}{path}", if secure { "https" } else { "http" });
    let request = request(action, &authority, &format!("{slash}{path}"), agent)
        .map_err(|error| HttpError::Connection { url: url.clone(), cause: error.to_string() })?;
    let work = async {
        let stream = TcpStream::connect((host, port)).await.map_err(|error| HttpError::Connection {
            url: url.clone(),
            cause: dial_error(&authority, &error),
        })?;
        let broken = |error: &dyn std::fmt::Display| HttpError::Connection {
            url: url.clone(),
            cause: error.to_string(),
        };
        if secure {
            let name = ServerName::try_from(host.to_owned()).map_err(|error| broken(&error))?;
            let connector = tokio_rustls::TlsConnector::from(trusting());
            let stream = connector.connect(name, stream).await.map_err(|error| broken(&error))?;
            exchange(stream, request).await.map_err(|error| broken(&error))
        } else {
            exchange(stream, request).await.map_err(|error| broken(&error))
        }
    };
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(HttpError::Timeout(url.clone())))
}

/// A failed dial in Go's words.
pub fn dial_error(authority: &str, error: &std::io::Error) -> String {
    let cause = match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
        _ => error.to_string(),
    };
    format!("dial tcp {authority}: connect: {cause}")
}

fn request(
    action: &HTTPGetAction,
    authority: &str,
    path: &str,
    agent: &str,
) -> Result<http::Request<Empty<Bytes>>, http::Error> {
    let mut builder = http::Request::get(path);
    let headers = action.http_headers.as_deref().unwrap_or_default();
    let given = |name: &str| headers.iter().any(|header| header.name.eq_ignore_ascii_case(name));
    if !given("host") {
        builder = builder.header("Host", authority);
    }
    if !given("user-agent") {
        builder = builder.header("User-Agent", agent);
    }
    if !given("accept") {
        builder = builder.header("Accept", "*/*");
    }
    for header in headers {
        builder = builder.header(header.name.as_str(), header.value.as_str());
    }
    builder.header("Connection", "close").body(Empty::new())
}

async fn exchange<S>(stream: S, request: http::Request<Empty<Bytes>>) -> Result<Answer, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // ends with the sender; its error shows up in the answer
    let driver = tokio::spawn(async move { drop(connection.await) });
    let answer = sender.send_request(request).await;
    let result = match answer {
        Ok(answer) => {
            let status = answer.status().as_u16();
            let mut body = answer.into_body();
            let mut bytes = Vec::new();
            while bytes.len() < BODY_LIMIT {
                match body.frame().await {
                    Some(Ok(frame)) => bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |d| d)),
                    Some(Err(_)) | None => break,
                }
            }
            bytes.truncate(BODY_LIMIT);
            Ok(Answer { status, body: String::from_utf8_lossy(&bytes).into_owned() })
        }
        Err(error) => Err(error),
    };
    driver.abort();
    result
}

/// TLS that accepts any certificate.
fn trusting() -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(AnyCertificate(provider.clone()));
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    #[expect(clippy::expect_used, reason = "ring supports the default protocol versions")]
    let builder = builder.expect("ring supports TLS 1.2 and 1.3");
    Arc::new(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn action(port: u16) -> HTTPGetAction {
        HTTPGetAction {
            port: IntOrString::Int(port.into()),
            path: Some("ready".into()),
            ..Default::default()
        }
    }

    #[tokio::test]
    async fn a_request_reaches_the_container_and_a_closed_port_reads_as_upstream() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 1024];
            let read = socket.read(&mut buffer).await.unwrap();
            socket.write_all(b"HTTP/1.1 503 x\r\nContent-Length: 4\r\n\r\nbusy").await.unwrap();
            String::from_utf8_lossy(&buffer[..read]).into_owned()
        });
        let limit = Duration::from_secs(5);
        let container = Container::default();
        let answer = get(&action(port), &container, "127.0.0.1", "kube-probe/1.36", limit).await.unwrap();
        assert_eq!(answer, Answer { status: 503, body: "busy".into() });
        let seen = server.await.unwrap();
        assert!(
            seen.starts_with("GET /ready HTTP/1.1") && seen.contains("user-agent: kube-probe/1.36"),
            "{seen}"
        );
        let refused = get(&action(port), &container, "127.0.0.1", "a", limit).await.unwrap_err().to_string();
        let expected = format!(
            "Get \"http://127.0.0.1:{port}/ready\": dial tcp 127.0.0.1:{port}: connect: connection refused"
        );
        assert_eq!(refused, expected);
    }
}
