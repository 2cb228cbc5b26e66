//! Whole requests, over TLS on loopback, against fakes of everything behind the server.

mod fakes;
mod requests;
mod streams;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{Options, Server};
use fakes::{Judge, Lines, Pods, Urls};

/// A cluster's authority.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate and its key, PEM.
    fn issue(&self, name: &str, group: &str, usage: ExtendedKeyUsagePurpose) -> (String, KeyPair) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.distinguished_name.push(DnType::OrganizationName, group);
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key)
    }

    fn write_serving(&self, directory: &Path, name: &str) {
        let (certificate, key) = self.issue(name, "system:nodes", ExtendedKeyUsagePurpose::ServerAuth);
        std::fs::write(directory.join("kubelet.crt"), certificate).unwrap();
        std::fs::write(directory.join("kubelet.key"), key.serialize_pem()).unwrap();
        std::fs::write(directory.join("ca.crt"), self.0.pem()).unwrap();
    }
}

/// A running server and all that is behind it.
struct House {
    address: SocketAddr,
    authority: Authority,
    directory: tempfile::TempDir,
    judge: Arc<Judge>,
    urls: Arc<Urls>,
    lines: Arc<Lines>,
    _end: DropGuard,
}

fn options(directory: &Path, address: SocketAddr) -> Options {
    Options {
        address,
        certificate: directory.join("kubelet.crt"),
        key: directory.join("kubelet.key"),
        client_ca: directory.join("ca.crt"),
        node_name: "n1".to_owned(),
        log_directory: directory.to_owned(),
    }
}

impl House {
    async fn open() -> Self {
        let authority = Authority::new("cluster");
        let directory = tempfile::tempdir().unwrap();
        authority.write_serving(directory.path(), "system:node:n1");
        let server = Server::bind(options(directory.path(), "127.0.0.1:0".parse().unwrap())).await.unwrap();
        let address = server.address();
        let (judge, urls, lines) = (Arc::<Judge>::default(), Arc::<Urls>::default(), Arc::<Lines>::default());
        let cancel = CancellationToken::new();
        let pods = Arc::new(Pods);
        tokio::spawn(server.serve(pods, urls.clone(), lines.clone(), judge.clone(), cancel.clone()));
        Self { address, authority, directory, judge, urls, lines, _end: cancel.drop_guard() }
    }

    /// The authority's own client, whom [`Judge`] allows everything.
    async fn api_server(&self) -> Client {
        self.client(Some(&self.authority), "kube-apiserver-kubelet-client").await.unwrap()
    }

    async fn client(&self, authority: Option<&Authority>, name: &str) -> Result<Client, hyper::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match authority {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let (pem, key) = authority.issue(name, "masters", ExtendedKeyUsagePurpose::ClientAuth);
                let der: CertificateDer<'static> =
                    rustls_pki_types::pem::PemObject::from_pem_slice(pem.as_bytes()).unwrap();
                let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
                builder.with_client_auth_cert(vec![der], key).unwrap()
            }
        };
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::from(self.address.ip());
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let seen = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        Ok(Client { sender, seen })
    }
}

/// One connection to the server.
struct Client {
    sender: hyper::client::conn::http1::SendRequest<Body>,
    /// The server's certificate, DER.
    seen: Vec<u8>,
}

impl Client {
    async fn send(&mut self, request: Request<Body>) -> Result<Response<Incoming>, hyper::Error> {
        self.sender.send_request(request).await
    }

    async fn get(&mut self, path: &str) -> (u16, String) {
        self.get_as(path, None).await
    }

    async fn get_as(&mut self, path: &str, token: Option<&str>) -> (u16, String) {
        let mut request = Request::get(path).header("host", "node");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        text(self.send(request.body(Body::empty()).unwrap()).await.unwrap()).await
    }
}

async fn text(response: Response<Incoming>) -> (u16, String) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}
