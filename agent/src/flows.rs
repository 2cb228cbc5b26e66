//! `xebec-agent dataplane flows`: the flows of this node as they happen. Enters: the kernel's events, names from the API
//! and from a running proxy. Leaves: a line each, until a signal, a time or a number of them.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use parking_lot::RwLock;
use tokio::sync::Notify;
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use xebec_dataplane::SourceRange;
use xebec_dataplane::inspect::flows::{
    Filter, Flow, Lost, NEW_FLOWS, Names, RENEWAL, Wanted, Watcher, clock_zero, namespaced, network, verdict,
};
use xebec_dataplane::metrics::Running;
use xebec_program::{Failure, chain};

use crate::client;

/// How long the API server's first list is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two searches for what is not known.
const SEARCH: Duration = Duration::from_secs(2);
/// Silence after which something may be amiss.
const SILENCE: Duration = Duration::from_secs(5);

/// Of `xebec-agent dataplane flows`.
#[derive(Args)]
pub(crate) struct FlowsArgs {
    /// Only flows from or to this pod: namespace/name. Options may be repeated: any value of one, and all options.
    #[arg(long = "pod", value_parser = namespaced)]
    pods: Vec<String>,
    /// Only flows of pods or Services of this namespace.
    #[arg(long = "namespace")]
    namespaces: Vec<String>,
    /// Only flows of this Service: namespace/name, or namespace/name:port.
    #[arg(long = "service", value_parser = namespaced)]
    services: Vec<String>,
    /// Only flows with this address, or one of this network, at either end.
    #[arg(long = "ip", value_parser = network)]
    networks: Vec<SourceRange>,
    /// Only flows with this port at either end.
    #[arg(long = "port")]
    ports: Vec<u16>,
    /// Only flows of this protocol: tcp, udp, sctp, icmp, or a number.
    #[arg(long = "protocol")]
    protocols: Vec<String>,
    /// Only these: translated, refused, dropped, allowed (by policies), answered (from outside); reversed (each datagram
    /// that a socket receives in a Service's name) only if asked for.
    #[arg(long = "verdict", value_parser = verdict)]
    verdicts: Vec<u32>,
    /// One of so many flows, at random.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    sample: u32,
    /// The most events a second that the programs write; what is more is counted.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// End after this time, such as 30s or 5m.
    #[arg(long = "for", value_parser = duration)]
    during: Option<Duration>,
    /// End after so many flows.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Where the names of pods come from; without it KUBECONFIG, or the pod's service account.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
}

/// A number of seconds, or one with a unit: s, m, h.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, unit)) if !unit.is_ascii_digit() => (&text[..at], unit),
        _ => (text, 's'),
    };
    let seconds = [('s', 1_u64), ('m', 60), ('h', 3600)].into_iter().find(|(name, _)| *name == unit);
    let number = number.parse::<u64>().ok().filter(|number| *number > 0);
    let product = number.zip(seconds).and_then(|(number, (_, seconds))| number.checked_mul(seconds));
    product.map(Duration::from_secs).ok_or_else(|| "give a time such as 30s, 5m or 1h".to_owned())
}

/// Where things are.
pub(crate) struct Place<'a> {
    /// Where maps are pinned.
    pub(crate) pins: &'a Path,
    /// Asks a running proxy.
    pub(crate) running: &'a (dyn Fn() -> Option<Running> + Sync),
    /// Lines of JSON in place of text.
    pub(crate) json: bool,
}

