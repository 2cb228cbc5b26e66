//! Fair queuing of one priority level. Pure: time is passed in as the time since some fixed moment.
//!
//! A flow is dealt a hand of queues by its hash (shuffle sharding) and its request waits in the emptiest of them; the
//! queue whose work is furthest behind in virtual time goes first, so a flow with a thousand requests does not hold up
//! one with a single request. Authority: KEP-1040, "Fair Queuing for Server Requests".

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::config::Response;
use crate::share::Demand;

/// A request in a level.
pub type Id = u64;

/// How long a request is taken to run until it is known how long it did; in seconds.
const ESTIMATE: f64 = 0.003;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Its queue is full.
    QueueFull,
    /// All seats are taken and the level has no queues.
    ConcurrencyLimit,
}

/// What becomes of a new request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It runs.
    Run(Id),
    /// It waits until a call returns its id.
    Wait(Id),
    /// It is refused.
    Refuse(Refused),
}

struct Waiting {
    id: Id,
    width: usize,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    running: usize,
    /// Virtual time at which its next request would begin.
    next_start: f64,
}

struct Running {
    queue: Option<usize>,
    width: usize,
    since: Duration,
}

/// The requests of one level.
pub struct QueueSet {
    response: Response,
    limit: usize,
    queues: Vec<Queue>,
    running: HashMap<Id, Running>,
    seats: usize,
    waiting: usize,
    waiting_seats: usize,
    /// Virtual time, in seats times seconds each active queue has been served.
    virtual_time: f64,
    now: Duration,
    next: Id,
    turn: usize,
    demand: Demand,
}

impl QueueSet {
    /// An idle level with this many seats.
    #[must_use]
    pub fn new(response: Response, limit: usize, now: Duration) -> Self {
        let mut set = Self {
            response: Response::Reject,
            limit,
            queues: Vec::new(),
            running: HashMap::new(),
            seats: 0,
            waiting: 0,
            waiting_seats: 0,
            virtual_time: 0.0,
            now,
            next: 0,
            turn: 0,
            demand: Demand::new(now),
        };
        set.shape(response);
        set
    }

    /// Changes the level's form and seats; the requests that run because of it.
    pub fn reshape(&mut self, response: Response, limit: usize, now: Duration) -> Vec<Id> {
        self.advance(now);
        self.shape(response);
        self.limit = limit;
        self.dispatch()
    }

    fn shape(&mut self, response: Response) {
        let wanted = match &response {
            Response::Reject => 0,
            Response::Queue { queues, .. } => *queues,
        };
        // Queues that still hold requests stay until they are empty; new requests are not dealt to them.
        while self.queues.len() > wanted
            && self.queues.last().is_some_and(|q| q.waiting.is_empty() && q.running == 0)
        {
            self.queues.pop();
        }
        while self.queues.len() < wanted {
            self.queues.push(Queue::default());
        }
        self.response = response;
    }

    /// Changes the number of seats alone.
    pub fn set_limit(&mut self, limit: usize, now: Duration) -> Vec<Id> {
        self.advance(now);
        self.limit = limit;
        self.dispatch()
    }

    /// A request of `flow` that takes `width` seats.
    pub fn arrive(&mut self, flow: u64, width: usize, now: Duration) -> Arrival {
        self.advance(now);
        let width = width.clamp(1, self.limit.max(1));
        let id = self.next;
        self.next += 1;
        let (hand_size, length_limit, queues) = match self.response {
            Response::Reject if self.fits(width) => {
                self.begin(id, None, width);
                return Arrival::Run(id);
            }
            Response::Reject => return Arrival::Refuse(Refused::ConcurrencyLimit),
            Response::Queue { queues, hand_size, length_limit } => (hand_size, length_limit, queues),
        };
        let load = |queue: &usize| {
            let queue = &self.queues[*queue];
            queue.waiting.iter().map(|waiting| waiting.width).sum::<usize>() + queue.running
        };
        let Some(chosen) = deal(flow, queues, hand_size).into_iter().min_by_key(load) else {
            return Arrival::Refuse(Refused::ConcurrencyLimit);
        };
        let queue = &mut self.queues[chosen];
        if queue.waiting.is_empty() && queue.running == 0 {
            queue.next_start = self.virtual_time;
        }
        let runs = self.waiting == 0 && self.fits(width);
        let queue = &mut self.queues[chosen];
        if !runs && queue.waiting.len() >= length_limit {
            return Arrival::Refuse(Refused::QueueFull);
        }
        if runs {
            self.begin(id, Some(chosen), width);
            return Arrival::Run(id);
        }
        queue.waiting.push_back(Waiting { id, width });
        self.waiting += 1;
        self.waiting_seats += width;
        self.note();
        Arrival::Wait(id)
    }

    /// A running request is done; the requests that run now.
    pub fn finish(&mut self, id: Id, now: Duration) -> Vec<Id> {
        self.advance(now);
        let Some(done) = self.running.remove(&id) else { return Vec::new() };
        self.seats -= done.width;
        if let Some(queue) = done.queue.and_then(|at| self.queues.get_mut(at)) {
            queue.running -= done.width;
            let took = now.saturating_sub(done.since).as_secs_f64();
            queue.next_start += (took - ESTIMATE) * seats(done.width);
        }
        self.note();
        self.dispatch()
    }

