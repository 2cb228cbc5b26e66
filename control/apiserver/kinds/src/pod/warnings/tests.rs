//! Each warning with upstream's text.

use serde_json::{Value, json};
use xebec_api::field::Path;

use super::of;

/// The warnings of a template with this spec and these annotations, their paths cut off.
fn found(spec: Value, annotations: Value) -> Vec<String> {
    let template = json!({"metadata": {"annotations": annotations}, "spec": spec});
    let all = of(&template, &Path::new("t"));
    all.into_iter().map(|text| text.replace("t.spec.", "").replace("t.metadata.annotations", "@")).collect()
}

fn check(cases: &[(Value, &[&str])]) {
    for (spec, want) in cases {
        assert_eq!(found(spec.clone(), json!({})), *want, "{spec}");
    }
}

#[test]
fn placement() {
    let os = r#"deprecated since v1.14; use "kubernetes.io/os" instead"#;
    let zone = "failure-domain.beta.kubernetes.io/zone";
    let zone_is = format!(r#"{zone} is deprecated since v1.17; use "topology.kubernetes.io/zone" instead"#);
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    let none = "a null labelSelector results in matching no pod";
    check(&[
        (
            json!({"nodeSelector": {"beta.kubernetes.io/os": "linux", "x": "y"}}),
            &[&format!("nodeSelector[beta.kubernetes.io/os]: {os}")],
        ),
        (
            json!({"affinity": {"nodeAffinity": {
                required: {"nodeSelectorTerms": [{"matchExpressions": [{"key": zone, "values": ["-"]}]}]},
                preferred: [{"preference": {"matchExpressions": [{"key": "a", "values": ["-"]}]}}]}}}),
            &[
                &format!(
                    "affinity.nodeAffinity.{required}.nodeSelectorTerms[0].matchExpressions[0].key: {zone_is}"
                ),
                &format!(
                    "affinity.nodeAffinity.{preferred}[0].preference.matchExpressions[0].values[0]: - is invalid, a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
                ),
            ],
        ),
        (
            json!({"topologySpreadConstraints": [{"topologyKey": zone}]}),
            &[
                &format!("topologySpreadConstraints[0].topologyKey: {zone_is}"),
                &format!("topologySpreadConstraints[0].labelSelector: {none}"),
            ],
        ),
        (
            json!({"affinity": {"podAffinity": {required: [{}]}, "podAntiAffinity": {preferred: [{"podAffinityTerm": {"labelSelector": {}}}, {}]}}}),
            &[
                &format!("affinity.podAffinity.{required}[0].labelSelector: {none}"),
                &format!("affinity.podAntiAffinity.{preferred}[1].podAffinityTerm.labelSelector: {none}"),
            ],
        ),
    ]);
}

#[test]
fn names_and_amounts() {
    check(&[
        (
            json!({"imagePullSecrets": [{}, {"name": "a"}, {"name": "a"}]}),
            &[
                "imagePullSecrets[2].name: duplicate name \"a\"",
                "imagePullSecrets[0].name: invalid empty name \"\"",
            ],
        ),
        (
            json!({"hostAliases": [{"ip": "1.1.1.1"}, {"ip": "FD00::1"}, {"ip": "1.1.1.1"}], "dnsConfig": {"nameservers": ["::0"]}}),
            &[
                "hostAliases[2].ip: duplicate ip \"1.1.1.1\"",
                "dnsConfig.nameservers[0]: IPv6 address \"::0\" should be in RFC 5952 canonical format (\"::\")",
                "hostAliases[1].ip: IPv6 address \"FD00::1\" should be in RFC 5952 canonical format (\"fd00::1\")",
            ],
        ),
        (
            json!({"overhead": {"memory": "100m"}, "containers": [{"resources": {"limits": {"memory": "1500m"}, "requests": {"ephemeral-storage": "500m", "cpu": "1m"}}}]}),
            &[
                "overhead[memory]: fractional byte value \"100m\" is invalid, must be an integer",
                "containers[0].resources.limits[memory]: fractional byte value \"1500m\" is invalid, must be an integer",
                "containers[0].resources.requests[ephemeral-storage]: fractional byte value \"500m\" is invalid, must be an integer",
            ],
        ),
        (
            json!({"terminationGracePeriodSeconds": -1}),
            &[
                "terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
            ],
        ),
    ]);
}

#[test]
fn variables_and_ports() {
    let hides = |index: usize| {
        format!(
            "containers[0].env[{index}]: hides previous definition of \"A\", which may be dropped when using apply"
        )
    };
    let first = "containers[0].ports[0]";
    check(&[
        (
            json!({"containers": [{"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}, {"name": "A", "value": "$(A)"}, {"name": "A"}]}]}),
            &[&hides(2), &hides(3)],
        ),
        (
            json!({"containers": [{"ports": [{"containerPort": 1, "protocol": "TCP", "name": "a"}, {"containerPort": 1, "protocol": "TCP", "name": "a"}]},
                {"ports": [{"containerPort": 1, "protocol": "TCP", "hostPort": 2}, {"containerPort": 1, "protocol": "UDP", "hostIP": "1.1.1.1"}]}]}),
            &[
                &format!("containers[0].ports[1]: duplicate port definition with {first}"),
                &format!("containers[1].ports[0]: overlapping port definition with {first}"),
                "containers[1].ports[0]: overlapping port definition with containers[0].ports[1]",
                "containers[1].ports[1]: hostIP set without hostPort: {Name: HostPort:0 ContainerPort:1 Protocol:UDP HostIP:1.1.1.1}",
                &format!(
                    "containers[0].ports[1]: duplicate port name \"a\" with {first}, services and probes that select ports by name will use {first}"
                ),
            ],
        ),
        (
            json!({"containers": [{"ports": [{"containerPort": 1, "hostPort": 2, "hostIP": "1.1.1.1"}, {"containerPort": 1, "hostPort": 2}, {"containerPort": 1, "hostPort": 2, "hostIP": "1.1.1.2"}]}]}),
            &[
                &format!("containers[0].ports[1]: dangerously ambiguous port definition with {first}"),
                "containers[0].ports[2]: dangerously ambiguous port definition with containers[0].ports[1]",
            ],
        ),
    ]);
}

#[test]
fn volumes() {
    let overlap = |what: &str, pair: &str| format!("volume \"v\" ({what}): overlapping paths: {pair}");
    check(&[
        (
            json!({"volumes": [{"gitRepo": {}}, {"storageos": {}}, {"ephemeral": {"volumeClaimTemplate": {"spec": {"resources": {"requests": {"storage": "1m"}}}}}}]}),
            &[
                "volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+",
                "volumes[1].storageOS: deprecated in v1.22, non-functional in v1.25+",
                "volumes[2].ephemeral.volumeClaimTemplate.spec.resources.requests[storage]: fractional byte value \"1m\" is invalid, must be an integer",
            ],
        ),
        (
            json!({"volumes": [{"name": "v", "configMap": {"name": "m", "items": [{"path": "a"}, {"path": "a/b"}, {"path": "ab"}]}}]}),
            &[&overlap("ConfigMap \"m\"", "\"a/b\" with \"a\"")],
        ),
        (
            json!({"volumes": [{"name": "v", "projected": {"sources": [
                {"secret": {"name": "s", "items": [{"path": "t"}]}}, {}, {"serviceAccountToken": {"path": "t/"}}]}}]}),
            &[
                &overlap("Projected", "\"t\" (ServiceAccountToken) with \"t\" (Secret \"s\")"),
                "volume \"v\" (Projected) has no sources provided",
            ],
        ),
    ]);
}

#[test]
fn annotations() {
    let spec = |profile: Value| json!({"containers": [{"name": "c"}, {"name": "d", "securityContext": {"seccompProfile": {}, "appArmorProfile": {}}}], "securityContext": profile});
    let keys = json!({
        "scheduler.alpha.kubernetes.io/critical-pod": "",
        "seccomp.security.alpha.kubernetes.io/pod": "x",
        "container.seccomp.security.alpha.kubernetes.io/c": "x",
        "container.seccomp.security.alpha.kubernetes.io/d": "x",
        "container.apparmor.security.beta.kubernetes.io/c": "localhost/p",
        "container.apparmor.security.beta.kubernetes.io/d": "localhost/p",
    });
    let seccomp = r#"non-functional in v1.27+; use the "seccompProfile" field instead"#;
    let armor = r#"@[container.apparmor.security.beta.kubernetes.io/c]: deprecated since v1.30; use the "appArmorProfile" field instead"#;
    let old = [
        r#"@[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the "priorityClassName" field instead"#.to_owned(),
        format!("@[seccomp.security.alpha.kubernetes.io/pod]: {seccomp}"),
        format!("@[container.seccomp.security.alpha.kubernetes.io/c]: {seccomp}"),
    ];
    let with =
        |more: &[&str]| [&old[..], &more.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()].concat();
    assert_eq!(found(spec(json!({})), keys.clone()), with(&[armor]));
    let same = json!({"appArmorProfile": {"type": "Localhost", "localhostProfile": "p"}});
    assert_eq!(found(spec(same), keys), with(&[]));
}

/// A workload with a template that is warned of, and one field more.
fn workload(name: &str, generation: i64, more: &str, value: Value) -> Value {
    let template = json!({"spec": {"terminationGracePeriodSeconds": -1}});
    let mut obj = json!({
        "metadata": {"name": name, "generation": generation},
        "spec": {"template": template, "jobTemplate": {"spec": {"template": template}}},
        "template": template,
    });
    obj["spec"][more] = value;
    obj
}

#[test]
fn workloads_warn_of_their_templates_and_names() {
    use crate::Strategy;
    let grace =
        "terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1";
    let of_name = "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS \
                   label is recommended: [";
    let kinds: [(&dyn Strategy, &str, bool); 7] = [
        (&crate::apps::deployment::Deployment, "spec.template", true),
        (&crate::apps::replica_set::ReplicaSet, "spec.template", true),
        (&crate::apps::stateful_set::StatefulSet, "spec.template", true),
        (&crate::core::replication_controller::ReplicationController, "spec.template", true),
        (&crate::batch::job::Job, "spec.template", true),
        (&crate::batch::cron_job::CronJob, "spec.jobTemplate.spec.template", true),
        (&crate::core::pod_template::PodTemplate, "template", false),
    ];
    for (kind, path, named) in kinds {
        let (old, same) = (workload("a.b", 1, "x", json!(1)), workload("a.b", 1, "x", json!(2)));
        let (new, of_template) = (workload("a.b", 2, "x", json!(2)), format!("{path}.spec.{grace}"));
        let warnings = kind.warnings(&old);
        assert_eq!(warnings.last(), Some(&of_template), "{path}");
        assert_eq!(warnings.len(), 1 + usize::from(named), "{warnings:?}");
        assert_eq!(warnings[0].starts_with(of_name), named, "{warnings:?}");
        assert_eq!(kind.update_warnings(&same, &old), [""; 0], "{path}: its spec is as it was");
        assert_eq!(kind.update_warnings(&new, &old), [of_template], "{path}: a name cannot change");
    }
}

#[test]
fn a_daemon_set_goes_by_its_templates_generation() {
    use crate::Strategy;
    let kind = crate::apps::daemon_set::DaemonSet;
    let (old, mut new) = (workload("a.b", 1, "x", json!(1)), workload("a.b", 2, "x", json!(2)));
    assert_eq!(kind.warnings(&old).len(), 1);
    assert!(kind.update_warnings(&new, &old).is_empty());
    new["metadata"]["annotations"] = json!({"deprecated.daemonset.template.generation": "2"});
    assert_eq!(kind.update_warnings(&new, &old).len(), 1);
}

#[test]
fn a_stateful_set_warns_of_claims_and_revisions_at_every_write() {
    use crate::Strategy;
    let kind = crate::apps::stateful_set::StatefulSet;
    let claims = json!([{"spec": {"resources": {"requests": {"storage": "1500m"}}}}]);
    let mut set = workload("a", 1, "volumeClaimTemplates", claims);
    set["spec"]["revisionHistoryLimit"] = json!(-1);
    let own = [
        "spec.volumeClaimTemplates[0].spec.resources.requests[storage]: fractional byte value \"1500m\" is invalid, \
         must be an integer",
        "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended",
    ];
    assert_eq!(kind.update_warnings(&set, &set), own);
    assert_eq!(kind.warnings(&set)[1..], own);
}

#[test]
fn pods_are_warned_of_when_they_are_made() {
    use crate::Strategy;
    let kind = crate::pod::Pod;
    let pod = json!({"metadata": {"name": "a.b"}, "spec": {"terminationGracePeriodSeconds": -1}});
    let warnings = kind.warnings(&pod);
    assert!(warnings[0].starts_with("metadata.name: this is used in the Pod's hostname, "), "{warnings:?}");
    assert!(warnings[1].starts_with("spec.terminationGracePeriodSeconds: "), "{warnings:?}");
    assert!(kind.update_warnings(&pod, &pod).is_empty());
}
