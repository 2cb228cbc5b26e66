//! Killing one of Xebec's own processes and bringing it back. Enters: a component's name. Leaves: it runs again.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::{PATIENCE, kill, kubectl, node, program, setting, until};

const AGENT: &str = "xebec-agent";

/// A component that was killed; it is restarted at the latest when this is dropped.
pub struct Outage {
    component: &'static str,
    restarted: bool,
}

impl Outage {
    /// SIGKILL to `xebec-agent` or `xebec-control`, by its pid file.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(component: &'static str) -> Result<Self> {
        let pid = pid(component)?;
        kill(pid)?;
        let outage = Self { component, restarted: false };
        until("the killed process is gone", PATIENCE, || Ok((!alive(pid)).then_some(())))?;
        Ok(outage)
    }

    /// Starts it again and waits until it works: the API server is ready, the node's lease is renewed.
    ///
    /// # Errors
    /// It did not come back.
    pub fn restart(self) -> Result<()> {
        self.restart_with(None)
    }

    fn restart_with(mut self, argument: Option<&str>) -> Result<()> {
        let before = lease().ok();
        self.start(argument)?;
        until("the API server is ready", PATIENCE, || {
            kubectl("get --raw /readyz").timeout(Duration::from_secs(10)).ok().map(Some)
        })?;
        until("the node renews its lease", PATIENCE, || {
            let now = lease()?;
            Ok((Some(&now) != before.as_ref()).then_some(()))
        })
    }

    fn start(&mut self, argument: Option<&str>) -> Result<()> {
        self.restarted = true;
        let mut up = program(setting("XEBEC_XTASK")?).words("up --restart-only");
        if let Some(argument) = argument {
            up = up.arg(format!("--agent-arg={argument}"));
        }
        up.ok().map(drop)?;
        ensure!(alive(pid(self.component)?), "{} was not restarted", self.component);
        Ok(())
    }
}

impl Drop for Outage {
    fn drop(&mut self) {
        if !self.restarted {
            // The test has failed already; the next ones need the component.
            self.start(None).ok();
        }
    }
}

/// An agent that runs with one more argument, until this is dropped.
pub struct OtherAgent(());

impl OtherAgent {
    /// Kills the agent and starts it so.
    ///
    /// # Errors
    /// It did not come back.
    pub fn start(argument: &str) -> Result<Self> {
        Outage::kill(AGENT)?.restart_with(Some(argument))?;
        Ok(Self(()))
    }

    /// Kills it and starts the agent as it is elsewhere.
    ///
    /// # Errors
    /// It did not come back.
    pub fn end(self) -> Result<()> {
        std::mem::forget(self);
        Outage::kill(AGENT)?.restart()
    }
}

impl Drop for OtherAgent {
    fn drop(&mut self) {
        // The test has failed already; the next ones need the agent.
        Outage::kill(AGENT).and_then(Outage::restart).ok();
    }
}

fn lease() -> Result<String> {
    kubectl("get lease -n kube-node-lease -o jsonpath={.spec.renewTime}")
        .arg(node()?)
        .timeout(Duration::from_secs(10))
        .ok()
}

fn pid(component: &str) -> Result<i32> {
    let path = PathBuf::from(format!("/run/xebec/{component}.pid"));
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let first = text.split_whitespace().next().and_then(|word| word.parse().ok());
    first.with_context(|| format!("no process id in {}: {text:?}", path.display()))
}

/// Runs, and is not a zombie that its parent has not collected yet.
fn alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zombie_is_not_alive() {
        let mut child = std::process::Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(alive(pid));
        kill(pid).unwrap();
        until("it is a zombie", PATIENCE, || Ok((!alive(pid)).then_some(()))).unwrap();
        child.wait().unwrap();
        assert!(!alive(pid));
    }
}
