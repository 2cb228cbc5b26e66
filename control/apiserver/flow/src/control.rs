//! The levels at work: requests enter, wait, run and leave.
//!
//! Enters: requests' digests and, from the watch caches, the flow control objects. Leaves: tickets. One short lock per
//! level and request; a request that waits holds nothing but a one-shot channel. Dropping a ticket or a waiting future
//! (a client that hung up) gives the seats back.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::classify::{Digest, classify};
use crate::config::{Config, Level};
use crate::queues::{Arrival, Id, QueueSet, Refused};
use crate::share::{self, Claim};

/// How often seats move between levels.
pub const ADJUST_EVERY: Duration = Duration::from_secs(10);

/// Why a request was not let in; the client is told 429 and when to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// Its queue was full.
    QueueFull,
    /// The level has no queue and no free seat.
    ConcurrencyLimit,
    /// It waited too long.
    TimeOut,
}

impl Rejection {
    /// As upstream's metrics call it.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::QueueFull => "queue-full",
            Self::ConcurrencyLimit => "concurrency-limit",
            Self::TimeOut => "time-out",
        }
    }
}

pub(crate) struct Inner {
    pub(crate) set: QueueSet,
    wake: HashMap<Id, oneshot::Sender<()>>,
    pub(crate) nominal: usize,
    smoothed: f64,
}

/// One level at work.
pub(crate) struct Station {
    pub(crate) name: String,
    uid: Mutex<String>,
    exempt: bool,
    pub(crate) inner: Mutex<Inner>,
    exempt_running: AtomicU64,
    /// Requests let in, by schema.
    pub(crate) dispatched: Mutex<BTreeMap<String, u64>>,
    /// Requests refused, by schema and [`Rejection::reason`].
    pub(crate) rejected: Mutex<BTreeMap<(String, &'static str), u64>>,
}

impl Inner {
    fn wake(&mut self, started: Vec<Id>) {
        for id in started {
            if let Some(waiter) = self.wake.remove(&id) {
                // A waiter that is gone gives the seats back itself, when its guard is dropped.
                let _ = waiter.send(());
            }
        }
    }
}

/// What [`FlowControl::configure`] replaces as a whole.
pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) stations: HashMap<String, Arc<Station>>,
}

/// Priority and fairness of one server.
pub struct FlowControl {
    total: usize,
    started: Instant,
    state: RwLock<Arc<State>>,
}

/// The seats of a running request, given back when dropped.
pub struct Ticket {
    station: Arc<Station>,
    seats: Option<Id>,
    started: Instant,
    /// uid of the FlowSchema it matched, for the header `X-Kubernetes-PF-FlowSchema-UID`.
    pub schema_uid: String,
    /// uid of its priority level, for the header `X-Kubernetes-PF-PriorityLevel-UID`.
    pub level_uid: String,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        match self.seats {
            None => drop(self.station.exempt_running.fetch_sub(1, Ordering::Relaxed)),
            Some(id) => {
                let mut inner = self.station.inner.lock();
                let started = inner.set.finish(id, self.started.elapsed());
                inner.wake(started);
            }
        }
    }
}

/// A waiting request; dropped before it runs, it leaves its queue.
struct Waiting {
    station: Arc<Station>,
    id: Id,
    clock: Instant,
    runs: bool,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.runs {
            return;
        }
        let mut inner = self.station.inner.lock();
        inner.wake.remove(&self.id);
        let now = self.clock.elapsed();
        let started = match inner.set.cancel(self.id, now) {
            Some(started) => started,
            // It had just begun.
            None => inner.set.finish(self.id, now),
        };
        inner.wake(started);
    }
}

impl FlowControl {
    /// A server with `total` seats, which knows the mandatory objects only until [`FlowControl::configure`].
    #[must_use]
    pub fn new(total: usize) -> Self {
        let control = Self {
            total,
            started: Instant::now(),
            state: RwLock::new(Arc::new(State { config: Config::default(), stations: HashMap::new() })),
        };
        control.configure(Config::new([], []));
        control
    }

