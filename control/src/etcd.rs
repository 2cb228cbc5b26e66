//! How to reach etcd, from options. Enters: file names. Leaves: the store's connection options.

use std::path::{Path, PathBuf};

use xebec_program::Failure;
use xebec_store::{EtcdOptions, EtcdTls};

/// TLS if there is a CA or a client certificate; both files of a client certificate are read now, so that a wrong name is
/// an error at the start.
pub(crate) fn options(
    cafile: Option<&Path>,
    client: Option<&(PathBuf, PathBuf)>,
) -> Result<EtcdOptions, Failure> {
    let read = |path: &Path| {
        std::fs::read_to_string(path)
            .map_err(|error| Failure::Option(format!("etcd TLS file {}: {error}", path.display())))
    };
    let mut etcd = EtcdOptions::default();
    if cafile.is_some() || client.is_some() {
        let ca = cafile.ok_or_else(|| {
            Failure::Option(
                "--etcd-cafile: missing; with a client certificate the server's CA is needed too".to_owned(),
            )
        })?;
        let client = match client {
            None => None,
            Some((cert, key)) => Some((read(cert)?, read(key)?)),
        };
        etcd.tls = Some(EtcdTls { ca: read(ca)?, client, server_name: None });
    }
    Ok(etcd)
}
