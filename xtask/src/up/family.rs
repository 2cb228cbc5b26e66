//! Which families of addresses the cluster has. Enters: `--ip-family`, `--node-ip`, and what an earlier `up` wrote down.
//! Leaves: the ranges, addresses and node addresses that all processes are started with.
//!
//! The IPv6 ranges are kind's. A node's part of them is in the stored Node and cannot be changed, so a cluster keeps its
//! families until its state is purged.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};

use super::UpArgs;
use crate::layout::Layout;

/// The families of addresses of nodes, pods and Services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum IpFamily {
    /// IPv4 alone.
    Ipv4,
    /// IPv6 alone.
    Ipv6,
    /// Both, IPv4 first.
    Dual,
}

const PODS: (&str, &str) = ("10.244.0.0/16", "fd00:10:244::/56");
const SERVICES: (&str, &str) = ("10.96.0.0/12", "fd00:10:96::/112");
const DNS: (&str, &str) = ("10.96.0.10", "fd00:10:96::a");

impl IpFamily {
    fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Dual => "dual",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::Ipv4, Self::Ipv6, Self::Dual].into_iter().find(|family| family.name() == name.trim())
    }

    fn of(self, (four, six): (&str, &str)) -> String {
        match self {
            Self::Ipv4 => four.to_owned(),
            Self::Ipv6 => six.to_owned(),
            Self::Dual => format!("{four},{six}"),
        }
    }

    /// `--cluster-cidr`.
    pub(crate) fn pods(self) -> String {
        self.of(PODS)
    }

    /// `--service-cluster-ip-range`.
    pub(crate) fn services(self) -> String {
        self.of(SERVICES)
    }

    /// `--cluster-dns`.
    pub(crate) fn dns(self) -> String {
        self.of(DNS)
    }

    /// The families asked for, or those of the cluster whose state is here, or IPv4; a cluster cannot have others than
    /// those it was made with.
    pub(crate) fn chosen(args: &UpArgs) -> Result<Self> {
        let written = fs::read_to_string(file()).ok();
        let state = written.is_some() || Path::new(Layout::KUBECONFIG).exists();
        choose(args.ip_family, written.as_deref(), state)
    }

    /// Writes down what the cluster's state is of.
    pub(crate) fn keep(self) -> Result<()> {
        fs::create_dir_all(Layout::STATE)?;
        fs::write(file(), self.name()).with_context(|| format!("cannot write {}", file().display()))
    }

    /// The node's addresses, the primary first: those given, or those that the default routes leave from.
    pub(crate) fn node_ips(self, given: &[IpAddr]) -> Result<Vec<IpAddr>> {
        if !given.is_empty() {
            return fitting(self, given);
        }
        let four = || outside(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into());
        let six =
            || outside(Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into());
        match self {
            Self::Ipv4 => Ok(vec![four()?]),
            Self::Ipv6 => Ok(vec![six()?]),
            Self::Dual => Ok(vec![four()?, six()?]),
        }
    }
}

fn file() -> std::path::PathBuf {
    Path::new(Layout::STATE).join("ip-family")
}

/// `written` is what an earlier `up` wrote down; a cluster of the time before that has IPv4.
fn choose(asked: Option<IpFamily>, written: Option<&str>, state: bool) -> Result<IpFamily> {
    let present = match written {
        Some(name) => Some(IpFamily::named(name).with_context(|| {
            format!("{} says {name:?}: remove the cluster with `cargo xtask down --purge`", file().display())
        })?),
        None => state.then_some(IpFamily::Ipv4),
    };
    match (asked, present) {
        (Some(asked), Some(present)) if asked != present => bail!(
            "--ip-family {}: the cluster whose state is here is {}, and the pod ranges of its node cannot be changed: \
             leave the option out, or delete that cluster first with `cargo xtask down --purge`",
            asked.name(),
            present.name()
        ),
        (Some(family), _) | (None, Some(family)) => Ok(family),
        (None, None) => Ok(IpFamily::Ipv4),
    }
}

