//! What one pod's change costs on a large cluster: a measurement, to be looked at by people.
//! `cargo test -p xebec-dataplane --lib policy::cost -- --ignored --nocapture`, best with optimised code.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use xebec_policy::model::{Labels, Pod, Policy, World};
use xebec_policy::{Index, compile, facts};

use super::plan::{Installed, PodName};

const PODS: usize = 5_000;
const NAMESPACES: usize = 50;
const POLICIES: usize = 200;
/// Of the pods are this node's.
const LOCAL: usize = 110;
/// Changes of each kind.
const TIMES: usize = 20;

fn labels(pairs: &[(&str, String)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
}

fn pod(number: usize) -> Pod {
    let (app, hash) = (number / NAMESPACES % 10, number / NAMESPACES % 17);
    Pod {
        namespace: format!("ns{}", number % NAMESPACES),
        name: format!("p{number}"),
        labels: labels(&[("app", format!("a{app}")), ("pod-template-hash", hash.to_string())]),
        addresses: vec![address(number)],
        ports: Vec::new(),
        on_host: false,
    }
}

fn address(number: usize) -> IpAddr {
    [10, 244, (number / 250) as u8, (1 + number % 250) as u8].into()
}

fn name(pod: &Pod) -> PodName {
    (pod.namespace.clone(), pod.name.clone())
}

/// Three applications of each namespace are reached by others of it, of two teams' namespaces, and of a block with a hole; and
/// its pods reach each other and an application of one namespace.
fn policy(number: usize) -> Policy {
    let (space, kind) = (number % NAMESPACES, number / NAMESPACES);
    let app = |name: &str| json!({"podSelector": {"matchLabels": {"app": name}}});
    let tcp = |first: u16, last: u16| json!([{"protocol": "TCP", "port": first, "endPort": last}]);
    let teams = json!([{"key": "team", "operator": "In", "values": [team(space), team(space + 7)]}]);
    let not = json!([{"key": "app", "operator": "NotIn", "values": ["a3"]}]);
    let rule = match kind {
        0 => json!({"from": [app("a1"), app("a2")], "ports": tcp(80, 80)}),
        1 => json!({"from": [{
            "namespaceSelector": {"matchExpressions": teams}, "podSelector": {"matchExpressions": not},
        }]}),
        2 => json!({
            "from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.244.0.0/16"]}}], "ports": tcp(8000, 8010),
        }),
        _ => json!({"to": [{"podSelector": {}}, {
            "namespaceSelector": {"matchLabels": {"name": "ns0"}}, "podSelector": {"matchLabels": {"app": "a0"}},
        }]}),
    };
    let spec = if kind == 3 {
        json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [rule]})
    } else {
        json!({"podSelector": {"matchLabels": {"app": format!("a{kind}")}}, "ingress": [rule]})
    };
    let metadata = json!({"namespace": format!("ns{space}"), "name": format!("n{number}")});
    let object = serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap();
    let (policy, unreadable) = facts::policy(&object);
    assert_eq!(unreadable, None);
    policy
}

fn team(number: usize) -> String {
    format!("t{}", number % 25)
}

fn world() -> World {
    let namespace = |number: usize| {
        let name = format!("ns{number}");
        (name.clone(), labels(&[("name", name), ("team", team(number))]))
    };
    World {
        policies: (0..POLICIES).map(policy).collect(),
        namespaces: (0..NAMESPACES).map(namespace).collect(),
        pods: (0..PODS).map(pod).collect(),
    }
}

/// What happens to a pod; each turn makes something else of it.
type Change = fn(&mut Pod, usize);

