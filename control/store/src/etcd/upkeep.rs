//! What an operator asks of etcd through its maintenance API: sizes, defragmentation, a snapshot.

use super::Etcd;
use super::convert::Refusal;
use crate::StoreError;
use std::io::Write;
use std::time::Duration;

/// How long the next piece of a snapshot, or a defragmentation, may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What etcd says about one of its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its version.
    pub version: String,
    /// Bytes of its database file.
    pub file_bytes: u64,
    /// Bytes of that which are in use.
    pub used_bytes: u64,
    /// What it reports as wrong, such as a raised alarm.
    pub errors: Vec<String>,
}

impl Etcd {
    /// The member this client speaks to.
    pub async fn member(&self) -> Result<Member, StoreError> {
        let mut client = self.maintenance.clone();
        let status = self.request(client.status()).await.map_err(Refusal::into_store)?;
        Ok(Member {
            version: status.version().to_owned(),
            file_bytes: u64::try_from(status.db_size()).unwrap_or_default(),
            used_bytes: u64::try_from(status.raft_used_db_size()).unwrap_or_default(),
            errors: status.errors().to_vec(),
        })
    }

    /// The revision below which etcd has forgotten; 0 if it never compacted.
    pub async fn compacted(&self) -> Result<crate::Revision, StoreError> {
        let oldest = super::GetOptions::new().with_count_only().with_revision(1);
        match self.range("/", Some(oldest)).await {
            Ok(_) => Ok(0),
            Err(Refusal::Compacted) => super::watcher::compacted_revision(self.watch.clone()).await,
            Err(refusal) => Err(refusal.into_store()),
        }
    }

    /// Gives free space of the member this client speaks to back to its disk; the member answers nobody meanwhile.
    pub async fn defragment(&self) -> Result<(), StoreError> {
        let mut client = self.maintenance.clone();
        let done = tokio::time::timeout(PATIENCE, client.defragment()).await;
        let late = |_| StoreError::Unavailable(format!("etcd did not finish within {PATIENCE:?}"));
        done.map_err(late)?.map_err(|error| super::convert::refusal(&error).into_store())?;
        Ok(())
    }

    /// Writes etcd's own snapshot, as `etcdctl snapshot save` would, to `sink`; how many bytes it has.
    pub async fn snapshot(&self, mut sink: impl Write) -> Result<u64, StoreError> {
        let mut client = self.maintenance.clone();
        let mut stream = self.request(client.snapshot()).await.map_err(Refusal::into_store)?;
        let mut bytes = 0;
        loop {
            let late = |_| StoreError::Unavailable("etcd stopped sending its snapshot".to_owned());
            let piece = tokio::time::timeout(PATIENCE, stream.message()).await.map_err(late)?;
            let piece = piece.map_err(|error| super::convert::refusal(&error).into_store())?;
            let Some(piece) = piece else { break };
            let unwritable =
                |error| StoreError::Unavailable(format!("the snapshot cannot be written: {error}"));
            sink.write_all(piece.blob()).map_err(unwritable)?;
            bytes += piece.blob().len() as u64;
        }
        // A database is whole pages; etcd adds a SHA-256 of it, which `etcdctl snapshot restore` checks.
        if bytes % 512 != 32 {
            return Err(StoreError::Unavailable(format!("etcd's snapshot of {bytes} bytes is cut off")));
        }
        Ok(bytes)
    }
}
