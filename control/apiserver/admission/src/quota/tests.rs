use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::json;

use super::check::{Quota, check};
use super::*;
use crate::testing::request;

fn quota(name: &str, spec: Value, hard: Value, used: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "ns", "uid": name, "resourceVersion": "1"}, "spec": spec,
        "status": {"hard": hard, "used": used}})
}

fn demand(operation: Operation, plural: &'static str, object: Value, old: Option<Value>) -> Demand {
    let mut request = request(operation, "", plural, "ns", "x");
    request.kind = "X";
    Demand::of(&request, &object, old.as_ref(), "2026-01-01T00:00:00Z".parse().unwrap()).unwrap()
}

fn pod(resources: Value) -> Value {
    json!({"spec": {"containers": [{"name": "c", "resources": resources}]}})
}

fn verdict(quotas: Vec<Value>, demand: &Demand, limited: &[LimitedResource]) -> Result<String, String> {
    let quotas: Vec<Quota> = quotas.into_iter().map(Quota::new).collect();
    let charges = check(&quotas, demand, limited).map_err(|error| error.message)?;
    let one = |c: &super::check::Charge| format!("{}: {}", quotas[c.quota].name(), c.amounts);
    Ok(charges.iter().map(one).collect::<Vec<_>>().join("; "))
}

#[test]
fn creates() {
    let create = |resources: Value| demand(Operation::Create, "pods", pod(resources), None);
    let plain = create(json!({}));
    let one = |hard: Value, used: Value| vec![quota("q", json!({}), hard, used)];
    let check = |quotas: Vec<Value>, demand: &Demand| verdict(quotas, demand, &[]);
    assert_eq!(check(vec![], &plain), Ok(String::new()));
    assert_eq!(check(one(json!({"services": "1"}), json!({"services": "0"})), &plain), Ok(String::new()));
    assert_eq!(
        check(one(json!({"pods": "2", "count/pods": 5}), json!({"pods": "1", "count/pods": 1})), &plain),
        Ok("q: count/pods=1,pods=1".to_owned())
    );
    assert_eq!(
        check(one(json!({"pods": "2"}), json!({"pods": "2"})), &plain).unwrap_err(),
        "pods \"x\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"
    );
    assert_eq!(
        check(one(json!({"limits.cpu": "2", "requests.memory": "1Gi"}), json!({})), &plain).unwrap_err(),
        "pods \"x\" is forbidden: failed quota: q: must specify limits.cpu for: c; requests.memory for: c"
    );
    assert_eq!(
        check(one(json!({"pods": "2", "count/pods": "1"}), json!({"pods": "0"})), &plain).unwrap_err(),
        "pods \"x\" is forbidden: status unknown for quota: q, resources: count/pods,pods"
    );
    let big = create(json!({"requests": {"cpu": "3", "memory": "3Gi"}}));
    assert_eq!(
        check(
            one(
                json!({"requests.cpu": "2", "requests.memory": "2Gi", "pods": "9"}),
                json!({"requests.cpu": "500m", "requests.memory": 0, "pods": "1"})
            ),
            &big
        )
        .unwrap_err(),
        "pods \"x\" is forbidden: exceeded quota: q, requested: requests.cpu=3,requests.memory=3Gi, used: \
         requests.cpu=500m,requests.memory=0, limited: requests.cpu=2,requests.memory=2Gi"
    );
}

#[test]
fn scopes() {
    let best = demand(Operation::Create, "pods", pod(json!({})), None);
    let scoped =
        |scope: &str| quota(scope, json!({"scopes": [scope]}), json!({"pods": "1"}), json!({"pods": "1"}));
    assert_eq!(verdict(vec![scoped("NotBestEffort"), scoped("Terminating")], &best, &[]), Ok(String::new()));
    assert!(
        verdict(vec![scoped("BestEffort")], &best, &[]).unwrap_err().contains("exceeded quota: BestEffort")
    );
}

