//! `xebec-agent proxy` as a process that is given a kubeconfig and nothing else of Xebec's, against a control plane of
//! its own, in network namespaces without a default route. Its arguments are those of `deploy/proxy.yaml`, and so are
//! its rights. Needs root, the built object and `xebec-control`; says why when it cannot run.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "test code and its child processes")]

mod direct;
mod pods;
mod sctp;
mod stage;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use stage::Stage;
use xebec_rig::client::Client;
use xebec_rig::server::Server;
use xebec_rig::within;

const VIP: &str = "10.196.77.1";
const NO_ROUTE: &str = "error 101";

/// What the child processes of these tests run.
#[test]
#[ignore = "entry point of these tests' own child processes"]
fn child() {
    xebec_rig::client::child();
}

/// Waits for a condition, and says the last answer if it never comes.
fn until<T: std::fmt::Debug>(what: &str, mut look: impl FnMut() -> T, good: impl Fn(&T) -> bool) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = look();
        if good(&answer) {
            return answer;
        }
        assert!(Instant::now() < end, "{what}: {answer:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn answers(client: &mut Client, address: &str, wanted: &str) {
    let command = format!("tcp {address}");
    until(&command, || client.ask(&command), |answer| answer == wanted);
}

/// Two endpoints of a Service with hints, each for a zone, and when the control plane saw the change.
fn slice(service: &str, endpoints: &[(&str, &str)], hints: bool) -> Value {
    let now = k8s_openapi::jiff::Timestamp::now().to_string();
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|(address, zone)| {
            let mut endpoint =
                json!({"addresses": [address], "nodeName": "node-a", "conditions": {"ready": true}});
            if hints {
                endpoint["hints"] = json!({"forZones": [{"name": zone}]});
            }
            endpoint
        })
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": service, "namespace": "default", "labels": {"kubernetes.io/service-name": service},
            "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": now},
        },
        "addressType": "IPv4", "ports": [{"name": "", "port": 8080, "protocol": "TCP"}], "endpoints": endpoints,
    })
}

fn service(name: &str, ip: &str, labels: Value, extra: Value) -> Value {
    let mut spec = json!({"clusterIP": ip, "ports": [{"port": 80, "targetPort": 8080}]});
    spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "default", "labels": labels}, "spec": spec,
    })
}

/// The value of a sample.
fn sample(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{metrics}")).parse().unwrap()
}

