//! The running server's side of the store commands: a Unix socket in the data directory, and how it is asked.
//!
//! Why not the API server's port: whoever may read the store's file may use this socket (mode 0600, same user or root), so
//! it grants nothing new and needs no certificate, no RBAC rule and no healthy API server, which is when an operator needs
//! it; and the store is not reachable over the network at all. Enters: one line of JSON. Leaves: one line of JSON, `ok` or
//! `error`; after that of a backup, the snapshot until the end of the stream.

use std::fs::Permissions;
use std::io::{self, BufWriter};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use xebec_program::Failure;
use xebec_store::{Embedded, Store, StoreError};

use super::failed;
use super::report::StatusReport;

/// The socket's name in the data directory.
pub(crate) const FILE: &str = "store.sock";
/// The longest request.
const REQUEST_BYTES: u64 = 4096;
/// How long a client may take to ask, and how long it may leave a backup standing still.
const PATIENCE: Duration = Duration::from_secs(30);
/// Clients served at once; more wait.
const CLIENTS: usize = 4;

/// What can be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "command")]
pub(super) enum Request {
    Status,
    Compact { revision: Option<u64> },
    Defrag,
    Backup,
}

/// Serves the store's socket until `stop`. A socket that cannot be made is a warning: the server is of use without.
pub(crate) fn serve(data_dir: &Path, store: Arc<Embedded>, stop: CancellationToken) {
    let path = data_dir.join(FILE);
    // The file's lock is ours, so a socket that is there is of a process that is gone.
    let _ = std::fs::remove_file(&path);
    let listen = || {
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        io::Result::Ok(listener)
    };
    match listen() {
        Ok(listener) => {
            tokio::spawn(async move {
                stop.run_until_cancelled(accept(listener, store)).await;
                let _ = std::fs::remove_file(&path);
            });
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "no socket for `xebec-control store`");
        }
    }
}

async fn accept(listener: UnixListener, store: Arc<Embedded>) {
    let room = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, store).await {
                        tracing::debug!(%error, "store client ended");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a store client could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn answer(stream: UnixStream, store: Arc<Embedded>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    let mut bounded = (&mut stream).take(REQUEST_BYTES);
    tokio::time::timeout(PATIENCE, bounded.read_line(&mut line)).await??;
    if line.is_empty() {
        // Somebody only looked whether a server is there.
        return Ok(());
    }
    let mut stream = stream.into_inner();
    let result = match serde_json::from_str(&line) {
        Err(error) => Err(format!("not a request: {error}")),
        Ok(Request::Backup) => return backup(stream, &store).await,
        Ok(Request::Status) => report(&store, true).await.map(|report| json!(report)).map_err(text),
        Ok(Request::Compact { revision }) => {
            compact(&store, revision).await.map(|revision| json!(revision)).map_err(text)
        }
        Ok(Request::Defrag) => store.rewrite().await.map(|()| Value::Null).map_err(text),
    };
    let answer = result.map_or_else(|error| json!({"error": error}), |value| json!({"ok": value}));
    stream.write_all(format!("{answer}\n").as_bytes()).await
}

fn text(error: StoreError) -> String {
    error.to_string()
}

/// The snapshot is written by a blocking thread; a client that stops reading loses the connection, so that the store does
/// not keep old data for it for ever.
async fn backup(mut stream: UnixStream, store: &Embedded) -> io::Result<()> {
    stream.write_all(b"{\"ok\":null}\n").await?;
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    match store.snapshot(BufWriter::with_capacity(256 << 10, stream)).await {
        Ok(header) => tracing::info!(revision = header.revision, entries = header.entries, "backup sent"),
        // The client sees a stream without a checksum.
        Err(error) => tracing::warn!(%error, "a backup was not completed"),
    }
    Ok(())
}

/// The embedded store's state.
pub(super) async fn report(store: &Embedded, in_use: bool) -> Result<StatusReport, StoreError> {
    let status = store.status().await?;
    Ok(StatusReport {
        engine: "embedded".to_owned(),
        location: store.path().display().to_string(),
        in_use,
        revision: status.revision,
        compacted_revision: status.compacted_revision,
        live_bytes: status.live_bytes,
        log_bytes: Some(status.log_bytes),
        file_bytes: status.file_bytes,
        reclaimable_bytes: status.reclaimable_bytes(),
        resources: store.usage().await?,
    })
}

/// Compacts up to `revision` or the head; up to which it was.
pub(super) async fn compact(store: &Embedded, revision: Option<u64>) -> Result<u64, StoreError> {
    let revision = match revision {
        Some(revision) => revision,
        None => store.head().await?,
    };
    store.compact(revision).await?;
    Ok(revision)
}

/// Sends a request; what follows a good answer.
pub(super) async fn request(path: &Path, request: &Request) -> Result<impl tokio::io::AsyncRead, Failure> {
    let (stream, _) = exchange(path, request).await?;
    Ok(stream)
}

/// Sends a request; its answer.
pub(super) async fn ask<T: DeserializeOwned>(path: &Path, request: &Request) -> Result<T, Failure> {
    let (_, value) = exchange(path, request).await?;
    serde_json::from_value(value).map_err(|error| failed(&error))
}

async fn exchange(path: &Path, request: &Request) -> Result<(BufReader<UnixStream>, Value), Failure> {
    let named = |error: io::Error| Failure::Option(format!("{}: {error}", path.display()));
    let mut stream = BufReader::new(UnixStream::connect(path).await.map_err(named)?);
    let line = serde_json::to_string(request).map_err(|error| failed(&error))?;
    stream.write_all(format!("{line}\n").as_bytes()).await.map_err(named)?;
    let mut line = String::new();
    stream.read_line(&mut line).await.map_err(named)?;
    let mut answer: Value = serde_json::from_str(&line)
        .map_err(|error| Failure::Option(format!("{}: the server's answer: {error}", path.display())))?;
    match answer["error"].as_str() {
        Some(error) => Err(Failure::Part { part: "store", reason: error.to_owned() }),
        None => Ok((stream, answer["ok"].take())),
    }
}
