//! KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1): what of it means something here. PURE. Enters: the file's
//! text, YAML or JSON. Leaves: [`FileConfig`], and a line for each field that is set and has no effect. A field that
//! upstream does not know either is said, too, and not fatal, as upstream reads this version.

use serde_json::{Map, Value};

/// The fields that mean something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FileConfig {
    pub(super) kubeconfig: Option<String>,
    pub(super) hostname_override: Option<String>,
    pub(super) bind_address: Option<String>,
    /// Empty text means nowhere.
    pub(super) healthz_bind_address: Option<String>,
    pub(super) metrics_bind_address: Option<String>,
    pub(super) detect_local_mode: Option<String>,
    pub(super) cluster_cidr: Option<String>,
    pub(super) node_port_addresses: Vec<String>,
    pub(super) oom_score_adj: Option<i64>,
    pub(super) verbosity: Option<u64>,
}

/// Fields without effect, with the reason; those below one of them go with it.
const WITHOUT: &[(&str, &str)] = &[
    ("mode", "there is one mode here, eBPF"),
    ("iptables", "no netfilter rule is made but for Services of SCTP"),
    ("nftables", "no netfilter rule is made but for Services of SCTP"),
    ("ipvs", "IPVS is not used"),
    ("conntrack", "the kernel's connection tracking is not used"),
    ("winkernel", "this is no Windows node"),
    ("windowsRunAsService", "this is no Windows node"),
    ("portRange", "no port is opened for a Service"),
    ("featureGates", "this proxy has no such feature to switch"),
    ("enableProfiling", "this proxy has no such feature to switch"),
    ("showHiddenMetricsForVersion", "no metric is hidden"),
    ("bindAddressHardFail", "an address that cannot be listened on always ends this proxy"),
    ("configSyncPeriod", "watches are never refreshed by time"),
    ("detectLocal", "pods on this node are known by their sockets, not by their devices"),
    ("clientConnection.acceptContentTypes", "three watches in JSON are all that is asked of the API server"),
    ("clientConnection.contentType", "three watches in JSON are all that is asked of the API server"),
    ("clientConnection.qps", "three watches in JSON are all that is asked of the API server"),
    ("clientConnection.burst", "three watches in JSON are all that is asked of the API server"),
    ("logging", "only logging.verbosity counts"),
];

impl FileConfig {
    /// Reads a file's text.
    ///
    /// # Errors
    /// It is no configuration of this kind, or a field has a value of the wrong type: a line that names it.
    pub(super) fn parse(text: &str) -> Result<(Self, Vec<String>), String> {
        let value: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        let Value::Object(fields) = value else { return Err("not a mapping of fields".to_owned()) };
        for (field, wanted) in
            [("kind", "KubeProxyConfiguration"), ("apiVersion", "kubeproxy.config.k8s.io/v1alpha1")]
        {
            let found = fields.get(field).unwrap_or(&Value::Null);
            if found != wanted {
                return Err(format!("{field}: {found}; it must be {wanted:?}"));
            }
        }
        let mut reader = Reader { fields: &fields, known: vec!["kind".into(), "apiVersion".into()] };
        let config = Self {
            kubeconfig: reader.text("clientConnection.kubeconfig")?,
            hostname_override: reader.text("hostnameOverride")?,
            bind_address: reader.text("bindAddress")?,
            healthz_bind_address: reader.text("healthzBindAddress")?,
            metrics_bind_address: reader.text("metricsBindAddress")?,
            detect_local_mode: reader.text("detectLocalMode")?,
            cluster_cidr: reader.text("clusterCIDR")?,
            node_port_addresses: reader.texts("nodePortAddresses")?,
            oom_score_adj: reader.number("oomScoreAdj")?,
            verbosity: reader.number("logging.verbosity")?.and_then(|v| u64::try_from(v).ok()),
        };
        let mut notes = Vec::new();
        reader.rest("", &fields, &mut notes);
        Ok((config, notes))
    }
}

/// Reads fields by path and remembers which.
struct Reader<'a> {
    fields: &'a Map<String, Value>,
    known: Vec<String>,
}

