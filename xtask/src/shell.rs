//! Running other programs. Enters: a command line. Leaves: its output, or an error with the end of what it said.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The root of the repository: the folder above this crate.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// Where this run's build products go (CARGO_TARGET_DIR is honoured).
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(path) => root().join(path),
        None => root().join("target"),
    }
}

/// What xtask itself makes: images, the eBPF object, the Python environment.
pub(crate) fn products() -> PathBuf {
    target().join("xebec")
}

/// A command whose arguments are split at white space.
pub(crate) fn command(line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).current_dir(root());
    command
}

/// Runs to the end with the terminal's output; an error names the command.
pub(crate) fn stream(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", show(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", show(command));
    }
    Ok(())
}

/// Runs to the end and returns standard output; an error carries the last lines of both streams.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let result =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {}", show(command)))?;
    let text = String::from_utf8_lossy(&result.stdout).into_owned();
    if !result.status.success() {
        let both = format!("{text}\n{}", String::from_utf8_lossy(&result.stderr));
        let lines: Vec<_> = both.lines().filter(|line| !line.trim().is_empty()).collect();
        let tail = lines[lines.len().saturating_sub(15)..].join("\n    ");
        bail!("{} ended with {}:\n    {tail}", show(command), result.status);
    }
    Ok(text)
}

/// Whether a program of this name is on the path or in the usual system folders.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// Polls until `check` gives a value; after `limit` an error names what was waited for.
pub(crate) fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut check: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        let last = check();
        if let Ok(Some(value)) = last {
            return Ok(value);
        }
        if start.elapsed() > limit {
            let why = last.err().map(|error| format!(": {error:#}")).unwrap_or_default();
            bail!("{what}: not within {} s{why}", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn show(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let line = words.join(" ");
    if line.len() > 160 {
        format!("`{}...`", line.chars().take(157).collect::<String>())
    } else {
        format!("`{line}`")
    }
}
