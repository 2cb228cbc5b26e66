//! What each feature of a Service becomes, and how the tables follow. The kernel's part is in `tests/sctp`.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use xebec_nft::NftError;

use super::*;
use crate::failures::{Failed, Failure, Failures};
use crate::model::{Family, FrontKey, Kind, Protocol, Sets, SourceRange, Vip};

fn addresses(pods: &[&str]) -> Addresses {
    let list = |all: &[&str]| -> BTreeSet<IpAddr> { all.iter().map(|a| a.parse().unwrap()).collect() };
    Addresses {
        own: list(&["192.0.2.1", "192.0.2.2", "fd99::1"]),
        node_ports: list(&["192.0.2.1", "fd99::1"]),
        pods: pods.iter().map(|range| SourceRange::parse(range).unwrap()).collect(),
    }
}

fn port(cluster: &[&str], local: &[&str]) -> ServicePort {
    let list = |all: &[&str]| -> Vec<SocketAddr> { all.iter().map(|a| a.parse().unwrap()).collect() };
    ServicePort {
        name: "ns/s:sctp".to_owned(),
        primary: FrontKey::at("10.96.0.1".parse().unwrap(), 80, Protocol::Sctp),
        kind: Kind::ClusterIp,
        sets: Sets { cluster: list(cluster), local: list(local), serving: Vec::new() },
        ..ServicePort::probe()
    }
}

/// With a node port, an external IP and a load balancer's address.
fn external(mut port: ServicePort) -> ServicePort {
    let at = |addr: &str| FrontKey::at(addr.parse().unwrap(), 80, Protocol::Sctp);
    let node = FrontKey { vip: Vip::Node(Family::V4), port: 30080, protocol: Protocol::Sctp };
    port.aliases = vec![
        (at("198.51.100.7"), Kind::ExternalIp),
        (at("198.51.100.8"), Kind::LoadBalancer),
        (node, Kind::NodePort),
    ];
    port
}

const HERE: &str = "10.0.0.1:8080";
const THERE: &str = "10.0.1.1:8080";
const KEYS: [&str; 4] = ["10.96.0.1 . 80", "198.51.100.7 . 80", "198.51.100.8 . 80", "30080"];

fn of(port: &ServicePort) -> Ruleset {
    rules(Family::V4, std::slice::from_ref(port), &addresses(&["10.0.0.0/8"])).unwrap()
}

fn chain<'a>(found: &'a Ruleset, name: &str) -> Vec<&'a str> {
    found.chains.get(name).map(|chain| chain.rules.iter().map(String::as_str).collect()).unwrap_or_default()
}

/// Where ClusterIP, external IP, load balancer and node port lead: `found`, then who has no endpoint.
fn leads(found: &Ruleset) -> [(String, String); 4] {
    KEYS.map(|key| {
        let node = !key.contains('.');
        let names = if node {
            ["service-nodeports", "no-endpoint-nodeports"]
        } else {
            ["service-ips", "no-endpoint-services"]
        };
        let [there, none] = names.map(|name| found.sets[name].elements.get(key).cloned().unwrap_or_default());
        (there.replace("goto ", ""), none.replace("goto ", ""))
    })
}

fn lead(there: &str, none: &str) -> (String, String) {
    let whole = |text: &str| if text.is_empty() { String::new() } else { format!("{text}-ns/s/sctp") };
    (whole(there), whole(none))
}