#[test]
fn updates_count_the_growth() {
    let claim = |size: &str| json!({"spec": {"resources": {"requests": {"storage": size}}}});
    let update = |from: &str, to: &str| {
        demand(Operation::Update, "persistentvolumeclaims", claim(to), Some(claim(from)))
    };
    let quotas = || {
        vec![quota("q", json!({}), json!({"requests.storage": "5Gi"}), json!({"requests.storage": "3Gi"}))]
    };
    assert_eq!(verdict(quotas(), &update("1Gi", "3Gi"), &[]), Ok("q: requests.storage=2Gi".to_owned()));
    assert_eq!(verdict(quotas(), &update("2Gi", "1Gi"), &[]), Ok(String::new()));
    assert_eq!(
        verdict(quotas(), &update("1Gi", "4Gi"), &[]).unwrap_err(),
        "persistentvolumeclaims \"x\" is forbidden: exceeded quota: q, requested: requests.storage=3Gi, used: \
         requests.storage=3Gi, limited: requests.storage=5Gi"
    );
    // A claim that comes under a quota by its update counts whole.
    let classed = |class: &str| json!({"spec": {"volumeAttributesClassName": class}});
    let scope = json!({"scopeSelector": {"matchExpressions": [
        {"scopeName": "VolumeAttributesClass", "operator": "In", "values": ["gold"]}]}});
    let gold =
        quota("g", scope, json!({"persistentvolumeclaims": "5"}), json!({"persistentvolumeclaims": "0"}));
    let moved = demand(Operation::Update, "persistentvolumeclaims", classed("gold"), Some(classed("tin")));
    assert_eq!(verdict(vec![gold], &moved, &[]), Ok("g: persistentvolumeclaims=1".to_owned()));
    let service = |kind: &str| json!({"spec": {"type": kind, "ports": [{}]}});
    let ports = quota("q", json!({}), json!({"services.nodeports": "0"}), json!({"services.nodeports": "0"}));
    let opened = demand(Operation::Update, "services", service("NodePort"), Some(service("ClusterIP")));
    assert!(verdict(vec![ports], &opened, &[]).unwrap_err().contains("requested: services.nodeports=1"));
}

#[test]
fn limited_by_default() {
    let by_name = LimitedResource {
        resource: "persistentvolumeclaims".to_owned(),
        match_contains: vec!["gold.storageclass.storage.k8s.io/requests.storage".to_owned()],
        ..LimitedResource::default()
    };
    let claim = json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1Gi"}}}});
    let create = demand(Operation::Create, "persistentvolumeclaims", claim, None);
    assert_eq!(
        verdict(vec![], &create, &[by_name]).unwrap_err(),
        "persistentvolumeclaims \"x\" is forbidden: insufficient quota to consume: \
         gold.storageclass.storage.k8s.io/requests.storage"
    );
    let expression = json!({"scopeName": "PriorityClass", "operator": "In", "values": ["high", "top"]});
    let by_scope = [LimitedResource {
        resource: "pods".to_owned(),
        match_scopes: vec![ScopeSelector::from_value(&expression)],
        ..LimitedResource::default()
    }];
    let create = demand(Operation::Create, "pods", json!({"spec": {"priorityClassName": "high"}}), None);
    assert_eq!(
        verdict(vec![], &create, &by_scope).unwrap_err(),
        "insufficient quota to match these scopes: [{PriorityClass In [high top]}]"
    );
    let covering = quota(
        "q",
        json!({"scopeSelector": {"matchExpressions": [expression]}}),
        json!({"pods": "1"}),
        json!({"pods": "0"}),
    );
    assert_eq!(verdict(vec![covering], &create, &by_scope), Ok("q: pods=1".to_owned()));
}

#[test]
fn what_is_not_counted() {
    let counted = |operation, plural: &'static str, namespace: &'static str, subresource: &'static str| {
        let mut request = request(operation, "", plural, namespace, "x");
        request.subresource = subresource;
        Demand::is_counted(&request, &json!({}), Some(&json!({})))
    };
    assert!(counted(Operation::Create, "pods", "ns", ""));
    assert!(counted(Operation::Update, "pods", "ns", "resize"));
    assert!(!counted(Operation::Update, "pods", "ns", ""));
    assert!(!counted(Operation::Create, "pods", "ns", "binding"));
    assert!(!counted(Operation::Create, "namespaces", "ns", ""));
    assert!(!counted(Operation::Create, "nodes", "", ""));
    assert!(!counted(Operation::Create, "events", "ns", ""));
    assert!(!counted(Operation::Delete, "pods", "ns", ""));
}

/// Quotas in memory; some of the writes lose against somebody else's.
#[derive(Default)]
struct Memory {
    quotas: Mutex<Vec<Value>>,
    lose: AtomicUsize,
    writes: AtomicUsize,
}

impl Memory {
    fn new(quotas: Vec<Value>) -> Arc<Self> {
        Arc::new(Self { quotas: Mutex::new(quotas), ..Self::default() })
    }

    fn used(&self, name: &str, resource: &str) -> Value {
        let quotas = self.quotas.lock();
        let quota = quotas.iter().find(|q| meta::name(q) == name).unwrap();
        quota["status"]["used"][resource].clone()
    }