    /// A waiting request gives up: the requests that run now (it may have held up others); none when it already runs
    /// and must be finished.
    pub fn cancel(&mut self, id: Id, now: Duration) -> Option<Vec<Id>> {
        self.advance(now);
        for queue in &mut self.queues {
            let Some(at) = queue.waiting.iter().position(|waiting| waiting.id == id) else { continue };
            let gone = queue.waiting.remove(at)?;
            self.waiting -= 1;
            self.waiting_seats -= gone.width;
            self.note();
            return Some(self.dispatch());
        }
        None
    }

    /// Running requests' seats, requests that wait, and the limit.
    #[must_use]
    pub fn load(&self) -> (usize, usize, usize) {
        (self.seats, self.waiting, self.limit)
    }

    /// Number of running requests.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// For each queue that holds anything: its index, waiting requests, seats of running ones, next virtual start.
    pub fn queues(&self) -> impl Iterator<Item = (usize, usize, usize, f64)> {
        let all = self.queues.iter().enumerate();
        all.filter(|(_, queue)| !queue.waiting.is_empty() || queue.running > 0)
            .map(|(at, queue)| (at, queue.waiting.len(), queue.running, queue.next_start))
    }

    /// What the level asked for since the last call.
    pub fn take_demand(&mut self, now: Duration) -> Demand {
        self.advance(now);
        self.demand.restart(now)
    }

    fn fits(&self, width: usize) -> bool {
        // A request wider than the level itself runs alone.
        self.seats + width <= self.limit || (self.seats == 0 && self.limit > 0)
    }

    fn begin(&mut self, id: Id, queue: Option<usize>, width: usize) {
        if let Some(queue) = queue.and_then(|at| self.queues.get_mut(at)) {
            queue.running += width;
            queue.next_start += ESTIMATE * seats(width);
        }
        self.seats += width;
        self.running.insert(id, Running { queue, width, since: self.now });
        self.note();
    }

    fn dispatch(&mut self) -> Vec<Id> {
        let mut started = Vec::new();
        while let Some(at) = self.furthest_behind() {
            let Some(first) = self.queues[at].waiting.front() else { break };
            if !self.fits(first.width) {
                break;
            }
            if let Some(first) = self.queues[at].waiting.pop_front() {
                self.waiting -= 1;
                self.waiting_seats -= first.width;
                self.begin(first.id, Some(at), first.width);
                started.push(first.id);
            }
            self.turn = at + 1;
        }
        started
    }

    /// The queue whose first request would end first in virtual time; equals take turns.
    fn furthest_behind(&self) -> Option<usize> {
        if self.waiting == 0 {
            return None;
        }
        let count = self.queues.len();
        let mut best: Option<(f64, usize)> = None;
        for step in 0..count {
            let at = (self.turn + step) % count;
            let Some(first) = self.queues[at].waiting.front() else { continue };
            let end = self.queues[at].next_start + ESTIMATE * seats(first.width);
            if best.is_none_or(|(earliest, _)| end < earliest) {
                best = Some((end, at));
            }
        }
        best.map(|(_, at)| at)
    }

    /// Lets virtual time pass: each active queue gets an equal part of the seats in use.
    fn advance(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.now).as_secs_f64();
        self.now = self.now.max(now);
        if passed == 0.0 {
            return;
        }
        let active = self.queues.iter().filter(|q| !q.waiting.is_empty() || q.running > 0).count();
        if active > 0 {
            let used = (self.seats + self.waiting_seats).min(self.limit);
            self.virtual_time += passed * seats(used) / seats(active);
        }
    }

    fn note(&mut self) {
        self.demand.set(self.seats + self.waiting_seats, self.now);
    }
}

#[expect(clippy::cast_precision_loss, reason = "seats and queues are far below 2^52")]
fn seats(count: usize) -> f64 {
    count as f64
}

