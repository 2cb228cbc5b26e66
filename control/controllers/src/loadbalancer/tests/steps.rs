use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8, Option<u8>, bool),
    Remove(u8),
    Pools(Vec<(u8, u8)>),
    Retype(u8, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..12_u8, 0..60_u8, prop::option::of(0..12_u8), any::<bool>()).prop_map(|(n, age, ip, dual)| Step::Put(n, age, ip, dual)),
        2 => (0..12_u8).prop_map(Step::Remove),
        1 => prop::collection::vec((0..10_u8, 0..6_u8), 0..3).prop_map(Step::Pools),
        1 => (0..12_u8, any::<bool>()).prop_map(|(n, balancer)| Step::Retype(n, balancer)),
    ]
}

proptest! {
    /// Whatever comes and goes: no address twice, not even between two writes; nobody moves without need; a second look
    /// writes nothing; a new process decides the same.
    #[test]
    fn no_address_twice_and_nobody_moves(steps in prop::collection::vec(step(), 1..30)) {
        let mut cluster = Cluster::new(vec![pool("p", addresses(&["192.0.2.0/29"]))]);
        for step in steps {
            let before: BTreeMap<String, String> = cluster.services.keys().map(|name| (name.clone(), cluster.of(name))).collect();
            let stays = matches!(step, Step::Put(..) | Step::Remove(_));
            let mut touched = String::new();
            match step {
                Step::Put(n, age, ip, two) => {
                    touched = format!("s{n}");
                    let mut change = if two { dual("PreferDualStack") } else { json!({}) };
                    if let Some(ip) = ip {
                        change["spec"]["loadBalancerIP"] = json!(format!("192.0.2.{ip}"));
                    }
                    let status = cluster.services.get(&touched).and_then(|old| old.status.clone());
                    let mut new = service(&touched, age, change);
                    new.status = status;
                    cluster.put(new);
                }
                Step::Remove(n) => drop(cluster.services.remove(&format!("s{n}"))),
                Step::Retype(n, balancer) => {
                    let name = format!("s{n}");
                    if cluster.services.contains_key(&name) {
                        let kind = if balancer { "LoadBalancer" } else { "ClusterIP" };
                        cluster.change(&name, json!({"spec": {"type": kind}}));
                    }
                }
                Step::Pools(ranges) => {
                    let made = ranges.iter().enumerate().map(|(index, (first, size))| {
                        let (last, six) = (first + size, format!("2001:db8::{first}-2001:db8::{}", 10 + size));
                        pool(&format!("p{index}"), addresses(&[&format!("192.0.2.{first}-192.0.2.{last}"), &six]))
                    });
                    cluster.pools = made.collect();
                }
            }
            cluster.settle();
            for (name, had) in before {
                if stays && name != touched && cluster.services.contains_key(&name) {
                    let has = cluster.of(&name);
                    let kept = had.split(',').all(|address| has.split(',').any(|one| one == address || address.is_empty()));
                    prop_assert!(kept, "{name} had {had}, has {has}");
                }
            }
        }
    }
}
