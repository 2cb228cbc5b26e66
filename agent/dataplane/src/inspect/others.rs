//! What other service proxies left on this node. Called by doctor.

use std::io;
use std::process::{Command, Stdio};

use super::{Check, State};

/// What a command prints; none if it is not there or fails.
fn output(command: &str, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(command).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The rule sets of kube-proxy in the texts of `nft list tables` and of `iptables-save`. PURE.
fn rules(nft: Option<&str>, iptables: &[Option<String>]) -> Vec<&'static str> {
    let mut found = Vec::new();
    if nft.is_some_and(|text| text.lines().any(|line| line.trim().ends_with(" kube-proxy"))) {
        found.push("nftables (table kube-proxy)");
    }
    if iptables.iter().flatten().any(|text| text.lines().any(|line| line.starts_with(":KUBE-SERVICES "))) {
        found.push("iptables (chain KUBE-SERVICES)");
    }
    found
}

/// kube-proxy's netfilter rules.
pub(super) fn kube_proxy() -> Check {
    let nft = output("nft", &["list", "tables"]);
    let iptables = ["iptables-nft-save", "iptables-legacy-save", "iptables-save"];
    let iptables: Vec<_> = iptables.iter().map(|command| output(command, &["-t", "nat"])).collect();
    if nft.is_none() && iptables.iter().all(Option::is_none) {
        let advice = "neither nft nor iptables-save can be run here: look on the node itself";
        return Check::new("kube-proxy's rules", State::Unknown, "not looked for", advice);
    }
    let found = rules(nft.as_deref(), &iptables);
    if found.is_empty() {
        return Check::new("kube-proxy's rules", State::Ok, "none", "");
    }
    let advice = "stop kube-proxy and run `kube-proxy --cleanup`, or reboot: its rules go on sending packets to \
                  endpoints that may be gone";
    Check::new("kube-proxy's rules", State::Warn, found.join(", "), advice)
}

/// IPVS's table, as /proc/net/ip_vs has it.
pub(super) fn ipvs(text: io::Result<String>) -> Check {
    // Three lines of heading.
    let services =
        text.map_or(0, |text| text.lines().skip(3).filter(|line| !line.starts_with("  ->")).count());
    let state = if services == 0 { State::Ok } else { State::Warn };
    let advice = "stop kube-proxy and run `kube-proxy --cleanup`, or `ipvsadm --clear` and delete kube-ipvs0";
    Check::new("IPVS", state, format!("{services} virtual servers"), advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kube_proxys_rules_are_known_by_their_names() {
        let save = |chain: &str| Some(format!("*nat\n:PREROUTING ACCEPT [0:0]\n:{chain} - [0:0]\nCOMMIT\n"));
        assert_eq!(
            rules(Some("table ip filter\ntable ip kube-proxy\n"), &[]),
            ["nftables (table kube-proxy)"]
        );
        assert_eq!(rules(None, &[None, save("KUBE-SERVICES")]), ["iptables (chain KUBE-SERVICES)"]);
        // The kubelet's own chains are no proxy's.
        assert!(rules(Some("table ip filter\n"), &[save("KUBE-FIREWALL")]).is_empty());
        let table =
            "IP Virtual Server\nProt Local\n  -> Remote\nTCP  0A600001:01BB rr\n  -> 0A000001:192B Masq\n";
        assert_eq!(ipvs(Ok(table.to_owned())).found, "1 virtual servers");
        assert_eq!(ipvs(Err(io::ErrorKind::NotFound.into())).state, State::Ok);
    }
}
