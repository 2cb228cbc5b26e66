//! kube-proxy's own metrics (pkg/proxy/metrics), by its names, labels and buckets. PURE. Enters: what the loop did and
//! when. Leaves: text. Both families are applied together, so what is measured of one application counts for both.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::text::{Histogram, Text};
use crate::model::Family;
use crate::world::{Counted, Trigger};

const FAMILIES: [(Family, &str); 2] = [(Family::V4, "IPv4"), (Family::V6, "IPv6")];

/// Service ports with a Local traffic policy and endpoints, none of them here: of one family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoLocal {
    /// By internalTrafficPolicy.
    pub internal: usize,
    /// By externalTrafficPolicy.
    pub external: usize,
}

/// The metrics.
#[derive(Clone, Debug)]
pub struct ProxyMetrics {
    started: Timestamp,
    programming: [Histogram; 2],
    sync: Histogram,
    queued: Option<Timestamp>,
    synced: Option<Timestamp>,
    services: Counted,
    slices: Counted,
    healthz: BTreeMap<u16, u64>,
    livez: BTreeMap<u16, u64>,
}

/// 1 ms to 16 s, each bound twice the one before.
fn sync_bounds() -> impl Iterator<Item = f64> {
    (0..15).map(|power| 0.001 * f64::from(1 << power))
}

/// Upstream's: quarters up to half a second, seconds to a minute, five seconds to two, half minutes to five.
fn programming_bounds() -> impl Iterator<Item = f64> {
    let steps = |from: u32, step: u32, count: u32| (0..count).map(move |i| f64::from(from + i * step));
    [0.25, 0.5].into_iter().chain(steps(1, 1, 59)).chain(steps(60, 5, 12)).chain(steps(120, 30, 7))
}

fn seconds(time: Timestamp) -> f64 {
    time.as_nanosecond() as f64 / 1e9
}

impl ProxyMetrics {
    /// At the start of a process.
    pub fn new(started: Timestamp) -> Self {
        let programming = || Histogram::new(programming_bounds());
        Self {
            started,
            programming: [programming(), programming()],
            sync: Histogram::new(sync_bounds()),
            queued: None,
            synced: None,
            services: Counted::default(),
            slices: Counted::default(),
            healthz: BTreeMap::new(),
            livez: BTreeMap::new(),
        }
    }

    /// Something came that is to be applied.
    pub fn queue(&mut self, services: Counted, slices: Counted, now: Timestamp) {
        if services.pending + slices.pending > self.services.pending + self.slices.pending {
            self.queued = Some(now);
        }
        (self.services, self.slices) = (services, slices);
    }

    /// An application ended: how long it took, and, if it was complete, what had set off the changes. Times before the
    /// process began measure nothing of it, and those of a clock that is ahead nothing at all.
    pub fn applied(&mut self, took: Duration, triggers: Option<&[Trigger]>, now: Timestamp) {
        self.sync.observe(took.as_secs_f64());
        let Some(triggers) = triggers else { return };
        self.synced = Some(now);
        (self.services.pending, self.slices.pending) = (0, 0);
        for (family, time) in triggers.iter().filter(|(_, time)| *time > self.started && *time <= now) {
            self.programming[usize::from(*family == Family::V6)].observe(seconds(now) - seconds(*time));
        }
    }

    /// When everything was last applied.
    pub const fn last_sync(&self) -> Option<Timestamp> {
        self.synced
    }

    /// `/healthz` or (`live`) `/livez` was answered.
    pub fn answered(&mut self, live: bool, code: u16) {
        let answers = if live { &mut self.livez } else { &mut self.healthz };
        *answers.entry(code).or_default() += 1;
    }