fn changes() -> [(&'static str, Change); 3] {
    [
        ("a label that nothing selects by", |pod, turn| {
            pod.labels.insert("pod-template-hash".to_owned(), format!("x{turn}"));
        }),
        ("another address", |pod, turn| pod.addresses = vec![address(PODS + 1 + turn)]),
        ("a label that is selected by", |pod, turn| {
            pod.labels.insert("app".to_owned(), format!("a{}", turn % 10));
        }),
    ]
}

fn print(what: &str, whose: &str, of: [Duration; 3], writes: usize) {
    let [facts, tables, plan] = of.map(|time| time / TIMES as u32);
    println!(
        "{what}, {whose} pod: facts {facts:.1?}, tables {tables:.1?}, plan {plan:.1?}, {writes} writes in {TIMES} turns"
    );
}

#[test]
#[ignore = "a measurement: prints the time of one pod's change in a cluster of 5,000 pods and 200 policies"]
fn one_pod_whole() {
    let mut world = world();
    let local: BTreeMap<PodName, u32> = world.pods[..LOCAL].iter().map(name).zip(10..).collect();
    let is_local = |pod: &Pod| local.contains_key(&name(pod));
    let mut installed = Installed::default();
    let first = installed.plan(&compile(&world, is_local), &local);
    println!("{} writes at first", first.writes.len());
    for (whose, at) in [("this node's", 7), ("another node's", PODS - 1)] {
        for (what, change) in changes() {
            let (mut times, mut writes) = ([Duration::ZERO; 3], 0);
            for turn in 0..TIMES {
                change(&mut world.pods[at], turn);
                let mut start = Instant::now();
                let mut lap =
                    |time: &mut Duration| *time += std::mem::replace(&mut start, Instant::now()).elapsed();
                let world = world.clone();
                lap(&mut times[0]);
                let tables = compile(&world, is_local);
                lap(&mut times[1]);
                let plan = installed.plan(&tables, &local);
                lap(&mut times[2]);
                writes += plan.writes.len() + plan.garbage.len();
            }
            print(what, whose, times, writes);
            world.pods[at] = pod(at);
            let back = installed.plan(&compile(&world, is_local), &local);
            println!("    and back: {} writes", back.writes.len());
        }
    }
}

#[test]
#[ignore = "a measurement: prints the time of one pod's change in a cluster of 5,000 pods and 200 policies"]
fn one_pod_kept() {
    let mut world = world();
    let local: BTreeMap<PodName, u32> = world.pods[..LOCAL].iter().map(name).zip(10..).collect();
    let start = Instant::now();
    let mut index = Index::default();
    for (name, labels) in &world.namespaces {
        index.namespace(name, Some(labels.clone()));
    }
    // As the agent does.
    let tell = |index: &mut Index, pods: &[Pod]| {
        for pod in pods {
            index.pod(&name(pod), Some((Arc::new(pod.clone()), local.contains_key(&name(pod)))));
        }
    };
    tell(&mut index, &world.pods[..LOCAL]);
    for policy in &world.policies {
        index.policy(&(policy.namespace.clone(), policy.name.clone()), Some(Arc::new(policy.clone())));
    }
    tell(&mut index, &world.pods[LOCAL..]);
    let changed = index.update();
    println!("everything at first: {:.1?}", start.elapsed());
    let mut installed = Installed::default();
    let first = installed.step(index.tables(), &local, &changed);
    println!("{} writes at first", first.writes.len());
    for (whose, at) in [("this node's", 7), ("another node's", PODS - 1)] {
        for (what, change) in changes() {
            let (mut times, mut writes) = ([Duration::ZERO; 3], 0);
            for turn in 0..TIMES {
                change(&mut world.pods[at], turn);
                let mut start = Instant::now();
                let mut lap =
                    |time: &mut Duration| *time += std::mem::replace(&mut start, Instant::now()).elapsed();
                let pod = Arc::new(world.pods[at].clone());
                lap(&mut times[0]);
                index.pod(&name(&pod), Some((pod.clone(), local.contains_key(&name(&pod)))));
                let changed = index.update();
                lap(&mut times[1]);
                let plan = installed.step(index.tables(), &local, &changed);
                lap(&mut times[2]);
                writes += plan.writes.len() + plan.garbage.len();
            }
            print(what, whose, times, writes);
            world.pods[at] = pod(at);
            index.pod(&name(&world.pods[at]), Some((Arc::new(pod(at)), at < LOCAL)));
            let changed = index.update();
            let back = installed.step(index.tables(), &local, &changed);
            println!("    and back: {} writes", back.writes.len());
        }
    }
    for policy in world.policies.iter().step_by(NAMESPACES) {
        let key = (policy.namespace.clone(), policy.name.clone());
        for policy in [None, Some(Arc::new(policy.clone()))] {
            let what = if policy.is_some() { "comes" } else { "goes" };
            let start = Instant::now();
            index.policy(&key, policy);
            let changed = index.update();
            let tables = start.elapsed();
            let plan = installed.step(index.tables(), &local, &changed);
            let (all, writes) = (start.elapsed(), plan.writes.len());
            println!(
                "policy {} {what}: tables {tables:.1?}, plan {:.1?}, {writes} writes",
                key.1,
                all - tables
            );
        }
    }
}
