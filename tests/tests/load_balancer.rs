//! A Service of type LoadBalancer on bare metal: an address from a pool, answered for on the node's network, given back.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};

use anyhow::{Result, anyhow, ensure};
use serde_json::{Value, json};
use xebec_tests::{Namespace, Outside, PATIENCE, kubectl, namespaced, node, shell_pod, until, web};

const CONDITION: &str = r#".status.conditions[?(@.type=="network.xebec.dev/AddressesAllocated")]"#;
const ADDRESS: Ipv4Addr = Outside::FREE;
const ECHO: SocketAddrV4 = SocketAddrV4::new(ADDRESS, 7);

/// A pool for the Services of one namespace, gone when dropped.
struct Pool<'a>(&'a Namespace);

impl<'a> Pool<'a> {
    fn new(ns: &'a Namespace, addresses: Value) -> Result<Self> {
        let pool = Self(ns);
        pool.is(addresses)?;
        Ok(pool)
    }

    /// Gives it these addresses.
    fn is(&self, addresses: Value) -> Result<()> {
        let only = json!({"matchLabels": {"kubernetes.io/metadata.name": self.0.name}});
        self.0
            .apply(manifest(&self.0.name, json!({"addresses": addresses, "namespaceSelector": only})))
            .map(drop)
    }

    fn counts(&self, path: &str, value: &str) -> Result<()> {
        self.0.until_field(&format!("loadbalancerpool/{}", self.0.name), path, value)
    }
}

impl Drop for Pool<'_> {
    fn drop(&mut self) {
        // A failure here must not hide the test's own error.
        kubectl("delete loadbalancerpool").arg(&self.0.name).run().ok();
    }
}

fn manifest(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "network.xebec.dev/v1alpha1", "kind": "LoadBalancerPool", "metadata": {"name": name}, "spec": spec,
    })
}

fn balancer(name: &str, app: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"type": "LoadBalancer", "selector": {"app": app}, "ports": [
            {"name": "http", "port": 80, "targetPort": "http"},
            {"name": "echo", "port": 7, "targetPort": 8081, "protocol": "UDP"},
        ]},
    })
}

/// Waits until a Service has an event with this reason and message.
fn said(ns: &Namespace, service: &str, reason: &str, message: &str) -> Result<()> {
    let wanted = format!("{reason}: {message};");
    until(&format!("an event {wanted}"), PATIENCE, || {
        let select = format!("involvedObject.kind=Service,involvedObject.name={service}");
        let range = "-o=jsonpath={range .items[*]}{.reason}: {.message};{end}";
        let events = ns.kubectl("get events --field-selector").arg(select).arg(range).ok()?;
        ensure!(events.contains(&wanted), "there are {events:?}");
        Ok(Some(()))
    })
}

/// Waits until a Service has the pool's one address, with condition and events, and its pod answers outside for it.
fn serves(ns: &Namespace, outside: &Outside, service: &str, app: &str) -> Result<()> {
    let object = format!("service/{service}");
    ns.until_field(&object, ".status.loadBalancer.ingress[*]['ip','ipMode']", &format!("{ADDRESS} VIP"))?;
    ns.until_field(&object, &format!("{CONDITION}['status','reason']"), "True IPAllocated")?;
    let name = &ns.name;
    said(ns, service, "IPAllocated", &format!("assigned {ADDRESS} from LoadBalancerPool {name}"))?;
    said(ns, service, "NodeAssigned", &format!("node {} answers for {ADDRESS}", node()?))?;
    let pods = ns.pods(&format!("app={app}"))?;
    let pod = until("one of its pods answers outside", PATIENCE, || {
        let text = outside.is_answered(ECHO)?;
        let pod = pods.iter().find(|pod| text.starts_with(pod.as_str()));
        pod.map(Some).ok_or_else(|| anyhow!("{text:?} is from none of {pods:?}"))
    })?;
    let log = ns.kubectl("logs").arg(pod).ok()?;
    ensure!(log.contains("served-udp"), "the pod did not see it: {log}");
    ensure!(outside.neighbour(ADDRESS)? == Some(outside.node_link()?), "the node answers with its own link");
    Ok(())
}

