//! The aggregator's tasks. Enters: changes of APIServices, Services, EndpointSlices and of what this server serves.
//! Leaves: routes, the condition Available, and the APIServices of this server's own groups.
//!
//! One task follows the objects; each remote server has a task that judges and asks it (again every 30 seconds, sooner
//! after a failure or a change) and one that keeps what it tells (every minute).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, info, warn};
use xebec_api::meta;
use xebec_api::status::{ApiError, Reason};
use xebec_identity::{ObjectReader, User};

use super::available::{Condition, FAILED, ServiceRef, Verdict, is_available, judge};
use super::priority::{Ranked, automatic};
use super::register::{self, Action};
use super::remote::{Remote, Spec};
use super::{Aggregator, Route, State, contents};
use crate::gateway::resolve::slices;
use crate::registry::{DeleteOptions, Registry, Sub, Target, UpdateOptions, WriteContext};

const GROUP: &str = "apiregistration.k8s.io";
const PLURAL: &str = "apiservices";
/// How often a remote server is asked when nothing happens.
const RESYNC: Duration = Duration::from_secs(30);
/// How often what it tells is fetched.
const REFRESH: Duration = Duration::from_secs(60);
/// The first pause after a failure; it doubles up to the pause when nothing happens.
const RETRY: Duration = Duration::from_millis(250);

/// The tasks of one remote server; dropping it ends them.
struct Watched {
    spec: Option<Spec>,
    remote: Option<Arc<Remote>>,
    error: String,
    /// Wakes the task that asks.
    poke: Arc<Notify>,
    /// Wakes the task that fetches.
    poke_contents: Arc<Notify>,
    _guard: DropGuard,
}

impl Watched {
    fn poke(&self) {
        self.poke.notify_one();
        self.poke_contents.notify_one();
    }
}

/// Registers this server's groups, knows every APIService when it returns, and follows them until `stop`.
pub async fn start(aggregator: &Arc<Aggregator>, stop: CancellationToken) {
    let mut settled = HashSet::new();
    register(&aggregator.registry, &mut settled).await;
    judge_local(&aggregator.registry).await;
    let mut watched = HashMap::new();
    refresh(aggregator, &mut watched);
    let aggregator = Arc::clone(aggregator);
    tokio::spawn(async move {
        tokio::select! {
            () = follow(&aggregator, watched, settled) => {}
            () = stop.cancelled() => {}
        }
    });
}

/// Says of every local APIService that it is available: a server that is ready has nothing left to write by itself.
async fn judge_local(registry: &Registry) {
    let objects = registry.caches().list(GROUP, PLURAL, None);
    let local = Condition::of(Verdict::Local, Ok(()));
    let writes = objects.iter().filter(|object| ServiceRef::of(object).is_none()).map(|object| async {
        if let Err(error) = write(registry, meta::name(object), &local).await {
            warn!(%error, apiservice = meta::name(object), "the condition cannot be written");
        }
    });
    futures::future::join_all(writes).await;
}

async fn follow(
    aggregator: &Arc<Aggregator>,
    mut watched: HashMap<String, Watched>,
    mut settled: HashSet<String>,
) {
    let caches = aggregator.registry.caches();
    let subscribe = |group: &str, plural: &str| caches.of(group, plural).map(|cache| cache.subscribe());
    let (Some(mut services), Some(mut endpoints), Some(mut objects)) = (
        subscribe("", "services"),
        subscribe("discovery.k8s.io", "endpointslices"),
        subscribe(GROUP, PLURAL),
    ) else {
        return warn!("APIServices, Services or EndpointSlices are not served: nothing is aggregated");
    };
    let mut served = aggregator.registry.resources().subscribe();
    loop {
        let network = tokio::select! {
            changed = objects.changed() => { if changed.is_err() { return } false }
            changed = served.changed() => { if changed.is_err() { return } false }
            changed = services.changed() => { if changed.is_err() { return } true }
            changed = endpoints.changed() => { if changed.is_err() { return } true }
        };
        if network {
            watched.values().filter(|one| one.spec.is_some()).for_each(Watched::poke);
            continue;
        }
        register(&aggregator.registry, &mut settled).await;
        refresh(aggregator, &mut watched);
    }
}

