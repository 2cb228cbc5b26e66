//! Acceptance 2, reading: get in its formats, watch, describe, events, explain, discovery.

use anyhow::{Result, ensure};
use serde_json::Value;
use xebec_tests::{Namespace, PATIENCE, cluster, kubectl, namespaced, node, shell_pod, until, web};

/// Every one of these phrases is in the text; how wide a column is does not matter.
fn has(text: &str, phrases: &[&str]) -> Result<()> {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for phrase in phrases {
        ensure!(flat.contains(phrase.trim()), "no {phrase:?} in:\n{text}");
    }
    Ok(())
}

fn serving(ns: &Namespace) -> Result<()> {
    ns.apply(web("web", 2))?;
    ns.rolled_out("web")
}

#[test]
fn get_as_table_wide_yaml_json_and_name() -> Result<()> {
    namespaced("get", |ns| {
        serving(ns)?;
        let table = ns.kubectl("get deployments").ok()?;
        has(&table, &["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE", "2/2"])?;
        let wide = ns.kubectl("get pods -o wide").ok()?;
        has(
            &wide,
            &["NAME", "READY", "STATUS", "RESTARTS", "IP", "NODE", "1/1", "Running", "10.244.", &node()?],
        )?;
        has(&ns.kubectl("get svc -o wide").ok()?, &["CLUSTER-IP", "EXTERNAL-IP", "80/TCP,7/UDP", "app=web"])?;
        let yaml = ns.kubectl("get deployment web -o yaml").ok()?;
        has(&yaml, &["apiVersion: apps/v1 kind: Deployment", "replicas: 2", "strategy:", "maxSurge: 25%"])?;
        let list: Value = serde_json::from_str(&ns.kubectl("get pods -o json").ok()?)?;
        ensure!(
            list["kind"] == "List" && list["items"].as_array().is_some_and(|items| items.len() == 2),
            "{list}"
        );
        let names = ns.kubectl("get deployments,services -o name").ok()?;
        ensure!(names == "deployment.apps/web\nservice/web\n", "{names}");
        let columns =
            ns.kubectl("get deploy web -o custom-columns=N:.metadata.name,R:.spec.replicas").ok()?;
        ensure!(
            columns.lines().nth(1).is_some_and(|line| line.split_whitespace().eq(["web", "2"])),
            "{columns}"
        );
        Ok(())
    })
}

#[test]
fn get_by_label_by_field_and_sorted() -> Result<()> {
    namespaced("select", |ns| {
        for (name, tier) in [("c-one", "a"), ("a-two", "b"), ("b-three", "a")] {
            ns.kubectl("create configmap").arg(name).ok()?;
            ns.kubectl("label configmap").arg(name).arg(format!("tier={tier}")).ok()?;
        }
        let of = |line: &str| ns.kubectl(line).ok();
        ensure!(of("get cm -l tier=a -o name")? == "configmap/b-three\nconfigmap/c-one\n");
        ensure!(of("get cm -l 'tier in (b),tier!=a' -o name")? == "configmap/a-two\n");
        ensure!(of("get cm --field-selector metadata.name=a-two -o name")? == "configmap/a-two\n");
        let sorted = of("get cm -l tier --sort-by=.metadata.creationTimestamp -o name")?;
        ensure!(sorted.lines().count() == 3, "{sorted}");
        has(&of("get cm --show-labels")?, &["tier=a", "tier=b", "LABELS"])?;
        let missing = ns.kubectl("get cm nothing").fails("Error from server (NotFound)")?;
        has(&missing, &["configmaps \"nothing\" not found"])?;
        ensure!(of("get cm nothing --ignore-not-found")?.is_empty());
        let chunked = of("get cm -l tier --chunk-size=1 -o name")?;
        ensure!(chunked.lines().count() == 3, "in pages of one: {chunked}");
        Ok(())
    })
}