fn is_silent(outside: &Outside) -> Result<()> {
    until("nobody answers for the address", PATIENCE, || {
        Ok(outside.neighbour(ADDRESS)?.is_none().then_some(()))
    })?;
    ensure!(outside.ask(ECHO)?.is_none(), "a silent address answers");
    Ok(())
}

#[test]
fn an_address_from_a_pool_is_answered_for_and_given_back() -> Result<()> {
    namespaced("load-balancer", |ns| {
        let outside = Outside::new()?;
        is_silent(&outside)?;
        ns.apply(web("one", 2))?;
        ns.apply(web("two", 1))?;
        ns.apply(shell_pod("client", "sleep 600").container(json!({"image": "xebec.local/workload:1"})))?;
        for deployment in ["one", "two"] {
            ns.rolled_out(deployment)?;
        }
        ns.ready("client")?;
        let pool = Pool::new(ns, json!([ADDRESS]))?;
        pool.counts(".status['total','used']", "1 0")?;
        ns.apply(balancer("first", "one"))?;
        serves(ns, &outside, "first", "one")?;
        pool.counts(".status.used", "1")?;
        let answer = ns.exec("client", &format!("wget -qO- http://{ADDRESS}/"))?;
        ensure!(answer.starts_with("one-"), "from a pod, by TCP: {answer}");

        // There is one address only.
        ns.apply(balancer("second", "two"))?;
        let full = format!("no IPv4 address is free in LoadBalancerPool {}", ns.name);
        said(ns, "second", "AllocationFailed", &full)?;
        let state = ns.field("service/second", &format!("{CONDITION}['status','message']"))?;
        ensure!(state == format!("False {full}"), "{state}");

        // Of another type, the first gives it back: the other has it.
        ns.kubectl("patch service first -p").arg(r#"{"spec":{"type":"ClusterIP"}}"#).ok()?;
        serves(ns, &outside, "second", "two")?;
        ns.until_field("service/first", ".status", r#"{"loadBalancer":{}}"#)?;
        // It wants it again, and has it when the other is deleted.
        ns.kubectl("patch service first -p").arg(r#"{"spec":{"type":"LoadBalancer"}}"#).ok()?;
        said(ns, "first", "AllocationFailed", &full)?;
        ns.kubectl("delete service second").ok()?;
        serves(ns, &outside, "first", "one")?;
        ns.kubectl("delete service first").ok()?;
        pool.counts(".status.used", "0")?;
        is_silent(&outside)
    })
}

#[test]
fn what_does_not_fit_is_said() -> Result<()> {
    namespaced("load-balancer-unfit", |ns| {
        for (addresses, field) in [
            (json!(["192.0.2.9-192.0.2.1"]), "spec.addresses[0]"),
            (json!(["192.0.2.1", "192.0.2.0/33"]), "spec.addresses[1]"),
            (json!([]), "spec.addresses"),
        ] {
            ns.refuses(manifest("bad", json!({"addresses": addresses})), field)?;
        }
        let pool = Pool::new(ns, json!(["2001:db8::1"]))?;
        ns.apply(balancer("lb", "nobody"))?;
        said(ns, "lb", "AllocationFailed", "no LoadBalancerPool has IPv4 addresses for this Service")?;
        let address = ns.field("service/lb", ".status.loadBalancer")?;
        ensure!(address == "{}", "{address}");
        // The pool changes, and then what the Service asks for.
        pool.is(json!(["192.0.2.16/31"]))?;
        ns.until_field("service/lb", ".status.loadBalancer.ingress[*].ip", "192.0.2.16")?;
        let annotate = "annotate service lb network.xebec.dev/load-balancer-ips=";
        ns.kubectl(&format!("{annotate}192.0.2.9")).ok()?;
        let message = "requested address 192.0.2.9 is in no LoadBalancerPool that serves this Service";
        said(ns, "lb", "AllocationFailed", message)?;
        ns.kubectl(&format!("{annotate}192.0.2.17 --overwrite")).ok()?;
        ns.until_field("service/lb", ".status.loadBalancer.ingress[*].ip", "192.0.2.17")?;
        // The last pool goes: the Service is left to others.
        drop(pool);
        ns.until_field("service/lb", ".status", r#"{"loadBalancer":{}}"#)
    })
}

/// What a pod with this script says, once it has ended well.
fn script(ns: &Namespace, name: &str, script: &str) -> Result<String> {
    ns.apply(shell_pod(name, script).spec(json!({"restartPolicy": "Never"})))?;
    ns.ended(name, "Succeeded")?;
    ns.kubectl("logs").arg(name).ok()
}

/// Upstream's e2e test "should only allow access from service loadbalancer source ranges", and what it leaves out.
#[test]
fn source_ranges_hold_for_pods_and_the_node() -> Result<()> {
    namespaced("load-balancer-ranges", |ns| {
        const LB: &str = "192.0.2.24";
        let ask = format!("wget -qO- http://{LB}/");
        ns.apply(web("one", 1))?;
        ns.rolled_out("one")?;
        for pod in ["accept", "drop"] {
            ns.apply(shell_pod(pod, "sleep 600"))?;
        }
        let [accept, drop] = ["accept", "drop"].map(|pod| {
            ns.ready(pod)?;
            ns.field(&format!("pod/{pod}"), ".status.podIP")
        });
        let (accept, drop) = (accept?, drop?);
        let _pool = Pool::new(ns, json!([LB]))?;
        let mut service = balancer("lb", "one");
        service["spec"]["loadBalancerSourceRanges"] = json!([format!("{accept}/32")]);
        ns.apply(service)?;
        ns.until_field("service/lb", ".status.loadBalancer.ingress[*].ip", LB)?;
        let admits = |pod: &str| {
            until(&format!("the load balancer answers {pod}"), PATIENCE, || {
                let answer = ns.kubectl(&format!("exec {pod} -- {ask}")).run()?;
                Ok(answer.stdout.starts_with("one-").then_some(()))
            })
        };
        let denies = |pod: &str| -> Result<()> {
            until(&format!("the load balancer is closed to {pod}"), PATIENCE, || {
                let answer = ns.kubectl(&format!("exec {pod} -- {ask}")).run()?;
                Ok(answer.stderr.contains("Operation not permitted").then_some(()))
            })
        };
        let set = |ranges: Value| {
            let patch = json!({"spec": {"loadBalancerSourceRanges": ranges}});
            ns.kubectl("patch service lb -p").arg(patch.to_string()).ok()
        };
        let on_node = || TcpStream::connect((LB, 80)).map_err(|error| error.kind());
        admits("accept")?;
        denies("drop")?;
        ensure!(on_node().err() == Some(ErrorKind::PermissionDenied), "the node's own call");

        set(json!([format!("{drop}/32")]))?;
        denies("accept")?;
        admits("drop")?;

        // What a pod does first is judged by its own address already.
        let subnet = format!("{}.0/24", accept.rsplit_once('.').map_or("", |(subnet, _)| subnet));
        let address = ns.field("pod/accept", ".status.hostIP")?;
        set(json!([subnet, format!("{address}/32")]))?;
        admits("accept")?;
        let mut stream = on_node().map_err(|kind| anyhow!("the node's address is listed: {kind}"))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.contains("one-"), "{answer}");
        for name in ["first", "second", "third"] {
            let answer = script(ns, name, &ask)?;
            ensure!(answer.starts_with("one-"), "pod {name}: {answer}");
        }
        Ok(())
    })
}