#[test]
fn a_cluster_ip_leads_to_an_endpoint_by_chance() {
    let found = of(&port(&[HERE, THERE], &[HERE]));
    assert_eq!(leads(&found)[0], lead("service", ""));
    let choice = "numgen random mod 2 vmap { 0 : goto endpoint-ns/s/sctp__10.0.0.1/8080, 1 : goto endpoint-ns/s/sctp__10.0.1.1/8080 }";
    assert_eq!(chain(&found, "service-ns/s/sctp"), [choice]);
    let endpoint = ["ip saddr 10.0.1.1 jump mark-for-masquerade", "meta l4proto sctp dnat to 10.0.1.1:8080"];
    assert_eq!(chain(&found, "endpoint-ns/s/sctp__10.0.1.1/8080"), endpoint);
    let services = chain(&found, "services");
    assert_eq!(services[0], "ip daddr @cluster-ips ip saddr != { 10.0.0.0/8 } jump mark-for-masquerade");
    assert_eq!(services[1], "ip daddr . sctp dport vmap @service-ips");
    assert!(found.sets["cluster-ips"].elements.contains_key("10.96.0.1"));
    assert!(
        !found.chains.contains_key("external-ns/s/sctp") && !found.chains.contains_key("local-ns/s/sctp")
    );
    // Where pods are is not known: upstream's proxy does not hide anybody either, without a --cluster-cidr.
    let without = rules(Family::V4, &[port(&[HERE], &[])], &addresses(&[])).unwrap();
    assert_eq!(chain(&without, "services").len(), services.len() - 1);
}

#[test]
fn external_addresses_and_policies() {
    let mut port = external(port(&[HERE, THERE], &[HERE]));
    let all = [lead("service", ""), lead("external", ""), lead("external", ""), lead("external", "")];
    assert_eq!(leads(&of(&port)), all);
    let cluster = ["jump mark-for-masquerade", "goto service-ns/s/sctp"];
    assert_eq!(chain(&of(&port), "external-ns/s/sctp"), cluster);
    port.external_local = true;
    let found = of(&port);
    assert_eq!(leads(&found), all);
    let local = [
        "ip saddr { 10.0.0.0/8 } goto service-ns/s/sctp",
        "ip saddr @node-ips jump mark-for-masquerade",
        "ip saddr @node-ips goto service-ns/s/sctp",
        "goto local-ns/s/sctp",
    ];
    assert_eq!(chain(&found, "external-ns/s/sctp"), local);
    assert_eq!(
        chain(&found, "local-ns/s/sctp"),
        ["numgen random mod 1 vmap { 0 : goto endpoint-ns/s/sctp__10.0.0.1/8080 }"]
    );
    // None here: pods and the node reach the others, who comes from outside is dropped.
    port.sets.local.clear();
    let found = of(&port);
    let dropped = lead("external", "dropped");
    assert_eq!(leads(&found), [lead("service", ""), dropped.clone(), dropped.clone(), dropped]);
    assert_eq!(chain(&found, "external-ns/s/sctp"), local[..3]);
    assert_eq!(chain(&found, "dropped-ns/s/sctp"), ["drop"]);
    // None at all.
    port.sets.cluster.clear();
    let found = of(&port);
    let refused = lead("", "refused");
    assert_eq!(leads(&found), [refused.clone(), refused.clone(), refused.clone(), refused]);
    assert_eq!(chain(&found, "refused-ns/s/sctp"), ["reject"]);
    assert!(!found.chains.keys().any(|name| name.starts_with("external-") || name.starts_with("endpoint-")));
}

#[test]
fn internal_traffic_policy_local() {
    let mut port = external(port(&[HERE, THERE], &[HERE]));
    port.internal_local = true;
    assert_eq!(leads(&of(&port))[..2], [lead("local", ""), lead("external", "")]);
    port.sets.local.clear();
    assert_eq!(leads(&of(&port))[..2], [lead("", "dropped"), lead("external", "")]);
    // Endpoints that nobody is sent to have no chain.
    port.aliases.clear();
    assert!(!of(&port).chains.keys().any(|name| name.starts_with("endpoint-")));
}

