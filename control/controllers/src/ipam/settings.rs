//! From the options to the books of node IPAM, with upstream's rules and messages. Pure.
//!
//! Authority: `cmd/kube-controller-manager/app/core.go` (`validateCIDRs`, `setNodeCIDRMaskSizes`),
//! `pkg/controller/nodeipam/node_ipam_controller.go` and `ipam/cidrset`.

use ipnet::IpNet;

use super::plan::Shares;
use super::range::Range;
use crate::{ControllersError, Options};

const CLUSTER: &str = "--cluster-cidr";
const SERVICE: &str = "--service-cluster-ip-range";
const MASK: &str = "--node-cidr-mask-size";
const MASK_V4: &str = "--node-cidr-mask-size-ipv4";
const MASK_V6: &str = "--node-cidr-mask-size-ipv6";

/// How many bits longer than the cluster's a node's prefix may be with IPv6: upstream's `clusterSubnetMaxDiff`.
const MOST_BITS_V6: u8 = 16;

fn wrong(option: &'static str, value: impl ToString, problem: impl Into<String>) -> ControllersError {
    ControllersError::Option { option, value: value.to_string(), problem: problem.into() }
}

/// The books that the options ask for.
pub fn shares(options: &Options) -> Result<Shares, ControllersError> {
    let clusters = networks(CLUSTER, &options.cluster_cidr, "10.244.0.0/16,fd00:10:244::/56")?;
    let services = networks(SERVICE, &options.service_cidr, "10.96.0.0/12,fd00:10:96::/112")?;
    let masks = Masks::chosen(options, &clusters)?;
    let ranges = clusters.iter().map(|cluster| {
        let (option, part) = masks.of(cluster);
        fits(cluster, option, part)?;
        Ok(Range::new(*cluster, part, &services))
    });
    ranges.collect::<Result<_, ControllersError>>().map(Shares::new)
}

/// One network, or one of each family.
fn networks(option: &'static str, text: &str, example: &str) -> Result<Vec<IpNet>, ControllersError> {
    let one = |part: &str| {
        part.trim().parse().ok().filter(|network: &IpNet| network.trunc() == *network).ok_or_else(|| {
            wrong(
                option,
                text,
                format!("{part:?} is not a network with its host bits zero; such as {example}"),
            )
        })
    };
    let networks = text.split(',').map(one).collect::<Result<Vec<IpNet>, _>>()?;
    let count = networks.len();
    match networks[..] {
        [_] => Ok(networks),
        [IpNet::V4(_), IpNet::V6(_)] | [IpNet::V6(_), IpNet::V4(_)] => Ok(networks),
        [_, _] => {
            let problem = "2 networks that are not configured as dual stack (one from each IP family)";
            Err(wrong(option, text, format!("{problem}; such as {example}")))
        }
        _ => {
            Err(wrong(option, text, format!("{count} networks, at most two are allowed; such as {example}")))
        }
    }
}

/// A node's prefix length in each family, with the option that says so.
struct Masks {
    four: (&'static str, u8),
    six: (&'static str, u8),
}

impl Masks {
    fn chosen(options: &Options, clusters: &[IpNet]) -> Result<Self, ControllersError> {
        let (v4, v6) = (options.node_cidr_mask_size_ipv4, options.node_cidr_mask_size_ipv6);
        let masks = Self { four: (MASK_V4, v4.unwrap_or(24)), six: (MASK_V6, v6.unwrap_or(64)) };
        let six_alone = matches!(clusters, [IpNet::V6(_)]);
        match (options.node_cidr_mask_size, clusters) {
            (Some(mask), [_, _]) => {
                let problem = format!(
                    "usage of {MASK} is not allowed with dual-stack clusters; use {MASK_V4} and {MASK_V6}"
                );
                Err(wrong(MASK, mask, problem))
            }
            (Some(mask), _) if v4.or(v6).is_some() => {
                let problem = format!(
                    "usage of {MASK_V4} and {MASK_V6} is not allowed if {MASK} is set. For dual-stack clusters please \
                     unset it and use IPFamily specific flags"
                );
                Err(wrong(MASK, mask, problem))
            }
            (Some(mask), _) => Ok(Self { four: (MASK, mask), six: (MASK, mask) }),
            (None, [_, _]) => Ok(masks),
            (None, _) => match (v4, v6) {
                (Some(mask), _) if six_alone => {
                    let problem = format!(
                        "usage of {MASK_V4} is not allowed for a single-stack IPv6 cluster; use {MASK_V6}"
                    );
                    Err(wrong(MASK_V4, mask, problem))
                }
                (_, Some(mask)) if !six_alone => {
                    let problem = format!(
                        "usage of {MASK_V6} is not allowed for a single-stack IPv4 cluster; use {MASK_V4}"
                    );
                    Err(wrong(MASK_V6, mask, problem))
                }
                _ => Ok(masks),
            },
        }
    }

    fn of(&self, cluster: &IpNet) -> (&'static str, u8) {
        if matches!(cluster, IpNet::V4(_)) { self.four } else { self.six }
    }
}

fn fits(cluster: &IpNet, option: &'static str, part: u8) -> Result<(), ControllersError> {
    let (prefix, width) = (cluster.prefix_len(), cluster.max_prefix_len());
    let most = match cluster {
        IpNet::V4(_) => width,
        IpNet::V6(_) => width.min(prefix.saturating_add(MOST_BITS_V6)),
    };
    if (prefix..=most).contains(&part) {
        return Ok(());
    }
    Err(wrong(option, part, format!("with {CLUSTER} {cluster} it must be from {prefix} to {most}")))
}
