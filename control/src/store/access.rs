//! The embedded store, wherever it is: in a running server, asked over its socket, or in a file that nobody has open.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::UnixStream;
use xebec_program::Failure;
use xebec_store::snapshot::Header;
use xebec_store::{Embedded, StoreError};

use super::report::StatusReport;
use super::socket::{self, Request};
use super::{FILE, failed};

/// Where the store is.
pub(super) enum Access {
    /// In a server; a connection for each request.
    Server(PathBuf),
    /// Here.
    File(Arc<Embedded>),
}

impl Access {
    /// The running server's, if one answers; else the file is opened.
    pub(super) async fn open(data_dir: &Path) -> Result<Self, Failure> {
        let path = data_dir.join(socket::FILE);
        match UnixStream::connect(&path).await {
            Ok(_) => return Ok(Self::Server(path)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let text = format!("{}: {error}; run this as the user that runs the server", path.display());
                return Err(Failure::Option(text));
            }
            // No socket, or one that a killed server left.
            Err(_) => {}
        }
        match Embedded::open(data_dir.join(FILE), xebec_store::embedded::Options::default()) {
            Ok(store) => Ok(Self::File(store)),
            Err(error @ StoreError::Locked { .. }) => Err(Failure::Option(format!(
                "{error}, and nobody answers at {}: stop that process",
                path.display()
            ))),
            Err(error) => Err(failed(&error)),
        }
    }

    /// Its state.
    pub(super) async fn status(&self) -> Result<StatusReport, Failure> {
        match self {
            Self::Server(path) => socket::ask(path, &Request::Status).await,
            Self::File(store) => socket::report(store, false).await.map_err(|error| failed(&error)),
        }
    }

    /// Forgets changes; up to which revision.
    pub(super) async fn compact(&self, revision: Option<u64>) -> Result<u64, Failure> {
        match self {
            Self::Server(path) => socket::ask(path, &Request::Compact { revision }).await,
            Self::File(store) => socket::compact(store, revision).await.map_err(|error| failed(&error)),
        }
    }

    /// Rewrites the file.
    pub(super) async fn defrag(&self) -> Result<(), Failure> {
        match self {
            Self::Server(path) => socket::ask(path, &Request::Defrag).await,
            Self::File(store) => store.rewrite().await.map_err(|error| failed(&error)),
        }
    }

    /// Writes a snapshot to `to`, which appears only when it is whole and durable, and checks what was written.
    pub(super) async fn backup(&self, to: &Path) -> Result<Header, Failure> {
        let mut partial = to.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let outcome = self.write(&partial, to).await;
        if outcome.is_err() {
            let _ = fs::remove_file(&partial);
        }
        outcome
    }

    async fn write(&self, partial: &Path, to: &Path) -> Result<Header, Failure> {
        let named = |error: io::Error| Failure::Option(format!("--to {}: {error}", to.display()));
        let file = File::create(partial).map_err(named)?;
        match self {
            Self::Server(path) => {
                let mut file = tokio::fs::File::from_std(file.try_clone().map_err(named)?);
                let mut stream = socket::request(path, &Request::Backup).await?;
                tokio::io::copy(&mut stream, &mut file).await.map_err(named)?;
            }
            Self::File(store) => {
                let sink = io::BufWriter::with_capacity(1 << 20, file.try_clone().map_err(named)?);
                store.snapshot(sink).await.map_err(|error| failed(&error))?;
            }
        }
        file.sync_all().map_err(named)?;
        let written = io::BufReader::new(File::open(partial).map_err(named)?);
        let verified = tokio::task::spawn_blocking(move || xebec_store::snapshot::verify(written)).await;
        let header = verified.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
        fs::rename(partial, to).map_err(named)?;
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(named)?;
        Ok(header)
    }
}