#[test]
fn clients_keep_their_endpoint_for_a_time() {
    let mut port = port(&[HERE, THERE], &[]);
    port.affinity = Some(90);
    let found = of(&port);
    let set = "affinity-ns/s/sctp__10.0.0.1/8080-90";
    assert_eq!(found.sets[set].spec, "type ipv4_addr ; flags dynamic,timeout ; timeout 90s ;");
    let service = chain(&found, "service-ns/s/sctp");
    assert_eq!(
        (service.len(), service[0]),
        (3, &*format!("ip saddr @{set} goto endpoint-ns/s/sctp__10.0.0.1/8080"))
    );
    assert_eq!(
        chain(&found, "endpoint-ns/s/sctp__10.0.0.1/8080")[1],
        format!("update @{set} {{ ip saddr }}")
    );
    port.affinity = Some(60);
    assert!(!of(&port).sets.contains_key(set), "a set's timeout is for good");
}

#[test]
fn a_load_balancer_lets_in_whom_it_is_told_to() {
    let mut port = external(port(&[HERE], &[]));
    let firewall = |port: &mut ServicePort, ranges: &[&str]| {
        port.source_ranges = ranges.iter().map(|range| SourceRange::parse(range).unwrap()).collect();
        let found = of(port);
        let guarded: Vec<String> = found.sets["firewall-ips"].elements.keys().cloned().collect();
        (guarded, chain(&found, "firewall-ns/s/sctp").join("; "))
    };
    let lb = vec!["198.51.100.8 . 80".to_owned()];
    // Overlapping networks are one for nft.
    let rule = "ip saddr != { 203.0.113.0/24 } drop";
    assert_eq!(firewall(&mut port, &["203.0.113.0/24", "203.0.113.8/29"]), (lb.clone(), rule.to_owned()));
    let rule = "ip saddr != { 192.0.2.0/24, 198.51.100.8 } drop";
    assert_eq!(firewall(&mut port, &["192.0.2.0/24"]), (lb, rule.to_owned()), "the node as its own client");
    let none = (vec![], String::new());
    assert_eq!(firewall(&mut port, &["0.0.0.0/0", "10.0.0.0/8"]), none);
    port.aliases.retain(|(_, kind)| *kind != Kind::LoadBalancer);
    assert_eq!(firewall(&mut port, &["192.0.2.0/24"]), none);
}

#[test]
fn host_ports_lead_to_their_pod() {
    let at = |vip| {
        let primary = FrontKey { vip, port: 8081, protocol: Protocol::Sctp };
        of(&ServicePort { kind: Kind::HostPort, primary, ..port(&[HERE], &[HERE]) })
    };
    let found = at(Vip::Host(Family::V4));
    assert_eq!(found.sets["host-ports"].elements["8081"], "goto endpoint-HOST/any/8081__10.0.0.1/8080");
    assert_eq!(chain(&found, "endpoint-HOST/any/8081__10.0.0.1/8080").len(), 2);
    let found = at(Vip::HostAddress("192.0.2.2".parse().unwrap()));
    assert_eq!(
        found.sets["host-ports-at"].elements["192.0.2.2 . 8081"],
        "goto endpoint-HOST/192.0.2.2/8081__10.0.0.1/8080"
    );
    assert!(found.sets["host-ports"].elements.is_empty());
}

#[test]
fn each_family_has_a_table_of_its_own() {
    let six = ServicePort {
        primary: FrontKey::at("fd96::1".parse().unwrap(), 80, Protocol::Sctp),
        ..port(&["[fd00::1]:8080"], &[])
    };
    let all = [port(&[HERE], &[]), six];
    let found = rules(Family::V6, &all, &addresses(&["10.0.0.0/8"])).unwrap();
    let endpoint = ["ip6 saddr fd00::1 jump mark-for-masquerade", "meta l4proto sctp dnat to [fd00::1]:8080"];
    assert_eq!(chain(&found, "endpoint-ns/s/sctp__fd00..1/8080"), endpoint);
    let keys = |name: &str| found.sets[name].elements.keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        (keys("service-ips"), keys("nodeport-ips")),
        (vec!["fd96::1 . 80".to_owned()], vec!["fd99::1".to_owned()])
    );
    assert_eq!(rules(Family::V6, &all[..1], &addresses(&[])), None);
}

