//! The few fields of a kubeconfig that a client needs. Enters: a file. Leaves: address and credentials of its current
//! context.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    current_context: String,
    contexts: Vec<NamedContext>,
    clusters: Vec<NamedCluster>,
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: ContextFields,
}

#[derive(Deserialize)]
struct ContextFields {
    cluster: String,
    user: String,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    token: Option<String>,
}

/// Where a server is and how to prove who calls.
pub(crate) struct Access {
    /// Host name or address, as the certificate must have it.
    pub(crate) host: String,
    /// The port.
    pub(crate) port: u16,
    /// TLS with the cluster's CA and, if there is one, the client certificate.
    pub(crate) tls: ClientConfig,
    /// A bearer token.
    pub(crate) token: Option<String>,
}

/// Reads the current context of `path`; `server` is another URL of its server.
///
/// # Errors
/// Names the file and the field that is missing or not supported (exec plugins, disabled verification).
pub(crate) fn read(path: &Path, server: Option<&str>) -> Result<Access> {
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("--kubeconfig {shown}"))?;
    let file: File = serde_saphyr::from_str(&text)
        .map_err(|error| anyhow::anyhow!("--kubeconfig {shown}: {}", first_line(&error.to_string())))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    access(file, folder, server).with_context(|| format!("--kubeconfig {shown}"))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn access(file: File, folder: &Path, server: Option<&str>) -> Result<Access> {
    let name = &file.current_context;
    let context = file.contexts.iter().find(|context| context.name == *name);
    let context = &context.with_context(|| format!("contexts: none is called {name:?}"))?.context;
    let cluster = file.clusters.into_iter().find(|cluster| cluster.name == context.cluster);
    let cluster = cluster.with_context(|| format!("clusters: none is called {:?}", context.cluster))?.cluster;
    let user = file.users.into_iter().find(|user| user.name == context.user);
    let user = user.with_context(|| format!("users: none is called {:?}", context.user))?.user;
    let (host, port) = split_url(server.unwrap_or(&cluster.server))?;
    let ca = pem(cluster.certificate_authority_data, cluster.certificate_authority, folder)?
        .context("certificate-authority-data: missing; this client always verifies the server")?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&ca) {
        roots.add(certificate.context("certificate-authority: not PEM")?)?;
    }
    let certificate = pem(user.client_certificate_data, user.client_certificate, folder)?;
    let key = pem(user.client_key_data, user.client_key, folder)?;
    let builder = ClientConfig::builder().with_root_certificates(Arc::new(roots));
    let tls = match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let chain = CertificateDer::pem_slice_iter(&certificate).collect::<Result<Vec<_>, _>>();
            let key = PrivateKeyDer::from_pem_slice(&key).context("client-key: not a PEM key")?;
            builder.with_client_auth_cert(chain.context("client-certificate: not PEM")?, key)?
        }
        (None, None) => {
            ensure!(
                user.token.is_some(),
                "user {:?}: neither a client certificate nor a token (exec plugins are not supported)",
                context.user
            );
            builder.with_no_client_auth()
        }
        _ => bail!("user {:?}: client-certificate and client-key belong together", context.user),
    };
    Ok(Access { host, port, tls, token: user.token })
}

fn pem(data: Option<String>, file: Option<PathBuf>, folder: &Path) -> Result<Option<Vec<u8>>> {
    if let Some(data) = data {
        return Ok(Some(STANDARD.decode(data.trim()).context("a -data field is not base64")?));
    }
    let Some(file) = file else { return Ok(None) };
    let path = folder.join(file);
    Ok(Some(fs::read(&path).with_context(|| path.display().to_string())?))
}

/// `https://host:port` in its parts.
fn split_url(url: &str) -> Result<(String, u16)> {
    let wrong = || format!("server: {url:?} is not https://HOST[:PORT]");
    let rest = url.strip_prefix("https://").with_context(wrong)?;
    let uri: http::Uri = format!("https://{rest}").parse().with_context(wrong)?;
    let host = uri.host().with_context(wrong)?.trim_start_matches('[').trim_end_matches(']');
    ensure!(matches!(uri.path(), "" | "/"), "server: {url:?}: a path below the host is not supported");
    Ok((host.to_owned(), uri.port_u16().unwrap_or(443)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split() {
        assert_eq!(split_url("https://[::1]:6443").unwrap(), ("::1".to_owned(), 6443));
        assert_eq!(split_url("https://a.example/").unwrap(), ("a.example".to_owned(), 443));
        assert!(split_url("http://a:1").unwrap_err().to_string().contains("https://HOST"));
    }

    #[test]
    fn a_missing_user_is_named() {
        let text = "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: nobody}}]\n\
                    clusters: [{name: k, cluster: {server: 'https://h:1'}}]\nusers: []\n";
        let Err(error) = access(serde_saphyr::from_str(text).unwrap(), Path::new("."), None) else {
            panic!("there is no such user")
        };
        assert_eq!(error.to_string(), "users: none is called \"nobody\"");
    }
}
