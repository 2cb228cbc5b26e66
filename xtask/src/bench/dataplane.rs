//! `cargo xtask bench dataplane`: builds the eBPF object and `xebec-netbench`, runs it, reports.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::chart;
use super::plan::{Aim, Metric, less, more};
use super::report::{self, Measured};
use crate::build::Profile;
use crate::{ebpf, packages, shell};

/// Options of `bench dataplane`.
#[derive(clap::Args)]
pub(crate) struct DataplaneArgs {
    /// dataplane: numbers of Services, each with ten endpoints.
    #[arg(long, value_delimiter = ',', default_value = "1,1000,10000")]
    services: Vec<usize>,
    /// dataplane: every measurement is taken in the order A B .. B A, this often.
    #[arg(long, default_value_t = 5)]
    turns: usize,
    /// dataplane: milliseconds of each measurement.
    #[arg(long, default_value_t = 400)]
    milliseconds: u32,
}

const NAME: report::Name = report::Name {
    file: "dataplane",
    heading: "Service dataplane bench",
    setting: "Clients on one processor, servers on another, in network namespaces on one kernel. `direct` is a pod's own \
              address without any Service, and for frames a program that turns them round (XDP_TX); iptables and nftables are kube-proxy's rule sets, generated.",
};

/// The second is what the others are compared with.
const TARGETS: [&str; 4] = ["xebec", "direct", "iptables", "nftables"];

/// Runs it.
pub(crate) fn run(args: &DataplaneArgs, profile: Profile) -> Result<()> {
    ensure!(packages::is_root(), "bench dataplane makes network namespaces and loads eBPF: run it as root");
    packages::ensure(&[packages::BUILD, packages::EBPF, packages::PEERS])?;
    let object = ebpf::build()?;
    let mut cargo = shell::command("cargo build --package xebec-netbench");
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    shell::stream(&mut cargo)?;
    let folder = shell::target().join(if profile == Profile::Release { "release" } else { "debug" });
    let numbers: Vec<String> = args.services.iter().map(ToString::to_string).collect();
    let mut command = std::process::Command::new(folder.join("xebec-netbench"));
    command.arg("run").arg("--object").arg(object);
    command.args(["--services", &numbers.join(","), "--rounds", &args.turns.to_string()]);
    command.args(["--seconds", &(f64::from(args.milliseconds) / 1e3).to_string()]);
    let mut child = command.stdout(Stdio::piped()).spawn().context("xebec-netbench")?;
    let mut measured = Measured::default();
    let lines = BufReader::new(child.stdout.take().context("no output")?);
    for line in lines.lines() {
        take(&mut measured, &line?)?;
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("xebec-netbench ended with {status}; what it said is above");
    }
    let targets = TARGETS.map(str::to_owned);
    let folder = shell::target().join("bench");
    let files = report::write(&folder, &NAME, &measured, &targets)?;
    let drawing = folder.join("dataplane.svg");
    fs::write(&drawing, chart::ratios(NAME.heading, &measured.compared(&targets, "per_second")))?;
    print!("\n{}", fs::read_to_string(&files.0)?);
    println!("\nwritten to {}, {} and {}", files.0.display(), files.1.display(), drawing.display());
    Ok(())
}

/// Adds one line of the program's to what was measured.
fn take(measured: &mut Measured, line: &str) -> Result<()> {
    let value: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
    let text = |field: &str| value[field].as_str().with_context(|| format!("{field} is missing: {line}"));
    let (title, target) = (text("title")?, text("target")?);
    let (answer, metrics) = (&value["answer"], metrics(text("kind")?, title)?);
    let shown: Vec<String> = metrics
        .iter()
        .filter_map(|metric| Some(format!("{:.1} {}", answer[metric.field].as_f64()?, metric.label)))
        .collect();
    println!("{title}: {target}: {}", shown.join("; "));
    measured.add(title, target, &metrics, answer);
    Ok(())
}

/// What counts of a kind of measurement, with the design's goals.
fn metrics(kind: &str, title: &str) -> Result<Vec<Metric>> {
    let outside = title.contains("outside");
    let ratio = |mut metric: Metric, aim: f64| {
        metric.aim = Some(Aim::Ratio(aim)).filter(|_| !outside);
        metric
    };
    let rate = |aim| ratio(more("per_second", "a second", None), aim);
    let latency = || vec![less("p50_us", "p50, us", None), less("p99_us", "p99, us", None)];
    Ok(match kind {
        "crr" => [vec![rate(0.97)], latency()].concat(),
        "rr" | "udpc" => [vec![rate(0.99)], latency()].concat(),
        "udp" => [vec![rate(0.95)], latency()].concat(),
        "stream" => vec![ratio(more("mb_per_second", "MB/s", None), 0.99)],
        // What makes and drops the frames has its part in every number.
        "frames" if title.ends_with("(XDP)") => {
            vec![ratio(more("per_second", "frames a second", None), 0.85)]
        }
        "frames" => vec![more("per_second", "frames a second", None)],
        "program" => {
            let aim = if title.starts_with("program connect4") { Some(150.0) } else { None };
            vec![
                less("net_ns", "ns a run, less what counting takes", aim),
                less("ns", "ns a run, with the kernel's counting", None),
            ]
        }
        "fill" => vec![
            less("full_ms", "all at once, ms", title.starts_with("10000 ").then_some(100.0)),
            less("change_p50_us", "one endpoint changes, p50, us", Some(20.0)),
            less("change_p99_us", "one endpoint changes, p99, us", None),
            less("maps_mb", "kernel memory of the maps, MB", title.starts_with("10000 ").then_some(64.0)),
        ],
        _ => bail!("{kind:?} is no kind of measurement"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_rows() {
        let mut measured = Measured::default();
        for (target, rate) in [("xebec", 98.0), ("direct", 100.0), ("direct", 100.0), ("xebec", 98.0)] {
            let line = format!(
                r#"{{"title": "t", "target": "{target}", "kind": "crr", "answer": {{"per_second": {rate}, "p50_us": 1.0}}}}"#
            );
            take(&mut measured, &line).unwrap();
        }
        let compared = measured.compared(&TARGETS.map(str::to_owned), "per_second");
        assert_eq!(compared.len(), 1);
        assert_eq!(compared[0].title, "t");
        assert_eq!(compared[0].ratios, [("xebec".to_owned(), 0.98), ("direct".to_owned(), 1.0)]);
        assert!(take(&mut measured, "{}").is_err());
    }
}
