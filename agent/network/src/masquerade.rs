//! Traffic that leaves the cluster carries the node's address. One nft table of our own; nothing else is touched.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::{Cidr, DEVICE_PREFIX, NetworkError};

const TABLE: &str = "xebec";

/// Replaces the table in one transaction: no packet sees half of it.
pub(crate) async fn apply(pods: Cidr, cluster: Cidr) -> Result<(), NetworkError> {
    nft(&rules(pods, cluster)).await
}

/// Deletes the table if it is there (adding it first makes the deletion never fail).
pub(crate) async fn remove() -> Result<(), NetworkError> {
    nft(&format!("add table ip {TABLE}\ndelete table ip {TABLE}\n")).await
}

fn rules(pods: Cidr, cluster: Cidr) -> String {
    format!(
        "add table ip {TABLE}\n\
         flush table ip {TABLE}\n\
         table ip {TABLE} {{\n\
         \tchain postrouting {{\n\
         \t\ttype nat hook postrouting priority srcnat; policy accept;\n\
         \t\tip saddr {pods} ip daddr != {cluster} oifname != \"{DEVICE_PREFIX}*\" masquerade\n\
         \t}}\n\
         }}\n"
    )
}

async fn nft(script: &str) -> Result<(), NetworkError> {
    let run = async {
        let mut child = Command::new("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(script.as_bytes()).await?;
        }
        child.wait_with_output().await
    };
    let output = run.await.map_err(|error| NetworkError::Nft(format!("cannot run it: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(NetworkError::Nft(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_traffic_that_leaves_the_cluster_is_masqueraded() {
        let text = rules("10.244.1.0/24".parse().unwrap(), "10.244.0.0/16".parse().unwrap());
        assert!(
            text.contains("ip saddr 10.244.1.0/24 ip daddr != 10.244.0.0/16 oifname != \"xeb*\" masquerade")
        );
    }
}