/// `hand_size` different queues of `queues`, by the flow's hash.
#[must_use]
pub fn deal(mut flow: u64, queues: usize, hand_size: usize) -> Vec<usize> {
    let mut hand: Vec<usize> = Vec::with_capacity(hand_size);
    for left in (1..=queues).rev().take(hand_size) {
        let left = left as u64;
        let mut card = usize::try_from(flow % left).unwrap_or(0);
        flow /= left;
        // The card is the n-th of those not dealt yet.
        let mut sorted = hand.clone();
        sorted.sort_unstable();
        for dealt in sorted {
            if card >= dealt {
                card += 1;
            }
        }
        hand.push(card);
    }
    hand
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn queued(limit: usize, length_limit: usize) -> QueueSet {
        QueueSet::new(Response::Queue { queues: 64, hand_size: 6, length_limit }, limit, at(0))
    }

    #[test]
    fn without_queues_the_limit_is_hard() {
        let mut set = QueueSet::new(Response::Reject, 2, at(0));
        assert_eq!(set.arrive(1, 1, at(0)), Arrival::Run(0));
        assert_eq!(set.arrive(1, 1, at(0)), Arrival::Run(1));
        assert_eq!(set.arrive(2, 1, at(0)), Arrival::Refuse(Refused::ConcurrencyLimit));
        assert!(set.finish(0, at(5)).is_empty());
        assert_eq!(set.arrive(2, 1, at(5)), Arrival::Run(3));
    }

    #[test]
    fn a_busy_flow_does_not_hold_up_a_quiet_one() {
        let mut set = queued(1, 50);
        assert_eq!(set.arrive(7, 1, at(0)), Arrival::Run(0));
        let busy: Vec<Id> = (0..100)
            .filter_map(|_| match set.arrive(7, 1, at(0)) {
                Arrival::Wait(id) => Some(id),
                _ => None,
            })
            .collect();
        assert_eq!(busy.len(), 100);
        let Arrival::Wait(quiet) = set.arrive(u64::MAX / 3, 1, at(1)) else { panic!("must wait") };
        let mut running = 0;
        for turn in 1..=busy.len() as u64 {
            let started = set.finish(running, at(turn * 10));
            assert_eq!(started.len(), 1);
            running = started[0];
            if running == quiet {
                assert!(turn < 10, "the quiet flow waited {turn} turns");
                return;
            }
        }
        panic!("the quiet flow never ran");
    }

    #[test]
    fn queues_are_bounded_and_the_refusal_says_so() {
        let mut set = QueueSet::new(Response::Queue { queues: 1, hand_size: 1, length_limit: 2 }, 1, at(0));
        assert_eq!(set.arrive(1, 1, at(0)), Arrival::Run(0));
        assert_eq!(set.arrive(1, 1, at(0)), Arrival::Wait(1));
        assert_eq!(set.arrive(1, 1, at(0)), Arrival::Wait(2));
        assert_eq!(set.arrive(1, 1, at(0)), Arrival::Refuse(Refused::QueueFull));
        assert_eq!(set.cancel(1, at(1)), Some(Vec::new()));
        assert_eq!(set.cancel(0, at(1)), None, "it runs");
        assert_eq!(set.finish(0, at(2)), [2]);
    }

    #[test]
    fn a_wide_request_waits_for_its_seats_and_one_wider_than_the_level_runs_alone() {
        let mut set = queued(4, 50);
        assert_eq!(set.arrive(1, 3, at(0)), Arrival::Run(0));
        assert_eq!(set.arrive(2, 10, at(0)), Arrival::Wait(1));
        assert_eq!(set.arrive(3, 1, at(0)), Arrival::Wait(2), "nobody overtakes");
        assert_eq!(set.finish(0, at(5)).len(), 1);
    }

    #[test]
    fn more_seats_let_waiting_requests_run_and_fewer_queues_lose_none() {
        let mut set = queued(1, 50);
        set.arrive(1, 1, at(0));
        let waiting = (2..10).filter(|flow| matches!(set.arrive(*flow, 1, at(0)), Arrival::Wait(_))).count();
        assert_eq!(set.set_limit(3, at(1)).len(), 2);
        let started = set.reshape(Response::Queue { queues: 1, hand_size: 1, length_limit: 5 }, 100, at(2));
        assert_eq!(started.len(), waiting - 2);
    }

    proptest! {
        #[test]
        fn hands_have_no_card_twice(flow: u64, queues in 1usize..200, hand in 1usize..20) {
            let hand_size = hand.min(queues);
            let mut dealt = deal(flow, queues, hand_size);
            prop_assert!(dealt.iter().all(|card| *card < queues));
            dealt.sort_unstable();
            dealt.dedup();
            prop_assert_eq!(dealt.len(), hand_size);
        }

        /// Whatever comes and goes: seats are never oversubscribed, nobody is lost, everything drains.
        #[test]
        fn nobody_is_lost(steps in proptest::collection::vec((0u8..3, 0u64..5, 1usize..4), 1..200)) {
            let mut set = queued(5, 10);
            let (mut running, mut waiting, mut clock) = (Vec::new(), Vec::new(), 0);
            for (what, flow, width) in steps {
                clock += 3;
                let started = match what {
                    0 => match set.arrive(flow, width, at(clock)) {
                        Arrival::Run(id) => { running.push(id); Vec::new() }
                        Arrival::Wait(id) => { waiting.push(id); Vec::new() }
                        Arrival::Refuse(_) => Vec::new(),
                    },
                    1 if !running.is_empty() => set.finish(running.remove(0), at(clock)),
                    _ if !waiting.is_empty() => set.cancel(waiting.remove(0), at(clock)).unwrap(),
                    _ => Vec::new(),
                };
                for id in started {
                    let before = waiting.len();
                    waiting.retain(|one| *one != id);
                    prop_assert_eq!(waiting.len() + 1, before);
                    running.push(id);
                }
                let (seats, queued, limit) = set.load();
                prop_assert!(seats <= limit);
                prop_assert_eq!(queued, waiting.len());
            }
            while let Some(id) = running.pop() {
                clock += 1;
                running.extend(set.finish(id, at(clock)));
            }
            prop_assert_eq!((set.load().0, set.load().1), (0, 0));
        }
    }
}
