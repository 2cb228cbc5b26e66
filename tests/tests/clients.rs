//! Clients that are not kubectl, unmodified from their registry: the official Python client, kr8s, a kopf operator.

use anyhow::{Result, ensure};
use xebec_tests::{Namespace, PATIENCE, namespaced, program, setting};

fn run(ns: &Namespace, script: &str) -> Result<String> {
    let path = format!("{}/assets/{script}", env!("CARGO_MANIFEST_DIR"));
    program(setting("XEBEC_PYTHON")?).arg(path).arg(&ns.name).timeout(PATIENCE * 2).ok()
}

#[test]
fn the_official_python_client() -> Result<()> {
    namespaced("python", |ns| {
        let said = run(ns, "official.py")?;
        ensure!(said.ends_with("the official client is content\n"), "{said}");
        Ok(())
    })
}

#[test]
fn kr8s() -> Result<()> {
    namespaced("kr8s", |ns| {
        let said = run(ns, "kr8s_client.py")?;
        ensure!(said.ends_with("kr8s is content\n"), "{said}");
        Ok(())
    })
}

#[test]
fn a_kopf_operator() -> Result<()> {
    namespaced("kopf", |ns| {
        let said = run(ns, "kopf_operator.py")?;
        ensure!(said.ends_with("kopf is content\n"), "{said}");
        Ok(())
    })
}