#[test]
fn watch_streams_every_change() -> Result<()> {
    namespaced("watch", |ns| {
        ns.kubectl("create configmap one --from-literal=n=1").ok()?;
        let mut watch = ns.kubectl("get configmaps -w --output-watch-events --no-headers").stream()?;
        watch
            .line("the object that was there", |line| line.starts_with("ADDED") && line.contains(" one "))?;
        ns.kubectl("create configmap two --from-literal=n=1").ok()?;
        watch.line("a new object", |line| line.starts_with("ADDED") && line.contains(" two "))?;
        ns.kubectl("patch configmap two").arg(r#"--patch={"data":{"m":"2"}}"#).ok()?;
        watch.line("its change", |line| line.starts_with("MODIFIED") && line.contains(" two "))?;
        ns.kubectl("delete configmap two").ok()?;
        watch.line("its end", |line| line.starts_with("DELETED") && line.contains(" two "))?;
        Ok(())
    })
}

#[test]
fn describe_pod_deployment_service_and_node() -> Result<()> {
    namespaced("describe", |ns| {
        serving(ns)?;
        let node = node()?;
        let pod = &ns.pods("app=web")?[0];
        let text = ns.kubectl("describe pod").arg(pod).ok()?;
        has(&text, &["Controlled By: ReplicaSet/web-", "Image: xebec.local/workload:1", &node])?;
        has(&text, &["QoS Class: BestEffort", "Readiness:", "Ready True", "IP: 10.244."])?;
        has(&text, &["Scheduled", "Successfully assigned", "Pulled", "Created", "Started"])?;
        let text = ns.kubectl("describe deployment web").ok()?;
        has(
            &text,
            &["2 desired | 2 updated | 2 total | 2 available | 0 unavailable", "RollingUpdateStrategy:"],
        )?;
        has(&text, &["NewReplicaSet: web-", "(2/2 replicas created)", "ScalingReplicaSet"])?;
        let text = ns.kubectl("describe service web").ok()?;
        has(&text, &["Selector:", "app=web", "Port:", "http 80/TCP", "Endpoints:", ":8080", "ClusterIP"])?;
        let text = ns.kubectl("describe node").arg(&node).ok()?;
        has(&text, &["Kernel Version:", "containerd://", "Allocated resources:", "KubeletReady", "Lease:"])?;
        has(&text, &["Capacity:", "Allocatable:", pod])
    })
}

#[test]
fn events_of_an_object() -> Result<()> {
    namespaced("events", |ns| {
        ns.apply(shell_pod("pod", "sleep 600"))?;
        ns.ready("pod")?;
        let found = until("the events of a started pod", PATIENCE, || {
            let text = ns.kubectl("events --for pod/pod").ok()?;
            has(&text, &["Scheduled", "Pulled", "Created", "Started"])?;
            Ok(Some(text))
        })?;
        has(&found, &["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE", "Normal", "Pod/pod"])?;
        let all = ns.kubectl("get events --field-selector involvedObject.name=pod,reason=Scheduled").ok()?;
        has(&all, &[&format!("Successfully assigned {}/pod to {}", ns.name, node()?)])
    })
}

#[test]
fn explain_a_field() -> Result<()> {
    cluster(|| {
        let text = kubectl("explain deployment.spec.replicas").ok()?;
        has(&text, &["GROUP: apps", "KIND: Deployment", "VERSION: v1", "FIELD: replicas <integer>"])?;
        let text = kubectl("explain pod.spec.containers").ok()?;
        has(
            &text,
            &["FIELD: containers <[]Container>", "readinessProbe", "securityContext", "volumeMounts"],
        )?;
        kubectl("explain pod.spec.nothing").fails("field \"nothing\" does not exist").map(drop)
    })
}

#[test]
fn api_resources_and_versions() -> Result<()> {
    cluster(|| {
        let all = kubectl("api-resources").ok()?;
        for (name, short, version, kind) in [
            ("pods", "po", "v1", "Pod"),
            ("services", "svc", "v1", "Service"),
            ("deployments", "deploy", "apps/v1", "Deployment"),
            ("endpointslices", "", "discovery.k8s.io/v1", "EndpointSlice"),
        ] {
            let row = all.lines().find(|line| line.split_whitespace().next() == Some(name));
            let row = row.ok_or_else(|| anyhow::anyhow!("no {name} in:\n{all}"))?;
            let words: Vec<_> =
                [name, short, version, "true", kind].into_iter().filter(|w| !w.is_empty()).collect();
            ensure!(row.split_whitespace().eq(words), "{row}");
        }
        let cluster_wide = kubectl("api-resources --namespaced=false -o name").ok()?;
        has(&cluster_wide, &["nodes", "namespaces", "clusterroles.rbac.authorization.k8s.io"])?;
        ensure!(!cluster_wide.lines().any(|line| line == "pods"), "{cluster_wide}");
        let versions = kubectl("api-versions").ok()?;
        for version in ["v1", "apps/v1", "batch/v1", "rbac.authorization.k8s.io/v1", "coordination.k8s.io/v1"]
        {
            ensure!(versions.lines().any(|line| line == version), "no {version} in:\n{versions}");
        }
        Ok(())
    })
}

#[test]
fn cluster_info_and_version() -> Result<()> {
    cluster(|| {
        has(&kubectl("cluster-info").ok()?, &["Kubernetes control plane", "is running at", "https://"])?;
        let version: Value = serde_json::from_str(&kubectl("version -o json").ok()?)?;
        let server = &version["serverVersion"];
        ensure!(
            server["major"] == "1" && server["minor"].as_str().is_some_and(|m| m.starts_with("36")),
            "{server}"
        );
        for path in ["/livez", "/readyz", "/healthz"] {
            ensure!(kubectl("get --raw").arg(path).ok()? == "ok");
        }
        has(&kubectl("get --raw /readyz?verbose").ok()?, &["[+]", "readyz check passed"])
    })
}
