use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{Timestamp, ToSpan as _};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use rustls_pki_types::ServerName;

use super::tls::{ReloadingKey, client_config, server_config};
use super::{Leaf, Pki, PkiOptions, Usage};

fn options() -> PkiOptions {
    PkiOptions::new(IpAddr::from([10, 96, 0, 1]))
}

fn contents(dir: &Path) -> BTreeMap<String, String> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    files
        .map(|path| {
            (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(path).unwrap())
        })
        .collect()
}

fn changed(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    after
        .iter()
        .filter(|(name, text)| before.get(*name) != Some(text))
        .map(|(name, _)| name.clone())
        .collect()
}

#[test]
fn files_are_kubeadms_and_a_second_time_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    Pki::ensure(dir.path(), &options()).unwrap();
    let first = contents(dir.path());
    let names: Vec<&str> = first.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "apiserver-kubelet-client.crt",
            "apiserver-kubelet-client.key",
            "apiserver.crt",
            "apiserver.key",
            "ca.crt",
            "ca.key",
            "front-proxy-ca.crt",
            "front-proxy-ca.key",
            "front-proxy-client.crt",
            "front-proxy-client.key",
            "sa.key",
            "sa.pub",
        ]
    );
    for name in names {
        let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, if name.ends_with(".key") { 0o600 } else { 0o644 }, "{name}");
    }
    Pki::ensure(dir.path(), &options()).unwrap();
    assert_eq!(contents(dir.path()), first);
}

#[test]
fn a_new_name_renews_the_server_certificate_only() {
    let dir = tempfile::tempdir().unwrap();
    Pki::ensure(dir.path(), &options()).unwrap();
    let first = contents(dir.path());
    let mut wider = options();
    wider.dns_names.push("api.example.org".to_owned());
    wider.ip_addresses.push(IpAddr::from([192, 0, 2, 7]));
    Pki::ensure(dir.path(), &wider).unwrap();
    let second = contents(dir.path());
    assert_eq!(changed(&first, &second), ["apiserver.crt", "apiserver.key"]);
    // Fewer names than it has are fine.
    Pki::ensure(dir.path(), &options()).unwrap();
    assert_eq!(contents(dir.path()), second);
}

#[test]
fn leaves_are_renewed_thirty_days_before_they_end() {
    let dir = tempfile::tempdir().unwrap();
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    Pki::ensure_at(dir.path(), &options(), start).unwrap();
    let first = contents(dir.path());
    Pki::ensure_at(dir.path(), &options(), start + (334 * 24).hours()).unwrap();
    assert_eq!(contents(dir.path()), first);
    Pki::ensure_at(dir.path(), &options(), start + (336 * 24).hours()).unwrap();
    let renewed = changed(&first, &contents(dir.path()));
    assert_eq!(
        renewed,
        [
            "apiserver-kubelet-client.crt",
            "apiserver-kubelet-client.key",
            "apiserver.crt",
            "apiserver.key",
            "front-proxy-client.crt",
            "front-proxy-client.key"
        ]
    );
}

#[test]
fn damage_to_a_leaf_is_mended_and_to_the_authority_reported() {
    let dir = tempfile::tempdir().unwrap();
    Pki::ensure(dir.path(), &options()).unwrap();
    let first = contents(dir.path());
    // A certificate with another's key, a certificate of another authority, and garbage.
    for (file, text) in [
        ("apiserver.key", first["front-proxy-client.key"].as_str()),
        ("apiserver-kubelet-client.crt", first["front-proxy-client.crt"].as_str()),
        ("apiserver.crt", "garbage"),
    ] {
        fs::write(dir.path().join(file), text).unwrap();
        let pki = Pki::ensure(dir.path(), &options()).unwrap();
        assert_ne!(fs::read_to_string(pki.path(file)).unwrap(), text, "{file}");
    }
    fs::remove_file(dir.path().join("ca.key")).unwrap();
    let error = Pki::ensure(dir.path(), &options()).err().unwrap().to_string();
    assert!(error.contains("ca.key: missing while its certificate exists"), "{error}");
    assert!(!dir.path().join("ca.key").exists());
}

