//! `cargo xtask soak`: builds the eBPF object, `xebec-agent` and `xebec-netbench`, and runs the latter's soak.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{ebpf, packages, shell};

/// Options of `soak`.
#[derive(clap::Args)]
pub(crate) struct SoakArgs {
    /// Options of `xebec-netbench soak`, such as `--minutes 10`; `-- --help` shows them all.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// Runs it; a failed connection, a misroute or growing memory is an error.
pub(crate) fn run(args: &SoakArgs) -> Result<()> {
    ensure!(packages::is_root(), "the soak makes network namespaces and loads eBPF: run it as root");
    packages::ensure(&[packages::BUILD, packages::EBPF, packages::NODE])?;
    let object = ebpf::build()?;
    shell::stream(&mut shell::command("cargo build --package xebec-netbench --package xebec-agent"))?;
    let programs = shell::target().join("debug");
    let folder = shell::target().join("soak");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let log = folder.join("agents.log");
    // One soak's log; the program appends to it.
    std::fs::write(&log, "").with_context(|| log.display().to_string())?;
    let mut soak = Command::new(programs.join("xebec-netbench"));
    soak.arg("soak").arg("--object").arg(object).arg("--agent").arg(programs.join("xebec-agent"));
    soak.arg("--log").arg(&log).args(&args.options);
    shell::stream(&mut soak)?;
    println!(
        "the agents' log is {}\nnext: `cargo xtask bench dataplane` measures what a connection costs",
        log.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: SoakArgs,
    }

    #[test]
    fn every_option_is_passed_on() {
        let passed = |line: &str| Line::try_parse_from(line.split(' ')).map(|line| line.args.options);
        assert_eq!(passed("soak --minutes 1 --object=x").unwrap(), ["--minutes", "1", "--object=x"]);
        assert_eq!(passed("soak -- --help").unwrap(), ["--help"]);
        assert!(passed("soak").unwrap().is_empty());
    }
}
