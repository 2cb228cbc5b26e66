//! Who is an endpoint of which Service at which time. PURE.
//!
//! A Service's endpoints are a window of ten over numbers of its own; every change moves the window on by one. An
//! endpoint's address tells its Service and its number, so that an answer tells who gave it.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

/// Endpoints of each Service.
pub(super) const ENDPOINTS: u32 = 10;
/// How many numbers a Service has, after which they begin again.
const NUMBERS: u32 = 512;
/// Where endpoints' addresses begin: 10.128.0.0/9.
const FIRST: u32 = 0x0a80_0000;
/// The most Services there may be.
pub(super) const MOST: usize = 1 << 14;
/// Services that have a port of the node: the first.
pub(super) const NODE_PORTS: usize = 10;

/// The virtual IP of a Service: outside of 10.96.0.0/12, which a cluster on this machine may serve.
pub(super) fn virtual_ip(service: usize) -> String {
    format!("172.{}.{}.{}", 16 + service / 62_500, service / 250 % 250, 1 + service % 250)
}

/// The port of the node that leads to a Service, for those that have one.
pub(super) fn node_port(service: usize) -> Option<usize> {
    (service < NODE_PORTS).then_some(30_000 + service)
}

/// The address of an endpoint.
pub(super) fn address(service: usize, number: u32) -> Ipv4Addr {
    Ipv4Addr::from(FIRST + u32::try_from(service).unwrap_or(u32::MAX) * NUMBERS + number % NUMBERS)
}

/// The Service an address belongs to, and the endpoint's number.
fn owner(address: Ipv4Addr) -> Option<(usize, u32)> {
    let offset = u32::from(address).checked_sub(FIRST)?;
    Some((usize::try_from(offset / NUMBERS).ok()?, offset % NUMBERS))
}

/// What an answer is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// By an endpoint of the Service.
    Right,
    /// By one that had left it for longer than an agent may take.
    Stale,
    /// By one of another Service, or one that never was.
    Foreign,
}

/// The endpoints of a Service, now and shortly before. Times are milliseconds in which an agent was synchronised: while
/// none is, nobody can apply anything.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    start: u32,
    left: VecDeque<(u32, u64)>,
}

impl Window {
    /// The numbers of the endpoints.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.start..self.start + ENDPOINTS
    }

    /// One endpoint leaves and another comes.
    pub(super) fn advance(&mut self, now: u64) {
        self.left.push_back((self.start % NUMBERS, now));
        self.start += 1;
        // Those that left long ago: what they answer is told from a stranger's, still.
        if self.left.len() > 256 {
            self.left.pop_front();
        }
    }

    /// Who gave an answer to a call that began at some time, if applying a change may take so long.
    pub(super) fn judge(&self, service: usize, answer: Ipv4Addr, began: u64, tolerance: u64) -> Verdict {
        let Some((_, number)) = owner(answer).filter(|(of, _)| *of == service) else {
            return Verdict::Foreign;
        };
        if self.numbers().any(|present| present % NUMBERS == number) {
            return Verdict::Right;
        }
        match self.left.iter().rev().find(|(left, _)| *left == number) {
            Some((_, at)) if at + tolerance >= began => Verdict::Right,
            Some(_) => Verdict::Stale,
            None => Verdict::Foreign,
        }
    }
}

/// Whether samples that should stay where they are have grown: the middle of the last quarter beside that of the
/// second, by more than a quarter and 8 MB; `None` for fewer than eight.
pub(super) fn growth(megabytes: &[f64]) -> Option<bool> {
    let quarter = megabytes.len() / 4;
    if quarter < 2 {
        return None;
    }
    let middle = |samples: &[f64]| {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    };
    let (early, late) =
        (middle(&megabytes[quarter..2 * quarter]), middle(&megabytes[megabytes.len() - quarter..]));
    Some(late > early * 1.25 && late > early + 8.0)
}

/// Numbers that look random, the same for the same seed (Knuth's MMIX).
#[derive(Clone, Debug)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    /// One below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % bound.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_judged_by_its_address() {
        const TOLERANCE: u64 = 2000;
        let mut window = Window::default();
        assert_eq!(window.judge(3, address(3, 0), 0, TOLERANCE), Verdict::Right);
        assert_eq!(window.judge(3, address(3, 10), 0, TOLERANCE), Verdict::Foreign, "not yet");
        assert_eq!(window.judge(3, address(4, 0), 0, TOLERANCE), Verdict::Foreign);
        window.advance(1000);
        assert_eq!(window.judge(3, address(3, 10), 1000, TOLERANCE), Verdict::Right);
        assert_eq!(window.judge(3, address(3, 0), 1000 + TOLERANCE, TOLERANCE), Verdict::Right);
        assert_eq!(window.judge(3, address(3, 0), 1001 + TOLERANCE, TOLERANCE), Verdict::Stale);
        assert_eq!(window.judge(3, Ipv4Addr::LOCALHOST, 0, TOLERANCE), Verdict::Foreign);
        for turn in 0..600 {
            window.advance(turn);
        }
        assert_eq!(window.judge(3, address(3, 601), 9999, TOLERANCE), Verdict::Right, "numbers begin again");
    }

    #[test]
    fn growth_is_what_stays() {
        assert_eq!(growth(&[1.0; 7]), None);
        assert_eq!(growth(&[50.0; 40]), Some(false));
        let rising: Vec<f64> = (0..40).map(|n| 50.0 + f64::from(n)).collect();
        assert_eq!(growth(&rising), Some(true));
        let mut peak = [50.0; 40];
        peak[20] = 500.0;
        assert_eq!(growth(&peak), Some(false));
    }

    #[test]
    fn addresses_are_one_services_alone() {
        assert_eq!(owner(address(9999, 511)), Some((9999, 511)));
        assert_eq!(address(MOST - 1, NUMBERS - 1), Ipv4Addr::new(10, 255, 255, 255));
        assert_eq!(virtual_ip(9999), "172.16.39.250");
    }
}