/// Makes routes and tasks what the APIServices say.
fn refresh(aggregator: &Arc<Aggregator>, watched: &mut HashMap<String, Watched>) {
    let objects = aggregator.registry.caches().list(GROUP, PLURAL, None);
    let names: HashSet<&str> = objects.iter().map(|object| meta::name(object)).collect();
    watched.retain(|name, _| names.contains(name.as_str()));
    let mut state = State::default();
    for object in &objects {
        let name = meta::name(object).to_owned();
        let spec = Spec::of(object);
        if watched.get(&name).is_none_or(|known| known.spec != spec) {
            watched.insert(name.clone(), watch(aggregator, name.clone(), spec));
        } else if let Some(known) = watched.get(&name) {
            known.poke();
        }
        let text = |key: &str| object["spec"][key].as_str().unwrap_or_default().to_owned();
        let number = |key: &str| object["spec"][key].as_i64().unwrap_or_default();
        let (group, version) = (text("group"), text("version"));
        let ranked = Ranked {
            group: group.clone(),
            version: version.clone(),
            group_priority: number("groupPriorityMinimum"),
            version_priority: number("versionPriority"),
        };
        state.ranks.insert((group.clone(), version.clone()), ranked);
        let Some(known) = watched.get(&name).filter(|known| known.spec.is_some()) else { continue };
        let available = is_available(object);
        let route = match &known.remote {
            Some(remote) => Route::Remote { remote: Arc::clone(remote), available },
            None => Route::Broken { error: known.error.clone(), available },
        };
        state.routes.entry(group).or_default().insert(version, route);
    }
    *aggregator.state.write() = Arc::new(state);
}

fn watch(aggregator: &Arc<Aggregator>, name: String, spec: Option<Spec>) -> Watched {
    let stop = CancellationToken::new();
    let (poke, poke_contents) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (mut remote, mut error) = (None, String::new());
    if let Some(spec) = &spec {
        let identity = (aggregator.identity.0.as_path(), aggregator.identity.1.as_path());
        let reader: Arc<dyn ObjectReader> = Arc::clone(aggregator.registry.caches()) as _;
        match Remote::new(spec.clone(), identity, Arc::clone(&aggregator.dialer), reader) {
            Ok(made) => remote = Some(Arc::new(made)),
            Err(wrong) => {
                warn!(error = %wrong, apiservice = name, "a remote API server cannot be reached as described");
                error = wrong.to_string();
            }
        }
    }
    if let Some(remote) = remote.clone() {
        tokio::spawn(until(stop.clone(), keep_contents(remote, Arc::clone(&poke_contents))));
    }
    let registry = Arc::clone(&aggregator.registry);
    let judged =
        keep_condition(registry, name, spec.clone(), remote.clone(), error.clone(), Arc::clone(&poke));
    tokio::spawn(until(stop.clone(), judged));
    Watched { spec, remote, error, poke, poke_contents, _guard: stop.drop_guard() }
}

async fn until(stop: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = stop.cancelled() => {}
    }
}

/// Keeps the condition Available of one APIService.
async fn keep_condition(
    registry: Arc<Registry>,
    name: String,
    spec: Option<Spec>,
    remote: Option<Arc<Remote>>,
    error: String,
    poke: Arc<Notify>,
) {
    let mut pause = RETRY;
    loop {
        let condition = check(&registry, spec.as_ref(), remote.as_deref(), &error).await;
        let written = write(&registry, &name, &condition).await;
        if let Err(error) = &written {
            debug!(%error, apiservice = name, "the condition cannot be written");
        }
        // Only a server that does not answer is worth asking again without a change to go by.
        let again = condition.reason == FAILED || written.is_err();
        tokio::select! {
            () = tokio::time::sleep(if again { pause } else { RESYNC }) => {
                pause = if again { (pause * 2).min(RESYNC) } else { RETRY };
            }
            () = poke.notified() => pause = RETRY,
        }
    }
}

async fn check(registry: &Registry, spec: Option<&Spec>, remote: Option<&Remote>, error: &str) -> Condition {
    let reader = registry.caches();
    let service: Option<&ServiceRef> = spec.map(|spec| &spec.service);
    let object = service.and_then(|s| reader.get("", "services", &s.namespace, &s.name));
    let slices = service.map(|s| slices(&**reader, &s.namespace, &s.name)).unwrap_or_default();
    let verdict = judge(service, object.as_deref(), &slices);
    let asked = match (&verdict, remote) {
        (Verdict::Ask, Some(remote)) => contents::probe(remote).await,
        (Verdict::Ask, None) => Err(error.to_owned()),
        _ => Ok(()),
    };
    Condition::of(verdict, asked)
}