#[test]
fn it_replaces_kube_proxy_with_a_kubeconfig_and_nothing_else() {
    let Some(mut stage) = Stage::new() else { return };
    let node = |taints: Value| {
        json!({
            "apiVersion": "v1", "kind": "Node", "spec": {"taints": taints},
            "metadata": {"name": "node-a", "labels": {"topology.kubernetes.io/zone": "z1"}},
        })
    };
    stage.apply(&node(json!([])));
    let node_port =
        json!({"type": "NodePort", "ports": [{"port": 80, "targetPort": 8080, "nodePort": 30080}]});
    stage.apply(&service("web", VIP, json!({}), node_port));
    let both = [("10.199.1.1", "z1"), ("10.199.1.2", "z2")];
    stage.apply(&slice("web", &both, true));
    let foreign = json!({"service.kubernetes.io/service-proxy-name": "other"});
    stage.apply(&service("foreign", "10.196.77.2", foreign, json!({})));
    stage.apply(&slice("foreign", &both, false));
    let servers: Vec<Server> = [("10.199.1.1:8080", "A1"), ("10.199.1.2:8080", "A2")]
        .iter()
        .map(|(address, name)| Server::tcp(&stage.rig.server_ns, address, name))
        .collect();
    let mut client = Client::start(&stage.rig);
    assert_eq!(client.ask(&format!("tcp {VIP}:80")), NO_ROUTE, "nothing serves it yet");
    let mut proxy = stage.proxy(&[]);
    answers(&mut client, &format!("{VIP}:80"), &format!("A1 {VIP}:80"));
    // The node's own zone alone: hints are read by the label of the Node.
    for _ in 0..20 {
        assert_eq!(client.ask(&format!("tcp {VIP}:80")), format!("A1 {VIP}:80"));
    }
    assert_eq!(servers[1].served(), 0);
    assert_eq!(client.ask("tcp 10.196.77.2:80"), NO_ROUTE, "another proxy's Service");
    // From outside, by a device that no CNI of ours made.
    let outside = || within(&stage.rig.client_ns, || stage::say("10.199.0.2:30080"));
    until("the node port", outside, |answer| answer == "A1");

    // A change is applied, and how long that took is told.
    let before = stage.get(10249, "/metrics").1;
    stage.apply(&slice("web", &[("10.199.1.2", "z2")], true));
    answers(&mut client, &format!("{VIP}:80"), &format!("A2 {VIP}:80"));
    let metrics = stage.get(10249, "/metrics").1;
    let count = "kubeproxy_network_programming_duration_seconds_count{ip_family=\"IPv4\"}";
    assert_eq!(sample(&metrics, count) - sample(&before, count), 1.0);
    for name in [
        "kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"}",
        "kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family=\"IPv4\"}",
        "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family=\"IPv6\"}",
        "kubeproxy_sync_proxy_rules_endpoint_changes_total",
        "kubeproxy_sync_proxy_rules_service_changes_total",
        "process_resident_memory_bytes",
        "xebec_dataplane_map_entries{map=\"FE4\"}",
        "xebec_dataplane_map_max_entries{map=\"META\"}",
    ] {
        assert!(sample(&metrics, name) > 0.0, "{name}\n{metrics}");
    }
    for prefix in ["rest_client_requests_total{code=\"200\",", "rest_client_request_duration_seconds_count{"]
    {
        assert!(metrics.lines().any(|line| line.starts_with(prefix)), "{prefix}\n{metrics}");
    }
    assert_eq!(sample(&metrics, "kubeproxy_sync_proxy_rules_endpoint_changes_pending"), 0.0);
    // 22 connects of the client and one flow from outside at least; the client's last may be among those counted.
    let served = "xebec_dataplane_service_connections_total{namespace=\"default\",service=\"web\",port=\"80\",protocol=\"TCP\",ip_family=\"IPv4\"}";
    let (from, to) = (servers[0].served() + servers[1].served(), sample(&metrics, served));
    assert_eq!(to, from as f64, "each connection is counted once\n{metrics}");
    assert_eq!(stage.get(10249, "/proxyMode"), (200, "ebpf".to_owned()));
    assert_eq!(stage.get(10249, "/healthz"), (200, "ok".to_owned()));
    assert_eq!(stage.get(10249, "/nothing").0, 404);

    seen_from_beside(&stage);
    flows_are_shown(&stage, &mut client);

    // KEP-3836: a node that is to go gets no new connections, and its proxy is healthy all the same.
    assert_eq!(stage.get(10256, "/healthz").0, 200);
    let taint = json!([{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]);
    stage.apply(&node(taint));
    until("not eligible", || stage.get(10256, "/healthz").0, |code| *code == 503);
    assert_eq!(stage.get(10256, "/livez").0, 200);
    stage.apply(&node(json!([])));
    until("eligible", || stage.get(10256, "/healthz").0, |code| *code == 200);
    let metrics = stage.get(10249, "/metrics").1;
    assert!(sample(&metrics, "kubeproxy_proxy_healthz_total{code=\"503\"}") > 0.0);
    assert!(sample(&metrics, "kubeproxy_proxy_livez_total{code=\"200\"}") > 0.0);

    // Without the API server everything goes on; when it is back, so do changes.
    stage.kill_control();
    for _ in 0..10 {
        assert_eq!(client.ask(&format!("tcp {VIP}:80")), format!("A2 {VIP}:80"));
    }
    assert_eq!(stage.get(10256, "/healthz").0, 200);
    stage.start_control();
    stage.apply(&slice("web", &[("10.199.1.1", "z1")], false));
    answers(&mut client, &format!("{VIP}:80"), &format!("A1 {VIP}:80"));

    // It ends as it was asked to, and what it made stays, as kube-proxy's rules do.
    assert_eq!(proxy.terminate(), Some(0));
    for _ in 0..10 {
        assert_eq!(client.ask(&format!("tcp {VIP}:80")), format!("A1 {VIP}:80"));
    }
    // The next one, by a configuration file and upstream's other flags, adopts it.
    let config = stage.write(
        "config.yaml",
        &format!(
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: iptables\n\
             clientConnection:\n  kubeconfig: {}\nmetricsBindAddress: 127.0.0.1:10349\nnodePortAddresses: [10.0.9.0/24]\n",
            stage.kubeconfig().display()
        ),
    );
    let mut proxy = stage.proxy(&["--config", &config, "--proxy-mode=ipvs", "--conntrack-min", "0", "-v=2"]);
    until("metrics elsewhere", || stage.get(10349, "/healthz").0, |code| *code == 200);
    let outside = || within(&stage.rig.client_ns, || stage::say("10.199.0.2:30080"));
    until("node ports elsewhere", outside, |answer| answer.starts_with("error"));
    assert_eq!(client.ask(&format!("tcp {VIP}:80")), format!("A1 {VIP}:80"));
    assert_eq!(proxy.terminate(), Some(0));
    let log = proxy.log();
    for note in ["--proxy-mode has no effect", "--conntrack-min has no effect", "mode has no effect"] {
        assert!(log.contains(note), "{note}\n{log}");
    }

    // What is unknown is refused, and --cleanup leaves nothing.
    let mut refused = stage.proxy(&["--no-such-flag=1"]);
    assert_eq!(refused.wait(), Some(2), "{}", refused.log());
    let reserved = || {
        let list = "/proc/sys/net/ipv4/ip_local_reserved_ports";
        within(&stage.rig.server_ns, || std::fs::read_to_string(list).unwrap().trim().to_owned())
    };
    assert_eq!(reserved(), "1024-29999,61000-65535");
    let mut cleanup = stage.proxy(&["--cleanup"]);
    assert_eq!(cleanup.wait(), Some(0), "{}", cleanup.log());
    assert!(!stage.rig.pin_dir().exists());
    assert_eq!(reserved(), "");
    assert_eq!(client.ask(&format!("tcp {VIP}:80")), NO_ROUTE);
}

