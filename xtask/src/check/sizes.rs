//! File sizes. Enters: the tracked Rust files. Leaves: the longest of them; one above the limit fails.

use anyhow::{Result, bail};

use crate::shell;

/// A file beyond this many lines is too much for one reader.
const LIMIT: usize = 600;
/// Worth a look.
const LARGE: usize = 350;

/// Prints the large files and fails on one beyond the limit.
pub(crate) fn report() -> Result<()> {
    let mut sizes: Vec<(usize, String)> = shell::output(&mut shell::command("git ls-files *.rs"))?
        .lines()
        .filter_map(|file| {
            let text = std::fs::read_to_string(shell::root().join(file)).ok()?;
            Some((text.lines().count(), file.to_owned()))
        })
        .collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let total: usize = sizes.iter().map(|(lines, _)| lines).sum();
    println!("      {} files, {total} lines", sizes.len());
    for (lines, file) in sizes.iter().filter(|(lines, _)| *lines > LARGE) {
        println!("      {lines:>5} {file}");
    }
    let over: Vec<_> =
        sizes.iter().filter(|(lines, _)| *lines > LIMIT).map(|(_, file)| file.as_str()).collect();
    if !over.is_empty() {
        bail!("longer than {LIMIT} lines, split along the data path: {}", over.join(", "));
    }
    Ok(())
}
