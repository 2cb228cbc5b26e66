//! The node's packet filter, by its own tool `nft` (1.0.1 or later, as upstream asks for). Enters: a script, or a table's name.
//! Leaves: that it is done, or the table as JSON (libnftables-json(5)). Called by the pod network (masquerade) and the service
//! dataplane (SCTP).
//!
//! Calls wait for the tool, some milliseconds: asynchronous callers put them on a thread for that. It works in the network
//! namespace of the calling thread.

use std::io::{self, Write};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Why the packet filter is as it was.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The tool did not run: mostly it is not installed. Nothing a retry would help before that is changed.
    #[error("cannot run nft: {0}")]
    Run(#[source] io::Error),
    /// It refused, or the kernel did: in its words. Nothing was changed.
    #[error("nft: {0}")]
    Refused(String),
    /// It answered, but not with JSON.
    #[error("nft's answer is no JSON: {0}")]
    Answer(#[source] serde_json::Error),
}

/// Carries out a script in one transaction: no packet sees half of it.
///
/// # Errors
/// [`NftError`].
pub fn write(script: &str) -> Result<(), NftError> {
    let child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.map_err(NftError::Run)?;
    // One that ends before it has read all says why.
    let written = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(script.as_bytes()));
    let output = child.wait_with_output().map_err(NftError::Run)?;
    succeeded(&output)?;
    written.map_err(NftError::Run)
}

/// What a table holds, without the elements of its sets if `terse`; `None` if there is no such table.
///
/// # Errors
/// [`NftError`].
pub fn table(family: &str, name: &str, terse: bool) -> Result<Option<Value>, NftError> {
    let options = if terse { "-jt" } else { "-j" };
    let mut command = Command::new("nft");
    command.args([options, "list", "table", family, name]).stdin(Stdio::null());
    let output = command.output().map_err(NftError::Run)?;
    match succeeded(&output) {
        Err(NftError::Refused(why)) if why.contains("No such file or directory") => Ok(None),
        result => {
            result.and_then(|()| serde_json::from_slice(&output.stdout).map(Some).map_err(NftError::Answer))
        }
    }
}

/// The part of a script after which there is no such table, whether there was one or not.
pub fn without(family: &str, name: &str) -> String {
    format!("add table {family} {name}\ndelete table {family} {name}\n")
}

fn succeeded(output: &Output) -> Result<(), NftError> {
    if output.status.success() {
        return Ok(());
    }
    Err(NftError::Refused(reason(&String::from_utf8_lossy(&output.stderr))))
}

/// The first thing the tool said: it goes on with the lines of the script, which may be thousands. PURE.
fn reason(said: &str) -> String {
    const LENGTH: usize = 300;
    let line =
        said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it failed without a word");
    line.chars().take(LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_the_first_line() {
        let said =
            "\n/dev/stdin:1:1-5: Error: Could not process rule: Operation not supported\nadd table\n^^^\n";
        assert_eq!(reason(said), "/dev/stdin:1:1-5: Error: Could not process rule: Operation not supported");
        assert_eq!(reason(""), "it failed without a word");
        assert_eq!(reason(&"x".repeat(5000)).len(), 300);
    }
}