/// `xebec-agent dataplane flows`, while the client calls.
fn flows_are_shown(stage: &Stage, client: &mut Client) {
    let kubeconfig = stage.kubeconfig().display().to_string();
    let show = |words: &[&str], client: &mut Client| {
        let words: Vec<&str> = ["flows", "--for", "60s", "--kubeconfig", &kubeconfig]
            .into_iter()
            .chain(words.iter().copied())
            .collect();
        std::thread::scope(|scope| {
            let shown = scope.spawn(|| stage.ask(&words));
            while !shown.is_finished() {
                client.ask(&format!("tcp {VIP}:80"));
                std::thread::sleep(Duration::from_millis(50));
            }
            shown.join().unwrap()
        })
    };
    let (code, text) =
        show(&["--limit", "2", "--service", "default/web", "--verdict", "translated", "-o", "json"], client);
    let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!((code, lines.len()), (Some(0), 2), "{text}");
    for flow in &lines {
        assert_eq!(
            (&flow["service"], &flow["verdict"]),
            (&json!("default/web:80"), &json!("translated")),
            "{text}"
        );
        assert_eq!(
            (&flow["endpoint"]["address"], &flow["hook"]),
            (&json!("10.199.1.2"), &json!("connect")),
            "{text}"
        );
        assert_eq!(
            (&flow["source"]["address"], &flow["process"]["name"]),
            (&json!("10.199.0.1"), &json!("child")),
            "{text}"
        );
    }
    assert!(text.contains("\n# 2 flows shown of "), "{text}");
    let (code, text) = show(&["--limit", "1", "--ip", VIP], client);
    let line = format!("-> {VIP}:80 -> 10.199.1.2:8080  Service default/web:80  connect");
    assert!(code == Some(0) && text.contains(&line), "{text}");
    // What cannot be is said: a Service's name without a proxy, a pod's without the API, a verdict that is none.
    for (words, code, wanted) in [
        (&["--service", "default/web", "--agent", "127.0.0.1:9"][..], 1, "say with --agent"),
        (&["--pod", "default/a", "--kubeconfig", "/no/such"], 1, "--pod and --namespace need names of pods"),
        (&["--verdict", "lost"], 2, "give one of translated, refused"),
        (&["--pod", "a"], 2, "give namespace/name"),
    ] {
        let words: Vec<&str> = ["flows"].into_iter().chain(words.iter().copied()).collect();
        let (found, text) = stage.ask(&words);
        assert!(found == Some(code) && text.contains(wanted), "{words:?}: {text}");
    }
}

