//! The store commands where the store is etcd: through etcd's own maintenance API, with etcd's own snapshot format.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use xebec_program::Failure;
use xebec_store::embedded::Usage;
use xebec_store::{Etcd, ListAt, Store, StoreError, resource};

use super::report::{Outcome, StatusReport};
use super::{Command, StoreArgs, failed, progress, refuse_existing};
use crate::etcd;

/// Keys read at once.
const PAGE: usize = 500;

async fn connect(args: &StoreArgs, endpoints: &[String]) -> Result<Arc<Etcd>, Failure> {
    let client = args.etcd_certfile.clone().zip(args.etcd_keyfile.clone());
    let options = etcd::options(args.etcd_cafile.as_deref(), client.as_ref())?;
    Etcd::connect(endpoints, options).await.map_err(|error| failed(&error))
}

/// Runs one command.
pub(super) async fn run(args: &StoreArgs) -> Result<Outcome, Failure> {
    let servers = &args.etcd_servers;
    if let Command::Restore { from, .. } = &args.command {
        return Err(Failure::Option(format!(
            "restore: etcd's members are restored by etcd: stop them, then on each `etcdctl snapshot restore {} \
             --data-dir NEW` (with etcd 3.6 `etcdutl snapshot restore --bump-revision 1000000000 --mark-compacted`, so that \
             no revision comes twice), and start them on NEW",
            from.display()
        )));
    }
    let store = connect(args, servers).await?;
    match &args.command {
        Command::Status => {
            Ok(Outcome::Status(status(&store, servers).await.map_err(|error| failed(&error))?))
        }
        Command::Compact { revision } => {
            let revision = match revision {
                Some(revision) => *revision,
                None => store.head().await.map_err(|error| failed(&error))?,
            };
            store.compact(revision).await.map_err(|error| failed(&error))?;
            Ok(Outcome::Compacted { revision })
        }
        Command::Defrag => {
            let (mut before, mut after) = (0, 0);
            for endpoint in servers {
                progress(&format!("defragmenting {endpoint}"));
                let member = connect(args, std::slice::from_ref(endpoint)).await?;
                before += member.member().await.map_err(|error| failed(&error))?.file_bytes;
                member.defragment().await.map_err(|error| failed(&error))?;
                after += member.member().await.map_err(|error| failed(&error))?.file_bytes;
            }
            let path = servers.join(",").into();
            Ok(Outcome::Defragmented { path, file_bytes_before: before, file_bytes: after })
        }
        Command::Backup { to } => {
            refuse_existing(to)?;
            progress("writing etcd's snapshot");
            let bytes = backup(&store, to).await?;
            let restore = format!("etcdctl snapshot restore {} --data-dir NEW", to.display());
            Ok(Outcome::BackedUp { to: to.clone(), bytes, revision: None, restore })
        }
        Command::Restore { .. } => Err(Failure::Option("restore is refused above".to_owned())),
    }
}

async fn status(store: &Etcd, servers: &[String]) -> Result<StatusReport, StoreError> {
    let member = store.member().await?;
    let mut resources: BTreeMap<String, Usage> = BTreeMap::new();
    let (mut request, mut live_bytes) = (ListAt { limit: PAGE, ..ListAt::default() }, 0);
    let revision = loop {
        let page = store.list_at("/registry", request.clone()).await?;
        for entry in &page.entries {
            let usage = resources.entry(resource(&entry.key).to_owned()).or_default();
            let bytes = (entry.key.len() + entry.value.len()) as u64;
            usage.keys += 1;
            usage.bytes += bytes;
            live_bytes += bytes;
        }
        match page.entries.last() {
            Some(last) if page.remaining > 0 => {
                request.after = Some(last.key.clone());
                request.revision = Some(page.revision);
            }
            _ => break page.revision,
        }
    };
    Ok(StatusReport {
        engine: format!("etcd {}", member.version),
        location: servers.join(","),
        in_use: true,
        revision,
        compacted_revision: store.compacted().await?,
        live_bytes,
        log_bytes: None,
        file_bytes: member.file_bytes,
        reclaimable_bytes: member.file_bytes.saturating_sub(member.used_bytes),
        resources,
    })
}

async fn backup(store: &Etcd, to: &Path) -> Result<u64, Failure> {
    let named = |error: std::io::Error| Failure::Option(format!("--to {}: {error}", to.display()));
    let mut partial = to.as_os_str().to_owned();
    partial.push(".partial");
    let partial = std::path::PathBuf::from(partial);
    let file = File::create(&partial).map_err(named)?;
    let mut sink = BufWriter::new(&file);
    let written = store.snapshot(&mut sink).await;
    let bytes = match written {
        Ok(bytes) => bytes,
        Err(error) => {
            let _ = std::fs::remove_file(&partial);
            return Err(failed(&error));
        }
    };
    sink.flush().map_err(named)?;
    file.sync_all().map_err(named)?;
    std::fs::rename(&partial, to).map_err(named)?;
    Ok(bytes)
}
