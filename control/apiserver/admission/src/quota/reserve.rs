//! Reserving before writing: one lane per namespace, one compare-and-swap per quota for all who wait.
//!
//! Enters: demands. Leaves: reservations, once `status.used` is written. Whoever takes the lane's turn answers all that
//! have gathered meanwhile, so that a hundred writers of one namespace cost a few writes of its quota.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::oneshot;
use xebec_api::meta;
use xebec_api::status::ApiError;
use xebec_quota::ResourceList;

use super::check::{Charge, Quota, check};
use super::{Demand, LimitedResource};

/// Attempts after somebody else has written a quota (the quota controller, another API server).
const ATTEMPTS: usize = 8;

/// Lanes kept; above this many the idle ones are dropped.
const MAX_LANES: usize = 4096;

/// Why a quota's status was not written.
#[derive(Debug)]
pub enum StoreRefusal {
    /// Somebody else wrote first, or the quota is gone: read again.
    Conflict,
    /// Anything else.
    Api(ApiError),
}

/// Where quotas are kept.
#[async_trait]
pub trait QuotaStore: Send + Sync {
    /// The quotas of a namespace, no older than the last acknowledged write.
    async fn list(&self, namespace: &str) -> Result<Vec<Value>, ApiError>;

    /// Writes the quota's status if its `metadata.resourceVersion` is still current; the quota as it is then.
    async fn update_status(&self, quota: Value) -> Result<Value, StoreRefusal>;
}

/// One amount taken from one quota.
#[derive(Clone, Debug)]
struct Taken {
    uid: String,
    epoch: u64,
    amounts: ResourceList,
}

/// What a write has taken. Nothing to do when the write succeeds; to be released when it fails.
#[must_use = "a write that fails must release what it has taken"]
#[derive(Clone, Debug, Default)]
pub struct Reservation {
    namespace: String,
    taken: Vec<Taken>,
}

impl Reservation {
    /// Whether nothing was taken.
    pub fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }
}

type Answer = Result<Reservation, ApiError>;

struct Waiter {
    demand: Demand,
    answer: oneshot::Sender<Answer>,
}

#[derive(Default)]
struct Lane {
    waiting: Mutex<Vec<Waiter>>,
    turn: tokio::sync::Mutex<Ledger>,
}

/// Which versions of the namespace's quotas were written here: as long as nobody else writes in between, what is used is
/// what was reserved, and can be given back. After others have counted anew, giving back would take it off twice.
#[derive(Default)]
struct Ledger {
    seen: HashMap<String, (u64, String)>,
}

impl Ledger {
    /// The epoch of a quota as read: a new one when somebody else has written.
    fn epoch(&mut self, quota: &Value, next: &AtomicU64) -> u64 {
        let version = meta::resource_version(quota);
        match self.seen.get(meta::uid(quota)) {
            Some((epoch, seen)) if seen == version => *epoch,
            _ => {
                let epoch = next.fetch_add(1, Ordering::Relaxed);
                self.seen.insert(meta::uid(quota).to_owned(), (epoch, version.to_owned()));
                epoch
            }
        }
    }

    fn written(&mut self, quota: &Value) {
        if let Some((_, version)) = self.seen.get_mut(meta::uid(quota)) {
            meta::resource_version(quota).clone_into(version);
        }
    }
}

/// Reserves and releases.
pub struct Reserver<S> {
    store: S,
    limited: Vec<LimitedResource>,
    lanes: Mutex<HashMap<String, Arc<Lane>>>,
    epochs: AtomicU64,
}

impl<S: QuotaStore> Reserver<S> {
    /// A reserver over the quotas' store.
    pub fn new(store: S, limited: Vec<LimitedResource>) -> Self {
        Self { store, limited, lanes: Mutex::default(), epochs: AtomicU64::new(1) }
    }

    /// Whether anything is limited in namespaces without a quota.
    pub fn limits_by_default(&self) -> bool {
        !self.limited.is_empty()
    }

    fn lane(&self, namespace: &str) -> Arc<Lane> {
        let mut lanes = self.lanes.lock();
        if lanes.len() >= MAX_LANES {
            lanes.retain(|_, lane| Arc::strong_count(lane) > 1);
        }
        Arc::clone(lanes.entry(namespace.to_owned()).or_default())
    }