async fn write(registry: &Registry, name: &str, condition: &Condition) -> Result<(), ApiError> {
    let target = Target::find(registry.resources(), GROUP, PLURAL, "", name)?;
    let Some(present) = registry.caches().get(GROUP, PLURAL, "", name) else { return Ok(()) };
    if condition.set_in(&present, registry.now())["status"] == present["status"] {
        return Ok(());
    }
    info!(
        apiservice = name,
        available = condition.available,
        reason = condition.reason,
        "availability changed"
    );
    let now = registry.now();
    let editor = |old: &Value| Ok(condition.set_in(old, now));
    let written = registry.update(&context(), &target, Sub::Status, UpdateOptions::default(), &editor).await;
    match written {
        Err(error) if error.reason == Reason::NotFound => Ok(()),
        written => written.map(drop),
    }
}

/// Keeps discovery and OpenAPI of one remote server.
async fn keep_contents(remote: Arc<Remote>, poke: Arc<Notify>) {
    let mut pause = RETRY;
    loop {
        match contents::refresh(&remote).await {
            Ok(()) => {
                pause = RETRY;
                tokio::time::sleep(REFRESH).await;
            }
            Err(error) => {
                debug!(%error, group = remote.spec.group, "discovery of a remote API server failed");
                pause = (pause * 2).min(REFRESH);
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = poke.notified() => {}
                }
            }
        }
    }
}

fn context() -> WriteContext {
    WriteContext::new(User::system_master("system:apiserver"), "kube-aggregator".to_owned(), false)
}

/// Writes the APIServices of this server's own groups.
async fn register(registry: &Registry, settled: &mut HashSet<String>) {
    let current: Vec<Value> =
        registry.caches().list(GROUP, PLURAL, None).iter().map(|o| (**o).clone()).collect();
    let mut seen = HashSet::new();
    let snapshot = registry.resources().snapshot();
    let wanted: Vec<Value> = snapshot
        .kinds()
        .iter()
        .filter(|kind| seen.insert((kind.served.group, kind.served.version)))
        .filter_map(|kind| automatic(kind.served.group, kind.served.version, kind.custom.is_some()))
        .collect();
    let actions = register::plan(&current, &wanted, settled);
    let context = context();
    let done = actions.iter().map(|action| act(registry, &context, action));
    let mut failed = HashSet::new();
    for (outcome, action) in futures::future::join_all(done).await.into_iter().zip(&actions) {
        let name = match action {
            Action::Create(object) | Action::Update(object) => meta::name(object),
            Action::Delete(name, _) => name,
        };
        if let Err(error) = outcome {
            warn!(%error, apiservice = name, "an APIService of this server cannot be written");
            failed.insert(name.to_owned());
        }
    }
    settled
        .extend(wanted.iter().map(|wish| meta::name(wish).to_owned()).filter(|name| !failed.contains(name)));
}

async fn act(registry: &Registry, context: &WriteContext, action: &Action) -> Result<(), ApiError> {
    let target = |name: &str| Target::find(registry.resources(), GROUP, PLURAL, "", name);
    let outcome = match action {
        Action::Create(object) => {
            registry.create(context, &target(meta::name(object))?, object.clone()).await.map(drop)
        }
        Action::Update(object) => {
            let editor = |old: &Value| {
                let mut new = old.clone();
                new["spec"] = object["spec"].clone();
                Ok(new)
            };
            let target = target(meta::name(object))?;
            let updated =
                registry.update(context, &target, Sub::Main, UpdateOptions::default(), &editor).await;
            updated.map(drop)
        }
        Action::Delete(name, uid) => {
            let options = DeleteOptions { uid: Some(uid.clone()), ..DeleteOptions::default() };
            registry.delete(context, &target(name)?, &options).await.map(drop)
        }
    };
    match outcome {
        // Another server was faster, or an operator.
        Err(error) if matches!(error.reason, Reason::AlreadyExists | Reason::NotFound | Reason::Conflict) => {
            Ok(())
        }
        outcome => outcome,
    }
}