    fn touch(quota: &mut Value) {
        let version: u64 = meta::resource_version(quota).parse().unwrap();
        meta::set(quota, "/metadata/resourceVersion", (version + 1).to_string());
    }
}

#[async_trait]
impl QuotaStore for Arc<Memory> {
    async fn list(&self, _: &str) -> Result<Vec<Value>, ApiError> {
        tokio::task::yield_now().await;
        Ok(self.quotas.lock().clone())
    }

    async fn update_status(&self, mut quota: Value) -> Result<Value, StoreRefusal> {
        tokio::task::yield_now().await;
        let mut quotas = self.quotas.lock();
        let stored = quotas.iter_mut().find(|q| meta::name(q) == meta::name(&quota)).unwrap();
        if self.lose.load(Ordering::Relaxed) > 0 {
            self.lose.fetch_sub(1, Ordering::Relaxed);
            Memory::touch(stored);
        }
        if meta::resource_version(stored) != meta::resource_version(&quota) {
            return Err(StoreRefusal::Conflict);
        }
        Memory::touch(&mut quota);
        *stored = quota.clone();
        self.writes.fetch_add(1, Ordering::Relaxed);
        Ok(quota)
    }
}

fn pods_quota(name: &str, hard: u32) -> Value {
    quota(name, json!({}), json!({"pods": hard.to_string()}), json!({"pods": "0"}))
}

fn plain() -> Demand {
    demand(Operation::Create, "pods", pod(json!({})), None)
}

#[tokio::test]
async fn a_hundred_at_once_get_ten() {
    let memory = Memory::new(vec![pods_quota("q", 10), pods_quota("wide", 50)]);
    memory.lose.store(5, Ordering::Relaxed);
    let reserver = Arc::new(Reserver::new(Arc::clone(&memory), Vec::new()));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let reserver = Arc::clone(&reserver);
        tasks.spawn(async move { reserver.reserve(plain()).await });
    }
    let results = tasks.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 10);
    assert_eq!((memory.used("q", "pods"), memory.used("wide", "pods")), (json!("10"), json!("10")));
    let refused = results.into_iter().find_map(Result::err).unwrap();
    assert_eq!(
        refused.message,
        "pods \"x\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=10, limited: pods=10"
    );
    let writes = memory.writes.load(Ordering::Relaxed);
    assert!(writes < 30, "those who wait share a write: {writes}");
}

#[tokio::test]
async fn failed_writes_give_back() {
    let memory = Memory::new(vec![pods_quota("q", 2)]);
    let reserver = Reserver::new(Arc::clone(&memory), Vec::new());
    let first = reserver.reserve(plain()).await.unwrap();
    let second = reserver.reserve(plain()).await.unwrap();
    assert!(reserver.reserve(plain()).await.is_err());
    reserver.release(first).await;
    assert_eq!(memory.used("q", "pods"), "1");
    // The controller counts anew: giving back what it no longer counts would take it off twice.
    {
        let mut quotas = memory.quotas.lock();
        quotas[0]["status"]["used"]["pods"] = json!("0");
        Memory::touch(&mut quotas[0]);
    }
    reserver.release(second).await;
    assert_eq!(memory.used("q", "pods"), "0");
}

#[tokio::test]
async fn dry_runs_take_nothing() {
    let memory = Memory::new(vec![pods_quota("q", 1)]);
    let reserver = Reserver::new(Arc::clone(&memory), Vec::new());
    let dry = Demand { dry_run: true, ..plain() };
    assert!(reserver.reserve(dry.clone()).await.unwrap().is_empty());
    assert_eq!(memory.used("q", "pods"), "0");
    let _kept = reserver.reserve(plain()).await.unwrap();
    assert!(reserver.reserve(dry).await.is_err(), "a dry run is refused as the write would be");
}

#[tokio::test]
async fn a_waiter_that_goes_away_holds_nobody_up() {
    let memory = Memory::new(vec![pods_quota("q", 5)]);
    let reserver = Arc::new(Reserver::new(Arc::clone(&memory), Vec::new()));
    let mut tasks = Vec::new();
    for i in 0..20 {
        let reserver = Arc::clone(&reserver);
        let task = tokio::spawn(async move { reserver.reserve(plain()).await.is_ok() });
        if i % 3 == 0 {
            tokio::task::yield_now().await;
            task.abort();
        }
        tasks.push(task);
    }
    let mut granted = 0;
    for task in tasks {
        granted += usize::from(task.await.unwrap_or(false));
    }
    assert!(granted <= 5, "{granted}");
    assert!(meta::str_at(&memory.quotas.lock()[0], "/status/used/pods").parse::<usize>().unwrap() <= 5);
}
