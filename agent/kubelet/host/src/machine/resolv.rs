//! The node's resolver. Enters: a resolv.conf(5). Leaves: what pods with `dnsPolicy: Default` get.

use super::{MachineError, read};

/// A parsed resolver configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// Addresses of name servers, in order.
    pub servers: Vec<String>,
    /// Search domains; the last `search` line wins.
    pub searches: Vec<String>,
    /// Options; the last `options` line wins, as upstream has it.
    pub options: Vec<String>,
}

/// Reads the text of a resolv.conf.
pub fn parse_resolv_conf(text: &str) -> ResolvConf {
    let mut conf = ResolvConf::default();
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let owned = |words: std::str::SplitWhitespace<'_>| words.map(str::to_owned).collect();
        match words.next() {
            Some("nameserver") => conf.servers.extend(words.next().map(str::to_owned)),
            Some("search" | "domain") => {
                let all: Vec<String> = owned(words);
                // The root alone means "no search" (upstream's special case for `search .`).
                conf.searches = all.into_iter().filter(|domain| domain != ".").collect();
                conf.searches.iter_mut().for_each(|d| *d = d.trim_end_matches('.').to_owned());
            }
            Some("options") => conf.options = owned(words),
            _ => {}
        }
    }
    conf
}

/// Reads a resolv.conf file. systemd-resolved's stub (127.0.0.53) is useless to pods: its upstream file is taken then.
pub fn read_resolv_conf(path: &str) -> Result<ResolvConf, MachineError> {
    let conf = parse_resolv_conf(&read(path)?);
    let stub = !conf.servers.is_empty() && conf.servers.iter().all(|server| server == "127.0.0.53");
    match stub.then(|| read("/run/systemd/resolve/resolv.conf")) {
        Some(Ok(text)) => Ok(parse_resolv_conf(&text)),
        _ => Ok(conf),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_comments_and_the_last_search() {
        let text = "# c\nnameserver 192.0.2.53\nnameserver fd00::53 ; x\nsearch a.example\nsearch b.example. c\noptions ndots:2 edns0\n";
        let conf = parse_resolv_conf(text);
        assert_eq!(conf.servers, ["192.0.2.53", "fd00::53"]);
        assert_eq!(conf.searches, ["b.example", "c"]);
        assert_eq!(conf.options, ["ndots:2", "edns0"]);
        assert!(parse_resolv_conf("search .\n").searches.is_empty());
        assert_eq!(parse_resolv_conf(""), ResolvConf::default());
    }
}
