//! Cluster DNS, asked from inside pods.

use anyhow::{Result, ensure};
use serde_json::json;
use xebec_tests::{Namespace, PATIENCE, namespaced, shell_pod, until, web};

fn client(ns: &Namespace) -> Result<()> {
    ns.apply(shell_pod("client", "sleep 600").container(json!({"image": "xebec.local/workload:1"})))?;
    ns.ready("client")
}

/// Addresses by the pod's own resolver (search path and all), in order.
fn resolve(ns: &Namespace, name: &str) -> Result<Vec<String>> {
    let text = ns.exec("client", &format!("/bin/xebec-workload resolve {name}"))?;
    let mut found: Vec<_> = text.lines().map(str::to_owned).collect();
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

fn until_resolved(ns: &Namespace, name: &str, expected: &[String]) -> Result<()> {
    until(&format!("{name} = {expected:?}"), PATIENCE, || {
        let found = resolve(ns, name)?;
        ensure!(found == expected, "it is {found:?}");
        Ok(Some(()))
    })
}

/// The answer to one question, whatever it is.
fn ask(ns: &Namespace, kind: &str, name: &str) -> Result<String> {
    let output = ns.kubectl(&format!("exec client -- nslookup -type={kind} {name}")).run()?;
    Ok(output.stdout + &output.stderr)
}

#[test]
fn a_service_by_its_short_its_qualified_and_its_full_name() -> Result<()> {
    namespaced("names", |ns| {
        ns.apply(web("web", 1))?;
        client(ns)?;
        let vip = [ns.field("service/web", ".spec.clusterIP")?];
        let space = &ns.name;
        for name in [
            "web".to_owned(),
            format!("web.{space}"),
            format!("web.{space}.svc"),
            format!("web.{space}.svc.cluster.local"),
            format!("web.{space}.svc.cluster.local."),
        ] {
            until_resolved(ns, &name, &vip)?;
        }
        until_resolved(ns, "kubernetes.default", &["10.96.0.1".to_owned()])?;
        let config = ns.exec("client", "cat /etc/resolv.conf")?;
        ensure!(config.contains("nameserver 10.96.0.10\n"), "{config}");
        ensure!(
            config.contains(&format!("search {space}.svc.cluster.local svc.cluster.local cluster.local")),
            "{config}"
        );
        ensure!(config.contains("options ndots:5"), "{config}");
        // What changes is answered anew.
        ns.kubectl("delete service web").ok()?;
        until("the name is gone", PATIENCE, || {
            let answer = ask(ns, "a", &format!("web.{space}.svc.cluster.local"))?;
            Ok(answer.contains("NXDOMAIN").then_some(()))
        })
    })
}

#[test]
fn a_headless_service_and_its_pods_by_host_name() -> Result<()> {
    namespaced("headless", |ns| {
        ns.apply(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "group"},
            "spec": {"clusterIP": "None", "selector": {"group": "yes"}, "ports": [{"name": "http", "port": 8080}]},
        }))?;
        for name in ["one", "two"] {
            let pod = shell_pod(name, "sleep 600").metadata(json!({"labels": {"group": "yes"}}));
            ns.apply(pod.spec(json!({"hostname": format!("host-{name}"), "subdomain": "group"})))?;
        }
        client(ns)?;
        let mut addresses = Vec::new();
        for name in ["one", "two"] {
            ns.ready(name)?;
            addresses.push(ns.field(&format!("pod/{name}"), ".status.podIP")?);
        }
        until_resolved(ns, "host-one.group", &addresses[..1])?;
        until_resolved(ns, &format!("host-two.group.{}.svc.cluster.local", ns.name), &addresses[1..])?;
        let mut both = addresses.clone();
        both.sort_unstable();
        until_resolved(ns, "group", &both)?;
        ensure!(
            ns.exec("one", "hostname -f")?.trim() == format!("host-one.group.{}.svc.cluster.local", ns.name)
        );
        let srv = ask(ns, "srv", &format!("_http._tcp.group.{}.svc.cluster.local", ns.name))?;
        for name in ["one", "two"] {
            ensure!(srv.contains(&format!("8080 host-{name}.group.{}.svc.cluster.local", ns.name)), "{srv}");
        }
        ns.kubectl("delete pod two").ok()?;
        until_resolved(ns, "group", &addresses[..1])
    })
}