    /// Takes what the demand needs from every quota that covers it, or 403 with nothing taken.
    ///
    /// A dry run is checked and takes nothing. May be dropped while it waits; what was taken for a caller that has gone
    /// stays taken until the quota controller counts again.
    pub async fn reserve(&self, demand: Demand) -> Answer {
        let lane = self.lane(&demand.namespace);
        let mut demand = Some(demand);
        loop {
            let (answer, mut answered) = oneshot::channel();
            let Some(own) = demand.take() else {
                return Err(ApiError::internal("resource quota evaluation was cut off"));
            };
            let again = own.clone();
            lane.waiting.lock().push(Waiter { demand: own, answer });
            let mut turn = tokio::select! {
                biased;
                // Whoever had the turn answered; or was dropped before it could, and the demand is made again.
                result = &mut answered => match result {
                    Ok(result) => return result,
                    Err(_) => {
                        demand = Some(again);
                        continue;
                    }
                },
                turn = lane.turn.lock() => turn,
            };
            match answered.try_recv() {
                Ok(result) => return result,
                Err(oneshot::error::TryRecvError::Closed) => {
                    demand = Some(again);
                    continue;
                }
                Err(oneshot::error::TryRecvError::Empty) => {}
            }
            let batch = std::mem::take(&mut *lane.waiting.lock());
            self.serve(&mut turn, batch).await;
            drop(turn);
            if let Ok(result) = answered.await {
                return result;
            }
            demand = Some(again);
        }
    }

    /// Gives back what a failed write had taken, unless somebody has counted anew since.
    pub async fn release(&self, reservation: Reservation) {
        if reservation.is_empty() {
            return;
        }
        let lane = self.lane(&reservation.namespace);
        let mut ledger = lane.turn.lock().await;
        self.give_back(&mut ledger, reservation).await;
    }

    async fn give_back(&self, ledger: &mut Ledger, reservation: Reservation) {
        if reservation.is_empty() {
            return;
        }
        let (namespace, mut left) = (reservation.namespace, reservation.taken);
        for _ in 0..ATTEMPTS {
            let Ok(quotas) = self.store.list(&namespace).await else { return };
            let mut conflict = false;
            for mut quota in quotas {
                let Some(at) = left.iter().position(|taken| taken.uid == meta::uid(&quota)) else { continue };
                if ledger.epoch(&quota, &self.epochs) != left[at].epoch {
                    left.swap_remove(at);
                    continue;
                }
                let used = xebec_quota::used(&quota);
                let mut after = used.clone();
                for (name, amount) in used.minus(&left[at].amounts).mask(&left[at].amounts.names()).iter() {
                    after.set(name, amount);
                }
                quota["status"]["used"] = after.to_value();
                match self.store.update_status(quota).await {
                    Ok(written) => {
                        ledger.written(&written);
                        left.swap_remove(at);
                    }
                    Err(StoreRefusal::Conflict) => conflict = true,
                    Err(StoreRefusal::Api(error)) => {
                        tracing::warn!(namespace, %error, "a reservation could not be given back");
                        return;
                    }
                }
            }
            if !conflict {
                return;
            }
        }
    }