#[test]
fn names_are_harmless_and_fit() {
    let long = "x".repeat(63);
    let mut port = port(&["[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe]:65535"], &[]);
    port.primary = FrontKey::at("fd96::1".parse().unwrap(), 80, Protocol::Sctp);
    port.name = format!("{long}/{long}:{long}");
    port.affinity = Some(86_400);
    let found = rules(Family::V6, std::slice::from_ref(&port), &Addresses::default()).unwrap();
    // NFT_NAME_MAXLEN, with an end.
    assert!(found.chains.keys().chain(found.sets.keys()).all(|name| name.len() < 256));
    port.name = "a/b:c; flush ruleset\n#".to_owned();
    let found = rules(Family::V6, std::slice::from_ref(&port), &Addresses::default()).unwrap();
    assert!(found.chains.contains_key("service-a/b/c..flush.ruleset.."));
}

/// Takes scripts down; fails when it is told to.
#[derive(Debug, Default)]
struct Fake {
    scripts: Vec<String>,
    failure: Option<fn() -> NftError>,
    names: Option<Names>,
    looked: usize,
}

impl Filter for Fake {
    fn write(&mut self, script: &str) -> Result<(), NftError> {
        self.failure.map_or(Ok(()), |failure| Err(failure()))?;
        self.scripts.push(script.to_owned());
        Ok(())
    }

    fn names(&mut self, family: Family) -> Result<Option<Names>, NftError> {
        self.looked += 1;
        Ok(self.names.clone().filter(|_| family == Family::V4))
    }
}

fn missing() -> NftError {
    NftError::Run(std::io::Error::from(std::io::ErrorKind::NotFound))
}

fn refused() -> NftError {
    NftError::Refused("Operation not supported".to_owned())
}

fn wanted(ports: &[ServicePort]) -> Wanted {
    Wanted { ports: Some(ports.to_vec()), addresses: addresses(&[]), ..Wanted::default() }
}

#[test]
fn nobody_is_asked_while_there_is_no_service() {
    let dir = tempfile::tempdir().unwrap();
    let mut table = Table::new(Fake::default(), dir.path());
    for wanted in [Wanted::default(), wanted(&[])] {
        assert!(!table.sync(&wanted).unwrap());
    }
    assert_eq!((table.filter().scripts.len(), table.filter().looked), (0, 0));
    // The first Service, the same again, an endpoint more, none: the mark comes and goes with the tables.
    let mark = dir.path().join("sctp");
    assert!(table.sync(&wanted(&[port(&[HERE], &[])])).unwrap() && mark.is_dir() && table.is_present());
    assert!(!table.sync(&wanted(&[port(&[HERE], &[])])).unwrap());
    assert!(table.sync(&wanted(&[port(&[HERE, THERE], &[])])).unwrap());
    assert!(table.sync(&wanted(&[])).unwrap() && !mark.exists() && !table.is_present());
    let scripts = &table.filter().scripts;
    assert_eq!(scripts.len(), 3);
    assert!(scripts[1].contains("add chain ip xebec-sctp endpoint-ns/s/sctp__10.0.1.1/8080\n"));
    assert!(!scripts[1].contains("services"), "{}", scripts[1]);
    assert_eq!(scripts[2], "add table ip xebec-sctp\ndelete table ip xebec-sctp\n");
}

#[test]
fn an_earlier_agents_tables_are_taken_over_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let names = || {
        let set = |name: &str| BTreeSet::from([name.to_owned()]);
        Some(Names { chains: set("service-old"), sets: set("affinity-old"), maps: set("service-ips") })
    };
    std::fs::create_dir(dir.path().join("sctp")).unwrap();
    let fake = || Fake { names: names(), ..Fake::default() };
    let mut table = Table::new(fake(), dir.path());
    table.sync(&wanted(&[port(&[HERE], &[])])).unwrap();
    let scripts = &table.filter().scripts;
    assert!(
        scripts[0].contains("flush map ip xebec-sctp service-ips\n") && !scripts[0].contains("delete table")
    );
    assert!(scripts[0].ends_with("delete set ip xebec-sctp affinity-old\n"));
    assert_eq!(scripts[1], "delete chain ip xebec-sctp service-old\n");
    // While no agent ran, the last Service went.
    let mut table = Table::new(fake(), dir.path());
    assert!(!table.sync(&Wanted::default()).unwrap(), "not before the API has spoken");
    table.sync(&wanted(&[])).unwrap();
    assert_eq!(table.filter().scripts, ["add table ip xebec-sctp\ndelete table ip xebec-sctp\n"]);
    assert!(!dir.path().join("sctp").exists());
    remove(&mut Fake { failure: Some(refused), ..Fake::default() }, dir.path()).unwrap();
}