    /// Takes over the objects as they are now. Requests that run or wait in a level that is gone finish there.
    pub fn configure(&self, config: Config) {
        let now = self.started.elapsed();
        let before = Arc::clone(&self.state.read());
        let nominal = config.nominal(self.total);
        let mut stations = HashMap::new();
        for (level, nominal) in config.levels.iter().zip(nominal) {
            let kept = before.stations.get(&level.name).filter(|station| station.exempt == level.exempt);
            let station = kept.cloned().unwrap_or_else(|| Arc::new(Station::new(level, nominal, now)));
            level.uid.clone_into(&mut station.uid.lock());
            let mut inner = station.inner.lock();
            let (_, _, limit) = inner.set.load();
            let limit = if inner.nominal == nominal { limit } else { nominal };
            inner.nominal = nominal;
            let started = inner.set.reshape(level.response.clone(), limit, now);
            inner.wake(started);
            drop(inner);
            stations.insert(level.name.clone(), station);
        }
        *self.state.write() = Arc::new(State { config, stations });
    }

    /// Lets a request of `width` seats in, after waiting for at most `patience`.
    pub async fn enter(
        &self,
        digest: &Digest<'_>,
        width: usize,
        patience: Duration,
    ) -> Result<Ticket, Rejection> {
        let state = Arc::clone(&self.state.read());
        let found = classify(&state.config, digest)
            .and_then(|(schema, flow)| Some((schema, flow, state.stations.get(&schema.level)?)));
        let Some((schema, flow, station)) = found else {
            // Only a user in no group at all, which authentication never makes, matches not even catch-all.
            return Err(Rejection::ConcurrencyLimit);
        };
        let ticket = |seats| {
            *station.dispatched.lock().entry(schema.name.clone()).or_default() += 1;
            Ticket {
                station: Arc::clone(station),
                seats,
                started: self.started,
                schema_uid: schema.uid.clone(),
                level_uid: station.uid.lock().clone(),
            }
        };
        if station.exempt {
            station.exempt_running.fetch_add(1, Ordering::Relaxed);
            return Ok(ticket(None));
        }
        let refuse = |rejection: Rejection| {
            let key = (schema.name.clone(), rejection.reason());
            *station.rejected.lock().entry(key).or_default() += 1;
            Err(rejection)
        };
        let (mut waiting, woken) = {
            let mut inner = station.inner.lock();
            match inner.set.arrive(flow, width, self.started.elapsed()) {
                Arrival::Run(id) => {
                    drop(inner);
                    return Ok(ticket(Some(id)));
                }
                Arrival::Refuse(refused) => {
                    drop(inner);
                    return refuse(match refused {
                        Refused::QueueFull => Rejection::QueueFull,
                        Refused::ConcurrencyLimit => Rejection::ConcurrencyLimit,
                    });
                }
                Arrival::Wait(id) => {
                    let (wake, woken) = oneshot::channel();
                    inner.wake.insert(id, wake);
                    (Waiting { station: Arc::clone(station), id, clock: self.started, runs: false }, woken)
                }
            }
        };
        match tokio::time::timeout(patience, woken).await {
            Ok(Ok(())) => {
                waiting.runs = true;
                Ok(ticket(Some(waiting.id)))
            }
            _ => refuse(Rejection::TimeOut),
        }
    }

    /// Moves seats to where they are needed; to be called every [`ADJUST_EVERY`].
    pub fn adjust(&self) {
        let now = self.started.elapsed();
        let state = Arc::clone(&self.state.read());
        let mut claims = Vec::new();
        for level in &state.config.levels {
            let Some(station) = state.stations.get(&level.name) else { continue };
            let mut inner = station.inner.lock();
            let demand = inner.set.take_demand(now);
            inner.smoothed = share::smooth(inner.smoothed, demand.envelope());
            claims.push(Claim {
                level,
                nominal: inner.nominal,
                high: demand.high(),
                smoothed: inner.smoothed,
            });
        }
        let seats = share::divide(&claims, self.total);
        for (claim, seats) in claims.iter().zip(seats).filter(|(claim, _)| !claim.level.exempt) {
            if let Some(station) = state.stations.get(&claim.level.name) {
                let mut inner = station.inner.lock();
                let started = inner.set.set_limit(seats, now);
                inner.wake(started);
            }
        }
    }

    /// The levels as they are configured now.
    pub(crate) fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read())
    }

    /// The levels that exist, for the `Dangling` condition of schemas.
    #[must_use]
    pub fn knows_level(&self, name: &str) -> bool {
        self.state.read().stations.contains_key(name)
    }
}

