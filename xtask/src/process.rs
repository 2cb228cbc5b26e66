//! Background processes, known by pid and start time so that a recycled pid is never killed.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::layout::Layout;

/// A process that `up` started.
#[derive(Clone, Copy)]
pub(crate) struct Process {
    /// Process id.
    pub(crate) pid: i32,
    /// Clock ticks after boot at which it started (`/proc/<pid>/stat`, field 22).
    start: u64,
}

impl Process {
    /// The running process of a component, from its pid file.
    pub(crate) fn of(component: &str) -> Option<Self> {
        let text = fs::read_to_string(Layout::pid_file(component)).ok()?;
        let mut numbers = text.split_whitespace();
        let found = Self { pid: numbers.next()?.parse().ok()?, start: numbers.next()?.parse().ok()? };
        (start_time(found.pid)? == found.start).then_some(found)
    }

    /// Starts a component in the background in a session of its own, its output appended to its log file.
    pub(crate) fn spawn(component: &str, command: &mut Command) -> Result<Self> {
        let log_path = Layout::log(component);
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log_path)
            .with_context(|| format!("cannot write {}", log_path.display()))?;
        // A process group of its own: ctrl-c in the terminal ends xtask, not the cluster.
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {component}"))?;
        let pid = i32::try_from(child.id())?;
        let start = start_time(pid)
            .with_context(|| format!("{component} ended at once, see {}", log_path.display()))?;
        fs::write(Layout::pid_file(component), format!("{pid} {start}\n"))?;
        Ok(Self { pid, start })
    }

    /// Whether this very process still runs (a zombie does not).
    pub(crate) fn alive(self) -> bool {
        start_time(self.pid) == Some(self.start)
    }

    /// Resident memory in MiB.
    pub(crate) fn rss_mib(self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
    }

    /// SIGTERM, then SIGKILL once `grace` has passed.
    pub(crate) fn stop(self, grace: Duration) -> Result<()> {
        for (signal, wait) in [(libc::SIGTERM, grace), (libc::SIGKILL, Duration::from_secs(10))] {
            if !self.alive() {
                return Ok(());
            }
            signal_pid(self.pid, signal);
            let start = Instant::now();
            while start.elapsed() < wait {
                if !self.alive() {
                    return Ok(());
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        bail!("process {} does not end", self.pid)
    }
}

/// Asks a process of ours to end.
pub(crate) fn terminate(pid: i32) {
    signal_pid(pid, libc::SIGTERM);
}

/// The last lines of a component's log, for an error message.
pub(crate) fn log_tail(component: &str) -> String {
    let text = fs::read_to_string(Layout::log(component)).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n    ")
}

#[expect(unsafe_code, reason = "std has no call to send a signal")]
fn signal_pid(pid: i32, signal: i32) {
    // SAFETY: kill takes two integers and touches no memory of ours.
    unsafe { libc::kill(pid, signal) };
}

fn start_time(pid: i32) -> Option<u64> {
    reap(pid);
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name may hold spaces and parentheses: fields count from the last one.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Collects our own child if it has ended, so that it is not taken for running.
#[expect(unsafe_code, reason = "std can only wait for a Child it holds")]
fn reap(pid: i32) {
    // SAFETY: a null status pointer is allowed, and WNOHANG makes the call return at once.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_process_is_alive_and_a_recycled_pid_is_not() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let start = start_time(pid).unwrap();
        assert!(Process { pid, start }.alive());
        assert!(!Process { pid, start: start + 1 }.alive());
    }
}