#[test]
fn what_failed_is_written_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("sctp");
    let mut table = Table::new(Fake { failure: Some(missing), ..Fake::default() }, dir.path());
    let one = wanted(&[port(&[HERE], &[])]);
    assert_eq!(table.sync(&one).unwrap_err().to_string(), "cannot run nft: entity not found");
    assert!(!mark.exists(), "nothing to remove, with what is not there");
    table.sync(&wanted(&[])).unwrap();
    table.filter().failure = Some(refused);
    table.sync(&one).unwrap_err();
    table.filter().failure = None;
    table.sync(&one).unwrap();
    assert!(table.filter().scripts[0].starts_with("add table ip xebec-sctp\ndelete table ip xebec-sctp\n"));
    // Somebody flushed the rules of the whole machine.
    let names = || Names { chains: of(&port(&[HERE], &[])).chains.into_keys().collect(), ..Names::default() };
    table.filter().names = Some(names());
    assert!(table.check().unwrap() && !table.sync(&one).unwrap());
    table.filter().names = None;
    assert!(!table.check().unwrap() && table.sync(&one).unwrap());
    remove(table.filter(), dir.path()).unwrap();
    assert!(!mark.exists());
}

/// By Service, why.
#[derive(Clone, Debug, Default)]
struct Heard(Arc<parking_lot::Mutex<Vec<(String, String)>>>);

impl Failures for Heard {
    fn failed(&self, failure: &Failure) {
        let Failed::Sctp(why) = &failure.what else { panic!("{failure:?}") };
        self.0.lock().push((failure.owner.name.to_string(), why.clone()));
    }
}

#[derive(Clone, Debug, Default)]
struct Switch(Arc<parking_lot::Mutex<Fake>>);

impl Filter for Switch {
    fn write(&mut self, script: &str) -> Result<(), NftError> {
        self.0.lock().write(script)
    }

    fn names(&mut self, family: Family) -> Result<Option<Names>, NftError> {
        self.0.lock().names(family)
    }
}

#[tokio::test]
async fn a_failure_is_told_once_of_each_service_and_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let (switch, heard) = (Switch::default(), Heard::default());
    switch.0.lock().failure = Some(missing);
    let worker = Worker::start(Table::new(switch.clone(), dir.path()), heard.clone());
    let state = worker.state();
    let until = async |done: fn(&State) -> bool| {
        while !done(&state.lock()) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let services = |names: &[&str]| {
        names.iter().map(|name| (Owner::new("d", name), Arc::from(*name))).collect::<BTreeMap<_, _>>()
    };
    worker.want(|now| *now = Wanted { services: services(&["a"]), ..wanted(&[port(&[HERE], &[])]) });
    until(|state| state.failures >= 1).await;
    worker.want(|now| now.services = services(&["a", "b"]));
    until(|state| state.failures >= 2).await;
    let why = "cannot run nft: entity not found";
    let told = |name: &str| (name.to_owned(), why.to_owned());
    assert_eq!(*heard.0.lock(), [told("a"), told("b")]);
    assert_eq!(state.lock().failure.as_deref(), Some(why));
    switch.0.lock().failure = None;
    // By its own clock.
    until(|state| state.failure.is_none()).await;
    assert_eq!((switch.0.lock().scripts.len(), state.lock().ports), (1, 1));
    assert_eq!(heard.0.lock().len(), 2);
}