    /// Answers every waiter of a lane.
    async fn serve(&self, ledger: &mut Ledger, batch: Vec<Waiter>) {
        let Some(first) = batch.first() else { return };
        let namespace = first.demand.namespace.clone();
        let (demands, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(|w| (w.demand, w.answer)).unzip();
        let results = self.settle(ledger, &namespace, &demands).await;
        for (answer, result) in answers.into_iter().zip(results) {
            let _ = answer.send(result);
        }
    }

    async fn settle(&self, ledger: &mut Ledger, namespace: &str, demands: &[Demand]) -> Vec<Answer> {
        let mut round = Round::new(demands);
        let mut only: Option<Vec<String>> = None;
        for attempt in 0..ATTEMPTS {
            let mut quotas: Vec<Quota> = match self.store.list(namespace).await {
                Ok(quotas) => quotas.into_iter().map(Quota::new).collect(),
                Err(error) => {
                    round.fail_open(&error);
                    break;
                }
            };
            if let Some(uids) = &only {
                quotas.retain(|quota| uids.iter().any(|uid| uid == meta::uid(&quota.stored)));
            }
            // Whether a limited resource is covered is a question about all quotas, asked once.
            let limited: &[LimitedResource] = if attempt == 0 { &self.limited } else { &[] };
            let before: Vec<ResourceList> = quotas.iter().map(|quota| quota.used.clone()).collect();
            let charges = round.check(&mut quotas, limited);
            let lost = self.write(ledger, &mut round, &quotas, &before, &charges).await;
            round.close_without(&charges, &quotas, &lost);
            if lost.is_empty() {
                break;
            }
            only = Some(lost);
        }
        let conflict = ApiError::conflict(
            "",
            "resourcequotas",
            only.and_then(|uids| uids.into_iter().next()).unwrap_or_default().as_str(),
            "the object has been modified; please apply your changes to the latest version and try again",
        );
        round.fail_open(&conflict);
        self.undo(ledger, namespace, &round.results, round.taken).await
    }

    /// Writes the quotas that changed; the uids of those somebody else has written meanwhile.
    async fn write(
        &self,
        ledger: &mut Ledger,
        round: &mut Round<'_>,
        quotas: &[Quota],
        before: &[ResourceList],
        charges: &[(usize, Charge)],
    ) -> Vec<String> {
        let mut lost = Vec::new();
        for (index, quota) in quotas.iter().enumerate() {
            if quota.used == before[index] {
                continue;
            }
            let epoch = ledger.epoch(&quota.stored, &self.epochs);
            let mut changed = quota.stored.clone();
            changed["status"]["used"] = quota.used.to_value();
            match self.store.update_status(changed).await {
                Ok(written) => {
                    ledger.written(&written);
                    for (demand, charge) in charges.iter().filter(|(_, charge)| charge.quota == index) {
                        round.taken[*demand].push(Taken {
                            uid: meta::uid(&written).to_owned(),
                            epoch,
                            amounts: charge.amounts.clone(),
                        });
                    }
                }
                Err(StoreRefusal::Conflict) => lost.push(meta::uid(&quota.stored).to_owned()),
                Err(StoreRefusal::Api(error)) => {
                    for (demand, _) in charges.iter().filter(|(_, charge)| charge.quota == index) {
                        round.results[*demand].get_or_insert(Err(error.clone()));
                    }
                }
            }
        }
        lost
    }

    /// The answers; what refused demands had taken from some of their quotas goes back.
    async fn undo(
        &self,
        ledger: &mut Ledger,
        namespace: &str,
        results: &[Option<Result<(), ApiError>>],
        taken: Vec<Vec<Taken>>,
    ) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(results.len());
        for (result, taken) in results.iter().zip(taken) {
            let reservation = Reservation { namespace: namespace.to_owned(), taken };
            match result {
                Some(Err(error)) => {
                    self.give_back(ledger, reservation).await;
                    answers.push(Err(error.clone()));
                }
                _ => answers.push(Ok(reservation)),
            }
        }
        answers
    }
}

/// The demands of one batch on their way.
struct Round<'a> {
    demands: &'a [Demand],
    /// None: still open.
    results: Vec<Option<Result<(), ApiError>>>,
    taken: Vec<Vec<Taken>>,
}

impl<'a> Round<'a> {
    fn new(demands: &'a [Demand]) -> Self {
        Self {
            demands,
            results: demands.iter().map(|_| None).collect(),
            taken: demands.iter().map(|_| Vec::new()).collect(),
        }
    }

    /// Lets open demands through one after the other, each seeing what those before it have taken.
    fn check(&mut self, quotas: &mut [Quota], limited: &[LimitedResource]) -> Vec<(usize, Charge)> {
        let mut all = Vec::new();
        for (index, demand) in self.demands.iter().enumerate() {
            if self.results[index].is_some() {
                continue;
            }
            match check(quotas, demand, limited) {
                Err(error) => self.results[index] = Some(Err(error)),
                Ok(_) if demand.dry_run => self.results[index] = Some(Ok(())),
                Ok(charges) => {
                    for charge in charges {
                        quotas[charge.quota].used.add(&charge.amounts);
                        all.push((index, charge));
                    }
                }
            }
        }
        all
    }

    /// Demands that wait for none of the lost quotas are through.
    fn close_without(&mut self, charges: &[(usize, Charge)], quotas: &[Quota], lost: &[String]) {
        for (index, result) in self.results.iter_mut().enumerate() {
            let waits = charges.iter().any(|(demand, charge)| {
                *demand == index && lost.iter().any(|uid| uid == meta::uid(&quotas[charge.quota].stored))
            });
            if result.is_none() && !waits {
                *result = Some(Ok(()));
            }
        }
    }

    fn fail_open(&mut self, error: &ApiError) {
        for result in self.results.iter_mut().filter(|result| result.is_none()) {
            *result = Some(Err(error.clone()));
        }
    }
}
