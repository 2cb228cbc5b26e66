//! Kubeconfig files with everything embedded.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::authority::Authority;
use super::leaf::{self, Issued, Leaf};
use super::{PkiError, files};

const CERT_FIELD: &str = "client-certificate-data: ";
const KEY_FIELD: &str = "client-key-data: ";

/// A kubeconfig (YAML) for the user `name` at `server` (`https://host:port`), its context being current.
pub fn kubeconfig(server: &str, ca_pem: &str, cert_pem: &str, key_pem: &str, name: &str) -> String {
    let (ca, cert, key) = (STANDARD.encode(ca_pem), STANDARD.encode(cert_pem), STANDARD.encode(key_pem));
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: kubernetes
  cluster:
    certificate-authority-data: {ca}
    server: {server}
contexts:
- name: {name}@kubernetes
  context:
    cluster: kubernetes
    user: {name}
current-context: {name}@kubernetes
preferences: {{}}
users:
- name: {name}
  user:
    {CERT_FIELD}{cert}
    {KEY_FIELD}{key}
"
    )
}

/// The credential inside a kubeconfig this module wrote.
fn embedded(config: &str) -> Option<Issued> {
    let field = |name: &str| {
        let encoded = config.lines().find_map(|line| line.trim().strip_prefix(name))?;
        String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()
    };
    Some(Issued { cert_pem: field(CERT_FIELD)?, key_pem: field(KEY_FIELD)? })
}

/// Makes or renews a kubeconfig; true if it was written. A credential that still serves is kept.
pub(super) fn ensure(
    ca: &Authority,
    path: &Path,
    server: &str,
    leaf: &Leaf,
    now: Timestamp,
) -> Result<bool, PkiError> {
    let existing = files::read(path)?.and_then(|config| embedded(&config));
    let issued = match existing {
        Some(issued) if leaf::check(ca, &issued, leaf, now).is_ok() => issued,
        _ => ca.issue(leaf, now)?,
    };
    let config = kubeconfig(server, ca.pem(), &issued.cert_pem, &issued.key_pem, &leaf.common_name);
    files::write_if_changed(path, &config, 0o600)
}