#[test]
fn kubeconfigs_are_kept_until_something_changes() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::ensure(&dir.path().join("pki"), &options()).unwrap();
    pki.ensure_kubeconfigs(dir.path(), "https://127.0.0.1:6443").unwrap();
    let first = contents(dir.path());
    assert_eq!(first.keys().collect::<Vec<_>>(), ["admin.conf", "controller-manager.conf", "scheduler.conf"]);
    pki.ensure_kubeconfigs(dir.path(), "https://127.0.0.1:6443").unwrap();
    assert_eq!(contents(dir.path()), first);
    pki.ensure_kubeconfigs(dir.path(), "https://10.0.0.1:6443").unwrap();
    let moved = contents(dir.path());
    let credential =
        |text: &str| text.lines().filter(|l| l.contains("client-")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(credential(&moved["admin.conf"]), credential(&first["admin.conf"]));
    assert!(moved["admin.conf"].contains("server: https://10.0.0.1:6443"));
    let mode = fs::metadata(dir.path().join("admin.conf")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
}

/// Runs a handshake in memory; the client's certificate as the server sees it, or the first error.
fn handshake(
    server: ServerConfig,
    client: ClientConfig,
    name: &str,
) -> Result<Option<Vec<u8>>, rustls::Error> {
    let mut server = ServerConnection::new(Arc::new(server))?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut wire = Vec::new();
    while client.is_handshaking() || server.is_handshaking() || client.wants_write() || server.wants_write() {
        wire.clear();
        client.write_tls(&mut wire).unwrap();
        let mut to_server = wire.as_slice();
        while !to_server.is_empty() {
            server.read_tls(&mut to_server).unwrap();
            server.process_new_packets()?;
        }
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        let mut to_client = wire.as_slice();
        while !to_client.is_empty() {
            client.read_tls(&mut to_client).unwrap();
            client.process_new_packets()?;
        }
    }
    Ok(server.peer_certificates().and_then(|certs| certs.first()).map(|cert| cert.to_vec()))
}

#[test]
fn tls_handshakes_with_and_without_a_client_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::ensure(dir.path(), &options()).unwrap();
    let (ca, client) = (pki.path("ca.crt"), pki.path("apiserver-kubelet-client.crt"));
    let server = || {
        server_config(&pki.path("apiserver.crt"), &pki.path("apiserver.key"), Some(&ca), &["h2", "http/1.1"])
            .unwrap()
    };
    let key = pki.path("apiserver-kubelet-client.key");
    let with = || client_config(&ca, Some((&client, &key)), &["h2"]).unwrap();
    for name in ["kubernetes.default.svc.cluster.local", "localhost", "10.96.0.1", "127.0.0.1", "::1"] {
        let peer = handshake(server(), with(), name).unwrap().unwrap();
        let (_, cert) = x509_parser::parse_x509_certificate(&peer).unwrap();
        let subject = cert.subject().to_string();
        assert!(subject.contains("CN=kube-apiserver-kubelet-client"), "{subject}");
        assert!(subject.contains("O=kubeadm:cluster-admins"), "{subject}");
    }
    assert_eq!(handshake(server(), client_config(&ca, None, &["h2"]).unwrap(), "localhost").unwrap(), None);
    assert!(handshake(server(), with(), "elsewhere.example.org").is_err());
    // A client certificate of another authority, and a server certificate used by a client, are turned away.
    let strange = client_config(
        &ca,
        Some((&pki.path("front-proxy-client.crt"), &pki.path("front-proxy-client.key"))),
        &["h2"],
    );
    assert!(handshake(server(), strange.unwrap(), "localhost").is_err());
    let misused =
        client_config(&ca, Some((&pki.path("apiserver.crt"), &pki.path("apiserver.key"))), &["h2"]).unwrap();
    assert!(handshake(server(), misused, "localhost").is_err());
}

#[test]
fn a_node_serves_by_name_and_address() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::ensure(&dir.path().join("pki"), &options()).unwrap();
    let node_dir = dir.path().join("node");
    let address = IpAddr::from([192, 0, 2, 9]);
    let make = || pki.ensure_node(&node_dir, "worker-1", &[address], "https://127.0.0.1:6443").unwrap();
    let node = make();
    let first = contents(&node_dir.join("pki"));
    assert_eq!(make(), node);
    assert_eq!(contents(&node_dir.join("pki")), first);
    let server = || {
        server_config(&node.serving_cert, &node.serving_key, Some(&node.client_ca), &["http/1.1"]).unwrap()
    };
    let client = (&*pki.path("apiserver-kubelet-client.crt"), &*pki.path("apiserver-kubelet-client.key"));
    let client = || client_config(&pki.path("ca.crt"), Some(client), &["http/1.1"]).unwrap();
    for name in ["worker-1", "192.0.2.9"] {
        assert!(handshake(server(), client(), name).unwrap().is_some(), "{name}");
    }
    assert!(handshake(server(), client(), "192.0.2.10").is_err());
}

#[test]
fn a_renewed_certificate_is_served_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::ensure(dir.path(), &options()).unwrap();
    let (cert, key) = (dir.path().join("web.crt"), dir.path().join("web.key"));
    let stem = dir.path().join("web");
    let mut leaf = Leaf::new("web", Usage::Server);
    leaf.dns_names.push("one".to_owned());
    assert!(pki.ensure_leaf(&stem, &leaf).unwrap());
    assert!(!pki.ensure_leaf(&stem, &leaf).unwrap());
    let serving = ReloadingKey::load(&cert, &key).unwrap();
    let first = serving.current().cert.clone();
    leaf.dns_names.push("two".to_owned());
    assert!(pki.ensure_leaf(&stem, &leaf).unwrap());
    let later = Instant::now() + Duration::from_secs(2);
    let second = serving.current_at(later).cert.clone();
    assert_ne!(second, first);
    // Half of a renewal is not taken, the whole is.
    let issued = pki.issue(&leaf).unwrap();
    fs::write(&key, &issued.key_pem).unwrap();
    assert_eq!(serving.current_at(later + Duration::from_secs(2)).cert, second);
    fs::write(&cert, &issued.cert_pem).unwrap();
    assert_ne!(serving.current_at(later + Duration::from_secs(4)).cert, second);
}