/// Shows flows until `stop`, or what the options say.
pub(crate) async fn run(args: FlowsArgs, place: Place<'_>, stop: CancellationToken) -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| Failure::part("flows")(error);
    let verdicts = args.verdicts.iter().fold(0, |all, bit| all | bit);
    let verdicts = if verdicts == 0 { NEW_FLOWS } else { verdicts };
    let wanted = Wanted { verdicts, sample: args.sample, rate: args.rate };
    let filter = Filter {
        pods: args.pods,
        namespaces: args.namespaces,
        services: args.services,
        networks: args.networks,
        ports: args.ports,
        protocols: args.protocols.iter().map(|name| name.to_lowercase()).collect(),
    };
    let names = Arc::new(RwLock::new(Names::default()));
    let following = follow(args.kubeconfig.as_deref(), &names).await;
    if let Err(failure) = &following {
        if filter.needs_pods() {
            return Err(Failure::Option(format!(
                "--pod and --namespace need names of pods, and there are none: {failure}; give --kubeconfig"
            )));
        }
        tell(&format!("no names of pods, addresses only ({failure}); give --kubeconfig"));
    }
    let mut search = Search::new(&place, &names);
    if !search.services() {
        if !filter.services.is_empty() {
            return Err(Failure::Option(
                "--service needs a running proxy, which knows names: say with --agent where its metrics are"
                    .to_owned(),
            ));
        }
        tell("no names of Services, as no proxy answers at --agent");
    }
    let mut watcher = Watcher::new(place.pins, wanted).map_err(|error| failed(&error))?;
    let (begin, zero) = (Instant::now(), clock_zero());
    let mut renewal = tokio::time::interval(RENEWAL);
    let mut count = Count::default();
    let end = args.during.map(|during| begin + during);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = until(end) => break,
            event = watcher.next() => {
                let event = event.map_err(|error| failed(&error))?;
                search.for_event(event.netns, event.index);
                let flow = Flow::new(&event, &names.read(), zero);
                count.seen += 1;
                if filter.accepts(&flow) {
                    count.shown += 1;
                    if !say(&flow, place.json) || args.limit == Some(count.shown) {
                        break;
                    }
                }
            }
            _ = renewal.tick() => {
                watcher.renew().map_err(|error| failed(&error))?;
                count.lose(watcher.lost().map_err(|error| failed(&error))?);
                if count.seen == 0 && !count.hinted && begin.elapsed() > SILENCE {
                    count.hinted = true;
                    tell(HINT);
                }
            }
        }
    }
    let lost = watcher.lost().map_err(|error| failed(&error))?;
    count.lose(lost);
    let sampled =
        if lost.unsampled > 0 { format!(", {} left out by --sample", lost.unsampled) } else { String::new() };
    tell(&format!("{} flows shown of {} read{sampled}", count.shown, count.seen));
    Ok(())
}

const HINT: &str = "nothing yet: seen are new flows to Services, and those of pods that policies select; \
                    `xebec-agent dataplane status` shows whether programs are on their hooks";

/// What was read, shown and lost.
#[derive(Default)]
struct Count {
    seen: u64,
    shown: u64,
    lost: Lost,
    hinted: bool,
}

impl Count {
    /// Says what was lost since the last time.
    fn lose(&mut self, now: Lost) {
        let (full, limited) = (now.full - self.lost.full, now.limited - self.lost.limited);
        if full > 0 {
            tell(&format!(
                "{full} events lost: they came faster than they were read (--sample or --verdict takes fewer)"
            ));
        }
        if limited > 0 {
            tell(&format!("{limited} events left out: more than --rate allows"));
        }
        self.lost = now;
    }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end.into()).await,
        None => std::future::pending().await,
    }
}

/// Looks for what a flow's names need, now and then.
struct Search<'a> {
    place: &'a Place<'a>,
    names: &'a RwLock<Names>,
    /// When what was not found was last looked for.
    namespaces: HashMap<u64, Instant>,
    indices: HashMap<u32, Instant>,
}

impl<'a> Search<'a> {
    fn new(place: &'a Place<'a>, names: &'a RwLock<Names>) -> Self {
        names.write().look(0);
        Self { place, names, namespaces: HashMap::new(), indices: HashMap::new() }
    }

    /// Asks the running proxy; whether one answered.
    fn services(&mut self) -> bool {
        let running = block_in_place(self.place.running);
        let known = running.is_some();
        let services = running.into_iter().flat_map(|running| running.services);
        self.names.write().services.extend(services.map(|named| (named.index, named.name)));
        known
    }

    fn for_event(&mut self, netns: u64, index: u32) {
        let is_known = |names: &Names| names.host == netns || names.namespaces.contains_key(&netns);
        if netns != 0 && !is_known(&self.names.read()) && is_due(&mut self.namespaces, netns) {
            block_in_place(|| self.names.write().look(netns));
        }
        let is_service = index != xebec_dataplane::inspect::flows::NO_SERVICE;
        if is_service && !self.names.read().services.contains_key(&index) && is_due(&mut self.indices, index)
        {
            self.services();
        }
    }
}