#[test]
fn srv_ptr_and_pod_records() -> Result<()> {
    namespaced("records", |ns| {
        ns.apply(web("web", 1))?;
        client(ns)?;
        let vip = ns.field("service/web", ".spec.clusterIP")?;
        let full = format!("web.{}.svc.cluster.local", ns.name);
        until_resolved(ns, "web", std::slice::from_ref(&vip))?;
        let srv = ask(ns, "srv", &format!("_http._tcp.{full}"))?;
        ensure!(srv.contains(&format!(" 80 {full}")), "{srv}");
        let srv = ask(ns, "srv", &format!("_echo._udp.{full}"))?;
        ensure!(srv.contains(&format!(" 7 {full}")), "{srv}");
        let reversed = vip.rsplit('.').collect::<Vec<_>>().join(".");
        let back = ask(ns, "ptr", &format!("{reversed}.in-addr.arpa"))?;
        ensure!(back.contains(&full), "{back}");
        let own = ns.field("pod/client", ".status.podIP")?;
        let dashed = format!("{}.{}.pod.cluster.local", own.replace('.', "-"), ns.name);
        ensure!(resolve(ns, &dashed)? == [own]);
        Ok(())
    })
}

#[test]
fn what_is_not_there_is_nxdomain_and_what_has_no_such_record_is_empty() -> Result<()> {
    namespaced("nxdomain", |ns| {
        ns.apply(web("web", 1))?;
        client(ns)?;
        let full = format!("web.{}.svc.cluster.local", ns.name);
        until_resolved(ns, &full, &[ns.field("service/web", ".spec.clusterIP")?])?;
        for name in [
            format!("nothing.{}.svc.cluster.local", ns.name),
            "web.no-such-namespace.svc.cluster.local".to_owned(),
        ] {
            let answer = ask(ns, "a", &name)?;
            ensure!(answer.contains("NXDOMAIN"), "{answer}");
        }
        let answer = ask(ns, "aaaa", &full)?;
        ensure!(!answer.contains("NXDOMAIN"), "the name exists, it has no IPv6 address: {answer}");
        Ok(())
    })
}

#[test]
fn an_external_name_is_an_alias() -> Result<()> {
    namespaced("external", |ns| {
        ns.apply(web("web", 1))?;
        ns.kubectl("create service externalname alias")
            .arg(format!("--external-name=web.{}.svc.cluster.local", ns.name))
            .ok()?;
        client(ns)?;
        until("the alias is told", PATIENCE, || {
            let answer = ask(ns, "cname", &format!("alias.{}.svc.cluster.local", ns.name))?;
            ensure!(
                answer.contains(&format!("canonical name = web.{}.svc.cluster.local", ns.name)),
                "{answer}"
            );
            Ok(Some(()))
        })?;
        until_resolved(ns, "alias", &[ns.field("service/web", ".spec.clusterIP")?])
    })
}

#[test]
fn dns_policies() -> Result<()> {
    namespaced("policy", |ns| {
        let once = json!({"restartPolicy": "Never"});
        let own = json!({"dnsPolicy": "None", "dnsConfig": {
            "nameservers": ["192.0.2.53"], "searches": ["example.org"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
        }});
        ns.apply(shell_pod("none", "cat /etc/resolv.conf").spec(once.clone()).spec(own))?;
        let config = ns.ended("none", "Succeeded")?;
        ensure!(config == "search example.org\nnameserver 192.0.2.53\noptions ndots:2 edns0\n", "{config}");
        ns.apply(shell_pod("node", "cat /etc/resolv.conf").spec(once).spec(json!({"dnsPolicy": "Default"})))?;
        let config = ns.ended("node", "Succeeded")?;
        ensure!(!config.contains("10.96.0.10") && !config.contains("cluster.local"), "{config}");
        Ok(())
    })
}
