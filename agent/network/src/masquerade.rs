//! Traffic that leaves the cluster carries the node's address. One nft table of our own; nothing else is touched.
//!
//! What goes out by a pod's device or by one of our tunnels, whose names start alike, has not left the cluster.

use crate::{Cidr, DEVICE_PREFIX, NetworkError};

const TABLE: &str = "xebec";

/// Replaces the table in one transaction: no packet sees half of it.
pub(crate) async fn apply(pods: Cidr, cluster: Cidr) -> Result<(), NetworkError> {
    nft(rules(pods, cluster)).await
}

/// Deletes the table if it is there.
pub(crate) async fn remove() -> Result<(), NetworkError> {
    nft(xebec_nft::without("ip", TABLE)).await
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

async fn nft(script: String) -> Result<(), NetworkError> {
    let wrote = tokio::task::spawn_blocking(move || xebec_nft::write(&script)).await;
    wrote
        .map_err(|error| NetworkError::Nft(error.to_string()))?
        .map_err(|error| NetworkError::Nft(error.to_string()))
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