/// `xebec-agent dataplane`, while the proxy runs and has one endpoint, 10.199.1.2, for the Service.
fn seen_from_beside(stage: &Stage) {
    let json = |words: &[&str]| -> (Option<i32>, Value) {
        let words: Vec<&str> = words.iter().copied().chain(["-o", "json"]).collect();
        let (code, text) = stage.ask(&words);
        // A failed check is told after the answer.
        let text = text.split("\nxebec-agent: ").next().unwrap_or_default();
        (code, serde_json::from_str(text).unwrap_or_else(|error| panic!("{words:?}: {error}\n{text}")))
    };
    let (code, status) = json(&["status"]);
    assert_eq!((code, &status["running"]["node"]), (Some(0), &json!("node-a")), "{status}");
    assert_eq!(
        (&status["running"]["zone"], &status["pinnedLayouts"]),
        (&json!("z1"), &json!([format!("v{}", xebec_abi::LAYOUT_VERSION)])),
        "{status}"
    );
    let links = status["links"].as_array().unwrap();
    assert_eq!(links.len(), 11, "{status}");
    for link in links {
        let on = link["on"].as_str().unwrap_or_default();
        let wanted =
            if link["name"].as_str().unwrap().starts_with("tcx_") { "device wire" } else { "cgroup " };
        assert!(on.starts_with(wanted) && link["program"].as_u64() > Some(0), "{link}");
    }
    let map = |name: &str| {
        let maps = status["maps"].as_array().unwrap();
        maps.iter().find(|map| map["name"] == name).unwrap()["entries"].as_u64()
    };
    // The VIP, the node port, the API server's own Service, the probe.
    assert_eq!((map("FE4"), map("META"), map("BE_STATE")), (Some(4), Some(3), Some(2)), "{status}");
    let (_, services) = json(&["services", "default/web"]);
    assert_eq!(services.as_array().unwrap().len(), 1, "{services}");
    let web = &services[0];
    assert_eq!(
        web["frontends"],
        json!([[format!("{VIP}:80/TCP"), "ClusterIP"], ["<node>:30080/TCP", "NodePort"]])
    );
    assert_eq!(web["cluster"][0]["address"], "10.199.1.2:8080", "{web}");
    assert!(web["connections"].as_u64() > Some(20), "{web}");
    let (code, text) = stage.ask(&["services"]);
    assert!(
        code == Some(0) && text.contains("default/kubernetes:https") && text.contains(", here"),
        "{text}"
    );

    let vip = format!("{VIP}:80");
    let (_, answer) = json(&["explain", &vip, "--from", "10.199.0.1:4000"]);
    assert_eq!(answer["service"], "default/web:80", "{answer}");
    assert_eq!(answer["packet"]["fate"], json!({"endpoint": "10.199.1.2:8080"}), "{answer}");
    assert_eq!(
        (&answer["packet"]["device"], &answer["packet"]["knownFlow"]),
        (&json!("wire"), &json!(false))
    );
    // Asked again it is no known flow: nothing was left behind.
    let (_, again) = json(&["explain", &vip, "--from", "10.199.0.1:4000"]);
    assert_eq!(again["packet"]["knownFlow"], false, "{again}");
    // A ClusterIP's other port, an address of the ServiceCIDR that no Service has, one of no ServiceCIDR.
    for (to, fate) in
        [(&*format!("{VIP}:81"), "refused"), ("10.196.99.99:80", "dropped"), ("10.200.0.1:80", "untouched")]
    {
        let (_, answer) = json(&["explain", to, "--from", "10.199.0.1"]);
        assert_eq!(
            (&answer["packet"]["fate"], &answer["service"]),
            (&json!(fate), &Value::Null),
            "{to}: {answer}"
        );
    }
    let (code, text) = stage.ask(&["explain", &vip]);
    assert!(
        code == Some(0) && text.starts_with("Service default/web:80\n") && text.contains("10.199.1.2:8080"),
        "{text}"
    );

    let kubeconfig = stage.kubeconfig().display().to_string();
    let cgroup = stage.rig.cgroup().display().to_string();
    let words = ["doctor", "--kubeconfig", &kubeconfig, "--node-name", "node-a", "--bpf-cgroup", &cgroup];
    let (code, checks) = json(&words);
    let state = |name: &str| {
        let checks = checks.as_array().unwrap();
        checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("{name}"))["state"].clone()
    };
    for name in [
        "kernel",
        "BTF",
        "pins",
        "socket programs",
        "packet programs",
        "running proxy",
        "maps against the API",
    ] {
        assert_eq!(state(name), "ok", "{name}: {checks}");
    }
    assert_eq!(code, Some(0), "{checks}");
    // Nobody there, and nothing pinned: each is said with what to do, and the command fails.
    let (code, text) = stage.ask(&["doctor", "--agent", "127.0.0.1:9"]);
    assert!(code == Some(1) && text.contains("none at 127.0.0.1:9") && text.contains("do: "), "{text}");
}
