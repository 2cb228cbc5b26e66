//! The demo: what a newcomer would do first, done once and checked.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Plan;
use crate::shell;

const MANIFEST: &str = "xtask/assets/demo.yaml";

/// What the demo showed.
pub(crate) struct Proof {
    /// One line for each thing proven.
    pub(crate) lines: Vec<String>,
    /// Median time from a web pod's creation to Running, as a watcher saw both.
    pub(crate) pod_start: Duration,
}

/// Applies the demo (a fresh Job each time), waits for it, and reads the proof from what the cluster says.
pub(crate) fn run(plan: &Plan) -> Result<Proof> {
    // Job templates are immutable and a Job runs once: a new run needs a new Job. New pods give a new measurement.
    shell::output(&mut plan.kubectl("delete namespace demo --ignore-not-found --timeout=90s"))?;
    let manifest = shell::root().join(MANIFEST);
    shell::output(&mut plan.kubectl("create namespace demo"))?;
    let watcher = Watcher::start(plan)?;
    shell::output(plan.kubectl("apply --validate=strict -f").arg(&manifest))?;
    shell::output(&mut plan.kubectl("rollout status -n demo deployment/web --timeout=120s"))?;
    let pod_start = watcher.stop()?;
    println!("      3 web pods are ready, waiting for the Job");
    let waited =
        shell::output(&mut plan.kubectl("wait -n demo --for=condition=complete job/call --timeout=120s"));
    // Of all its pods: the first may have called before the third server was ready, and another one came.
    let log = shell::output(&mut plan.kubectl("logs -n demo --selector job-name=call --tail=-1"))?;
    waited.with_context(|| format!("the Job did not complete; its log:\n{log}"))?;

    let vip = shell::output(&mut plan.kubectl("get service -n demo web -o jsonpath={.spec.clusterIP}"))?;
    let vip: IpAddr = vip.parse().with_context(|| format!("the Service web has the address {vip:?}"))?;
    ensure!(
        log.contains(&SocketAddr::new(vip, 80).to_string()),
        "the Job did not reach the virtual IP {vip}:\n{log}"
    );
    let mut lines = vec![
        format!("the name web.demo.svc.cluster.local was answered by the built-in DNS: {vip}"),
        format!("the virtual IP {vip} is eBPF: it is on no interface and in no netfilter rule"),
    ];
    let pods = shell::output(
        &mut plan.kubectl("get pods -n demo -l app=web -o jsonpath={.items[*].metadata.name}"),
    )?;
    for pod in pods.split_whitespace() {
        ensure!(
            log.contains(&format!("answered name={pod} ")),
            "no answer from {pod} in the Job's log:\n{log}"
        );
        // The server's own log is the proof: on some networks a gateway accepts a connection to any address.
        let served = shell::output(&mut plan.kubectl(&format!("logs -n demo {pod}")))?;
        let count = served.lines().filter(|line| line.starts_with("served ")).count();
        ensure!(count > 0, "{pod} logged no request");
        lines.push(format!("{pod} answered, and logged {count} requests itself"));
    }
    Ok(Proof { lines, pod_start })
}

/// `kubectl get pods -w`, each line stamped when it arrived.
struct Watcher {
    child: std::process::Child,
    reader: std::thread::JoinHandle<Vec<(Instant, String, String)>>,
}

impl Watcher {
    fn start(plan: &Plan) -> Result<Self> {
        let mut command = plan.kubectl("get pods -n demo -l app=web --watch --no-headers -o");
        command
            .arg("jsonpath={.metadata.name} {.status.phase}{\"\\n\"}")
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().context("cannot start kubectl")?;
        let stdout = child.stdout.take().context("kubectl has no output")?;
        let reader = std::thread::spawn(move || {
            BufReader::new(stdout)
                .lines()
                .map_while(Result::ok)
                .filter_map(|line| {
                    let (name, phase) = line.split_once(' ')?;
                    Some((Instant::now(), name.to_owned(), phase.to_owned()))
                })
                .collect()
        });
        // The list that comes before the watch takes kubectl a moment; the pods must not exist by then.
        std::thread::sleep(Duration::from_millis(700));
        Ok(Self { child, reader })
    }

    fn stop(mut self) -> Result<Duration> {
        self.child.kill()?;
        self.child.wait()?;
        let lines = self.reader.join().ok().context("the watcher panicked")?;
        median_start(&lines).context("the watcher saw no pod become Running")
    }
}

/// The median over pods of (first Running - first seen).
fn median_start(lines: &[(Instant, String, String)]) -> Option<Duration> {
    let mut seen: HashMap<&str, Instant> = HashMap::new();
    let mut running: HashMap<&str, Duration> = HashMap::new();
    for (at, name, phase) in lines {
        let first = *seen.entry(name).or_insert(*at);
        if phase == "Running" {
            running.entry(name).or_insert(at.duration_since(first));
        }
    }
    let mut durations: Vec<_> = running.into_values().collect();
    durations.sort_unstable();
    durations.get(durations.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_counts_from_the_first_line_of_each_pod() {
        let start = Instant::now();
        let line = |ms: u64, name: &str, phase: &str| {
            (start + Duration::from_millis(ms), name.to_owned(), phase.to_owned())
        };
        let lines = [
            line(0, "a", "Pending"),
            line(5, "b", "Pending"),
            line(100, "a", "Running"),
            line(305, "b", "Running"),
            line(900, "a", "Running"),
            line(10, "c", "Pending"),
            line(210, "c", "Running"),
        ];
        assert_eq!(median_start(&lines), Some(Duration::from_millis(200)));
        assert_eq!(median_start(&lines[..2]), None);
    }
}