impl<'a> Reader<'a> {
    /// The value at a path; unset is null, too.
    fn get(&mut self, path: &str) -> Option<&'a Value> {
        self.known.push(path.to_owned());
        let mut at = self.fields;
        let (parents, last) = path.rsplit_once('.').unwrap_or(("", path));
        for parent in parents.split('.').filter(|p| !p.is_empty()) {
            at = at.get(parent)?.as_object()?;
        }
        at.get(last).filter(|value| !value.is_null())
    }

    fn text(&mut self, path: &str) -> Result<Option<String>, String> {
        let read = |value: &Value| {
            value.as_str().map(str::to_owned).ok_or_else(|| format!("{path}: {value}; it must be a string"))
        };
        // An empty string is an unset one, as upstream's defaults have it.
        Ok(self.get(path).map(read).transpose()?.filter(|text| !text.is_empty()))
    }

    fn texts(&mut self, path: &str) -> Result<Vec<String>, String> {
        let Some(value) = self.get(path) else { return Ok(Vec::new()) };
        let list = value.as_array().and_then(|list| {
            list.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        });
        list.ok_or_else(|| format!("{path}: {value}; it must be a list of strings"))
    }

    fn number(&mut self, path: &str) -> Result<Option<i64>, String> {
        let read = |value: &Value| {
            value.as_i64().ok_or_else(|| format!("{path}: {value}; it must be a whole number"))
        };
        self.get(path).map(read).transpose()
    }

    /// Says what is set and was not read.
    fn rest(&self, above: &str, fields: &Map<String, Value>, notes: &mut Vec<String>) {
        for (name, value) in fields.iter().filter(|(_, value)| !is_unset(value)) {
            let path = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
            if self.known.contains(&path) {
                continue;
            }
            let parent_is_known = self.known.iter().any(|known| known.starts_with(&format!("{path}.")));
            if let (true, Value::Object(inner)) = (parent_is_known, value) {
                self.rest(&path, inner, notes);
                continue;
            }
            let group = WITHOUT.iter().find(|(field, _)| path == *field || above == *field);
            notes.push(match group {
                Some((_, why)) => format!("{path} has no effect: {why}"),
                None => format!("{path} is no field of KubeProxyConfiguration and has no effect"),
            });
        }
    }
}

/// Whether a value says no more than its absence would.
fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || text == "0s" || text == "0",
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.values().all(is_unset),
        Value::Bool(true) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As kubeadm writes it.
    const KUBEADM: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\n\
        bindAddress: 0.0.0.0\nbindAddressHardFail: false\n\
        clientConnection:\n  acceptContentTypes: \"\"\n  burst: 0\n  contentType: \"\"\n  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf\n  qps: 0\n\
        clusterCIDR: 10.244.0.0/16\nconfigSyncPeriod: 0s\n\
        conntrack:\n  maxPerCore: null\n  min: null\n  tcpCloseWaitTimeout: null\n\
        detectLocal:\n  bridgeInterface: \"\"\n  interfaceNamePrefix: \"\"\ndetectLocalMode: \"\"\nenableProfiling: false\n\
        healthzBindAddress: \"\"\nhostnameOverride: \"\"\n\
        iptables:\n  masqueradeAll: false\n  masqueradeBit: null\n  syncPeriod: 0s\n\
        kind: KubeProxyConfiguration\n\
        logging:\n  flushFrequency: 0\n  options:\n    json:\n      infoBufferSize: \"0\"\n  verbosity: 0\n\
        metricsBindAddress: \"\"\nmode: \"\"\nnodePortAddresses: null\noomScoreAdj: null\nportRange: \"\"\n";

    #[test]
    fn what_kubeadm_writes_is_read_without_a_word() {
        let (config, notes) = FileConfig::parse(KUBEADM).unwrap();
        assert_eq!(
            config,
            FileConfig {
                kubeconfig: Some("/var/lib/kube-proxy/kubeconfig.conf".to_owned()),
                bind_address: Some("0.0.0.0".to_owned()),
                cluster_cidr: Some("10.244.0.0/16".to_owned()),
                verbosity: Some(0),
                ..FileConfig::default()
            }
        );
        assert!(notes.is_empty(), "{notes:?}");
    }

    #[test]
    fn fields_without_effect_are_said() {
        let text = format!(
            "{}mode: ipvs\nipvs:\n  scheduler: rr\nudpIdleTimeout: 1s\nnodePortAddresses: [primary]\n",
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
        );
        let (config, mut notes) = FileConfig::parse(&text).unwrap();
        notes.sort();
        assert_eq!(config.node_port_addresses, ["primary"]);
        assert_eq!(
            notes,
            [
                "ipvs has no effect: IPVS is not used",
                "mode has no effect: there is one mode here, eBPF",
                "udpIdleTimeout is no field of KubeProxyConfiguration and has no effect",
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
        for (text, wanted) in [
            ("kind: Pod\n".to_owned(), "kind: \"Pod\"; it must be \"KubeProxyConfiguration\""),
            (format!("{head}hostnameOverride: 5\n"), "hostnameOverride: 5; it must be a string"),
            (
                format!("{head}nodePortAddresses: x\n"),
                "nodePortAddresses: \"x\"; it must be a list of strings",
            ),
            ("- a\n".to_owned(), "not a mapping of fields"),
        ] {
            assert_eq!(FileConfig::parse(&text).unwrap_err(), wanted);
        }
    }
}