fn fitting(family: IpFamily, given: &[IpAddr]) -> Result<Vec<IpAddr>> {
    let right = match (family, given) {
        (IpFamily::Ipv4, [IpAddr::V4(_)])
        | (IpFamily::Ipv6, [IpAddr::V6(_)])
        | (IpFamily::Dual, [IpAddr::V4(_), IpAddr::V6(_)]) => return Ok(given.to_vec()),
        (IpFamily::Ipv4, _) => "one IPv4 address, such as --node-ip 192.0.2.10",
        (IpFamily::Ipv6, _) => "one IPv6 address, such as --node-ip 2001:db8::10",
        (IpFamily::Dual, _) => "an IPv4 and an IPv6 address, such as --node-ip 192.0.2.10,2001:db8::10",
    };
    let given: Vec<String> = given.iter().map(ToString::to_string).collect();
    bail!("--node-ip {}: with --ip-family {} it must be {right}", given.join(","), family.name())
}

/// The address that packets to the outside leave from; connecting a UDP socket sends nothing.
fn outside(any: IpAddr, somewhere: IpAddr) -> Result<IpAddr> {
    let (family, word) = if any.is_ipv4() { ("IPv4", "ipv4") } else { ("IPv6", "ipv6") };
    let found = || -> std::io::Result<IpAddr> {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(SocketAddr::new(somewhere, 9))?;
        Ok(socket.local_addr()?.ip())
    };
    let local = |ip: &IpAddr| matches!(ip, IpAddr::V6(six) if six.is_unicast_link_local());
    let missing = |why: String| {
        anyhow!(
            "this machine has no {family} default route with an address of its own ({why}), so its {family} address \
             is unclear: give it with --node-ip, or take another --ip-family than one with {word}"
        )
    };
    match found() {
        Ok(ip) if local(&ip) => Err(missing(format!("only the link-local {ip}"))),
        Ok(ip) => Ok(ip),
        Err(error) => Err(missing(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_keeps_its_families() {
        use IpFamily::{Dual, Ipv4, Ipv6};
        assert_eq!(choose(None, None, false).unwrap(), Ipv4);
        assert_eq!(choose(Some(Dual), None, false).unwrap(), Dual);
        assert_eq!(choose(None, Some("dual\n"), true).unwrap(), Dual);
        assert_eq!(choose(Some(Ipv6), Some("ipv6"), true).unwrap(), Ipv6);
        assert_eq!(choose(Some(Ipv4), None, true).unwrap(), Ipv4);
        for (asked, written) in [(Dual, None), (Ipv4, Some("dual")), (Ipv6, Some("dual"))] {
            let error = choose(Some(asked), written, true).unwrap_err().to_string();
            assert!(error.contains("cannot be changed") && error.contains("down --purge"), "{error}");
        }
        assert!(choose(None, Some("ipv5"), true).is_err());
    }

    #[test]
    fn ranges_and_addresses() {
        assert_eq!(IpFamily::Dual.pods(), "10.244.0.0/16,fd00:10:244::/56");
        assert_eq!(IpFamily::Ipv6.services(), "fd00:10:96::/112");
        assert_eq!(IpFamily::Ipv4.dns(), "10.96.0.10");
        let ips = |text: &str| text.split(',').map(|ip| ip.parse().unwrap()).collect::<Vec<IpAddr>>();
        let both = ips("192.0.2.1,2001:db8::1");
        assert_eq!(fitting(IpFamily::Dual, &both).unwrap(), both);
        assert!(fitting(IpFamily::Ipv6, &both[1..]).is_ok());
        for (family, given) in
            [(IpFamily::Ipv4, &both[..]), (IpFamily::Dual, &both[..1]), (IpFamily::Ipv6, &both[..1])]
        {
            let error = fitting(family, given).unwrap_err().to_string();
            assert!(error.contains("--node-ip") && error.contains("such as"), "{error}");
        }
    }
}