/// Whether it is time to look for something again; if so, it is noted.
fn is_due<K: Eq + std::hash::Hash>(last: &mut HashMap<K, Instant>, key: K) -> bool {
    last.retain(|_, time| time.elapsed() < SEARCH);
    let due = last.is_empty();
    last.insert(key, Instant::now());
    due
}

/// Follows pods and nodes, once the first lists are there; until the handle is dropped.
async fn follow(path: Option<&Path>, names: &Arc<RwLock<Names>>) -> Result<AbortOnDropHandle<()>, Failure> {
    let client = client::from(path).await?;
    let ready = Arc::new(Notify::new());
    let (api, all) = (Api::<Node>::all(client.clone()), ListParams::default());
    let nodes = tokio::time::timeout(PATIENCE, api.list(&all)).await;
    let late = || Failure::Part { part: "API server", reason: "no answer".to_owned() };
    let nodes = nodes.map_err(|_| late())?.map_err(|error| Failure::part("API server")(&error))?;
    for node in nodes {
        let name = node.name_any();
        let addresses = node.status.and_then(|status| status.addresses).unwrap_or_default();
        let addresses = addresses.iter().filter_map(|address| address.address.parse().ok());
        names.write().nodes.extend(addresses.map(|address| (address, name.clone())));
    }
    let (shared, told) = (Arc::clone(names), Arc::clone(&ready));
    let task = tokio::spawn(async move {
        let mut pods =
            std::pin::pin!(watcher(Api::<Pod>::all(client), watcher::Config::default()).default_backoff());
        while let Some(event) = pods.next().await {
            match event {
                Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) => {
                    note(&pod, &mut shared.write())
                }
                Ok(watcher::Event::InitDone) => told.notify_one(),
                Ok(watcher::Event::Init | watcher::Event::Delete(_)) => {}
                Err(error) => tell(&format!("names of new pods are missing: {}", chain(&error))),
            }
        }
    });
    let task = AbortOnDropHandle::new(task);
    tokio::time::timeout(PATIENCE, ready.notified()).await.map_err(|_| late())?;
    Ok(task)
}

/// Notes a pod's addresses. One that uses the node's network has the node's, and one that has ended has none.
fn note(pod: &Pod, names: &mut Names) {
    let Some(pod) = xebec_policy::facts::pod(pod).filter(|pod| !pod.on_host) else { return };
    let name = format!("{}/{}", pod.namespace, pod.name);
    names.pods.extend(pod.addresses.into_iter().map(|address| (address, name.clone())));
}

/// Whether anybody reads what is said.
fn say(flow: &Flow, json: bool) -> bool {
    let line = if json { serde_json::to_string(flow).unwrap_or_default() } else { flow.to_string() };
    writeln!(std::io::stdout(), "{line}").is_ok()
}

#[expect(clippy::print_stderr, reason = "what is said beside the answer of a command")]
fn tell(text: &str) {
    eprintln!("# {text}");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_have_units() {
        for (text, seconds) in [("30", 30), ("30s", 30), ("5m", 300), ("1h", 3600)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "0", "s", "-1s", "1d", "1.5s", "1ä", "99999999999999999999s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn pods_have_names_by_their_own_addresses() {
        let pod = |name: &str, on_host: bool, phase: &str, ip: &str| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"namespace": "x", "name": name},
                "spec": {"containers": [], "hostNetwork": on_host},
                "status": {"phase": phase, "podIP": ip, "podIPs": [{"ip": ip}, {"ip": format!("fd00::{name}")}]},
            }))
            .unwrap()
        };
        let mut names = Names::default();
        for pod in [
            pod("a", false, "Running", "10.0.0.1"),
            pod("b", true, "Running", "10.0.0.2"),
            pod("c", false, "Succeeded", "10.0.0.1"),
            pod("d", false, "Pending", "10.0.0.3"),
        ] {
            note(&pod, &mut names);
        }
        let of = |ip: &str| names.of(ip.parse().unwrap());
        assert_eq!((of("10.0.0.1").as_deref(), of("fd00::a").as_deref()), (Some("x/a"), Some("x/a")));
        assert_eq!((of("10.0.0.2"), of("10.0.0.3").as_deref()), (None, Some("x/d")));
    }

    #[test]
    fn what_is_not_found_is_not_looked_for_all_the_time() {
        let mut last = HashMap::new();
        assert!(is_due(&mut last, 1) && !is_due(&mut last, 1) && !is_due(&mut last, 2));
    }
}
