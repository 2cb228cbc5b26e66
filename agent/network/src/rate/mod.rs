//! How fast a pod may send and receive. Enters: what the runtime passes (`runtimeConfig.bandwidth`, CNI conventions), from the
//! pod's annotations `kubernetes.io/ingress-bandwidth` and `kubernetes.io/egress-bandwidth`. Leaves: token buckets of the
//! kernel (tc-tbf(8)) that hold the pod to it. Called by the server, and by `link` before a pod's link goes up.
//!
//! As the `bandwidth` plugin of containernetworking does it: what the pod receives waits in a bucket at the node's end of its
//! device; what it sends is redirected from there to a device of its own (IFB) and waits in that one's bucket. On the pod's
//! own end, a pod with CAP_NET_ADMIN could lift the limit. The redirection is by `cls_u32`, which kernels without
//! `cls_matchall` have, and comes after the programs of network policies.

mod bucket;
pub(crate) mod device;

use serde_json::Value;

pub(crate) use bucket::Bucket;

use crate::NetworkError;

/// A pod's limits; without one a direction is as fast as the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// What the pod receives.
    pub ingress: Option<Limit>,
    /// What it sends.
    pub egress: Option<Limit>,
}

/// The limit of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Bits per second, from 1 k to 1 P.
    pub rate: u64,
    /// Bits that may go at once after a silence.
    pub burst: u64,
}

/// Kubernetes' bounds of a rate, in bits per second (`k8s.io/kubernetes/pkg/util/bandwidth`).
const RATES: std::ops::RangeInclusive<u64> = 1_000..=1_000_000_000_000_000;

/// The plugin's bound of a burst, in bits, not reached: bytes are counted in 32 bits.
const BURSTS: u64 = u32::MAX as u64 * 8;

impl Bandwidth {
    /// From a value of `runtimeConfig.bandwidth`. A rate and a burst of 0, or absent ones, are no limit.
    ///
    /// # Errors
    /// [`NetworkError::BadRequest`] naming field and value.
    pub fn read(given: &Value) -> Result<Self, NetworkError> {
        if !given.is_object() && !given.is_null() {
            return Err(bad(&format!("{given} is no object")));
        }
        Ok(Self {
            ingress: limit(given, ["ingressRate", "IngressRate"], ["ingressBurst", "IngressBurst"])?,
            egress: limit(given, ["egressRate", "EgressRate"], ["egressBurst", "EgressBurst"])?,
        })
    }

    /// Whether there is a limit at all.
    pub fn is_limited(&self) -> bool {
        self.ingress.is_some() || self.egress.is_some()
    }
}

fn bad(what: &str) -> NetworkError {
    NetworkError::BadRequest(format!("runtimeConfig.bandwidth: {what}"))
}

fn limit(given: &Value, rates: [&str; 2], bursts: [&str; 2]) -> Result<Option<Limit>, NetworkError> {
    let (rate, burst) = (bits(given, rates)?, bits(given, bursts)?);
    let ([rate_name, _], [burst_name, _]) = (rates, bursts);
    match (rate, burst) {
        (0, 0) => Ok(None),
        (0, _) => Err(bad(&format!("{burst_name} is {burst}, {rate_name} must be set, too"))),
        (_, 0) => Err(bad(&format!("{rate_name} is {rate}, {burst_name} must be set, too"))),
        _ if !RATES.contains(&rate) => {
            let (low, high) = (RATES.start(), RATES.end());
            Err(bad(&format!("{rate_name} is {rate}, must be from {low} to {high} bits per second")))
        }
        _ if burst >= BURSTS => {
            Err(bad(&format!("{burst_name} is {burst}, must be less than {BURSTS} bits")))
        }
        _ => Ok(Some(Limit { rate, burst })),
    }
}

/// A number in bits, under its name in small letters, as the conventions have it, or as containerd writes it.
fn bits(given: &Value, names: [&str; 2]) -> Result<u64, NetworkError> {
    match names.iter().find_map(|name| given.get(name)) {
        None | Some(Value::Null) => Ok(0),
        Some(value) => {
            value.as_u64().ok_or_else(|| bad(&format!("{} is {value}, no whole number of bits", names[0])))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn limits_are_read_under_both_spellings() {
        for none in [Value::Null, json!({}), json!({"ingressRate": 0, "ingressBurst": 0, "egressRate": null})]
        {
            let read = Bandwidth::read(&none).unwrap();
            assert_eq!(read, Bandwidth::default());
            assert!(!read.is_limited());
        }
        let one = Bandwidth::read(&json!({"egressRate": 1000, "egressBurst": 8})).unwrap();
        assert_eq!(one, Bandwidth { ingress: None, egress: Some(Limit { rate: 1000, burst: 8 }) });
        assert!(one.is_limited());
        let containerd =
            json!({"IngressRate": 10_000_000, "IngressBurst": u32::MAX, "EgressRate": 0, "EgressBurst": 0});
        let ingress = Some(Limit { rate: 10_000_000, burst: u32::MAX.into() });
        assert_eq!(Bandwidth::read(&containerd).unwrap(), Bandwidth { ingress, egress: None });
    }

    #[test]
    fn what_is_wrong_is_named() {
        let rows = [
            (json!([1]), "[1] is no object"),
            (json!({"ingressRate": "1M"}), "ingressRate is \"1M\", no whole number of bits"),
            (json!({"EgressBurst": -1}), "egressBurst is -1, no whole number of bits"),
            (json!({"ingressRate": 5000}), "ingressRate is 5000, ingressBurst must be set, too"),
            (json!({"egressBurst": 5000}), "egressBurst is 5000, egressRate must be set, too"),
            (
                json!({"egressRate": 999, "egressBurst": 8000}),
                "egressRate is 999, must be from 1000 to 1000000000000000 bits per second",
            ),
            (
                json!({"ingressRate": 1_000_000_000_000_001_u64, "ingressBurst": 8000}),
                "ingressRate is 1000000000000001, must be from 1000 to 1000000000000000 bits per second",
            ),
            (
                json!({"ingressRate": 1000, "ingressBurst": 34_359_738_360_u64}),
                "ingressBurst is 34359738360, must be less than 34359738360 bits",
            ),
        ];
        for (given, why) in rows {
            let error = Bandwidth::read(&given).unwrap_err().to_string();
            assert_eq!(error, format!("CNI request: runtimeConfig.bandwidth: {why}"));
        }
        for rate in [1_000, 1_000_000_000_000_000_u64] {
            let edge = json!({"ingressRate": rate, "ingressBurst": 34_359_738_359_u64});
            assert!(Bandwidth::read(&edge).unwrap().ingress.is_some(), "{rate}");
        }
    }
}
