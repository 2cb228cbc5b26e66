//! `xebec-control store`: the embedded store's file. Enters: a path. Leaves: what is in it, or a copy.

use std::path::PathBuf;

use clap::Subcommand;
use xebec_store::Embedded;
use xebec_store::embedded::Options;

use crate::Failure;

/// The file's name in the data directory.
pub(crate) const FILE: &str = "store.redb";

/// What to do. The server must be stopped: one process at a time opens the file.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Revisions and sizes, as JSON.
    Status {
        /// Where the file is.
        #[arg(long, default_value = "/var/lib/xebec")]
        data_dir: PathBuf,
    },
    /// A consistent copy into a new file.
    Backup {
        /// Where the file is.
        #[arg(long, default_value = "/var/lib/xebec")]
        data_dir: PathBuf,
        /// The new file; an existing one is never overwritten.
        #[arg(long)]
        to: PathBuf,
    },
    /// Writes the file anew without the space that deleted objects left.
    Defrag {
        /// Where the file is.
        #[arg(long, default_value = "/var/lib/xebec")]
        data_dir: PathBuf,
    },
}

/// Runs one of them and prints its result.
#[expect(clippy::print_stdout, reason = "the result of a command")]
pub(crate) async fn run(command: &Command) -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| Failure::part("store")(error);
    let (Command::Status { data_dir } | Command::Backup { data_dir, .. } | Command::Defrag { data_dir }) =
        command;
    let path = data_dir.join(FILE);
    if !path.exists() {
        return Err(Failure::Option(format!("--data-dir: there is no {}", path.display())));
    }
    let store = Embedded::open(&path, Options::default()).map_err(|error| failed(&error))?;
    match command {
        Command::Status { .. } => {
            let status = store.status().await.map_err(|error| failed(&error))?;
            println!("{}", serde_json::to_string_pretty(&status).map_err(|error| failed(&error))?);
        }
        Command::Backup { to, .. } => {
            let revision = store.backup(to).await.map_err(|error| failed(&error))?;
            println!("wrote {} at revision {revision}", to.display());
        }
        Command::Defrag { .. } => {
            store.rewrite().await.map_err(|error| failed(&error))?;
            println!("rewrote {}", path.display());
        }
    }
    Ok(())
}
