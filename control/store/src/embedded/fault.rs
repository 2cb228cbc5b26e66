//! Where redb's errors become the store's: the file's state decides between retry, operator and restore.

use super::format::FormatError;
use crate::StoreError;
use std::io;
use std::path::Path;

/// A failed operation on the file, before it is told to a caller.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// redb failed.
    #[error(transparent)]
    Engine(Box<redb::Error>),
    /// A record does not decode.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The operating system refused a file operation.
    #[error("{action}: {source}")]
    File {
        /// What was tried, with the path.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The answer is already in the store's terms.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<E: Into<redb::Error>> From<E> for Fault
where
    E: EngineError,
{
    fn from(error: E) -> Self {
        Self::Engine(Box::new(error.into()))
    }
}

/// redb's own error types, so that the conversion above does not cover ours.
pub(super) trait EngineError {}
impl EngineError for redb::StorageError {}
impl EngineError for redb::TableError {}
impl EngineError for redb::TransactionError {}
impl EngineError for redb::CommitError {}
impl EngineError for redb::DatabaseError {}

impl Fault {
    /// A failed file operation.
    pub fn file(action: &str, path: &Path, source: io::Error) -> Self {
        Self::File { action: format!("{action} {}", path.display()), source }
    }

    /// There is no room for a write.
    pub fn full(path: &Path) -> StoreError {
        StoreError::Unavailable(format!("no space left on the disk of {}", path.display()))
    }

    /// The fault in the store's terms, for the database file at `path`.
    pub fn into_store(self, path: &Path) -> StoreError {
        let name = path.display();
        match self {
            Self::Store(error) => error,
            Self::Format(error) => StoreError::Corrupt(format!("{name}: {error}")),
            Self::File { .. } => StoreError::Unavailable(self.to_string()),
            Self::Engine(error) => match *error {
                redb::Error::DatabaseAlreadyOpen => StoreError::Locked { path: path.to_owned() },
                redb::Error::DatabaseClosed => StoreError::Closed,
                redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
                    StoreError::Corrupt(format!("{name} is not a store, or is damaged: {error}"))
                }
                redb::Error::Io(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::StorageFull
                            | io::ErrorKind::QuotaExceeded
                            | io::ErrorKind::FileTooLarge
                    ) =>
                {
                    Self::full(path)
                }
                redb::Error::Io(error) => StoreError::Unavailable(format!("{name}: {error}")),
                redb::Error::PreviousIo => {
                    StoreError::Unavailable(format!("{name}: a write failed, the file is being reopened"))
                }
                other @ (redb::Error::Corrupted(_)
                | redb::Error::UpgradeRequired(_)
                | redb::Error::TableTypeMismatch { .. }
                | redb::Error::TableIsMultimap(_)
                | redb::Error::TableDoesNotExist(_)
                | redb::Error::TypeDefinitionChanged { .. }) => {
                    StoreError::Corrupt(format!("{name}: {other}"))
                }
                other => StoreError::Unavailable(format!("{name}: {other}")),
            },
        }
    }
}
