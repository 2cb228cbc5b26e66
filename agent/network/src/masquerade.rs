//! Traffic that leaves the cluster carries the node's address, and pods send under their own. A nft table of our own for each
//! family; nothing else is touched.
//!
//! What goes out by a pod's device or by one of our tunnels, whose names start alike, has not left the cluster.

use crate::cidr::{IpNet, is_v6, overlap};
use crate::{DEVICE_PREFIX, NetworkError};

const TABLE: &str = "xebec";
const FAMILIES: [&str; 2] = ["ip", "ip6"];
/// What our tunnels' names start with, and no pod's device's.
const TUNNELS: &str = "xebec-";

/// Replaces the tables in one transaction: no packet sees half of them.
pub(crate) async fn apply(pods: &[IpNet], cluster: &[IpNet]) -> Result<(), NetworkError> {
    let pairs = pairs(pods, cluster)?;
    let absent = FAMILIES.into_iter().filter(|name| !pods.iter().any(|network| family(network) == *name));
    forget(absent.collect()).await?;
    let Err(error) = nft(rules(&pairs, true)).await else { return Ok(()) };
    if !pods.iter().any(is_v6) {
        return Err(error);
    }
    // The kernel may be without the look at routes (CONFIG_NFT_FIB_IPV6).
    nft(rules(&pairs, false)).await?;
    tracing::warn!(%error, "pods can send under IPv6 addresses of others");
    Ok(())
}

/// Deletes the tables that are there.
pub(crate) async fn remove() -> Result<(), NetworkError> {
    forget(FAMILIES.into()).await
}

/// Deletes the tables of these families. A kernel without one of them has no such table, and takes no word of it.
async fn forget(families: Vec<&'static str>) -> Result<(), NetworkError> {
    let work = move || {
        let there = |family: &&str| matches!(xebec_nft::table(family, TABLE, true), Ok(Some(_)));
        let script: String = families
            .iter()
            .filter(|family| there(family))
            .map(|family| xebec_nft::without(family, TABLE))
            .collect();
        if script.is_empty() { Ok(()) } else { xebec_nft::write(&script) }
    };
    blocking(work).await
}

/// Each of the node's networks with the cluster's of its family.
fn pairs(pods: &[IpNet], cluster: &[IpNet]) -> Result<Vec<(IpNet, IpNet)>, NetworkError> {
    let of_family = |own: &IpNet| {
        let found = cluster.iter().find(|network| is_v6(network) == is_v6(own));
        found.map(|network| (*own, *network)).ok_or(NetworkError::NotOfCluster(*own))
    };
    pods.iter().map(of_family).collect()
}

fn rules(pairs: &[(IpNet, IpNet)], checked: bool) -> String {
    let tables = pairs.iter().map(|(pods, cluster)| {
        let (family, mut table) = (family(pods), String::new());
        if is_v6(pods) && checked {
            table += &sources();
        }
        // Not even where somebody named the wrong network.
        let inside =
            if overlap(pods, cluster) { cluster.to_string() } else { format!("{{ {pods}, {cluster} }}") };
        format!(
            "add table {family} {TABLE}\n\
             flush table {family} {TABLE}\n\
             table {family} {TABLE} {{\n\
             {table}\
             \tchain postrouting {{\n\
             \t\ttype nat hook postrouting priority srcnat; policy accept;\n\
             \t\t{family} saddr {pods} {family} daddr != {inside} oifname != \"{DEVICE_PREFIX}*\" masquerade\n\
             \t}}\n\
             }}\n"
        )
    });
    tables.collect()
}

/// A pod sends under its own address only: policies know the sender of a packet by it. For IPv4 the kernel looks by itself
/// (`rp_filter`). What pods say to the node's end alone comes from no address, or from one of that link.
fn sources() -> String {
    format!(
        "\tchain prerouting {{\n\
         \t\ttype filter hook prerouting priority raw; policy accept;\n\
         \t\tiifname \"{DEVICE_PREFIX}*\" iifname != \"{TUNNELS}*\" ip6 saddr != {{ ::, fe80::/10 }} \
         fib saddr . iif oif missing drop\n\
         \t}}\n"
    )
}

fn family(network: &IpNet) -> &'static str {
    if is_v6(network) { "ip6" } else { "ip" }
}

async fn nft(script: String) -> Result<(), NetworkError> {
    blocking(move || xebec_nft::write(&script)).await
}

async fn blocking(
    work: impl FnOnce() -> Result<(), xebec_nft::NftError> + Send + 'static,
) -> Result<(), NetworkError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| NetworkError::Nft(error.to_string()))?
        .map_err(|error| NetworkError::Nft(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cidr::networks;

    fn text(pods: &[&str], cluster: &[&str]) -> String {
        rules(&pairs(&networks(pods).unwrap(), &networks(cluster).unwrap()).unwrap(), true)
    }

    #[test]
    fn only_traffic_that_leaves_the_cluster_is_masqueraded() {
        let four = "ip saddr 10.244.1.0/24 ip daddr != 10.244.0.0/16 oifname != \"xeb*\" masquerade";
        let six = "ip6 saddr fd00::/64 ip6 daddr != fd00::/48 oifname != \"xeb*\" masquerade";
        let only = text(&["10.244.1.0/24"], &["10.244.0.0/16"]);
        assert!(only.contains(four) && !only.contains("ip6"), "{only}");
        let both = text(&["10.244.1.0/24", "fd00::/64"], &["fd00::/48", "10.244.0.0/16"]);
        assert!(both.contains(four) && both.contains(six), "{both}");
        assert!(both.contains("iifname \"xeb*\" iifname != \"xebec-*\""), "{both}");
        let wrong = text(&["10.244.1.0/24"], &["10.1.0.0/16"]);
        assert!(wrong.contains("ip daddr != { 10.244.1.0/24, 10.1.0.0/16 } "), "{wrong}");
    }

    #[test]
    fn the_cluster_has_the_families_of_the_node() {
        let error = pairs(&networks(&["fd00::/64"]).unwrap(), &networks(&["10.0.0.0/8"]).unwrap());
        let error = error.unwrap_err().to_string();
        assert!(error.contains("fd00::/64") && error.contains("--cluster-cidr"), "{error}");
    }
}