impl Station {
    fn new(level: &Level, nominal: usize, now: Duration) -> Self {
        Self {
            name: level.name.clone(),
            uid: Mutex::default(),
            exempt: level.exempt,
            inner: Mutex::new(Inner {
                set: QueueSet::new(level.response.clone(), nominal, now),
                wake: HashMap::new(),
                nominal,
                smoothed: 0.0,
            }),
            exempt_running: AtomicU64::new(0),
            dispatched: Mutex::default(),
            rejected: Mutex::default(),
        }
    }

    /// Requests that run.
    pub(crate) fn running(&self) -> u64 {
        let seated = self.inner.lock().set.running();
        self.exempt_running.load(Ordering::Relaxed) + u64::try_from(seated).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects;
    use serde_json::Value;

    const LONG: Duration = Duration::from_secs(15);

    fn control(total: usize) -> Arc<FlowControl> {
        let schemas: Vec<Value> =
            objects::mandatory_schemas().into_iter().chain(objects::suggested_schemas()).collect();
        let levels: Vec<Value> =
            objects::mandatory_levels().into_iter().chain(objects::suggested_levels()).collect();
        let control = FlowControl::new(total);
        control.configure(Config::new(&schemas, &levels));
        Arc::new(control)
    }

    fn user<'a>(name: &'a str, groups: &'a [String]) -> Digest<'a> {
        Digest { user: name, groups, verb: "get", is_resource: true, resource: "pods", ..Digest::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_a_seat_and_gives_up_in_time() {
        let control = control(10);
        let groups = ["system:authenticated".to_owned()];
        // ceil(10 * 20 / 245) = 1 seat.
        let held = control.enter(&user("a", &groups), 1, LONG).await.unwrap();
        let refused = control.enter(&user("b", &groups), 1, Duration::from_millis(50)).await.err();
        assert_eq!(refused, Some(Rejection::TimeOut));
        let waiting = tokio::spawn({
            let (control, groups) = (Arc::clone(&control), groups.clone());
            async move { control.enter(&user("b", &groups), 1, LONG).await.is_ok() }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(control.metrics().contains("current_inqueue_requests{priority_level=\"global-default\"} 1"));
        drop(held);
        assert!(waiting.await.unwrap());
        let text = control.metrics();
        assert!(text.contains(
            "rejected_requests_total{flow_schema=\"global-default\",priority_level=\"global-default\",reason=\"time-out\"} 1"
        ), "{text}");
        assert!(text.contains("current_executing_seats{priority_level=\"global-default\"} 0"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_hangs_up_gives_its_place_back() {
        let control = control(10);
        let groups = ["system:authenticated".to_owned()];
        let held = control.enter(&user("a", &groups), 1, LONG).await.unwrap();
        let gone =
            tokio::time::timeout(Duration::from_millis(5), control.enter(&user("b", &groups), 1, LONG)).await;
        assert!(gone.is_err());
        assert!(control.metrics().contains("current_inqueue_requests{priority_level=\"global-default\"} 0"));
        drop(held);
        assert!(control.enter(&user("c", &groups), 1, LONG).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn masters_are_never_held_back() {
        let control = control(1);
        let groups = ["system:masters".to_owned()];
        let mut held = Vec::new();
        for _ in 0..100 {
            held.push(control.enter(&user("admin", &groups), 1, LONG).await.unwrap());
        }
        assert!(control.dump_levels().contains("\nexempt, 0, false, false, 0, 100, 100, 0, 0, 0\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_level_in_need_borrows() {
        let control = control(245);
        let groups = ["system:authenticated".to_owned()];
        let mut held = Vec::new();
        // 20 seats of its own.
        for _ in 0..20 {
            held.push(control.enter(&user("a", &groups), 1, LONG).await.unwrap());
        }
        let waiting: Vec<_> = (0..30)
            .map(|_| {
                let (control, groups) = (Arc::clone(&control), groups.clone());
                tokio::spawn(async move { control.enter(&user("a", &groups), 1, LONG).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_secs(5)).await;
        control.adjust();
        for one in waiting {
            held.push(one.await.unwrap().unwrap());
        }
        assert_eq!(held.len(), 50);
    }
}