    /// Adds everything; `no_local` is of IPv4 and of IPv6.
    pub fn write(&self, text: &mut Text, no_local: [NoLocal; 2]) {
        let name = |rest: &str| format!("kubeproxy_{rest}");
        let programming = name("network_programming_duration_seconds");
        text.family(&programming, "histogram", "In Cluster Network Programming Latency in seconds");
        for ((_, family), histogram) in FAMILIES.iter().zip(&self.programming) {
            text.histogram(&programming, &[("ip_family", family)], histogram);
        }
        let sync = name("sync_proxy_rules_duration_seconds");
        text.family(&sync, "histogram", "SyncProxyRules latency in seconds");
        for (_, family) in FAMILIES {
            text.histogram(&sync, &[("ip_family", family)], &self.sync);
        }
        for (rest, help, time) in [
            ("last_queued", "The last time a sync of proxy rules was queued", self.queued),
            ("last", "The last time proxy rules were successfully synced", self.synced),
        ] {
            let name = name(&format!("sync_proxy_rules_{rest}_timestamp_seconds"));
            text.family(&name, "gauge", help);
            for (_, family) in FAMILIES {
                text.sample(&name, &[("ip_family", family)], time.map_or(0.0, seconds));
            }
        }
        for (kind, label, counted) in
            [("endpoint", "Endpoint", self.slices), ("service", "Service", self.services)]
        {
            let name = |rest: &str| format!("kubeproxy_sync_proxy_rules_{kind}_changes_{rest}");
            let help = format!("Pending proxy rules {label} changes");
            text.single(&name("pending"), "gauge", &help, counted.pending as f64);
            let help = format!("Cumulative proxy rules {label} changes");
            text.single(&name("total"), "counter", &help, counted.total as f64);
        }
        let local = name("sync_proxy_rules_no_local_endpoints_total");
        text.family(&local, "gauge", "Number of services with a Local traffic policy and no endpoints");
        for ((_, family), count) in FAMILIES.iter().zip(no_local) {
            for (policy, count) in [("internal", count.internal), ("external", count.external)] {
                text.sample(&local, &[("ip_family", family), ("traffic_policy", policy)], count as f64);
            }
        }
        for (kind, answers) in [("healthz", &self.healthz), ("livez", &self.livez)] {
            let name = name(&format!("proxy_{kind}_total"));
            text.family(&name, "counter", &format!("Cumulative proxy {kind} HTTP status"));
            for (code, count) in answers {
                text.sample(&name, &[("code", &code.to_string())], *count as f64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn bounds_are_upstreams() {
        let sync: Vec<f64> = sync_bounds().collect();
        assert_eq!((sync[0], sync[1], sync[14]), (0.001, 0.002, 16.384));
        let programming: Vec<f64> = programming_bounds().collect();
        assert!(programming.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!((programming.len(), programming[61], programming[79]), (80, 60.0, 300.0));
    }

    #[test]
    fn what_the_loop_did_is_told_by_upstreams_names() {
        let mut metrics = ProxyMetrics::new(at(100));
        let counted = |total, pending| Counted { total, pending };
        metrics.queue(counted(3, 1), counted(7, 2), at(101));
        metrics.queue(counted(3, 1), counted(7, 2), at(102));
        metrics.applied(Duration::from_millis(3), None, at(103));
        let show = |metrics: &ProxyMetrics| {
            let mut text = Text::default();
            metrics.write(&mut text, [NoLocal { internal: 1, external: 2 }, NoLocal::default()]);
            text.finish()
        };
        let has = |text: &str, lines: &[&str]| {
            for line in lines {
                assert!(text.lines().any(|found| found == *line), "{line}\n{text}");
            }
        };
        let behind = show(&metrics);
        has(
            &behind,
            &[
                "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family=\"IPv4\"} 101",
                "kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family=\"IPv4\"} 0",
                "kubeproxy_sync_proxy_rules_endpoint_changes_pending 2",
                "kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family=\"IPv6\",le=\"0.002\"} 0",
                "kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family=\"IPv6\",le=\"0.004\"} 1",
                "kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family=\"IPv4\",traffic_policy=\"external\"} 2",
            ],
        );
        // One from before the process, one from a clock that is ahead, and one that counts.
        let triggers = [(Family::V6, at(99)), (Family::V6, at(999)), (Family::V6, at(103))];
        metrics.applied(Duration::from_millis(1), Some(&triggers), at(104));
        metrics.answered(false, 503);
        metrics.answered(true, 200);
        has(
            &show(&metrics),
            &[
                "kubeproxy_network_programming_duration_seconds_count{ip_family=\"IPv4\"} 0",
                "kubeproxy_network_programming_duration_seconds_count{ip_family=\"IPv6\"} 1",
                "kubeproxy_network_programming_duration_seconds_bucket{ip_family=\"IPv6\",le=\"0.5\"} 0",
                "kubeproxy_network_programming_duration_seconds_bucket{ip_family=\"IPv6\",le=\"1\"} 1",
                "kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family=\"IPv6\"} 104",
                "kubeproxy_sync_proxy_rules_service_changes_pending 0",
                "kubeproxy_sync_proxy_rules_service_changes_total 3",
                "kubeproxy_proxy_healthz_total{code=\"503\"} 1",
                "kubeproxy_proxy_livez_total{code=\"200\"} 1",
            ],
        );
    }
}
