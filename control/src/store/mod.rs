//! `xebec-control store`: what an operator does with the store. Enters: a subcommand. Leaves: a report, a backup, a store.
//!
//! The embedded store's file belongs to one process at a time, so a running server is asked over a socket in the data
//! directory (see `socket`), and without one the file is opened here. Everything but `restore` works either way.

mod access;
mod on_etcd;
mod report;
pub(crate) mod socket;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use access::Access;
use report::Outcome;
use xebec_program::Failure;

/// The file's name in the data directory.
pub(crate) const FILE: &str = "store.redb";

/// Which store, and how to answer.
#[derive(Args)]
pub(crate) struct StoreArgs {
    /// Where the embedded store keeps its file.
    #[arg(long, global = true, default_value = "/var/lib/xebec")]
    data_dir: PathBuf,
    /// etcd endpoints, separated by commas, when the server uses etcd.
    #[arg(long, global = true, value_delimiter = ',')]
    etcd_servers: Vec<String>,
    /// CA of etcd's certificates.
    #[arg(long, global = true)]
    etcd_cafile: Option<PathBuf>,
    /// Client certificate for etcd.
    #[arg(long, global = true, requires = "etcd_keyfile")]
    etcd_certfile: Option<PathBuf>,
    /// Key of the client certificate for etcd.
    #[arg(long, global = true, requires = "etcd_certfile")]
    etcd_keyfile: Option<PathBuf>,
    /// For people or for programs.
    #[arg(long, global = true, value_enum, default_value = "human")]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Sentences and tables.
    Human,
    /// One JSON object.
    Json,
}

/// What to do.
#[derive(Subcommand)]
enum Command {
    /// Revisions, keys of each resource, sizes, and how much of the file could be given back.
    Status,
    /// Forget the changes up to a revision. The server does this by itself; objects are never lost, but a watch that is
    /// further behind must list again.
    Compact {
        /// The revision [default: the newest].
        #[arg(long)]
        revision: Option<u64>,
    },
    /// Write the file anew, without the space that deleted objects left. The embedded store serves meanwhile; of etcd, each
    /// member is taken in turn and answers nobody while it works.
    Defrag,
    /// Write a consistent snapshot with a checksum into a new file, while the server goes on.
    Backup {
        /// The new file; an existing one is never overwritten.
        #[arg(long)]
        to: PathBuf,
    },
    /// Make a store from a backup. The server must be stopped, and there must be no store yet.
    Restore {
        /// The backup.
        #[arg(long)]
        from: PathBuf,
        /// How far the revision is moved on. It must exceed the number of writes since the backup: their revisions were seen
        /// by clients and must not come a second time (as etcd's --bump-revision; everything below is marked compacted, so
        /// that every client lists again).
        #[arg(long, default_value_t = 1_000_000_000)]
        bump_revision: u64,
    },
}

/// Runs one of them and prints its result.
pub(crate) async fn run(args: &StoreArgs) -> Result<(), Failure> {
    let outcome =
        if args.etcd_servers.is_empty() { embedded(args).await? } else { on_etcd::run(args).await? };
    print(args.output, &outcome)
}

fn print(output: Output, outcome: &Outcome) -> Result<(), Failure> {
    let text = match output {
        Output::Human => outcome.to_string(),
        Output::Json => {
            let text = serde_json::to_string_pretty(outcome).map_err(|error| failed(&error))?;
            format!("{text}\n")
        }
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // Whoever reads it has read enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.map_err(|error| failed(&error)),
    }
}

fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::part("store")(error)
}

async fn embedded(args: &StoreArgs) -> Result<Outcome, Failure> {
    let path = args.data_dir.join(FILE);
    if let Command::Restore { from, bump_revision } = &args.command {
        return restore(from, &path, *bump_revision).await;
    }
    if !path.exists() {
        return Err(Failure::Option(format!("--data-dir: there is no {}", path.display())));
    }
    if let Command::Backup { to } = &args.command {
        refuse_existing(to)?;
    }
    let access = Access::open(&args.data_dir).await?;
    match &args.command {
        Command::Status => Ok(Outcome::Status(access.status().await?)),
        Command::Compact { revision } => {
            let revision = access.compact(*revision).await?;
            Ok(Outcome::Compacted { revision })
        }
        Command::Defrag => {
            let before = access.status().await?.file_bytes;
            progress("writing the live data into a new file");
            access.defrag().await?;
            let after = access.status().await?.file_bytes;
            Ok(Outcome::Defragmented { path, file_bytes_before: before, file_bytes: after })
        }
        Command::Backup { to } => {
            progress("writing the snapshot");
            let header = access.backup(to).await?;
            let bytes = std::fs::metadata(to).map_err(|error| failed(&error))?.len();
            let next = format!("xebec-control store restore --from {} --data-dir NEW", to.display());
            Ok(Outcome::BackedUp { to: to.clone(), bytes, revision: Some(header.revision), restore: next })
        }
        Command::Restore { .. } => Err(Failure::Option("restore is done above".to_owned())),
    }
}

async fn restore(from: &Path, path: &Path, bump: u64) -> Result<Outcome, Failure> {
    if path.exists() {
        return Err(Failure::Option(format!(
            "--data-dir: {} exists already; it is never overwritten: stop the server and move it away, or restore elsewhere",
            path.display()
        )));
    }
    progress("checking the backup, then writing the store");
    let (source, target) = (from.to_owned(), path.to_owned());
    let restored = tokio::task::spawn_blocking(move || xebec_store::Embedded::restore(source, target, bump));
    let revision = restored.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    Ok(Outcome::Restored { path: path.to_owned(), revision })
}

fn refuse_existing(to: &Path) -> Result<(), Failure> {
    if to.exists() {
        return Err(Failure::Option(format!(
            "--to: {} exists already; it is never overwritten",
            to.display()
        )));
    }
    Ok(())
}

/// Says on standard error what takes its time.
#[expect(clippy::print_stderr, reason = "progress of a command, beside its result")]
fn progress(text: &str) {
    eprintln!("{text} ...");
}
