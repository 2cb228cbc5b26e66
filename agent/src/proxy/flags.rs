//! kube-proxy's flags that mean nothing to this proxy. PURE. Enters: the command line. Leaves: what is left of it for
//! the parser, and a line for each flag that has no effect, which says why. Called by main before anything is parsed.

use std::ffi::OsString;

/// Why a group of flags has no effect.
struct Without {
    why: &'static str,
    /// Flags that take a value.
    valued: &'static [&'static str],
    /// Flags that are true when given alone.
    switches: &'static [&'static str],
}

const WITHOUT: &[Without] = &[
    Without { why: "there is one mode here, eBPF", valued: &["proxy-mode"], switches: &[] },
    Without {
        why: "no netfilter rule is made but for Services of SCTP, and those are written when they change, with upstream's own mark",
        valued: &["iptables-masquerade-bit", "iptables-sync-period", "iptables-min-sync-period"],
        switches: &["iptables-localhost-nodeports"],
    },
    Without {
        why: "sources are translated wherever an answer would not come back otherwise, and nowhere else",
        valued: &[],
        switches: &["masquerade-all"],
    },
    Without {
        why: "IPVS is not used",
        valued: &[
            "ipvs-sync-period",
            "ipvs-min-sync-period",
            "ipvs-scheduler",
            "ipvs-exclude-cidrs",
            "ipvs-tcp-timeout",
            "ipvs-tcpfin-timeout",
            "ipvs-udp-timeout",
        ],
        switches: &["ipvs-strict-arp"],
    },
    Without {
        why: "the kernel's connection tracking is not used: connections are translated at the socket, flows from outside \
              in maps of their own",
        valued: &[
            "conntrack-max-per-core",
            "conntrack-min",
            "conntrack-tcp-timeout-established",
            "conntrack-tcp-timeout-close-wait",
            "conntrack-udp-timeout",
            "conntrack-udp-timeout-stream",
        ],
        switches: &["conntrack-tcp-be-liberal"],
    },
    Without {
        why: "pods on this node are known by their sockets, not by their devices",
        valued: &["pod-bridge-interface", "pod-interface-name-prefix"],
        switches: &[],
    },
    Without {
        why: "three watches are all that is asked of the API server, and they are never refreshed by time",
        valued: &["config-sync-period", "kube-api-qps", "kube-api-burst", "kube-api-content-type"],
        switches: &[],
    },
    Without {
        why: "this proxy has no such feature to switch",
        valued: &[
            "feature-gates",
            "show-hidden-metrics-for-version",
            "boot-id-file",
            "machine-id-file",
            "vmodule",
            "log-flush-frequency",
            "log-json-info-buffer-size",
            "log-text-info-buffer-size",
        ],
        switches: &["profiling", "log-json-split-stream", "log-text-split-stream"],
    },
    Without {
        why: "an address that cannot be listened on always ends this proxy",
        valued: &[],
        switches: &["bind-address-hard-fail"],
    },
];

/// The command line without these flags, and what is to be said of them. Names may have `_` for `-`, as upstream.
pub(crate) fn split(given: impl IntoIterator<Item = OsString>) -> (Vec<OsString>, Vec<String>) {
    let mut given = given.into_iter();
    let (mut kept, mut notes): (Vec<OsString>, Vec<String>) = (given.by_ref().take(2).collect(), Vec::new());
    if kept.get(1).is_none_or(|command| command != "proxy") {
        kept.extend(given);
        return (kept, notes);
    }
    while let Some(word) = given.next() {
        let Some(flag) = word.to_str().and_then(|word| word.strip_prefix("--")) else {
            kept.push(word);
            continue;
        };
        let (name, value) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
        let name = name.replace('_', "-");
        let found = WITHOUT.iter().find(|w| w.valued.contains(&&*name) || w.switches.contains(&&*name));
        let Some(found) = found else {
            kept.push(value.map_or_else(|| format!("--{name}"), |value| format!("--{name}={value}")).into());
            continue;
        };
        if value.is_none() && found.valued.contains(&&*name) {
            given.next();
        }
        notes.push(format!("--{name} has no effect: {}", found.why));
    }
    (kept, notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_nothing_is_taken_out_and_said() {
        let of = |line: &str| {
            let (kept, notes) = split(line.split(' ').map(OsString::from));
            let kept: Vec<_> = kept.iter().map(|word| word.to_str().unwrap()).collect();
            (kept.join(" "), notes)
        };
        let (kept, notes) =
            of("a proxy --proxy-mode iptables --v=2 --masquerade-all --ipvs-scheduler=rr --config x");
        assert_eq!(kept, "a proxy --v=2 --config x");
        assert_eq!(notes.len(), 3);
        assert_eq!(notes[0], "--proxy-mode has no effect: there is one mode here, eBPF");
        assert_eq!(
            of("a proxy --conntrack_min=1 --cluster_cidr=10.0.0.0/8 -v=2").0,
            "a proxy --cluster-cidr=10.0.0.0/8 -v=2"
        );
        assert_eq!(of("a run --proxy-mode=x").0, "a run --proxy-mode=x", "of another command");
        assert_eq!(of("a proxy --no-such-flag=1").0, "a proxy --no-such-flag=1", "refused by the parser");
        assert_eq!(of("a proxy").0, "a proxy");
    }
}
