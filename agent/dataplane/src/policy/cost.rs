//! What one pod's change costs on a large cluster: a measurement, to be looked at by people.
//! `cargo test -p xebec-dataplane --lib policy::cost -- --ignored --nocapture`, best with optimised code.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use xebec_policy::model::{Labels, Pod, Policy, World};
use xebec_policy::{Index, Name, compile, facts};

use super::plan::{Installed, Plan, PodName};

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

/// Times of the parts of what happens again and again.
#[derive(Default)]
struct Watch {
    facts: Duration,
    tables: Duration,
    plan: Duration,
    writes: usize,
    turns: u32,
}

impl Watch {
    /// One turn: each part is given what the one before it made.
    fn turn<F, T>(
        &mut self,
        facts: impl FnOnce() -> F,
        tables: impl FnOnce(F) -> T,
        plan: impl FnOnce(T) -> Plan,
    ) {
        let start = Instant::now();
        let facts = facts();
        let read = Instant::now();
        let tables = tables(facts);
        let made = Instant::now();
        let plan = plan(tables);
        self.plan += made.elapsed();
        (self.facts, self.tables) = (self.facts + (read - start), self.tables + (made - read));
        self.writes += plan.writes.len() + plan.garbage.len();
        self.turns += 1;
    }

    fn print(&self, what: &str) {
        let [facts, tables, plan] = [self.facts, self.tables, self.plan].map(|time| time / self.turns.max(1));
        let Self { writes, turns, .. } = self;
        println!(
            "{what}: facts {facts:.1?}, tables {tables:.1?}, plan {plan:.1?}, {writes} writes in {turns} turns"
        );
    }
}

/// The pods of this node, with their devices.
fn local(world: &World) -> BTreeMap<PodName, u32> {
    world.pods[..LOCAL].iter().map(name).zip(10..).collect()
}

/// Whose pods change.
const WHOSE: [(&str, usize); 2] = [("this node's pod", 7), ("another node's pod", PODS - 1)];

#[test]
#[ignore = "a measurement: prints the time of one pod's change in a cluster of 5,000 pods and 200 policies"]
fn one_pod_whole() {
    let mut world = world();
    let local = local(&world);
    let is_local = |pod: &Pod| local.contains_key(&name(pod));
    let mut installed = Installed::default();
    let first = installed.plan(&compile(&world, is_local), &local);
    println!("{} writes at first", first.writes.len());
    for (whose, at) in WHOSE {
        for (what, change) in changes() {
            let mut watch = Watch::default();
            for turn in 0..TIMES {
                change(&mut world.pods[at], turn);
                watch.turn(
                    || world.clone(),
                    |world| compile(&world, is_local),
                    |tables| installed.plan(&tables, &local),
                );
            }
            watch.print(&format!("{what}, {whose}"));
            world.pods[at] = pod(at);
            let back = installed.plan(&compile(&world, is_local), &local);
            println!("    and back: {} writes", back.writes.len());
        }
    }
}

/// What the agent keeps, in step with a world.
struct Kept {
    index: Index,
    installed: Installed,
    local: BTreeMap<PodName, u32>,
}

impl Kept {
    fn new(world: &World) -> Self {
        let mut kept = Self { index: Index::default(), installed: Installed::default(), local: local(world) };
        for (name, labels) in &world.namespaces {
            kept.index.namespace(name, Some(labels.clone()));
        }
        // As the agent does.
        world.pods[..LOCAL].iter().for_each(|pod| tell(&mut kept.index, pod, true));
        for policy in &world.policies {
            kept.index.policy(&key(policy), Some(Arc::new(policy.clone())));
        }
        world.pods[LOCAL..].iter().for_each(|pod| tell(&mut kept.index, pod, false));
        kept
    }

    /// A turn of something that the index is told.
    fn turn(&mut self, watch: &mut Watch, change: impl FnOnce(&mut Index)) {
        let Self { index, installed, local } = self;
        watch.turn(
            || (),
            |()| {
                change(index);
                let changed = index.update();
                (index, changed)
            },
            |(index, changed)| installed.step(index.tables(), local, &changed),
        );
    }
}

fn tell(index: &mut Index, pod: &Pod, is_local: bool) {
    index.pod(&name(pod), Some((Arc::new(pod.clone()), is_local)));
}

fn key(policy: &Policy) -> Name {
    (policy.namespace.clone(), policy.name.clone())
}

#[test]
#[ignore = "a measurement: prints the time of one pod's change in a cluster of 5,000 pods and 200 policies"]
fn one_pod_kept() {
    let mut world = world();
    let mut kept = Kept::new(&world);
    let mut first = Watch::default();
    kept.turn(&mut first, |_| ());
    first.print("everything at first");
    for (whose, at) in WHOSE {
        for (what, change) in changes() {
            let (mut there, mut back) = (Watch::default(), Watch::default());
            for turn in 0..TIMES {
                change(&mut world.pods[at], turn);
                kept.turn(&mut there, |index| tell(index, &world.pods[at], at < LOCAL));
            }
            world.pods[at] = pod(at);
            kept.turn(&mut back, |index| tell(index, &world.pods[at], at < LOCAL));
            there.print(&format!("{what}, {whose}"));
            back.print("    and back");
        }
    }
}

#[test]
#[ignore = "a measurement: prints the time of a change of selection in a cluster of 5,000 pods and 200 policies"]
fn selection() {
    let world = world();
    let mut kept = Kept::new(&world);
    kept.turn(&mut Watch::default(), |_| ());
    let (mut leaves, mut enters) = (Watch::default(), Watch::default());
    for pod in &world.pods[..TIMES] {
        let none = Pod { labels: Labels::new(), ..pod.clone() };
        kept.turn(&mut leaves, |index| tell(index, &none, true));
        kept.turn(&mut enters, |index| tell(index, pod, true));
    }
    leaves.print("a pod of this node loses its labels");
    enters.print("    and has them again");
    let (mut ends, mut comes) = (Watch::default(), Watch::default());
    for pod in &world.pods[..TIMES] {
        kept.turn(&mut ends, |index| index.pod(&name(pod), None));
        kept.turn(&mut comes, |index| tell(index, pod, true));
    }
    ends.print("a pod of this node ends");
    comes.print("    and comes again");
    for kind in 0..POLICIES / NAMESPACES {
        let (mut goes, mut comes) = (Watch::default(), Watch::default());
        for policy in &world.policies[kind * NAMESPACES..][..TIMES] {
            kept.turn(&mut goes, |index| index.policy(&key(policy), None));
            kept.turn(&mut comes, |index| index.policy(&key(policy), Some(Arc::new(policy.clone()))));
        }
        goes.print(&format!("a policy of kind {kind} goes"));
        comes.print("    and comes again");
    }
}
